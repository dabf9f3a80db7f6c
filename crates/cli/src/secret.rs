//! `stepcast secret set|list|delete`: a value comes from the terminal without being shown, from the standard input, or from
//! a file; never from an argument, which every process of the machine can read.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use wire::{
    PipelineName,
    secret::{SecretName, SecretView, SecretsView, VALUE_BYTES_MAX},
};

use crate::{
    Done, ENVIRONMENT,
    client::{Client, Failure},
};

/// Subcommands of `stepcast secret` that speak to the server.
#[derive(Subcommand)]
pub enum Command {
    /// Give a secret its value, which is read from the standard input.
    #[command(after_help = ENVIRONMENT)]
    Set(Set),
    /// List secrets without their values.
    #[command(after_help = ENVIRONMENT)]
    List(List),
    /// Delete a secret.
    #[command(after_help = ENVIRONMENT)]
    Delete(Delete),
}

/// Options of `stepcast secret set`.
#[derive(Args)]
pub struct Set {
    /// The secret: capital letters, digits and `_`.
    name: SecretName,
    /// The pipeline that it belongs to; without it, it is one of the installation.
    #[arg(long)]
    pipeline: Option<PipelineName>,
    /// Take the value from this file, to the last byte. From the standard input a line break at the end is left out.
    #[arg(long)]
    from_file: Option<PathBuf>,
    /// Of one of the installation: a pipeline that may use it, again for more; without it all may, or who could before.
    #[arg(long, conflicts_with = "pipeline")]
    allow: Vec<PipelineName>,
    /// Of one of the installation: let all pipelines use it again.
    #[arg(long, conflicts_with_all = ["pipeline", "allow"])]
    allow_all: bool,
}

/// Options of `stepcast secret list`.
#[derive(Args)]
pub struct List {
    /// Those of this pipeline; without it, those of the installation.
    #[arg(long)]
    pipeline: Option<PipelineName>,
}

/// Options of `stepcast secret delete`.
#[derive(Args)]
pub struct Delete {
    /// The secret.
    name: SecretName,
    /// The pipeline that it belongs to; without it, it is one of the installation.
    #[arg(long)]
    pipeline: Option<PipelineName>,
}

pub(crate) fn run(client: &Client, command: Command) -> Result<Done, Failure> {
    match command {
        Command::Set(options) => set(client, &options),
        Command::List(options) => list(client, &options),
        Command::Delete(options) => {
            client.delete(&format!("{}/{}", place(options.pipeline.as_ref()), options.name))?;
            println!("{} is deleted", shown(&options.name, options.pipeline.as_ref()));
            Ok(Done::Well)
        }
    }
}

fn place(pipeline: Option<&PipelineName>) -> String {
    pipeline.map_or_else(|| "/secrets".to_owned(), |name| format!("/pipelines/{name}/secrets"))
}

fn shown(name: &SecretName, pipeline: Option<&PipelineName>) -> String {
    match pipeline {
        Some(pipeline) => format!("secret {name} of pipeline {pipeline}"),
        None => format!("secret {name} of the installation"),
    }
}

fn set(client: &Client, options: &Set) -> Result<Done, Failure> {
    let value = match &options.from_file {
        Some(file) => {
            let failed = |failure: io::Error| Failure::Usage(format!("{} cannot be read: {failure}.", file.display()));
            read(std::fs::File::open(file).map_err(failed)?).map_err(failed)?
        }
        None => {
            let failed = |failure: io::Error| Failure::Usage(format!("the value cannot be read: {failure}."));
            without_line_break(
                if io::stdin().is_terminal() { ask(&options.name) } else { read(io::stdin()) }.map_err(failed)?,
            )
        }
    };
    let names: Vec<&str> = options.allow.iter().map(PipelineName::as_str).collect();
    let allow =
        if names.is_empty() && !options.allow_all { String::new() } else { format!("?allow={}", names.join(",")) };
    let path = format!("{}/{}{allow}", place(options.pipeline.as_ref()), options.name);
    let created = client.put_bytes(&path, &value)?;
    let word = if created { "is set" } else { "has another value now" };
    println!("{} {word}", shown(&options.name, options.pipeline.as_ref()));
    Ok(Done::Well)
}

/// A little more than a value may have: the server says what is wrong with it.
fn read(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES_MAX as u64 + 2).read_to_end(&mut value)?;
    Ok(value)
}

fn without_line_break(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

/// Asks for one line, which the terminal does not show.
fn ask(name: &SecretName) -> io::Result<Vec<u8>> {
    let terminal = io::stdin();
    eprint!("Value of {name} (it is not shown): ");
    io::stderr().flush()?;
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut line = String::new();
    let read = terminal.read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    read?;
    Ok(line.into_bytes())
}

fn list(client: &Client, options: &List) -> Result<Done, Failure> {
    let SecretsView { secrets, wanted } = client.get(&place(options.pipeline.as_ref()))?;
    for secret in &secrets {
        println!("{}", line(secret));
    }
    for missing in wanted.iter().filter_map(|wanted| wanted.problem.as_ref()) {
        eprintln!("warning: {missing}");
    }
    Ok(Done::Well)
}

fn line(secret: &SecretView) -> String {
    let names = |names: &[PipelineName]| names.iter().map(PipelineName::as_str).collect::<Vec<_>>().join(", ");
    let mut line = format!("{}  set by {}", secret.name, secret.set_by);
    if !secret.allowed.is_empty() {
        line += &format!("  for {}", names(&secret.allowed));
    }
    if secret.pipeline.is_none() && !secret.used_by.is_empty() {
        line += &format!("  used by {}", names(&secret.used_by));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_the_values() {
        let cut = |value: &str| String::from_utf8(without_line_break(value.into())).unwrap();
        assert_eq!([cut("a\n"), cut("a\r\n"), cut("a\n\n"), cut("a"), cut("a\r")], ["a", "a", "a\n", "a", "a\r"]);
    }
}
