//! The jobs of a pipeline: their keys, steps, matrix and environment. What they need of each other is checked in
//! [`super::needs`].

use std::{
    collections::{BTreeMap, HashSet},
    path::{Component, Path},
};

use wire::{
    ImageName, Problem,
    pipeline::{Condition, JobSpec, LabelSet, Stderr, StepSpec},
    size,
    text::is_invisible,
};

use super::{
    Axes, COMBINATIONS_MAX, Holes, JOBS_MAX, NAMES_MAX, PLANS_BYTES_MAX, STEPS_MAX, check_value, duration,
    fields::{Fields, shown, text},
    image, limits, needs, queueing, secrets,
    yaml::{Key, Node, Place, Value},
};
use crate::expression;

const KEYS: [&str; 17] = [
    "labels",
    "needs",
    "if",
    "matrix",
    "timeout",
    "attempts",
    "lost_attempts",
    "priority",
    "concurrency",
    "log_limit",
    "image",
    "network",
    "limits",
    "env",
    "secrets",
    "steps",
    "artifacts",
];
const STEP_KEYS: [&str; 4] = ["name", "run", "env", "stderr"];
/// Seconds for one attempt unless the job says otherwise: an hour.
const TIMEOUT_SECONDS: u64 = 60 * 60;
/// How often a job may run because its executor was lost, unless it says otherwise.
const LOST_ATTEMPTS: u32 = 3;
/// Bytes of log that a job may ask for: below, the note that says so would be all there is; above, it is a mistake.
const LOG_LIMIT_MIN: u64 = 1000;
const LOG_LIMIT_MAX: u64 = 1_000_000_000_000;
/// More attempts than this are a mistake.
const ATTEMPTS_MAX: u32 = 20;
/// Characters of a step's name.
const STEP_NAME_CHARS_MAX: usize = 200;
/// Characters of a value in a matrix: it becomes part of the job's name.
const MATRIX_VALUE_CHARS_MAX: usize = 100;
/// Patterns of one job.
const ARTIFACTS_MAX: usize = 100;

pub(super) type Env = BTreeMap<String, String>;
type ReadText<'r> = &'r mut dyn FnMut(&Node, &str, &str) -> Result<(), Problem>;

/// What the pipeline says for all of its jobs.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) secrets: Vec<secrets::Named>,
    pub(super) priority: i32,
    pub(super) image: Option<ImageName>,
}

/// All jobs, in the order of the file.
pub(super) fn read(fields: &Fields<'_>, shared: &Shared, holes: &mut Holes<'_>) -> Result<Vec<JobSpec>, Problem> {
    let node = fields.required("jobs", "give it at least one")?;
    let entries = fields.map("jobs")?;
    if entries.is_empty() {
        return Err(node.at.problem("the pipeline has no jobs: give it at least one"));
    }
    // Each job has a copy of its own, so this much they would hold at least.
    let shared_bytes: usize = shared.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    let copies = entries.len().min(JOBS_MAX);
    if shared_bytes * copies > PLANS_BYTES_MAX {
        let at = fields.get("env").map_or(Place::START, |node| node.at);
        return Err(at.problem(format!(
            "`env` of the pipeline has {shared_bytes} bytes, and each of its {copies} jobs a copy of them: together they may \
             have {PLANS_BYTES_MAX} at most"
        )));
    }
    let mut jobs = Vec::new();
    let mut named = Vec::new();
    let mut expanded = 0;
    for (key, node) in entries {
        let (job, needs) = job(key, node, shared, holes)?;
        expanded += job.matrix.iter().map(|(_, values)| values.len()).product::<usize>();
        if expanded > JOBS_MAX {
            let detail = format!("with job `{}` there are more than {JOBS_MAX} jobs, matrices expanded", job.name);
            return Err(key.at.problem(detail));
        }
        jobs.push(job);
        named.push(needs);
    }
    needs::check(&jobs, &named)?;
    Ok(jobs)
}

fn job<'n>(
    key: &Key,
    node: &'n Node,
    shared: &Shared,
    holes: &mut Holes<'_>,
) -> Result<(JobSpec, &'n [Node]), Problem> {
    if !is_job_name(&key.name) {
        return Err(key.at.problem(format!(
            "job name `{}` must be 1 to 100 letters, digits, `-`, `_` or `.`, beginning with a letter or digit",
            shown(&key.name)
        )));
    }
    let what = format!("job `{}`", key.name);
    let fields = Fields::of(node, key.at, &what, &KEYS)?;
    let labels = labels(&fields)?;
    let named = fields.list("needs", "[build]")?;
    let needs = named.iter().map(|node| Ok(text(node, &fields.name_of("needs"))?.to_owned()));
    let needs = needs.collect::<Result<Vec<_>, Problem>>()?;
    let condition = condition(&fields)?;
    let matrix = matrix(&fields)?;
    let mut env = shared.env.clone();
    env.extend(self::env(&fields, &mut |node, text, what| holes.read(node, text, what, Some(&matrix)))?);
    let concurrency =
        queueing::concurrency(&fields, &mut |node, text, what| holes.read(node, text, what, Some(&matrix)))?;
    let steps = steps(&fields, &what, &matrix, holes)?;
    let secrets = secrets::of_job(&shared.secrets, &secrets::read(&fields)?, &key.name, &env, &steps)?;
    let image = image::read(&fields)?.or_else(|| shared.image.clone());
    let labels_at = fields.get("labels").map_or(key.at, |node| node.at);
    let labels = secrets::with_label(labels, &secrets, labels_at)?;
    let labels = image::with_label(labels, image.as_ref(), labels_at)?;
    let spec = JobSpec {
        name: key.name.clone(),
        labels,
        needs,
        condition,
        timeout_seconds: timeout(&fields)?,
        attempts: fields.count("attempts", 1, 1..=ATTEMPTS_MAX)?,
        lost_attempts: fields.count("lost_attempts", LOST_ATTEMPTS, 1..=ATTEMPTS_MAX)?,
        priority: queueing::priority(&fields, shared.priority)?,
        concurrency,
        log_limit: log_limit(&fields)?,
        image,
        network: limits::network(&fields)?,
        limits: limits::read(&fields)?,
        artifacts: artifacts(&fields)?,
        matrix,
        env,
        secrets,
        steps,
    };
    Ok((spec, named))
}

fn is_job_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

fn labels(fields: &Fields<'_>) -> Result<LabelSet, Problem> {
    let mut set = Vec::new();
    for node in fields.list("labels", "[linux]")? {
        let label = text(node, &fields.name_of("labels"))?.to_owned();
        LabelSet::new([label.clone()]).map_err(|sentence| node.at.problem(sentence))?;
        set.push(label);
    }
    let at = fields.get("labels").map_or(Place::START, |node| node.at);
    LabelSet::new(set).map_err(|sentence| at.problem(format!("{}: {sentence}", fields.name_of("labels"))))
}

fn condition(fields: &Fields<'_>) -> Result<Condition, Problem> {
    let Some(node) = fields.get("if") else { return Ok(Condition::Success) };
    let what = fields.name_of("if");
    match text(node, &what)?.trim() {
        "success()" => Ok(Condition::Success),
        "failure()" => Ok(Condition::Failure),
        "always()" => Ok(Condition::Always),
        other => Err(node
            .at
            .problem(format!("{what} must be `success()`, `failure()` or `always()`, not `{}`", shown(other)))),
    }
}

fn timeout(fields: &Fields<'_>) -> Result<u64, Problem> {
    let Some(node) = fields.get("timeout") else { return Ok(TIMEOUT_SECONDS) };
    let what = fields.name_of("timeout");
    let written = text(node, &what)?;
    duration::seconds(written).ok_or_else(|| {
        node.at.problem(format!(
            "{what} must be a time from 1 s to 7 d, such as `90s`, `30m` or `1h30m`, not `{}`",
            shown(written)
        ))
    })
}

fn log_limit(fields: &Fields<'_>) -> Result<Option<u64>, Problem> {
    let Some(node) = fields.get("log_limit") else { return Ok(None) };
    let what = fields.name_of("log_limit");
    let written = text(node, &what)?;
    let limit = size::parse(written).filter(|bytes| (LOG_LIMIT_MIN..=LOG_LIMIT_MAX).contains(bytes));
    limit.map(Some).ok_or_else(|| {
        let detail = format!(
            "{what} must be a size from 1KB to 1TB, such as `500KB`, `100MB` or `1GiB`, not `{}`",
            shown(written)
        );
        node.at.problem(detail)
    })
}

fn matrix(fields: &Fields<'_>) -> Result<Vec<(String, Vec<String>)>, Problem> {
    let mut axes: Vec<(String, Vec<String>)> = Vec::new();
    let mut variables = HashSet::new();
    let mut combinations: usize = 1;
    for (key, node) in fields.map("matrix")? {
        let what = format!("axis `{}` of {}", shown(&key.name), fields.name_of("matrix"));
        if !expression::is_name(&key.name) || axes.len() == NAMES_MAX {
            return Err(key.at.problem(format!("{what} must be named with 1 to 60 letters, digits or `_`")));
        }
        if !variables.insert(key.name.to_ascii_uppercase()) {
            return Err(key.at.problem(format!("{what} differs from another axis by capitals only: rename one")));
        }
        let Value::List(items) = &node.value else {
            let detail = format!("{what} must be a list of values such as `[unit, web]`, not {}", node.kind());
            return Err(node.at.problem(detail));
        };
        if items.is_empty() {
            return Err(node.at.problem(format!("{what} has no values: give it at least one")));
        }
        combinations = combinations.saturating_mul(items.len());
        if combinations > COMBINATIONS_MAX {
            return Err(key.at.problem(format!("with {what} there are more than {COMBINATIONS_MAX} combinations")));
        }
        let mut values: Vec<String> = Vec::new();
        for item in items {
            let value = text(item, &what)?;
            check_value(item, value, &what)?;
            if value.chars().any(|c| c.is_control() || is_invisible(c))
                || value.chars().count() > MATRIX_VALUE_CHARS_MAX
            {
                let detail =
                    format!("a value of {what} must be one line of {MATRIX_VALUE_CHARS_MAX} characters at most");
                return Err(item.at.problem(detail));
            }
            if values.iter().any(|other| other == value) {
                return Err(item.at.problem(format!("{what} has the value `{}` twice", shown(value))));
            }
            values.push(value.to_owned());
        }
        axes.push((key.name.clone(), values));
    }
    Ok(axes)
}

/// Whether a word can name a variable: 1 to 200 letters, digits and `_`, not beginning with a digit.
pub(super) fn is_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
        && name.len() <= 200
}

/// The environment of the pipeline, a job or a step; `read` checks the holes of a value.
pub(super) fn env(fields: &Fields<'_>, read: ReadText<'_>) -> Result<Env, Problem> {
    let mut env = Env::new();
    for (key, node) in fields.map("env")? {
        if !is_variable(&key.name) {
            return Err(key.at.problem(format!(
                "variable name `{}` in {} must be letters, digits or `_`, not beginning with a digit",
                shown(&key.name),
                fields.name_of("env")
            )));
        }
        let what = format!("`{}` in {}", key.name, fields.name_of("env"));
        let value = match &node.value {
            Value::Null => "",
            _ => text(node, &what)?,
        };
        read(node, value, &what)?;
        env.insert(key.name.clone(), value.to_owned());
    }
    Ok(env)
}

fn steps(fields: &Fields<'_>, job: &str, matrix: &Axes, holes: &mut Holes<'_>) -> Result<Vec<StepSpec>, Problem> {
    let example = "give it at least one, such as `- run: make`";
    let node = fields.required("steps", example)?;
    let items = fields.list("steps", "[{run: make}]")?;
    if items.is_empty() {
        return Err(node.at.problem(format!("{job} has no steps: {example}")));
    }
    let mut steps = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let what = format!("step {} of {job}", n + 1);
        if n == STEPS_MAX {
            return Err(item.at.problem(format!("{job} has more than {STEPS_MAX} steps: put some into one script")));
        }
        if !matches!(item.value, Value::Map(_)) {
            let detail = format!("{what} must be a mapping such as `{{run: make}}`, not {}", item.kind());
            return Err(item.at.problem(detail));
        }
        let parts = Fields::of(item, item.at, &what, &STEP_KEYS)?;
        let run_node = parts.required("run", "give it a script, such as `run: make`")?;
        let run = text(run_node, &parts.name_of("run"))?.to_owned();
        if run.trim().is_empty() {
            return Err(run_node
                .at
                .problem(format!("`run` of {what} is empty: give it a script, such as `run: make`")));
        }
        if let Some(secret) = expression::secret_in(&run) {
            return Err(run_node.at.problem(format!(
                "`run` of {what} must not hold `${{{{ secrets.{} }}}}`: list it as `secrets: [{}]` in the job, and the script sees it \
                 as `${}`",
                shown(secret),
                shown(secret),
                shown(secret)
            )));
        }
        if expression::has_hole(&run) {
            return Err(run_node.at.problem(format!(
                "`run` of {what} must not hold `${{{{ }}}}`: inputs reach scripts as `$INPUT_<NAME>`, values of a matrix as \
                 `$MATRIX_<AXIS>`"
            )));
        }
        let name = parts.text("name")?.map(str::trim).filter(|name| !name.is_empty());
        if let (Some(node), Some(name)) = (parts.get("name"), name) {
            check_value(node, name, &parts.name_of("name"))?;
        }
        let first_line = || run.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let name = name.unwrap_or_else(first_line).chars().filter(|c| !c.is_control());
        let name = name.take(STEP_NAME_CHARS_MAX).collect();
        let env = env(&parts, &mut |node, text, what| holes.read(node, text, what, Some(matrix)))?;
        steps.push(StepSpec { name, run, env, stderr: stderr(&parts)? });
    }
    Ok(steps)
}

fn stderr(fields: &Fields<'_>) -> Result<Stderr, Problem> {
    let Some(node) = fields.get("stderr") else { return Ok(Stderr::Merged) };
    let what = fields.name_of("stderr");
    match text(node, &what)? {
        "merged" => Ok(Stderr::Merged),
        "marked" => Ok(Stderr::Marked),
        other => Err(node.at.problem(format!("{what} must be `merged` or `marked`, not `{}`", shown(other)))),
    }
}

fn artifacts(fields: &Fields<'_>) -> Result<Vec<String>, Problem> {
    let mut patterns = Vec::new();
    for node in fields.list("artifacts", "[out.tgz]")? {
        let what = fields.name_of("artifacts");
        let pattern = text(node, &what)?;
        check_value(node, pattern, &what)?;
        let is_inside =
            Path::new(pattern).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let is_plain = !pattern.is_empty()
            && !pattern.contains('\\')
            && !pattern.chars().any(|c| c.is_control() || is_invisible(c));
        if !is_inside || !is_plain || patterns.len() == ARTIFACTS_MAX {
            return Err(node.at.problem(format!(
                "{what} must be at most {ARTIFACTS_MAX} paths within the workspace, relative and without `..`, not `{}`",
                shown(pattern)
            )));
        }
        patterns.push(pattern.to_owned());
    }
    Ok(patterns)
}
