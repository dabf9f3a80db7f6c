//! What control had announced of a build and the stream may have lost, said once more: which attempts have ended, and
//! whether the build has. The record closes what it would wait for otherwise. Pure but for [`make_good`].

use store::{
    ChangeError, Store, StoreError,
    model::{Announcement, Build, BuildState, JobState, Lacking},
};
use wire::{Event, JobId};

/// The group `group` has lost its place, or never had it: what may lack its end in the record is announced once more. Tells of
/// how many builds. Again, if it fails in between.
///
/// # Errors
/// When the store cannot be used.
pub async fn make_good(store: &dyn Store, group: &str) -> Result<usize, StoreError> {
    let lacking = store.lose_place(group).await?;
    let builds = lacking.len();
    for Lacking { build, attempts } in lacking {
        let said = store.change_build(build, Box::new(move |build, _| Ok(ends_of(build, &attempts)))).await;
        match said {
            Ok(_) | Err(ChangeError::NoBuild(_) | ChangeError::Refused(_)) => {}
            Err(ChangeError::Store(failure)) => return Err(failure),
        }
    }
    Ok(builds)
}

/// The announcements: the ends of `attempts`, and of the build.
fn ends_of(build: &Build, attempts: &[(JobId, u32)]) -> Vec<Announcement> {
    let mut events = Vec::new();
    for &(id, attempt) in attempts {
        let Some(job) = build.jobs.iter().find(|job| job.id == id) else { continue };
        match &job.state {
            JobState::Running { .. } if attempt == job.attempt => {}
            JobState::Finished { outcome, last_offset, reason, .. } if attempt == job.attempt => {
                events.push(Event::JobFinished {
                    job: id,
                    attempt,
                    outcome: *outcome,
                    last_offset: *last_offset,
                    reason: reason.clone(),
                });
            }
            _ => events.push(Event::AttemptClosed { job: id, attempt }),
        }
    }
    if let BuildState::Finished { outcome, .. } = build.state {
        events.push(Event::BuildFinished { outcome });
    }
    events.into_iter().map(Announcement::Event).collect()
}
