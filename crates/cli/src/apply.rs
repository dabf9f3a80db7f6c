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
    let name = name_of(&yaml).ok_or_else(|| {
        Failure::Usage(format!(
            "{shown}: a line `name: …` is missing; it names the pipeline, by letters, digits, `-`, `_`, `.`."
        ))
    })?;
    let put = client.put::<PipelineView>(&format!("/pipelines/{name}"), &yaml);
    let (view, created) = put.map_err(|failure| match failure {
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
    println!(
        "{} {} ({}/pipelines/{})",
        if created { "created" } else { "updated" },
        view.name,
        client.url(),
        view.name
    );
    Ok(Done::Well)
}

/// The value of the top-level `name`, which the address needs before the server has read the text. The server compares.
fn name_of(yaml: &str) -> Option<String> {
    let value = yaml.lines().find_map(|line| {
        line.trim_start_matches('{')
            .trim_start()
            .strip_prefix("name:")
            .or_else(|| line.trim_start_matches(['{', ' ']).strip_prefix("\"name\":"))
    })?;
    let value = value.split(" #").next().unwrap_or(value).trim().trim_end_matches(',');
    let value = value.trim_matches(['"', '\'']);
    let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    plain.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn the_name_is_found_however_it_is_written() {
        for text in ["name: site\njobs: {}", "# a\nname: \"site\" # b\n", "name: 'site'", "{\n  \"name\": \"site\",\n}"]
        {
            assert_eq!(name_of(text).as_deref(), Some("site"), "{text}");
        }
        assert_eq!(name_of("jobs: {}"), None);
        assert_eq!(name_of("name: a/../b"), None);
    }
}
