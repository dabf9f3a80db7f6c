//! `stepcast hook create|list|rotate|delete`

use std::io::Write as _;

use clap::{Args, Subcommand};
use wire::{
    HookId, PipelineName,
    hook::{HookView, NewHook, Provider, ShownHook},
};

use crate::{
    Done,
    client::{Client, Failure},
};

/// Options of `stepcast hook`.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

/// What is done with hooks.
#[derive(Subcommand)]
enum What {
    /// Make a hook, and print its URL and its secret, once.
    Create {
        /// What it builds.
        pipeline: PipelineName,
        /// Who calls: github, gitea or forgejo.
        #[arg(long, default_value = "github")]
        provider: Provider,
    },
    /// List the hooks of a pipeline.
    List {
        /// Whose.
        pipeline: PipelineName,
    },
    /// Give a hook another secret, and print it, once.
    Rotate {
        /// Whose.
        pipeline: PipelineName,
        /// Its id.
        #[arg(value_name = "ID")]
        id: HookId,
    },
    /// Delete a hook.
    Delete {
        /// Whose.
        pipeline: PipelineName,
        /// Its id.
        #[arg(value_name = "ID")]
        id: HookId,
    },
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading.
    match &options.what {
        What::Create { pipeline, provider } => {
            let wanted = NewHook { provider: *provider };
            let made: ShownHook = client.post(&format!("/pipelines/{pipeline}/hooks"), &wanted, None)?;
            let _ = write!(out, "{}", shown(&made));
        }
        What::Rotate { pipeline, id } => {
            let made: ShownHook = client.post(&format!("/pipelines/{pipeline}/hooks/{id}/rotate"), &(), None)?;
            let _ = write!(out, "{}", shown(&made));
        }
        What::List { pipeline } => {
            let hooks: Vec<HookView> = client.get(&format!("/pipelines/{pipeline}/hooks"))?;
            for hook in hooks {
                let _ = writeln!(out, "{}  {:8}  {}  made by {}", hook.id, hook.provider, hook.url, hook.created_by);
            }
        }
        What::Delete { pipeline, id } => client.delete(&format!("/pipelines/{pipeline}/hooks/{id}"))?,
    }
    Ok(Done::Well)
}

fn shown(made: &ShownHook) -> String {
    format!(
        "URL:          {}\nSecret:       {}\nContent type: application/json\nThe secret is not shown again.\n",
        made.hook.url, made.secret
    )
}
