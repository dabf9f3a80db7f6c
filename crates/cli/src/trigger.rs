//! `stepcast trigger PIPELINE [--input K=V]… [--follow] [--reply-url URL]`. A file is `--input K=@PATH`: it is uploaded first, as it is
//! read.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use wire::{
    command::{ReplyMode, Trigger},
    concurrency::check_priority,
    pipeline::InputKind,
    view::{BuildSummary, PipelineView},
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
    /// An input, as NAME=VALUE, or NAME=@PATH for one that is a file; may be given several times.
    #[arg(long = "input", value_name = "K=V", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// How urgent it is: added to the priority of its jobs, -100 to 100. Greater goes first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true, value_parser = priority)]
    priority: i64,
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

fn priority(text: &str) -> Result<i64, String> {
    let number = text.parse().unwrap_or(i64::MAX);
    check_priority(number).map(i64::from).map_err(|sentence| format!("it {sentence}"))
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let reply = options.reply_url.clone().map(|url| ReplyMode::Webhook { url });
    let trigger = Trigger { inputs: inputs(client, options)?, priority: options.priority, reply, ..Trigger::default() };
    let path = format!("/pipelines/{}/builds", options.pipeline);
    let summary: BuildSummary = client.post(&path, &trigger, options.idempotency_key.as_deref())?;
    if options.follow {
        return follow::run(client, summary.id);
    }
    println!("{}", summary.id);
    eprintln!("{} #{} is queued ({}/builds/{})", summary.pipeline, summary.number, client.url(), summary.id);
    Ok(Done::Well)
}

/// The inputs, files uploaded. `@` begins a path only where the pipeline asks for a file: a text may begin with it.
fn inputs(client: &Client, options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let mut inputs: BTreeMap<String, String> = options.inputs.iter().cloned().collect();
    if inputs.values().all(|value| !value.starts_with('@')) {
        return Ok(inputs);
    }
    let pipeline: PipelineView = client.get(&format!("/pipelines/{}", options.pipeline))?;
    for input in pipeline.inputs.iter().filter(|input| input.kind == InputKind::File) {
        let Some(value) = inputs.get_mut(&input.name) else { continue };
        if let Some(path) = value.strip_prefix('@') {
            *value = client.put_payload(Path::new(path))?.to_text();
        }
    }
    Ok(inputs)
}
