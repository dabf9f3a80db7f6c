//! The `stepcast` program: which subcommand runs what. What a subcommand does stands in `run`, `admin`, `people`, `backup`, `restore`,
//! `cli`, `executor`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access;
mod accounts;
mod admin;
mod allowance;
mod assets;
mod backend;
mod backoff;
mod backup;
mod chunks;
mod commands;
mod config;
mod core;
mod desk;
mod entry;
mod groups;
mod hooks;
mod http;
mod hub;
mod instances;
mod journal;
mod known;
mod live;
mod memory;
mod objects;
mod open_files;
mod openid;
mod outbox;
mod outgoing;
mod password;
mod payloads;
mod people;
mod places;
mod precondition;
mod queries;
mod replies;
mod restore;
mod retention;
mod room;
mod rotate;
mod run;
mod search;
mod secret;
mod secrets;
mod stop;
mod tend;
mod tokens;
mod turn;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A self-hosted build and task runner with live feedback.
#[derive(Parser)]
#[command(name = "stepcast", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server: all of it in one process, or the parts that --roles names.
    Serve(Box<config::ServeOptions>),
    #[command(flatten)]
    Client(cli::ClientCommand),
    /// Make accounts for people.
    #[command(subcommand)]
    Account(people::AccountCommand),
    /// Make, list and take back tokens for programs.
    #[command(subcommand)]
    Token(people::TokenCommand),
    /// Set, list and delete secrets, and encrypt them anew.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Write the whole installation (on SQLite) into one file, while its server runs.
    Backup(backup::BackupOptions),
    /// Make a data folder from a backup.
    Restore(restore::RestoreOptions),
    /// Raise all epochs of a database that was restored by other means, so that no page takes new events for old ones.
    BeginAnew(restore::AnewOptions),
    /// Check store, broker, clock and ports, and say what to do.
    Doctor(admin::DoctorOptions),
}

/// Subcommands of `stepcast secret`.
#[derive(Subcommand)]
enum SecretCommand {
    #[command(flatten)]
    Client(cli::SecretCommand),
    /// Put a new key in front of the former ones, and all secrets under it; run it where the key file is.
    Rotate(rotate::RotateOptions),
}

/// Wrong usage, as clap has it too.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    // Owns the steps of one job; started by the executor. Before anything else: it must be there in a millisecond.
    if std::env::args_os().nth(1).is_some_and(|first| first == "guard") {
        return executor::guard::main();
    }
    let arguments = Arguments::parse();
    if !matches!(arguments.command, Command::Serve(_)) {
        // Who reads with `head` has enough: as of any other program that is the end, and no panic.
        sigpipe::reset();
    }
    let result = match arguments.command {
        Command::Client(command) => return cli::run(command),
        Command::Serve(options) => {
            log_to_stderr();
            runtime().and_then(|runtime| runtime.block_on(run::serve(*options)))
        }
        Command::Account(command) => runtime().and_then(|runtime| runtime.block_on(people::account(command))),
        Command::Token(command) => runtime().and_then(|runtime| runtime.block_on(people::token(command))),
        Command::Secret(SecretCommand::Client(command)) => return cli::run_secret(command),
        Command::Secret(SecretCommand::Rotate(options)) => {
            runtime().and_then(|runtime| runtime.block_on(rotate::run(options)))
        }
        Command::Backup(options) => runtime().and_then(|runtime| runtime.block_on(backup::run(options))),
        Command::Restore(options) => runtime().and_then(|runtime| runtime.block_on(restore::run(options))),
        Command::BeginAnew(options) => runtime().and_then(|runtime| runtime.block_on(restore::begin_anew(options))),
        Command::Doctor(options) => runtime().and_then(|runtime| runtime.block_on(admin::doctor(options))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("stepcast: {failure}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|failure| format!("the system gives no threads: {failure}"))
}

/// `RUST_LOG` says what is told; `info` unless it does.
fn log_to_stderr() {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn,lapin=off"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
