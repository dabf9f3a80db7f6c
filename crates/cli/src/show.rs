//! `stepcast show BUILD`

use clap::Args;
use wire::view::BuildView;

use crate::{
    Done,
    build_name::BuildName,
    client::{Client, Failure},
    words::{duration, standing},
};

/// Options of `stepcast show`.
#[derive(Args)]
pub struct Options {
    /// The build: its id, PIPELINE#NUMBER such as site#12, or PIPELINE for its last one.
    #[arg(value_name = "BUILD")]
    build: BuildName,
    /// Print the JSON of the API.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let path = format!("/builds/{}", options.build.find(client)?);
    if options.json {
        println!("{}", client.get_text(&path)?);
        return Ok(Done::Well);
    }
    let build: BuildView = client.get(&path)?;
    let summary = &build.summary;
    let took = duration(summary.started_at, summary.finished_at);
    println!("{} #{}  {}{took}", summary.pipeline, summary.number, standing(summary.state, summary.outcome));
    for job in &build.jobs {
        let attempt = if job.attempt > 1 { format!("  attempt {}", job.attempt) } else { String::new() };
        let took = duration(job.started_at, job.finished_at);
        println!("  {}  {}{took}{attempt}", job.name, standing(job.state, job.outcome));
        for sentence in [&job.waiting_for, &job.reason].into_iter().flatten() {
            println!("    {sentence}");
        }
        for step in &job.steps {
            let took = duration(step.started_at, step.finished_at);
            let code =
                step.exit_code.filter(|code| *code != 0).map_or(String::new(), |code| format!("  exit code {code}"));
            println!("    {}  {}{took}{code}", step.name, standing(step.state, step.outcome));
        }
        for artifact in &job.artifacts {
            println!(
                "    {}  {} bytes  {}/api/v1/artifacts/{}",
                artifact.name,
                artifact.size,
                client.url(),
                artifact.id
            );
        }
    }
    Ok(Done::Well)
}
