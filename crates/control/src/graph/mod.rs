//! The build graph: what may happen to a build, as pure functions over [`Build`]. Each looks at the build as it is,
//! changes it, and says what is to be announced; the store runs it in a transaction, so a change and its announcements
//! are one (P1). No clock, no broker and no database is known here.
//!
//! # States of a job
//!
//! ```text
//! Waiting ──needs met──► Queued ──claim──► Running ──finish──► Finished
//!    │                     ▲  │              │  │
//!    │                     │  │ cancel       │  └─ failed, timed out or lost, attempts left ─┐
//!    └─ condition not met, │  └──► Finished  └─ cancelling = true: ends by itself            │
//!       cancel ► Finished  └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! - Only the holder of the present term may end an attempt, and only while its lease holds ([`finish`]); anyone may
//!   take it back once the lease has run out or its holder has said that it is gone ([`lost`]). Terms only rise (P2).
//! - `if: success()` asks that all needs have succeeded; `if: failure()` that any job before this one, however far back,
//!   has failed or timed out; `if: always()` asks nothing. A job whose condition is not met is skipped.
//! - A build that is being cancelled starts nothing any more, `if: always()` included: a person who says stop means all.
//! - A build's outcome is cancelled if a person cancelled it, else the worst of its jobs': failed before timed out
//!   before cancelled before succeeded; skipped only if all jobs were.

mod ends;
mod order;
mod settle;
mod supersede;

pub use ends::{Ended, Loss, LossCause, finish, lost, was_finished};
pub use supersede::supersede;

use store::model::{Announcement, Build, BuildState, JobState, Refusal};
use wire::{
    Event, JobId, Outcome, Timestamp,
    task::{ExecutorNotice, LeaseRef},
    view::{BuildSummary, State},
};

use settle::{finished, settle};

/// Queues what waits for nothing. `build` is new: all of its jobs are waiting.
pub fn start(build: &mut Build, now: Timestamp) -> Vec<Announcement> {
    let queued = Event::BuildQueued { pipeline: build.pipeline.clone(), retry: false };
    let mut announcements = vec![Announcement::Event(queued)];
    settle(build, now, &mut announcements);
    announcements
}

/// Announces that `job` has just been leased; the store has set its lease and raised its attempt.
///
/// # Errors
/// When the job is not running.
pub fn granted(
    build: &mut Build,
    job: JobId,
    executor_name: &str,
    now: Timestamp,
) -> Result<Vec<Announcement>, Refusal> {
    let granted = build.jobs.iter().find(|other| other.id == job);
    let Some((granted, JobState::Running { lease, .. })) = granted.map(|job| (job, &job.state)) else {
        return Err(Refusal::State(format!("job {job} has not been leased")));
    };
    let started = Event::JobStarted {
        job,
        attempt: granted.attempt,
        executor: lease.executor,
        executor_name: executor_name.to_owned(),
    };
    let mut announcements = Vec::new();
    if build.state == BuildState::Queued {
        build.state = BuildState::Running { since: now };
        announcements.push(Announcement::Event(Event::BuildStarted {}));
    }
    announcements.push(Announcement::Event(started));
    Ok(announcements)
}

/// Ends a build: at once what has not begun, and by a notice to its executor what runs. Repeating it sends the notices
/// again and changes nothing else.
///
/// # Errors
/// When the build is finished.
pub fn cancel(build: &mut Build, now: Timestamp) -> Result<Vec<Announcement>, Refusal> {
    if let BuildState::Finished { outcome, .. } = build.state {
        let (number, pipeline) = (build.number, &build.pipeline);
        let sentence = format!("build {number} of {pipeline} has {} already", past(outcome));
        return Err(Refusal::State(sentence));
    }
    Ok(stop(build, "the build was cancelled before it began", now))
}

/// Ends what of an open build has not begun, for this reason, and asks for the end of what runs.
fn stop(build: &mut Build, reason: &str, now: Timestamp) -> Vec<Announcement> {
    build.cancelling = true;
    let mut announcements = Vec::new();
    for job in &mut build.jobs {
        match &mut job.state {
            JobState::Finished { .. } => {}
            JobState::Waiting | JobState::Queued { .. } => {
                finished(job, Outcome::Cancelled, Some(reason.to_owned()), now, &mut announcements);
            }
            JobState::Running { lease, cancelling, .. } => {
                *cancelling = true;
                let cancel = LeaseRef { job: job.id, attempt: job.attempt };
                let notice = ExecutorNotice::Cancel { lease: cancel };
                announcements.push(Announcement::Notice { executor: lease.executor, notice });
            }
        }
    }
    settle(build, now, &mut announcements);
    announcements
}

/// Runs a finished build again: all of its jobs, or those that did not succeed and everything that needs them. Terms go
/// on rising; what was counted against the limits of attempts begins anew.
///
/// # Errors
/// When the build is not finished, or nothing is left to be retried.
pub fn retry(build: &mut Build, failed_only: bool, now: Timestamp) -> Result<Vec<Announcement>, Refusal> {
    let (number, pipeline) = (build.number, build.pipeline.clone());
    if !matches!(build.state, BuildState::Finished { .. }) {
        let sentence = format!("build {number} of {pipeline} is not finished: cancel it first, or wait for its end");
        return Err(Refusal::State(sentence));
    }
    let outcome = |state: &JobState| match state {
        JobState::Finished { outcome, .. } => Some(*outcome),
        _ => None,
    };
    let went_wrong = |state| !matches!(outcome(state), Some(Outcome::Succeeded | Outcome::Skipped));
    if failed_only && !build.jobs.iter().any(|job| went_wrong(&job.state)) {
        let sentence = format!("no job of build {number} of {pipeline} failed: there is nothing to retry");
        return Err(Refusal::State(sentence));
    }
    let mut again = vec![!failed_only; build.jobs.len()];
    for n in order::by_needs(build) {
        let job = &build.jobs[n];
        let not_succeeded = outcome(&job.state) != Some(Outcome::Succeeded);
        again[n] |= not_succeeded || job.plan.needs.iter().any(|need| again[*need]);
    }
    for (job, _) in build.jobs.iter_mut().zip(again).filter(|(_, again)| *again) {
        (job.failures, job.losses, job.state) = (0, 0, JobState::Waiting);
        job.lost.clear();
    }
    build.cancelling = false;
    build.state = BuildState::Queued;
    let mut announcements = vec![Announcement::Event(Event::BuildQueued { pipeline, retry: true })];
    settle(build, now, &mut announcements);
    Ok(announcements)
}

/// A build as lists show it.
#[must_use]
pub fn summary(build: &Build) -> BuildSummary {
    let (state, outcome, started_at, finished_at) = match build.state {
        BuildState::Queued => (State::Queued, None, None, None),
        BuildState::Running { since } => (State::Running, None, Some(since), None),
        BuildState::Finished { outcome, since, until } => (State::Finished, Some(outcome), since, Some(until)),
    };
    let is_finished = |job: &&store::model::Job| matches!(job.state, JobState::Finished { .. });
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    BuildSummary {
        id: build.id,
        number: build.number,
        pipeline: build.pipeline.clone(),
        state,
        outcome,
        queued_at: build.queued_at,
        started_at,
        finished_at,
        jobs_finished: count(build.jobs.iter().filter(is_finished).count()),
        jobs_total: count(build.jobs.len()),
        triggered_by: build.triggered_by.as_ref().map(|by| by.to_string()),
    }
}

fn past(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Skipped => "been skipped",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed out",
        Outcome::Cancelled => "been cancelled",
    }
}

#[cfg(test)]
mod tests;
