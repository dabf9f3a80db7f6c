//! What follows from a change: jobs whose needs are finished are queued or skipped, and a build without open jobs ends.

use store::model::{Announcement, Build, BuildState, Job, JobState};
use wire::{Event, Outcome, Timestamp, pipeline::Condition};

use super::order;

/// Queues or skips every waiting job whose needs are finished, and ends the build if nothing is open any more.
pub(super) fn settle(build: &mut Build, now: Timestamp, announcements: &mut Vec<Announcement>) {
    // For each job: whether it or any job before it has failed or timed out.
    let mut went_wrong = vec![false; build.jobs.len()];
    for n in order::by_needs(build) {
        let needs = &build.jobs[n].plan.needs;
        let wrong_before = needs.iter().any(|need| went_wrong[*need]);
        if build.jobs[n].state == JobState::Waiting {
            let outcomes: Option<Vec<(usize, Outcome)>> =
                needs.iter().map(|need| outcome(&build.jobs[*need]).map(|outcome| (*need, outcome))).collect();
            if let Some(outcomes) = outcomes {
                match not_met(build, build.jobs[n].plan.condition, &outcomes, wrong_before) {
                    None => queued(&mut build.jobs[n], build.epoch, now, announcements),
                    Some(reason) => finished(&mut build.jobs[n], Outcome::Skipped, Some(reason), now, announcements),
                }
            }
        }
        went_wrong[n] = wrong_before || matches!(outcome(&build.jobs[n]), Some(Outcome::Failed | Outcome::TimedOut));
    }
    end(build, now, announcements);
}

/// Why a job whose needs are finished must not run; none if it may.
fn not_met(build: &Build, condition: Condition, needs: &[(usize, Outcome)], wrong_before: bool) -> Option<String> {
    match condition {
        Condition::Always => None,
        Condition::Failure if wrong_before => None,
        Condition::Failure => Some("it runs only when a job before it has failed, and none has".to_owned()),
        Condition::Success => {
            needs.iter().find(|(_, outcome)| *outcome != Outcome::Succeeded).map(|(need, outcome)| {
                let name = &build.jobs[*need].plan.name;
                let how = match outcome {
                    Outcome::Skipped => "was skipped",
                    Outcome::TimedOut => "timed out",
                    Outcome::Cancelled => "was cancelled",
                    Outcome::Failed | Outcome::Succeeded => "failed",
                };
                format!("it needs {name}, which {how}")
            })
        }
    }
}

/// Makes a job of a build of this epoch claimable and says so.
pub(super) fn queued(job: &mut Job, epoch: u32, now: Timestamp, announcements: &mut Vec<Announcement>) {
    job.state = JobState::Queued { since: now };
    let attempt = job.next_attempt(epoch);
    announcements.push(Announcement::Event(Event::JobQueued { job: job.id, attempt }));
    announcements.push(Announcement::Hint(job.plan.labels.clone()));
}

/// Ends a job that does not run (any more) and said nothing that is not closed already.
pub(super) fn finished(
    job: &mut Job,
    outcome: Outcome,
    reason: Option<String>,
    now: Timestamp,
    announcements: &mut Vec<Announcement>,
) {
    let (executor, since) = match &job.state {
        JobState::Running { lease, since, .. } => (Some(lease.executor), Some(*since)),
        _ => (None, None),
    };
    let event =
        Event::JobFinished { job: job.id, attempt: job.attempt, outcome, last_offset: None, reason: reason.clone() };
    job.state = JobState::Finished { outcome, executor, since, until: now, reason, last_offset: None };
    announcements.push(Announcement::Event(event));
}

fn outcome(job: &Job) -> Option<Outcome> {
    match &job.state {
        JobState::Finished { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

/// Ends the build if all of its jobs are finished and it is not.
fn end(build: &mut Build, now: Timestamp, announcements: &mut Vec<Announcement>) {
    let since = match build.state {
        BuildState::Finished { .. } => return,
        BuildState::Running { since } => Some(since),
        BuildState::Queued => None,
    };
    let Some(outcomes) = build.jobs.iter().map(outcome).collect::<Option<Vec<Outcome>>>() else { return };
    let worst_first = [Outcome::Failed, Outcome::TimedOut, Outcome::Cancelled, Outcome::Succeeded];
    let worst = worst_first.into_iter().find(|outcome| outcomes.contains(outcome)).unwrap_or(Outcome::Skipped);
    let outcome = if build.cancelling { Outcome::Cancelled } else { worst };
    build.state = BuildState::Finished { outcome, since, until: now };
    announcements.push(Announcement::Event(Event::BuildFinished { outcome }));
}
