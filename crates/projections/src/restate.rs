//! What control had announced of a build and the stream may have lost, said once more: which attempts have ended, and
//! whether the build has. The record closes what it would wait for otherwise. Pure.

use store::model::{Announcement, Build, BuildState, JobState};
use wire::Event;

/// The announcements.
pub(crate) fn ends_of(build: &Build) -> Vec<Announcement> {
    let mut events = Vec::new();
    for job in &build.jobs {
        let is_over = !matches!(job.state, JobState::Running { .. });
        for attempt in (1..=job.attempt).filter(|attempt| *attempt < job.attempt || is_over) {
            events.push(match &job.state {
                JobState::Finished { outcome, last_offset, reason, .. } if attempt == job.attempt => {
                    Event::JobFinished {
                        job: job.id,
                        attempt,
                        outcome: *outcome,
                        last_offset: *last_offset,
                        reason: reason.clone(),
                    }
                }
                _ => Event::AttemptClosed { job: job.id, attempt },
            });
        }
    }
    if let BuildState::Finished { outcome, .. } = build.state {
        events.push(Event::BuildFinished { outcome });
    }
    events.into_iter().map(Announcement::Event).collect()
}
