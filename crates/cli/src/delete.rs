//! `stepcast delete BUILD`

use clap::Args;

use crate::{
    Done,
    build_name::BuildName,
    client::{Client, Failure},
};

/// Options of `stepcast delete`.
#[derive(Args)]
pub struct Options {
    /// The build: its id, PIPELINE#NUMBER such as site#12, or PIPELINE for its last one. It must be finished.
    #[arg(value_name = "BUILD")]
    build: BuildName,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let id = options.build.find(client)?;
    client.delete(&format!("/builds/{id}"))?;
    println!("build {id} is deleted");
    Ok(Done::Well)
}
