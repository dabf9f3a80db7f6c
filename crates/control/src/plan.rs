//! From a valid pipeline and a trigger to a build that is ready to be written: inputs settled, matrices expanded, needs
//! as indexes, `${{ }}` replaced.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use store::model::{Announcement, Build, BuildState, Job, JobPlan, JobState};
use uuid::Uuid;
use wire::{
    BuildId, JobId, Problem, Timestamp,
    command::Trigger,
    concurrency::{ConcurrencySpec, GROUP_CHARS_MAX, check_priority},
    git::{GitUrl, check_reference},
    payload::{InputFile, Named},
    pipeline::{InputKind, JobSpec, PipelineSpec, SourceSpec, StepSpec},
    task::Reply,
    text::is_invisible,
};

use crate::{
    expression::{self, Part},
    graph,
    pipeline::{PLANS_BYTES_MAX, VALUE_BYTES_MAX},
};

/// A build of `spec` and its first announcements, as [`store::model::NewBuild`] asks for them. The store gives it its
/// number and the time; `reply` is who is called back.
///
/// # Errors
/// Status 422 when an input is missing or unknown, when it or a value that it is put into is longer than
/// [`VALUE_BYTES_MAX`], or when all jobs together hold more than [`PLANS_BYTES_MAX`].
pub fn plan(
    spec: &PipelineSpec,
    trigger: &Trigger,
    id: BuildId,
    reply: Option<Reply>,
) -> Result<(Build, Vec<Announcement>), Problem> {
    let inputs = inputs(spec, trigger)?;
    let urgency = check_priority(trigger.priority)
        .map_err(|sentence| Problem::new(422, "Invalid priority", format!("`priority` {sentence}")))?;
    let concurrency =
        spec.concurrency.as_ref().map(|concurrency| group(concurrency, &inputs, &[], None)).transpose()?;
    let files = files(spec, &inputs)?;
    let expanded: Vec<Vec<Matrix<'_>>> = spec.jobs.iter().map(combinations).collect();
    let mut indexes: HashMap<&str, std::ops::Range<usize>> = HashMap::new();
    let mut next = 0;
    for (job, combinations) in spec.jobs.iter().zip(&expanded) {
        indexes.insert(&job.name, next..next + combinations.len());
        next += combinations.len();
    }
    let mut jobs = Vec::with_capacity(next);
    let room = Room { left: Cell::new(PLANS_BYTES_MAX), jobs: next };
    for (job, combinations) in spec.jobs.iter().zip(&expanded) {
        let needs: Vec<usize> =
            job.needs.iter().filter_map(|need| indexes.get(need.as_str())).flat_map(Clone::clone).collect();
        for matrix in combinations {
            let mut plan = job_plan(job, matrix, &needs, spec.source.as_ref(), &inputs, &files, &room)?;
            plan.priority += urgency;
            let id = JobId(Uuid::now_v7());
            let plan = Arc::new(plan);
            jobs.push(Job { id, plan, attempt: 0, failures: 0, losses: 0, lost: Vec::new(), state: JobState::Waiting });
        }
    }
    let now = now();
    let mut build = Build {
        id,
        number: 0,
        pipeline: spec.name.clone(),
        inputs,
        reply,
        epoch: 1,
        revision: 0,
        queued_at: now,
        cancelling: false,
        concurrency: concurrency.map(Box::new),
        triggered_by: None,
        state: BuildState::Queued,
        jobs,
    };
    let announcements = graph::start(&mut build, now);
    Ok((build, announcements))
}

/// One combination: axis and value, in the order of the file.
type Matrix<'s> = Vec<(&'s str, &'s str)>;

fn inputs(spec: &PipelineSpec, trigger: &Trigger) -> Result<BTreeMap<String, String>, Problem> {
    let problem = |detail: String| Err(Problem::new(422, "Invalid inputs", detail));
    let known: Vec<String> = spec.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
    for (name, value) in &trigger.inputs {
        if !spec.inputs.iter().any(|input| &input.name == name) {
            let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            return problem(if known.is_empty() {
                format!("pipeline {} has no input `{name}`: it has none at all", spec.name)
            } else {
                format!("pipeline {} has no input `{name}`: it has {}", spec.name, known.join(", "))
            });
        }
        if value.len() > VALUE_BYTES_MAX || value.contains('\0') {
            return problem(format!(
                "input `{name}` must be at most {VALUE_BYTES_MAX} bytes long, none of them NUL: make it an input of `type: file` \
                 for more"
            ));
        }
    }
    let mut inputs = BTreeMap::new();
    for input in &spec.inputs {
        let Some(value) = trigger.inputs.get(&input.name).or(input.default.as_ref()) else {
            return problem(format!("input `{}` is missing: pipeline {} has no default for it", input.name, spec.name));
        };
        inputs.insert(input.name.clone(), value.clone());
    }
    Ok(inputs)
}

/// The inputs that are files. Their claim checks have been settled by who knows which payloads there are.
fn files(spec: &PipelineSpec, inputs: &BTreeMap<String, String>) -> Result<Vec<InputFile>, Problem> {
    let files = spec.inputs.iter().filter(|input| input.kind == InputKind::File);
    let claimed = files.filter_map(|input| inputs.get(&input.name).map(|value| (&input.name, Named::parse(value))));
    let claimed = claimed.map(|(name, named)| match named {
        Ok(Named::Claimed(check)) => Ok(InputFile { name: name.clone(), check }),
        _ => Err(Problem::new(
            422,
            "Invalid inputs",
            format!("input `{name}` is a file: its value must be its claim check"),
        )),
    });
    claimed.collect()
}

/// All combinations of a job's matrix, the last axis changing first; one empty combination without a matrix.
fn combinations<'s>(job: &'s JobSpec) -> Vec<Matrix<'s>> {
    let mut all: Vec<Matrix<'s>> = vec![Vec::new()];
    for (axis, values) in &job.matrix {
        let longer = |shorter: Matrix<'s>| {
            values.iter().map(move |value| [shorter.as_slice(), &[(axis.as_str(), value.as_str())]].concat())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// What the jobs of a build may still hold. Asked before anything is copied, so that a refused build costs no more than one
/// that is let through.
struct Room {
    left: Cell<usize>,
    /// For the sentence.
    jobs: usize,
}

impl Room {
    fn take(&self, bytes: usize) -> Result<(), Problem> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            let jobs = if self.jobs == 1 { "job".to_owned() } else { format!("{} jobs", self.jobs) };
            let detail = format!(
                "the {jobs} of this build would hold more than {PLANS_BYTES_MAX} bytes of scripts and variables: give \
                 shorter inputs, or plan fewer combinations"
            );
            Problem::new(422, "Build too large", detail)
        })?;
        self.left.set(left);
        Ok(())
    }

    fn copy(&self, text: &str) -> Result<String, Problem> {
        self.take(text.len())?;
        Ok(text.to_owned())
    }
}

/// What stands for a hole.
fn value<'v>(part: Part<'_>, inputs: &'v BTreeMap<String, String>, matrix: &[(&str, &'v str)]) -> Option<&'v str> {
    match part {
        Part::Plain(_) => None,
        Part::Input(name) => inputs.get(name).map(String::as_str),
        Part::Matrix(axis) => matrix.iter().find(|(name, _)| *name == axis).map(|(_, value)| *value),
    }
}

/// The concurrency group of the build, or of one of its jobs.
fn group(
    spec: &ConcurrencySpec,
    inputs: &BTreeMap<String, String>,
    matrix: &[(&str, &str)],
    job: Option<&str>,
) -> Result<ConcurrencySpec, Problem> {
    let of = job.map(|job| format!(" of job `{job}`")).unwrap_or_default();
    let problem = |sentence: String| Problem::new(422, "Invalid build", sentence);
    let filled = expression::fill(&spec.group, VALUE_BYTES_MAX, |part| value(part, inputs, matrix))
        .map_err(|sentence| problem(format!("{sentence}, in the concurrency group{of}")))?;
    let group = filled.trim();
    if !(1..=GROUP_CHARS_MAX).contains(&group.chars().count())
        || group.chars().any(|c| c.is_control() || is_invisible(c))
    {
        return Err(problem(format!(
            "the name of the concurrency group{of} must be one line of 1 to {GROUP_CHARS_MAX} characters once its `${{{{ }}}}` \
             are replaced"
        )));
    }
    Ok(ConcurrencySpec { group: group.to_owned(), ..spec.clone() })
}

fn job_plan(
    job: &JobSpec,
    matrix: &Matrix<'_>,
    needs: &[usize],
    source: Option<&SourceSpec>,
    inputs: &BTreeMap<String, String>,
    files: &[InputFile],
    room: &Room,
) -> Result<JobPlan, Problem> {
    let fill = |text: &String| {
        let filled = expression::fill(text, VALUE_BYTES_MAX, |part| value(part, inputs, matrix));
        let filled = filled
            .map_err(|sentence| Problem::new(422, "Invalid build", format!("{sentence}, in job `{}`", job.name)))?;
        room.take(filled.len())?;
        Ok::<_, Problem>(filled)
    };
    let fill_all = |env: &BTreeMap<String, String>| {
        let filled = env.iter().map(|(name, value)| Ok((room.copy(name)?, fill(value)?)));
        filled.collect::<Result<BTreeMap<_, _>, Problem>>()
    };
    let mut env = fill_all(&job.env)?;
    // Their paths are known where the job runs.
    for (name, value) in inputs.iter().filter(|(name, _)| files.iter().all(|file| file.name != **name)) {
        env.insert(room.copy(&variable("INPUT", name))?, room.copy(value)?);
    }
    for (axis, value) in matrix {
        env.insert(room.copy(&variable("MATRIX", axis))?, room.copy(value)?);
    }
    let values: Vec<&str> = matrix.iter().map(|(_, value)| *value).collect();
    let name = if values.is_empty() { job.name.clone() } else { format!("{} ({})", job.name, values.join(", ")) };
    room.take(name.len())?;
    let source = source.map(|source| {
        let reference = source.reference.as_ref().map(fill).transpose()?;
        let git = fill(&source.git)?;
        let refused = |sentence| Problem::new(422, "Invalid build", sentence);
        GitUrl::parse(&git).map_err(refused)?;
        // None is the remote's default branch.
        reference.as_deref().filter(|text| !text.is_empty()).map_or(Ok(()), check_reference).map_err(refused)?;
        Ok::<_, Problem>(SourceSpec { git, reference })
    });
    let concurrency = job.concurrency.as_ref().map(|spec| group(spec, inputs, matrix, Some(&job.name))).transpose()?;
    let step = |step: &StepSpec| {
        let (name, run) = (room.copy(&step.name)?, room.copy(&step.run)?);
        Ok(StepSpec { name, run, env: fill_all(&step.env)?, stderr: step.stderr })
    };
    Ok(JobPlan {
        name,
        labels: job.labels.clone(),
        secrets: job.secrets.clone(),
        needs: needs.to_vec(),
        condition: job.condition,
        priority: job.priority,
        concurrency,
        timeout_seconds: job.timeout_seconds,
        attempts: job.attempts,
        lost_attempts: job.lost_attempts,
        log_limit: job.log_limit,
        image: job.image.clone(),
        network: job.network,
        limits: job.limits,
        env,
        files: files.to_vec(),
        source: source.transpose()?,
        steps: job.steps.iter().map(step).collect::<Result<_, Problem>>()?,
        artifacts: job.artifacts.iter().map(|pattern| room.copy(pattern)).collect::<Result<_, Problem>>()?,
    })
}

fn variable(prefix: &str, name: &str) -> String {
    format!("{prefix}_{}", name.to_ascii_uppercase())
}

/// Only a first guess: what counts is the database's clock, by which the store dates the build.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use wire::Event;

    use super::*;
    use crate::pipeline::parse;

    const SITE: &str = r#"
name: site
inputs: {ref: {default: main}, who: }
source: {git: "https://example.org/site.git", ref: "${{ inputs.ref }}"}
env: {GREETING: "hello ${{ inputs.who }}", N: 1.10}
jobs:
  build: {steps: [{run: make}]}
  check:
    needs: [build]
    matrix: {suite: [unit, web], os: [linux]}
    steps: [{run: ./check, env: {OS: "on ${{ matrix.os }}"}}]
  report: {needs: [check], steps: [{run: ./report}]}
"#;

    fn trigger(inputs: &[(&str, &str)]) -> Trigger {
        let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Trigger { inputs, ..Trigger::default() }
    }

    fn planned(inputs: &[(&str, &str)]) -> Result<(Build, Vec<Announcement>), Problem> {
        plan(&parse(SITE).unwrap(), &trigger(inputs), BuildId(Uuid::now_v7()), None)
    }

    #[test]
    fn a_matrix_becomes_jobs_and_a_need_of_it_means_all_of_them() {
        let (planned, announcements) = planned(&[("who", "Ann; rm -rf /")]).unwrap();
        let names: Vec<&str> = planned.jobs.iter().map(|job| job.plan.name.as_str()).collect();
        assert_eq!(names, ["build", "check (unit, linux)", "check (web, linux)", "report"]);
        let needs: Vec<&[usize]> = planned.jobs.iter().map(|job| job.plan.needs.as_slice()).collect();
        assert_eq!(needs, [&[][..], &[0], &[0], &[1, 2]]);
        let check = &planned.jobs[2].plan;
        assert_eq!(check.env["MATRIX_SUITE"], "web");
        assert_eq!(check.env["INPUT_WHO"], "Ann; rm -rf /");
        assert_eq!(check.env["GREETING"], "hello Ann; rm -rf /");
        assert_eq!(check.env["N"], "1.10");
        assert_eq!(check.steps[0].env["OS"], "on linux");
        assert_eq!(check.source.as_ref().unwrap().reference.as_deref(), Some("main"));
        let build = planned.jobs[0].id;
        let queued: Vec<&Announcement> = announcements.iter().collect();
        assert!(matches!(queued[0], Announcement::Event(Event::BuildQueued { retry: false, .. })));
        assert!(matches!(queued[1], Announcement::Event(Event::JobQueued { job, attempt: 1 }) if *job == build));
        assert!(matches!(queued[2], Announcement::Hint(_)));
        assert_eq!(queued.len(), 3);
    }

    #[test]
    fn a_missing_input_and_an_unknown_one_are_named() {
        let missing = planned(&[]).unwrap_err();
        assert_eq!(
            (missing.status, missing.detail.as_str()),
            (422, "input `who` is missing: pipeline site has no default for it")
        );
        let unknown = planned(&[("who", "x"), ("whom", "y")]).unwrap_err();
        assert_eq!(unknown.detail, "pipeline site has no input `whom`: it has `ref`, `who`");
    }

    #[test]
    fn a_trigger_adds_to_the_priority_of_each_job_within_bounds() {
        let spec =
            parse("{name: p, priority: 7, jobs: {a: {steps: [{run: x}]}, b: {priority: -3, steps: [{run: x}]}}}");
        let spec = spec.unwrap();
        let planned = |priority| {
            let trigger = Trigger { priority, ..Trigger::default() };
            plan(&spec, &trigger, BuildId(Uuid::now_v7()), None).map(|(build, _)| build)
        };
        let priorities = |build: Build| build.jobs.iter().map(|job| job.plan.priority).collect::<Vec<_>>();
        assert_eq!(priorities(planned(0).unwrap()), [7, -3]);
        assert_eq!(priorities(planned(100).unwrap()), [107, 97]);
        for bad in [-101, 101, i64::MAX] {
            let refused = planned(bad).unwrap_err();
            let detail = "`priority` must be a whole number from -100 to 100";
            assert_eq!((refused.status, refused.detail.as_str()), (422, detail));
        }
    }

    #[test]
    fn a_concurrency_group_is_named_when_the_build_is_planned() {
        let spec = parse(
            "{name: p, inputs: {env: }, concurrency: 'to ${{ inputs.env }}', jobs: {a: {matrix: {os: [x, y]}, \
             concurrency: {group: '${{ inputs.env }} ${{ matrix.os }}', limit: 2}, steps: [{run: x}]}}}",
        );
        let spec = spec.unwrap();
        let planned = |env: &str| plan(&spec, &trigger(&[("env", env)]), BuildId(Uuid::now_v7()), None);
        let (build, _) = planned("prod").unwrap();
        assert_eq!(build.concurrency.unwrap().group, "to prod");
        let groups: Vec<_> = build
            .jobs
            .iter()
            .map(|job| job.plan.concurrency.as_ref().map(|one| (one.group.as_str(), one.limit)))
            .collect();
        assert_eq!(groups, [Some(("prod x", 2)), Some(("prod y", 2))]);
        for bad in ["a\nb", &"x".repeat(200)] {
            let refused = planned(bad).unwrap_err();
            assert!(refused.detail.contains("must be one line of 1 to 200 characters"), "{}", refused.detail);
        }
    }

    #[test]
    fn a_value_of_many_holes_is_refused_before_it_is_long() {
        let holes = "${{ inputs.a }}".repeat(4_000);
        let text = format!("name: p\ninputs: {{a: }}\nenv: {{A: \"{holes}\"}}\njobs: {{j: {{steps: [{{run: x}}]}}}}");
        let spec = parse(&text).unwrap();
        let planned = |length: usize| {
            plan(&spec, &trigger(&[("a", &"x".repeat(length))]), BuildId(Uuid::now_v7()), None).map(|(build, _)| build)
        };
        assert_eq!(planned(16).unwrap().jobs[0].plan.env["A"].len(), 64_000);
        let refused = planned(60_000).unwrap_err();
        let detail = "a value becomes longer than 65536 bytes once its `${{ }}` are replaced, in job `j`";
        assert_eq!((refused.status, refused.detail.as_str()), (422, detail));
    }

    #[test]
    fn the_jobs_of_a_build_are_bounded_together() {
        let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let matrix = values.join(", ");
        let text =
            format!("{{name: p, inputs: {{a: }}, jobs: {{j: {{matrix: {{n: [{matrix}]}}, steps: [{{run: x}}]}}}}}}");
        let spec = parse(&text).unwrap();
        let planned = |length: usize| {
            plan(&spec, &trigger(&[("a", &"x".repeat(length))]), BuildId(Uuid::now_v7()), None).map(|(build, _)| build)
        };
        assert_eq!(planned(40_000).unwrap().jobs.len(), 100);
        let refused = planned(60_000).unwrap_err();
        let detail = "the 100 jobs of this build would hold more than 4194304 bytes of scripts and variables: give shorter \
                      inputs, or plan fewer combinations";
        assert_eq!((refused.status, refused.detail.as_str()), (422, detail));
        // What was written in the pipeline counts as well, once for each combination.
        let text = text.replace("run: x", &format!("run: {}", "x".repeat(50_000)));
        let refused = plan(&parse(&text).unwrap(), &trigger(&[("a", "x")]), BuildId(Uuid::now_v7()), None).unwrap_err();
        assert_eq!(refused.title, "Build too large");
    }
}
