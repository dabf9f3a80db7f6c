//! `stepcast retry BUILD [--failed-only]`

use clap::Args;
use wire::{BuildId, command::Retry, view::BuildSummary};

use crate::{
    Done,
    client::{Client, Failure},
    follow,
};

/// Options of `stepcast retry`.
#[derive(Args)]
pub struct Options {
    /// The build's id.
    build: BuildId,
    /// Only jobs that did not succeed, and what needs them.
    #[arg(long)]
    failed_only: bool,
    /// Show the build until it has ended; the exit status tells how.
    #[arg(long)]
    follow: bool,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let path = format!("/builds/{}/retry", options.build);
    let summary: BuildSummary = client.post(&path, &Retry { failed_only: options.failed_only }, None)?;
    if options.follow {
        return follow::run(client, options.build);
    }
    println!("{} #{} is queued again", summary.pipeline, summary.number);
    Ok(Done::Well)
}
