//! `stepcast trigger PIPELINE [--input K=V]… [--follow] [--reply-url URL]`

use clap::Args;
use wire::{
    command::{ReplyMode, Trigger},
    view::BuildSummary,
};

use crate::{
    Done,
    client::{Client, Failure},
    follow,
};

/// Options of `stepcast trigger`.
#[derive(Args)]
pub struct Options {
    /// The pipeline's name.
    pipeline: wire::PipelineName,
    /// An input, as NAME=VALUE; may be given several times.
    #[arg(long = "input", value_name = "K=V", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// Show the build until it has ended; the exit status tells how.
    #[arg(long)]
    follow: bool,
    /// Repeating the command with the same key never starts a second build.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Post the result there when the build has ended, signed as Standard Webhooks says.
    #[arg(long, value_name = "URL", value_parser = webhook)]
    reply_url: Option<String>,
}

fn webhook(text: &str) -> Result<String, String> {
    wire::reply::host_of(text).map(|_| text.to_owned()).map_err(|why| why.replacen("`url`", "it", 1))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let reply = options.reply_url.clone().map(|url| ReplyMode::Webhook { url });
    let trigger = Trigger { inputs: options.inputs.iter().cloned().collect(), socket: None, reply };
    let path = format!("/pipelines/{}/builds", options.pipeline);
    let summary: BuildSummary = client.post(&path, &trigger, options.idempotency_key.as_deref())?;
    if options.follow {
        return follow::run(client, summary.id);
    }
    println!("{}", summary.id);
    eprintln!("{} #{} is queued ({}/builds/{})", summary.pipeline, summary.number, client.url(), summary.id);
    Ok(Done::Well)
}
