//! What a newer build takes the turn of ends: a build as a whole, or one of its jobs.

use store::model::{Announcement, Build, BuildState, JobState, Refusal};
use wire::{
    JobId, Outcome, Timestamp,
    task::{ExecutorNotice, LeaseRef},
};

use super::{
    settle::{finished, settle},
    stop,
};

/// Ends a build, or one of its jobs, whose turn in a concurrency group `by` has taken ("build #12 of site"): at once what has
/// not begun, and by a notice to its executor what runs.
///
/// # Errors
/// When it is finished.
pub fn supersede(
    build: &mut Build,
    job: Option<JobId>,
    by: &str,
    now: Timestamp,
) -> Result<Vec<Announcement>, Refusal> {
    let reason = format!("superseded by {by}");
    let Some(job) = job else {
        if matches!(build.state, BuildState::Finished { .. }) {
            return Err(Refusal::State(format!("build {} of {} has ended", build.number, build.pipeline)));
        }
        return Ok(stop(build, &reason, now));
    };
    let found = build.jobs.iter_mut().find(|one| one.id == job);
    let job = found.ok_or_else(|| Refusal::State(format!("there is no job {job}")))?;
    let mut announcements = Vec::new();
    match &mut job.state {
        JobState::Finished { .. } => return Err(Refusal::State(format!("job {} has ended", job.plan.name))),
        JobState::Waiting | JobState::Queued { .. } => {
            finished(job, Outcome::Cancelled, Some(reason), now, &mut announcements);
        }
        JobState::Running { lease, cancelling, .. } => {
            *cancelling = true;
            let notice = ExecutorNotice::Cancel { lease: LeaseRef { job: job.id, attempt: job.attempt } };
            announcements.push(Announcement::Notice { executor: lease.executor, notice });
        }
    }
    settle(build, now, &mut announcements);
    Ok(announcements)
}
