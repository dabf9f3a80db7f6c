//! From the text of a pipeline to a valid [`PipelineSpec`], or one sentence with line and column about the first thing
//! that is wrong. Everything is checked here, once: planning a build never meets an invalid pipeline.

mod duration;
mod fields;
mod image;
mod jobs;
mod limits;
mod needs;
mod on;
mod queueing;
pub mod retention;
mod secrets;
mod yaml;

use std::collections::HashMap;

use wire::{
    Problem,
    git::{GitUrl, check_reference},
    pipeline::{InputKind, InputSpec, PipelineName, PipelineSpec, SourceSpec},
};

use crate::expression::{self, Part};
use fields::{Fields, text};
use yaml::{Node, Place, Value};

/// Bytes of a pipeline's text.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Jobs of a build, matrices expanded.
pub const JOBS_MAX: usize = 500;
/// Combinations of one matrix.
pub const COMBINATIONS_MAX: usize = 256;
/// Steps of one job.
pub const STEPS_MAX: usize = 200;
/// Inputs of a pipeline, and axes of a matrix.
pub const NAMES_MAX: usize = 100;
/// Bytes of a value in the environment: Linux refuses to start a program with a longer one than 128 KiB.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of text in all jobs of a build together: scripts, variables and names, each job with its own copy. A build is read
/// and written as a whole at every step that it takes, so its size is everybody's waiting time.
pub const PLANS_BYTES_MAX: usize = 4 * 1024 * 1024;

const KEYS: [&str; 12] = [
    "name",
    "description",
    "on",
    "inputs",
    "source",
    "image",
    "env",
    "secrets",
    "retention",
    "priority",
    "concurrency",
    "jobs",
];

/// Reads a pipeline from YAML, or JSON, which is YAML.
///
/// # Errors
/// Status 422 with the place of the first thing that is wrong, and what would be right.
pub fn parse(text: &str) -> Result<PipelineSpec, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        let detail = format!("the file has {} bytes: a pipeline may have {TEXT_BYTES_MAX} at most", text.len());
        return Err(Place::START.problem(detail));
    }
    let root = yaml::load(text)?;
    let fields = Fields::of(&root, root.at, "the pipeline", &KEYS)?;
    let name = name(&fields)?;
    let description = fields.text("description")?.unwrap_or_default().to_owned();
    let inputs = inputs(&fields)?;
    let source = fields.get("source").map(source).transpose()?;
    let mut holes = Holes { inputs: &inputs, shared: Vec::new() };
    let env = jobs::env(&fields, &mut |node, text, what| holes.read(node, text, what, None))?;
    if let (Some(spec), Some(node)) = (&source, fields.get("source")) {
        let parts = Fields::of(node, node.at, "`source`", &["git", "ref"])?;
        for (key, text) in [("git", Some(&spec.git)), ("ref", spec.reference.as_ref())] {
            if let (Some(node), Some(text)) = (parts.get(key), text) {
                holes.read(node, text, &parts.name_of(key), None)?;
            }
        }
    }
    let retention = fields.get("retention").map(retention::read).transpose()?.unwrap_or_default();
    // A build has no combination of its own.
    let concurrency =
        queueing::concurrency(&fields, &mut |node, text, what| holes.read(node, text, what, Some(&[][..])))?;
    let (image, priority) = (image::read(&fields)?, queueing::priority(&fields, 0)?);
    let shared = jobs::Shared { env, secrets: secrets::read(&fields)?, priority, image };
    let jobs = jobs::read(&fields, &shared, &mut holes)?;
    holes.check_shared(&jobs)?;
    let on = fields.get("on").map(on::read).transpose()?;
    Ok(PipelineSpec { name, description, inputs, source, on, retention, concurrency, jobs })
}

fn name(fields: &Fields<'_>) -> Result<PipelineName, Problem> {
    let node = fields.required("name", "give it one, such as `name: site`")?;
    text(node, &fields.name_of("name"))?.parse().map_err(|sentence: String| node.at.problem(sentence))
}

fn inputs(fields: &Fields<'_>) -> Result<Vec<InputSpec>, Problem> {
    let entries = fields.map("inputs")?;
    let mut variables: HashMap<String, &str> = HashMap::new();
    let mut inputs = Vec::new();
    for (key, node) in entries {
        let shown = fields::shown(&key.name);
        if inputs.len() == NAMES_MAX {
            return Err(key.at.problem(format!("a pipeline may have {NAMES_MAX} inputs at most")));
        }
        if !expression::is_name(&key.name) {
            return Err(key.at.problem(format!("input name `{shown}` must be 1 to 60 letters, digits or `_`")));
        }
        if let Some(other) = variables.insert(key.name.to_ascii_uppercase(), &key.name) {
            let variable = key.name.to_ascii_uppercase();
            return Err(key.at.problem(format!("inputs `{other}` and `{shown}` would both be `$INPUT_{variable}`")));
        }
        if matches!(node.value, Value::Text(_) | Value::List(_)) {
            let detail = format!(
                "input `{shown}` must be a mapping such as `{{default: main}}`, or empty if it must be given, not {}",
                node.kind()
            );
            return Err(node.at.problem(detail));
        }
        let parts = Fields::of(node, key.at, format!("input `{shown}`"), &["type", "default", "description"])?;
        let kind = input_kind(&parts)?;
        if let (InputKind::File, Some(node)) = (kind, parts.get("default")) {
            return Err(node
                .at
                .problem(format!("input `{shown}` is a file: it is given at each trigger and has no default")));
        }
        let default = parts.text("default")?.map(str::to_owned);
        if let (Some(node), Some(default)) = (parts.get("default"), &default) {
            check_value(node, default, &parts.name_of("default"))?;
        }
        let description = parts.text("description")?.unwrap_or_default().to_owned();
        inputs.push(InputSpec { name: key.name.clone(), kind, default, description });
    }
    Ok(inputs)
}

fn input_kind(parts: &Fields<'_>) -> Result<InputKind, Problem> {
    let Some(node) = parts.get("type") else { return Ok(InputKind::Text) };
    let what = parts.name_of("type");
    match text(node, &what)? {
        "text" => Ok(InputKind::Text),
        "file" => Ok(InputKind::File),
        other => Err(node.at.problem(format!("{what} must be `text` or `file`, not `{}`", fields::shown(other)))),
    }
}

fn source(node: &Node) -> Result<SourceSpec, Problem> {
    let parts = Fields::of(node, node.at, "`source`", &["git", "ref"])?;
    let at = parts.required("git", "give the URL or path of a repository")?;
    let git = text(at, &parts.name_of("git"))?.to_owned();
    // With holes it is an address only once they are filled.
    if !expression::has_hole(&git) {
        GitUrl::parse(&git).map_err(|sentence| at.at.problem(sentence))?;
    }
    let reference = parts.text("ref")?.map(str::to_owned);
    if let (Some(node), Some(reference)) = (parts.get("ref"), &reference)
        && !reference.is_empty()
        && !expression::has_hole(reference)
    {
        check_reference(reference).map_err(|sentence| node.at.problem(sentence))?;
    }
    Ok(SourceSpec { git, reference })
}

/// A value that becomes part of a step's environment, without holes.
fn check_value(node: &Node, value: &str, what: &str) -> Result<(), Problem> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(node.at.problem(format!("{what} must not be longer than {VALUE_BYTES_MAX} bytes")));
    }
    if expression::has_hole(value) {
        return Err(node.at.problem(format!(
            "{what} must not hold `${{{{ }}}}`: it is known in `env`, `source.git` and `source.ref` only"
        )));
    }
    Ok(())
}

/// Checks that what stands in `${{ }}` exists.
struct Holes<'p> {
    inputs: &'p [InputSpec],
    /// Axes named where all jobs share the text: each job must have them.
    shared: Vec<(Place, String)>,
}

type Axes = [(String, Vec<String>)];

impl Holes<'_> {
    /// Checks a text; `matrix` are the axes of the job that it belongs to, none if it is shared by all jobs.
    fn read(&mut self, node: &Node, text: &str, what: &str, matrix: Option<&Axes>) -> Result<(), Problem> {
        if text.len() > VALUE_BYTES_MAX {
            return Err(node.at.problem(format!("{what} must not be longer than {VALUE_BYTES_MAX} bytes")));
        }
        let parts = expression::parts(text).map_err(|sentence| node.at.problem(format!("{sentence}, in {what}")))?;
        for part in parts {
            match part {
                Part::Plain(_) => {}
                Part::Input(name) => self.input(node, name, what)?,
                Part::Matrix(axis) => match matrix {
                    None => self.shared.push((node.at, axis.to_owned())),
                    Some(axes) if axes.iter().any(|(name, _)| name == axis) => {}
                    Some(axes) => {
                        let known: Vec<&str> = axes.iter().map(|(name, _)| name.as_str()).collect();
                        let known = fields::listed_or(&known, "no axes");
                        return Err(node
                            .at
                            .problem(format!("the matrix has no axis `{axis}`, in {what}: it has {known}")));
                    }
                },
            }
        }
        Ok(())
    }

    fn input(&self, node: &Node, name: &str, what: &str) -> Result<(), Problem> {
        if let Some(input) = self.inputs.iter().find(|input| input.name == name) {
            if input.kind == InputKind::File {
                let variable = name.to_ascii_uppercase();
                return Err(node.at.problem(format!(
                    "input `{name}` is a file, in {what}: the steps find its path in `$INPUT_{variable}`"
                )));
            }
            return Ok(());
        }
        let known: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
        let known = fields::listed_or(&known, "no inputs");
        Err(node.at.problem(format!("the pipeline has no input `{name}`, in {what}: it has {known}")))
    }

    fn check_shared(&self, jobs: &[wire::pipeline::JobSpec]) -> Result<(), Problem> {
        for (at, axis) in &self.shared {
            if let Some(job) = jobs.iter().find(|job| job.matrix.iter().all(|(name, _)| name != axis)) {
                let detail = format!("`matrix.{axis}` is used for all jobs, but job `{}` has no such axis", job.name);
                return Err(at.problem(detail));
            }
        }
        Ok(())
    }
}
