//! What an event of a build says besides its fact ([`wire::about`]), from the build as it is and as it was before the change.
//! Pure.

use wire::{
    Event, JobId, Timestamp,
    about::{About, BuildEnd},
};

use crate::model::{Build, BuildState, Job, JobState};

/// Nothing for events of which the fact is enough.
pub(super) fn about(event: &Event, before: Option<&Build>, build: &Build) -> Option<About> {
    let mut about = About {
        pipeline: build.pipeline.clone(),
        number: build.number,
        job: None,
        queued_at: None,
        failures: 0,
        losses: 0,
        end: None,
    };
    match event {
        Event::BuildFinished { .. } => about.end = end(build),
        Event::BuildQueued { retry: true, .. } => about.end = before.and_then(end),
        Event::JobStarted { job, .. } => {
            about.job = Some(find(build, *job)?.plan.name.clone());
            about.queued_at = before.and_then(|before| queued_at(find(before, *job)?));
        }
        Event::JobFinished { job, .. } | Event::JobLost { job, .. } => {
            let job = find(build, *job)?;
            (about.job, about.failures, about.losses) = (Some(job.plan.name.clone()), job.failures, job.losses);
        }
        _ => return None,
    }
    Some(about)
}

fn find(build: &Build, job: JobId) -> Option<&Job> {
    build.jobs.iter().find(|one| one.id == job)
}

fn end(build: &Build) -> Option<BuildEnd> {
    match build.state {
        BuildState::Finished { outcome, since, until } => {
            Some(BuildEnd { outcome, started_at: since, finished_at: until })
        }
        _ => None,
    }
}

fn queued_at(job: &Job) -> Option<Timestamp> {
    match job.state {
        JobState::Queued { since } => Some(since),
        _ => None,
    }
}
