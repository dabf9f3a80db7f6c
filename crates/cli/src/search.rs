//! `stepcast search WORDS`

use std::{fmt::Write as _, io::Write as _};

use clap::Args;
use wire::{
    PipelineName,
    search::{Found, SearchHit, SearchKind, SearchPage},
};

use crate::{
    Done,
    client::{Client, Failure},
};

/// Hits that are told unless asked otherwise.
const HITS: u32 = 50;

/// Options of `stepcast search`.
#[derive(Args)]
pub struct Options {
    /// What to look for: all words must stand in one line; "a phrase" in quotation marks, begin* for all words that begin so.
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    /// Of this pipeline only.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<PipelineName>,
    /// In logs only (log), or in what is known of builds (build).
    #[arg(long, value_name = "KIND")]
    kind: Option<SearchKind>,
    /// Tell at most so many.
    #[arg(long, value_name = "HITS", default_value_t = HITS)]
    limit: u32,
    /// Print the JSON of the API, one hit on each line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let mut path = format!("/search?q={}", encoded(&options.words.join(" ")));
    if let Some(pipeline) = &options.pipeline {
        path += &format!("&pipeline={pipeline}");
    }
    if let Some(kind) = options.kind {
        path += &format!("&kind={}", kind.as_str());
    }
    let (mut left, mut before) = (options.limit.max(1), String::new());
    let mut out = std::io::stdout().lock();
    loop {
        let page: SearchPage = client.get(&format!("{path}&limit={}{before}", left.min(100)))?;
        for hit in &page.hits {
            let line = if options.json {
                serde_json::to_string(hit).map_err(|failure| Failure::Usage(failure.to_string()))?
            } else {
                row(hit)
            };
            if writeln!(out, "{line}").is_err() {
                return Ok(Done::Well); // Nobody reads on.
            }
        }
        left = left.saturating_sub(u32::try_from(page.hits.len()).unwrap_or(u32::MAX));
        match &page.next {
            Some(next) if left > 0 => before = format!("&before={next}"),
            next => {
                let more = if next.is_some() { "there are more: take --limit" } else { "" };
                let building = if page.building { "the index is being made: not everything is found yet" } else { "" };
                for note in [more, building].into_iter().filter(|note| !note.is_empty()) {
                    eprintln!("{note}");
                }
                return Ok(Done::Well);
            }
        }
    }
}

/// As `grep` tells it: where, and the line.
fn row(hit: &SearchHit) -> String {
    let SearchHit { pipeline, number, text, .. } = hit;
    match &hit.found {
        Found::Log { job_name, attempt, n, .. } => {
            let again = if *attempt > 1 { format!(" attempt {attempt}") } else { String::new() };
            format!("{pipeline}#{number} {job_name}{again}:{}: {text}", n + 1)
        }
        Found::Build { field } => format!("{pipeline}#{number} {field}: {text}"),
    }
}

/// As it stands in an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn signs_stand_encoded_in_the_address() {
        assert_eq!(encoded("a \"b&ü\""), "a%20%22b%26%C3%BC%22");
    }
}
