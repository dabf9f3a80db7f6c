//! What an event adds to the counters: pure, the same for the stream and for a recount from the record.

use std::collections::{BTreeMap, HashMap};

use wire::{
    BuildId, Event, JobId, Outcome, Timestamp,
    about::{About, BuildEnd},
    statistics::{DAY_MICROS, bucket},
};

use crate::standing::Standing;

/// Kinds of counters. The number is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Ends of builds; the bucket is [`outcome_number`].
    Builds = 0,
    /// How long builds ran.
    Duration = 1,
    /// How long attempts waited for an executor.
    Queue = 2,
    /// How long a job's step took.
    Step = 3,
    /// The sum of it in microseconds.
    StepMicros = 4,
    /// What became of a job's attempts; the bucket is [`Fate`].
    Job = 5,
}

/// What became of a job, or of an attempt of it. The number is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The job succeeded.
    Succeeded = 0,
    /// It did after an attempt of it had failed: counted besides.
    Flaky = 1,
    /// An attempt failed.
    Failed = 2,
    /// An attempt's executor was lost.
    Lost = 3,
}

/// The bucket of an outcome.
pub(super) fn outcome_number(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed => 1,
        Outcome::TimedOut => 2,
        Outcome::Cancelled => 3,
        Outcome::Skipped => 4,
    }
}

/// The outcome of a bucket.
pub(super) fn outcome_of(number: u32) -> Option<Outcome> {
    [Outcome::Succeeded, Outcome::Failed, Outcome::TimedOut, Outcome::Cancelled, Outcome::Skipped]
        .into_iter()
        .find(|outcome| outcome_number(*outcome) == number)
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Counter {
    pub(super) pipeline: String,
    pub(super) kind: Kind,
    pub(super) day: i64,
    pub(super) job: String,
    pub(super) step: String,
    pub(super) bucket: u32,
}

/// Counters and what is added to them.
#[derive(Debug, Default)]
pub(super) struct Counts(pub(super) BTreeMap<Counter, i64>);

impl Counts {
    fn add(&mut self, pipeline: &str, kind: Kind, at: Timestamp, bucket: u32, count: i64) {
        self.add_of(pipeline, kind, at, ("", ""), bucket, count);
    }

    fn add_of(
        &mut self,
        pipeline: &str,
        kind: Kind,
        at: Timestamp,
        (job, step): (&str, &str),
        bucket: u32,
        count: i64,
    ) {
        let (pipeline, job, step) = (pipeline.to_owned(), job.to_owned(), step.to_owned());
        let counter = Counter { pipeline, kind, day: at.0.div_euclid(DAY_MICROS), job, step, bucket };
        *self.0.entry(counter).or_default() += count;
    }

    fn end(&mut self, pipeline: &str, end: &BuildEnd, count: i64) {
        self.add(pipeline, Kind::Builds, end.finished_at, outcome_number(end.outcome), count);
        if let Some(started_at) = end.started_at {
            let ran = bucket(end.finished_at.since(started_at));
            self.add(pipeline, Kind::Duration, end.finished_at, ran, count);
        }
    }

    /// A step of a job.
    pub(super) fn step(&mut self, (pipeline, job): (&str, &str), step: &str, from: Timestamp, until: Timestamp) {
        let took = until.since(from);
        self.add_of(pipeline, Kind::Step, until, (job, step), bucket(took), 1);
        let micros = i64::try_from(took).unwrap_or(i64::MAX / 4);
        self.add_of(pipeline, Kind::StepMicros, until, (job, step), 0, micros);
    }
}

/// What is remembered of a topic's epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) standing: Standing,
    /// There is a row of it.
    pub(super) known: bool,
    /// It is to be written.
    pub(super) changed: bool,
    /// A build: when it ended, as it was counted. An attempt: when its end was counted.
    pub(super) ended_at: Option<Timestamp>,
    /// A build's first job was taken; known while a batch is applied.
    pub(super) started_at: Option<Timestamp>,
    /// The end that was counted; known while a batch is applied.
    pub(super) end: Option<BuildEnd>,
    /// An attempt: its pipeline and its job's name.
    pub(super) owner: Option<(String, String)>,
    /// An attempt: number, name and begin of the step that runs.
    pub(super) step: Option<(u32, String, Timestamp)>,
    pub(super) at: Timestamp,
    pub(super) over: bool,
}

/// What the store knows of a build, for events that do not tell it.
#[derive(Clone, Debug)]
pub(super) struct KnownBuild {
    pub(super) pipeline: String,
    pub(super) started_at: Option<Timestamp>,
}

/// What it knows of a job.
#[derive(Clone, Debug)]
pub(super) struct KnownJob {
    pub(super) pipeline: String,
    pub(super) name: String,
    pub(super) failures: u32,
}

/// What was looked up.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) builds: HashMap<BuildId, KnownBuild>,
    pub(super) jobs: HashMap<JobId, KnownJob>,
}

/// The job's attempt that a build's event tells of, where it has an effect on it.
pub(super) fn attempt_of(event: &Event) -> Option<(JobId, u32)> {
    match event {
        Event::JobStarted { job, attempt, .. }
        | Event::JobFinished { job, attempt, .. }
        | Event::JobLost { job, attempt, .. }
        | Event::AttemptClosed { job, attempt }
            if *attempt > 0 =>
        {
            Some((*job, *attempt))
        }
        _ => None,
    }
}

/// An event of a build's topic. `attempt` is what is remembered of [`attempt_of`] it.
pub(super) fn build_event(
    counts: &mut Counts,
    known: &Known,
    (build, at): (BuildId, Timestamp),
    (event, about): (&Event, Option<&About>),
    kept: &mut Kept,
    attempt: Option<&mut Kept>,
) {
    let looked_up = known.builds.get(&build);
    let pipeline = about.map(|about| about.pipeline.as_str()).or(looked_up.map(|build| build.pipeline.as_str()));
    match event {
        Event::BuildQueued { retry, .. } => {
            kept.over = false;
            let Some(pipeline) = pipeline.filter(|_| *retry) else { return };
            let former = about.and_then(|about| about.end).or(kept.end.take());
            // One whose end was never counted has nothing to be taken back; of one that was forgotten it was.
            let counted = |end: &BuildEnd| !kept.known || kept.ended_at == Some(end.finished_at);
            if let Some(end) = former.filter(counted) {
                counts.end(pipeline, &end, -1);
            }
            (kept.ended_at, kept.end, kept.started_at) = (None, None, None);
        }
        Event::BuildStarted {} => kept.started_at = Some(at),
        Event::BuildFinished { outcome } => {
            kept.over = true;
            let started_at = kept.started_at.or(looked_up.and_then(|build| build.started_at));
            let told = about.and_then(|about| about.end);
            let end = told.unwrap_or(BuildEnd { outcome: *outcome, started_at, finished_at: at });
            // An end that is said once more, because a reader may not have heard it, is the same end.
            if let Some(pipeline) = pipeline
                && kept.ended_at.is_none()
            {
                counts.end(pipeline, &end, 1);
                (kept.ended_at, kept.end) = (Some(end.finished_at), Some(end));
            }
        }
        _ => {
            if let (Some((job, _)), Some(attempt)) = (attempt_of(event), attempt) {
                attempt_event(counts, known.jobs.get(&job), at, (event, about), attempt);
            }
        }
    }
}

fn attempt_event(
    counts: &mut Counts,
    looked_up: Option<&KnownJob>,
    at: Timestamp,
    (event, about): (&Event, Option<&About>),
    attempt: &mut Kept,
) {
    if attempt.owner.is_none() {
        let told = about.and_then(|about| Some((about.pipeline.to_string(), about.job.clone()?)));
        attempt.owner = told.or(looked_up.map(|job| (job.pipeline.clone(), job.name.clone())));
    }
    let Some((pipeline, job)) = attempt.owner.clone() else { return };
    let mut fate = |fate: Fate| counts.add_of(&pipeline, Kind::Job, at, (&job, ""), fate as u32, 1);
    match event {
        Event::JobStarted { .. } => {
            if let Some(queued_at) = about.and_then(|about| about.queued_at) {
                counts.add(&pipeline, Kind::Queue, at, bucket(at.since(queued_at)), 1);
            }
            return;
        }
        // What is said once more is the same end, and an attempt that was lost has not failed besides.
        _ if attempt.ended_at.is_some() => return,
        Event::JobLost { .. } => {
            // None counts where a restore took it back: no executor was lost by that.
            if about.is_none_or(|about| about.losses > 0) {
                fate(Fate::Lost);
            }
        }
        Event::JobFinished { outcome: Outcome::Succeeded, .. } => {
            fate(Fate::Succeeded);
            let failures = about.map_or_else(|| looked_up.map_or(0, |job| job.failures), |about| about.failures);
            if failures > 0 {
                fate(Fate::Flaky);
            }
        }
        Event::JobFinished { outcome: Outcome::Failed | Outcome::TimedOut, .. } => fate(Fate::Failed),
        _ => return,
    }
    attempt.ended_at = Some(at);
}

/// An event of an attempt's own topic.
pub(super) fn job_event(
    counts: &mut Counts,
    looked_up: Option<&KnownJob>,
    at: Timestamp,
    event: &Event,
    kept: &mut Kept,
) {
    match event {
        Event::StepStarted { step, name, .. } => {
            if kept.owner.is_none() {
                kept.owner = looked_up.map(|job| (job.pipeline.clone(), job.name.clone()));
            }
            kept.step = Some((*step, name.clone(), at));
        }
        Event::StepFinished { step, outcome, .. } => {
            let begun = kept.step.take().filter(|(number, ..)| number == step && *outcome != Outcome::Skipped);
            if let (Some((_, name, from)), Some((pipeline, job))) = (begun, &kept.owner) {
                counts.step((pipeline, job), &name, from, at);
            }
        }
        _ => {}
    }
}
