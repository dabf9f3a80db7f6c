//! `stepcast dead-letters [list|show|retry|discard]`

use std::io::Write as _;

use clap::{Args, Subcommand};
use wire::{
    DeadLetterId,
    dead_letter::{DeadLetterBody, DeadLetterOrigin, DeadLetterState, DeadLetterView},
};

use crate::{
    Done,
    client::{Client, Failure},
};

/// Options of `stepcast dead-letters`.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
}

/// What is done with them; without a word they are listed.
#[derive(Subcommand)]
enum What {
    /// List those that nobody has decided on, newest first.
    List(List),
    /// Show one with its body.
    Show {
        /// Its id.
        #[arg(value_name = "ID")]
        id: DeadLetterId,
        /// Print the JSON of the API.
        #[arg(long)]
        json: bool,
    },
    /// Hand one in again where it came from; of a job, run what failed of its build again.
    Retry {
        /// Their ids.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<DeadLetterId>,
    },
    /// Say that one is not needed.
    Discard {
        /// Their ids.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<DeadLetterId>,
    },
}

/// Options of `stepcast dead-letters list`.
#[derive(Args, Default)]
struct List {
    /// Those that became this: open, retried or discarded.
    #[arg(long, value_name = "STATE", conflicts_with = "all")]
    state: Option<DeadLetterState>,
    /// Those that were decided on as well.
    #[arg(long)]
    all: bool,
    /// Print the JSON of the API, one letter on each line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    match &options.what {
        None => list(client, &List::default())?,
        Some(What::List(options)) => list(client, options)?,
        Some(What::Show { id, json: true }) => println!("{}", client.get_text(&format!("/dead-letters/{id}"))?),
        Some(What::Show { id, json: false }) => show(client, *id)?,
        Some(What::Retry { ids }) => decide(client, ids, "retry")?,
        Some(What::Discard { ids }) => decide(client, ids, "discard")?,
    }
    Ok(Done::Well)
}

fn list(client: &Client, options: &List) -> Result<(), Failure> {
    let state = if options.all { None } else { Some(options.state.unwrap_or(DeadLetterState::Open)) };
    let state = state.map_or(String::new(), |state| format!("&state={}", state.as_str()));
    let mut before = String::new();
    let mut out = std::io::stdout().lock();
    loop {
        let page: Vec<DeadLetterView> = client.get(&format!("/dead-letters?limit=200{state}{before}"))?;
        let Some(last) = page.last() else { break };
        before = format!("&before={}", last.id);
        for letter in &page {
            let line = if options.json {
                serde_json::to_string(letter).map_err(|failure| Failure::Usage(failure.to_string()))?
            } else {
                row(letter)
            };
            if writeln!(out, "{line}").is_err() {
                return Ok(()); // Nobody reads on.
            }
        }
    }
    if before.is_empty() && !options.json {
        eprintln!("there are none");
    }
    Ok(())
}

fn row(letter: &DeadLetterView) -> String {
    let DeadLetterView { id, reason, .. } = letter;
    let state = match letter.state {
        DeadLetterState::Open => String::new(),
        settled => format!("{}  ", settled.as_str()),
    };
    let times = if letter.deaths > 1 { format!("  {} times", letter.deaths) } else { String::new() };
    format!("{id}  {state}{}{times}  {}  {reason}", letter.cause.as_str(), place(letter))
}

/// Where it came from, or the build of a job.
fn place(letter: &DeadLetterView) -> String {
    match (&letter.origin, &letter.pipeline, letter.number) {
        (Some(DeadLetterOrigin { exchange, key }), ..) if exchange.is_empty() => key.clone(),
        (Some(DeadLetterOrigin { exchange, key }), ..) => format!("{exchange}/{key}"),
        (None, Some(pipeline), Some(number)) => format!("{pipeline}#{number}"),
        _ => "?".to_owned(),
    }
}

fn show(client: &Client, id: DeadLetterId) -> Result<(), Failure> {
    let DeadLetterBody { letter, body, body_base64, whole } = client.get(&format!("/dead-letters/{id}"))?;
    println!("{}  {}  {}", letter.cause.as_str(), place(&letter), letter.state.as_str());
    println!("  {}", letter.reason);
    if let Some(reason) = &letter.not_retriable {
        println!("  It cannot be retried: {reason}");
    }
    println!(
        "  died {} times  message {}  {} bytes of {}",
        letter.deaths, letter.message_id, letter.size, letter.content_type
    );
    if let Some(text) = body.or(body_base64) {
        println!("\n{text}");
        if !whole {
            println!("(the rest was not kept)");
        }
    }
    Ok(())
}

fn decide(client: &Client, ids: &[DeadLetterId], what: &str) -> Result<(), Failure> {
    for id in ids {
        let letter: DeadLetterView =
            client.post(&format!("/dead-letters/{id}/{what}"), &serde_json::json!({}), None)?;
        match letter.state {
            DeadLetterState::Open => println!("{id} died again: {}", letter.reason),
            state => println!("{id} {}", state.as_str()),
        }
    }
    Ok(())
}
