//! `GET /api/v1/jobs/{id}/log/search`: the lines of a whole log in which a text stands, streamed as they are found. The log
//! is read page by page and never held; a client that goes away ends the search.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use wire::{
    Authority, JobId, Problem,
    log::{RecordedLine, plain},
};

use crate::{
    core::Core,
    http::{
        parameters::{Path, Query},
        problem::{Answer, parse},
        who::Who,
    },
    queries::{self, LOG_LINES_MAX},
};

/// The longest text that is searched for, in bytes of UTF-8.
const WANTED_BYTES_MAX: usize = 200;
/// Hits that are listed; the others are only counted.
const HITS_MAX: u64 = 10_000;
/// Of the line of a hit, so much is told, in bytes of UTF-8.
const TOLD_BYTES_MAX: usize = 256;

/// What stands behind the `?`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    q: String,
    attempt: Option<u32>,
    #[serde(default)]
    case: bool,
}

/// NDJSON: `{"n", "step", "text"}` for each hit, `{"scanned"}` after each page, `{"done": true, "hits", "scanned"}` at the end.
pub(crate) async fn search(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<Response> {
    let job: JobId = parse("The job's id", &id)?;
    if wanted.q.is_empty() || wanted.q.len() > WANTED_BYTES_MAX {
        let sentence = format!("`q` must be the text to look for, of 1 to {WANTED_BYTES_MAX} bytes.");
        return Err(Problem::new(400, "Invalid parameter", sentence).into());
    }
    // Read here, so that a job that is not there is a 404 and no broken stream.
    let first = queries::log(&core, &who, job, wanted.attempt, 0, LOG_LINES_MAX).await?;
    let search = Search {
        core,
        who,
        job,
        attempt: first.attempt,
        total: first.total,
        needle: Needle::new(&wanted.q, wanted.case),
        hits: 0,
        scanned: 0,
        first: Some(first.lines),
    };
    let parts = stream::unfold(Some(search), Search::turn);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(parts)).into_response())
}

/// A search under way.
struct Search {
    core: Arc<Core>,
    who: Authority,
    job: JobId,
    attempt: u32,
    /// Lines that were recorded when it began.
    total: u64,
    needle: Needle,
    hits: u64,
    scanned: u64,
    /// The page that was read before the answer began.
    first: Option<Vec<RecordedLine>>,
}

impl Search {
    /// Searches the next page: what is to be sent of it, and the search if more is to come.
    async fn turn(search: Option<Self>) -> Option<(std::io::Result<Bytes>, Option<Self>)> {
        let mut search = search?;
        let lines = match search.first.take() {
            Some(lines) => lines,
            None => {
                let Self { core, who, job, attempt, scanned, .. } = &search;
                match queries::log(core, who, *job, Some(*attempt), *scanned, LOG_LINES_MAX).await {
                    Ok(page) => page.lines,
                    // The answer has begun: a failure breaks it off, so that nobody takes a part for the whole.
                    Err(failure) => return Some((Err(std::io::Error::other(failure)), None)),
                }
            }
        };
        let mut found = Vec::new();
        for RecordedLine { step, line, .. } in &lines {
            search.scanned = line.n + 1;
            if let Some(text) = search.needle.find(&line.text) {
                search.hits += 1;
                if search.hits <= HITS_MAX {
                    put(&mut found, &json!({"n": line.n, "step": step, "text": text}));
                }
            }
        }
        if lines.is_empty() || search.scanned >= search.total {
            let (hits, scanned) = (search.hits, search.scanned);
            put(&mut found, &json!({"done": true, "hits": hits, "scanned": scanned, "truncated": hits > HITS_MAX}));
            return Some((Ok(found.into()), None));
        }
        put(&mut found, &json!({"scanned": search.scanned}));
        Some((Ok(found.into()), Some(search)))
    }
}

fn put(body: &mut Vec<u8>, part: &serde_json::Value) {
    // Numbers and text only: their encoding does not fail.
    let _ = serde_json::to_writer(&mut *body, part);
    body.push(b'\n');
}

/// What is looked for, and room for the line that is looked at.
struct Needle {
    wanted: String,
    case: bool,
    plain: String,
    folded: String,
}

impl Needle {
    fn new(wanted: &str, case: bool) -> Self {
        let wanted = if case { wanted.to_owned() } else { wanted.to_lowercase() };
        Self { wanted, case, plain: String::new(), folded: String::new() }
    }

    /// The line as it is told, if the text stands in it: without colours, cut around the first place where it stands.
    fn find(&mut self, line: &str) -> Option<&str> {
        plain(line, &mut self.plain);
        let at = if self.case {
            self.plain.find(&self.wanted)?
        } else if self.wanted.is_ascii() {
            self.folded.clone_from(&self.plain);
            self.folded.make_ascii_lowercase();
            self.folded.find(&self.wanted)?
        } else {
            self.folded = self.plain.to_lowercase();
            // Lower case may have another length: a place nearby will do for what is told.
            self.folded.find(&self.wanted)?.min(self.plain.len())
        };
        let from = self.plain.floor_char_boundary(at.saturating_sub(TOLD_BYTES_MAX / 4));
        let to = self.plain.floor_char_boundary(from + TOLD_BYTES_MAX);
        Some(&self.plain[from..to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_whatever_its_case_and_through_colours() {
        let mut any = Needle::new("Error: X", false);
        assert_eq!(any.find("an \u{1b}[1;31mer\u{1b}[0mROR: x here"), Some("an erROR: x here"));
        assert_eq!(any.find("\u{1b}[31merror\u{1b}[0m"), None);
        assert_eq!(Needle::new("31m", false).find("\u{1b}[31mred"), None, "a colour is no text");
        assert_eq!(Needle::new("Error", true).find("error"), None);
        assert_eq!(Needle::new("GRÜN", false).find("wird grün"), Some("wird grün"));
    }

    #[test]
    fn a_long_line_is_told_around_the_place() {
        let line = format!("{}needle{}", "ä".repeat(5_000), "ö".repeat(5_000));
        let mut needle = Needle::new("needle", false);
        let told = needle.find(&line).unwrap();
        assert!(told.contains("needle") && told.len() <= TOLD_BYTES_MAX, "{told}");
    }
}
