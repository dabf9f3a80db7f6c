//! How attempts end: their holder says so ([`finish`]), or it is gone ([`lost`]).
//!
//! A finish seals the attempt's log by its last offset; a loss by `attempt_closed`, since nobody knows what the dead
//! executor said last.

use store::model::{Announcement, Build, Job, JobLease, JobState, Refusal};
use uuid::Uuid;
use wire::{Event, ExecutorId, Outcome, Timestamp, task::LeaseRef, view::LostAttempt};

use super::settle::{finished, queued, settle};

/// How an attempt ended, as its holder tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How; never skipped.
    pub outcome: Outcome,
    /// The last offset of the job's topic in this attempt.
    pub last_offset: Option<u64>,
    /// One sentence, where the steps do not tell.
    pub reason: Option<String>,
}

/// Why an attempt is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What happened, which is checked once more against the lease.
    pub cause: LossCause,
    /// The executor's name, for people.
    pub executor_name: String,
    /// One sentence.
    pub reason: String,
}

/// What shows that a holder is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The lease has run out.
    Expired,
    /// The holder has registered as another incarnation than the one that holds the lease.
    Restarted {
        /// The holder.
        executor: ExecutorId,
        /// The one that runs now.
        incarnation: Uuid,
    },
    /// The holder has taken its leave and runs nothing any more.
    Left {
        /// The holder.
        executor: ExecutorId,
        /// The one that left.
        incarnation: Uuid,
    },
    /// The store was restored from a backup that was taken while it ran: whoever held it then is of another time. No
    /// executor was lost by it, so it counts for nothing.
    Restored,
}

/// Ends an attempt as its holder says, and queues the next one if it failed and may be repeated.
///
/// # Errors
/// [`Refusal::Stale`] when the attempt is not `executor`'s any more or its lease has run out (P2).
pub fn finish(
    build: &mut Build,
    executor: ExecutorId,
    incarnation: Option<Uuid>,
    attempt: LeaseRef,
    ended: &Ended,
    now: Timestamp,
) -> Result<Vec<Announcement>, Refusal> {
    if ended.outcome == Outcome::Skipped {
        return Err(Refusal::State("an attempt that began cannot end as skipped".to_owned()));
    }
    let (may_go_on, epoch) = (!build.cancelling, build.epoch);
    let (job, lease, since, cancelling) = running(build, attempt)?;
    let is_its_start = incarnation.is_none_or(|start| start == lease.incarnation);
    if lease.executor != executor || !is_its_start || lease.expires_at < now {
        return Err(stale(attempt));
    }
    let mut announcements = vec![Announcement::Event(Event::JobFinished {
        job: job.id,
        attempt: job.attempt,
        outcome: ended.outcome,
        last_offset: ended.last_offset,
        reason: ended.reason.clone(),
    })];
    let has_failed = matches!(ended.outcome, Outcome::Failed | Outcome::TimedOut);
    job.failures += u32::from(has_failed);
    if has_failed && job.failures < job.plan.attempts && may_go_on && !cancelling {
        queued(job, epoch, now, &mut announcements);
    } else {
        job.state = JobState::Finished {
            outcome: ended.outcome,
            executor: Some(executor),
            since: Some(since),
            until: now,
            reason: ended.reason.clone(),
            last_offset: ended.last_offset,
        };
    }
    settle(build, now, &mut announcements);
    Ok(announcements)
}

/// Whether `executor` has finished this attempt already: it ended the job, and is the one that is asking again.
#[must_use]
pub fn was_finished(build: &Build, executor: ExecutorId, attempt: LeaseRef) -> bool {
    let job = build.jobs.iter().find(|job| job.id == attempt.job && job.attempt == attempt.attempt);
    // A lost attempt that ended the job has its executor too, but its losses have used up all that was allowed.
    job.is_some_and(|job| {
        let is_theirs = matches!(&job.state, JobState::Finished { executor: Some(last), .. } if *last == executor);
        is_theirs && job.losses < job.plan.lost_attempts
    })
}

/// Takes an attempt back from a holder that is gone, and queues the next one. When too many were lost, the job ends as
/// failed: a dead letter that a person can see and retry.
///
/// # Errors
/// [`Refusal::Stale`] when the attempt has ended meanwhile, or its holder is not gone after all.
pub fn lost(build: &mut Build, attempt: LeaseRef, loss: &Loss, now: Timestamp) -> Result<Vec<Announcement>, Refusal> {
    let (may_go_on, epoch) = (!build.cancelling, build.epoch);
    let (job, lease, _, cancelling) = running(build, attempt)?;
    let is_gone = match loss.cause {
        LossCause::Expired => lease.expires_at < now,
        LossCause::Restarted { executor, incarnation } => {
            lease.executor == executor && lease.incarnation != incarnation
        }
        LossCause::Left { executor, incarnation } => lease.executor == executor && lease.incarnation == incarnation,
        LossCause::Restored => true,
    };
    if !is_gone {
        return Err(stale(attempt));
    }
    let mut announcements = vec![
        Announcement::Event(Event::JobLost {
            job: job.id,
            attempt: job.attempt,
            executor: lease.executor,
            executor_name: loss.executor_name.clone(),
            reason: loss.reason.clone(),
        }),
        Announcement::Event(Event::AttemptClosed { job: job.id, attempt: job.attempt }),
    ];
    let counts = loss.cause != LossCause::Restored;
    if counts {
        job.losses += 1;
        job.lost.push(LostAttempt {
            attempt: job.attempt,
            executor: loss.executor_name.clone(),
            reason: loss.reason.clone(),
        });
    }
    if cancelling || !may_go_on {
        let reason = format!("it was being cancelled when {}", loss.reason);
        finished(job, Outcome::Cancelled, Some(reason), now, &mut announcements);
    } else if !counts || job.losses < job.plan.lost_attempts {
        queued(job, epoch, now, &mut announcements);
    } else {
        let reason = match job.losses {
            1 => format!("its executor was lost: {}", loss.reason),
            times => format!("its executor was lost {times} times; the last time {}", loss.reason),
        };
        announcements.push(Announcement::JobGivenUp { job: job.id, reason: reason.clone() });
        finished(job, Outcome::Failed, Some(reason), now, &mut announcements);
    }
    settle(build, now, &mut announcements);
    Ok(announcements)
}

/// The job of an attempt that runs now, with its lease, when it began and whether its end was asked for.
fn running(build: &mut Build, attempt: LeaseRef) -> Result<(&mut Job, JobLease, Timestamp, bool), Refusal> {
    let job = build.jobs.iter_mut().find(|job| job.id == attempt.job && job.attempt == attempt.attempt);
    let job = job.ok_or_else(|| stale(attempt))?;
    match job.state {
        JobState::Running { lease, since, cancelling } => Ok((job, lease, since, cancelling)),
        _ => Err(stale(attempt)),
    }
}

fn stale(attempt: LeaseRef) -> Refusal {
    Refusal::Stale { job: attempt.job, attempt: attempt.attempt }
}
