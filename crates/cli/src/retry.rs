//! `stepcast retry BUILD [--failed-only]`

use clap::Args;
use wire::{command::Retry, view::BuildSummary};

use crate::{
    Done,
    build_name::BuildName,
    client::{Client, Failure},
    follow,
};

/// Options of `stepcast retry`.
#[derive(Args)]
pub struct Options {
    /// The build: its id, PIPELINE#NUMBER such as site#12, or PIPELINE for its last one.
    #[arg(value_name = "BUILD")]
    build: BuildName,
    /// Only jobs that did not succeed, and what needs them.
    #[arg(long)]
    failed_only: bool,
    /// Show the build until it has ended; the exit status tells how.
    #[arg(long)]
    follow: bool,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let build = options.build.find(client)?;
    let path = format!("/builds/{build}/retry");
    let summary: BuildSummary = client.post(&path, &Retry { failed_only: options.failed_only }, None)?;
    if options.follow {
        return follow::run(client, build);
    }
    println!("{} #{} is queued again", summary.pipeline, summary.number);
    Ok(Done::Well)
}
