//! `stepcast cancel BUILD`

use clap::Args;
use wire::{
    BuildId,
    view::{BuildSummary, State},
};

use crate::{
    Done,
    client::{Client, Failure},
};

/// Options of `stepcast cancel`.
#[derive(Args)]
pub struct Options {
    /// The build's id.
    build: BuildId,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let path = format!("/builds/{}/cancel", options.build);
    let summary: BuildSummary = client.post(&path, &serde_json::json!({}), None)?;
    let word = if summary.state == State::Finished { "is cancelled" } else { "is being cancelled" };
    println!("{} #{} {word}", summary.pipeline, summary.number);
    Ok(Done::Well)
}
