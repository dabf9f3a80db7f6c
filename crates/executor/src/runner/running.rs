//! What runs here: at most one attempt of each job at a time (P2). Whoever holds a [`Place`] may run its attempt; the place
//! is given up when it is dropped, however the attempt's task ends, so that nothing is renewed that nobody works on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wire::{JobId, task::LeaseRef};

use crate::{environment, guard::tree, lease::Lease, publish::Insight};

/// The attempts that run, by job.
pub(crate) struct Running {
    // A std mutex: held for a map operation, never across an await.
    attempts: Mutex<HashMap<JobId, Attempt>>,
    tasks: TaskTracker,
}

struct Attempt {
    lease: Arc<Lease>,
    /// Once its work has begun.
    insight: Option<Arc<Insight>>,
    /// Its place is free.
    ended: CancellationToken,
}

/// What a lease finds when it wants to begin.
enum Entry {
    Free(Place),
    /// A former attempt of the job still has processes here.
    Former(CancellationToken),
    /// This attempt runs already, or a younger one does.
    Taken,
}

impl Running {
    /// Nothing. `tasks` is awaited before the process ends.
    pub(crate) fn new(tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { attempts: Mutex::default(), tasks })
    }

    /// Takes the place of the lease's job once no process of a former attempt is left here, for as long as the lease is
    /// trusted (somebody must watch it). None if the attempt is not to run: it does already, or it came too late.
    pub(crate) async fn begin(self: &Arc<Self>, lease: &Arc<Lease>) -> Option<Place> {
        loop {
            let ended = match self.enter(lease) {
                Entry::Free(place) => return Some(place),
                Entry::Former(ended) => ended,
                Entry::Taken => return None,
            };
            tokio::select! {
                () = ended.cancelled() => {}
                () = lease.lost() => {
                    let LeaseRef { job, attempt } = lease.holder;
                    tracing::warn!(%job, attempt, "the former attempt of the job did not end in time, so this one was not begun");
                    return None;
                }
            }
        }
    }

    fn enter(self: &Arc<Self>, lease: &Arc<Lease>) -> Entry {
        let mut attempts = self.attempts();
        if let Some(known) = attempts.get(&lease.holder.job) {
            if known.lease.holder.attempt >= lease.holder.attempt {
                return Entry::Taken;
            }
            known.lease.lose(); // Control granted a younger one.
            return Entry::Former(known.ended.clone());
        }
        let attempt = Attempt { lease: Arc::clone(lease), insight: None, ended: CancellationToken::new() };
        attempts.insert(lease.holder.job, attempt);
        Entry::Free(Place { running: Arc::clone(self), lease: Arc::clone(lease), has_ended: false })
    }

    /// The leases of all attempts, those included that are lost and about to end.
    pub(crate) fn leases(&self) -> Vec<Arc<Lease>> {
        self.attempts().values().map(|attempt| Arc::clone(&attempt.lease)).collect()
    }

    /// The lease of this attempt, if it runs.
    pub(crate) fn get(&self, holder: LeaseRef) -> Option<Arc<Lease>> {
        let attempts = self.attempts();
        attempts.get(&holder.job).map(|attempt| &attempt.lease).filter(|lease| lease.holder == holder).cloned()
    }

    /// The work of this attempt has begun.
    pub(crate) fn began(&self, holder: LeaseRef, insight: Arc<Insight>) {
        let mut attempts = self.attempts();
        if let Some(attempt) = attempts.get_mut(&holder.job).filter(|attempt| attempt.lease.holder == holder) {
            attempt.insight = Some(insight);
        }
    }

    /// What is known of the attempts whose work has begun.
    pub(crate) fn insights(&self) -> Vec<Arc<Insight>> {
        self.attempts().values().filter_map(|attempt| attempt.insight.clone()).collect()
    }

    fn leave(&self, job: JobId) {
        if let Some(attempt) = self.attempts().remove(&job) {
            attempt.ended.cancel();
        }
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<JobId, Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run an attempt here.
pub(crate) struct Place {
    running: Arc<Running>,
    lease: Arc<Lease>,
    has_ended: bool,
}

impl Place {
    /// The attempt was run to its end: no process of it is left.
    pub(crate) fn ended(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lease.lose();
        let holder = self.lease.holder;
        if self.has_ended {
            return self.running.leave(holder.job);
        }
        // Its task panicked. The guard ends the tree now that its control pipe is closed; only when nothing is left may
        // another attempt begin.
        let running = Arc::clone(&self.running);
        let sweep = move || {
            let left = tree::end_marked(&environment::marks(holder));
            tracing::error!(job = %holder.job, attempt = holder.attempt, left, "an attempt was given up by a bug in the executor; it runs again when its lease has run out");
            running.leave(holder.job);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(self.running.tasks.spawn_blocking_on(sweep, &runtime)),
            Err(_) => self.running.leave(holder.job), // The process ends.
        }
    }
}
