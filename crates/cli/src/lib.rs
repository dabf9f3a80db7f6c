//! The client subcommands of `stepcast`: one file each. They speak HTTP only, and read `STEPCAST_URL` and `STEPCAST_TOKEN`.
//!
//! Exit status: 0 done, 1 the build failed, 2 wrong usage, 3 the server cannot be reached.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod apply;
mod build_name;
mod cancel;
mod client;
mod dead_letters;
mod delete;
mod follow;
mod hook;
mod retry;
mod running;
mod search;
mod secret;
mod show;
mod terminal;
mod trigger;
mod words;

use std::process::ExitCode;

use clap::Subcommand;

use client::{Client, Failure};
pub use secret::Command as SecretCommand;

/// What each of them reads besides its options.
const ENVIRONMENT: &str = "Environment:\n  \
    STEPCAST_URL    The server; http://127.0.0.1:3000 unless set\n  \
    STEPCAST_TOKEN  A token that `stepcast token create` made where the server runs";

/// What a client can do.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Create or update a pipeline from YAML.
    #[command(after_help = ENVIRONMENT)]
    Apply(apply::Options),
    /// Start a build.
    #[command(after_help = ENVIRONMENT)]
    Trigger(trigger::Options),
    /// Show the steps and lines of a build as they happen.
    #[command(after_help = ENVIRONMENT)]
    Follow(follow::Options),
    /// Show a build.
    #[command(after_help = ENVIRONMENT)]
    Show(show::Options),
    /// End a build.
    #[command(after_help = ENVIRONMENT)]
    Cancel(cancel::Options),
    /// Run a finished build again.
    #[command(after_help = ENVIRONMENT)]
    Retry(retry::Options),
    /// Delete a finished build with its logs and artifacts, for good.
    #[command(after_help = ENVIRONMENT)]
    Delete(delete::Options),
    /// Search in all logs and builds.
    #[command(after_help = ENVIRONMENT)]
    Search(search::Options),
    /// Make, list and delete the hooks by which GitHub, Gitea and Forgejo build a pipeline.
    #[command(after_help = ENVIRONMENT)]
    Hook(hook::Options),
    /// List what could not be processed, and decide on it.
    #[command(after_help = ENVIRONMENT)]
    DeadLetters(dead_letters::Options),
}

/// How a command ended, where it did not fail itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// As it should.
    Well,
    /// The build that it followed did not succeed.
    BuildFailed,
}

/// Runs a command to its end.
#[must_use]
pub fn run(command: ClientCommand) -> ExitCode {
    let result = Client::from_environment().and_then(|client| match command {
        ClientCommand::Apply(options) => apply::run(&client, &options),
        ClientCommand::Trigger(options) => trigger::run(&client, &options),
        ClientCommand::Follow(options) => follow::run(&client, options.build.find(&client)?),
        ClientCommand::Show(options) => show::run(&client, &options),
        ClientCommand::Cancel(options) => cancel::run(&client, &options),
        ClientCommand::Retry(options) => retry::run(&client, &options),
        ClientCommand::Delete(options) => delete::run(&client, &options),
        ClientCommand::Search(options) => search::run(&client, &options),
        ClientCommand::Hook(options) => hook::run(&client, &options),
        ClientCommand::DeadLetters(options) => dead_letters::run(&client, &options),
    });
    ended(result)
}

/// Runs a subcommand of `stepcast secret` to its end.
#[must_use]
pub fn run_secret(command: SecretCommand) -> ExitCode {
    ended(Client::from_environment().and_then(|client| secret::run(&client, command)))
}

fn ended(result: Result<Done, Failure>) -> ExitCode {
    match result {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::BuildFailed) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("stepcast: {failure}");
            ExitCode::from(match failure {
                Failure::Refused(_) | Failure::Usage(_) => 2,
                Failure::Unreachable { .. } => 3,
            })
        }
    }
}
