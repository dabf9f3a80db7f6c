//! `stepcast apply FILE`

use std::path::PathBuf;

use clap::Args;
use wire::view::PipelineView;

use crate::{
    Done,
    client::{Client, Failure},
};

/// Options of `stepcast apply`.
#[derive(Args)]
pub struct Options {
    /// The pipeline in YAML; `-` reads the standard input.
    file: PathBuf,
}

pub(crate) fn run(client: &Client, options: &Options) -> Result<Done, Failure> {
    let shown = options.file.display().to_string();
    let read =
        if shown == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(&options.file) };
    let yaml = read.map_err(|failure| Failure::Usage(format!("{shown} cannot be read: {failure}.")))?;
    let posted = client.post_yaml::<PipelineView>("/pipelines", &yaml);
    let (view, created) = posted.map_err(|failure| match failure {
        Failure::Refused(mut problem) => {
            let place = match (problem.line.take(), problem.column.take()) {
                (Some(line), Some(column)) => format!("{shown}:{line}:{column}: "),
                _ => format!("{shown}: "),
            };
            problem.detail.insert_str(0, &place);
            Failure::Refused(problem)
        }
        other => other,
    })?;
    for warning in &view.warnings {
        eprintln!("warning: {warning}");
    }
    println!(
        "{} {} ({}/pipelines/{})",
        if created { "created" } else { "updated" },
        view.name,
        client.url(),
        view.name
    );
    Ok(Done::Well)
}
