//! `stepcast cancel BUILD`

use clap::Args;
use wire::view::{BuildSummary, State};

use crate::{
    Done,
    build_name::BuildName,
    client::{Client, Failure},
};

/// Options of `stepcast cancel`.
#[derive(Args)]
pub struct Options {
    /// The build: its id, PIPELINE#NUMBER such as site#12, or PIPELINE for its last one.
    #[arg(value_name = "BUILD")]
    build: BuildName,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let path = format!("/builds/{}/cancel", options.build.find(client)?);
    let summary: BuildSummary = client.post(&path, &serde_json::json!({}), None)?;
    let word = if summary.state == State::Finished { "is cancelled" } else { "is being cancelled" };
    println!("{} #{} {word}", summary.pipeline, summary.number);
    Ok(Done::Well)
}
