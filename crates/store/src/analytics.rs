//! Statistics of builds: counters that the group `analytics` keeps ahead of time, so that reading them joins nothing.
//!
//! What is counted, and when:
//!
//! | counter | an event | a recount from the record |
//! |---|---|---|
//! | builds by outcome, and how long they ran | `build_finished`; taken back by the `build_queued` of a retry | `builds` by `finished_at` |
//! | how long attempts waited for an executor | `job_started` | `jobs.queued_at`, `jobs.started_at` |
//! | jobs that succeeded; of these, those of which an attempt had failed; failed and lost attempts | `job_finished`, `job_lost` | `jobs.outcome`, `failures`, `losses` |
//! | steps and how long they took | `step_started`, `step_finished` | `steps` |
//!
//! A deleted build stays counted, but for a rebuild: that counts what the record still has. A retry takes back the end of
//! its build, not what its jobs and steps had done. Days go after [`wire::statistics::DAYS_MAX`].

use uuid::Uuid;
use wire::{BuildId, EventMessage, PipelineName, statistics::StatsView};

use crate::Answer;

/// The name of the group.
pub const GROUP: &str = "analytics";
/// Events in one batch at most: it is one transaction, which stays below 10 ms.
pub const BATCH_EVENTS_MAX: usize = 256;

/// A batch of the stream.
#[derive(Clone, Debug)]
pub struct CountBatch {
    /// Which stream.
    pub incarnation: Uuid,
    /// The offset of its first entry: one that another member has applied is refused.
    pub first: u64,
    /// The offset of its last entry: the group's place.
    pub offset: u64,
    /// The events of these entries, those left out that are none.
    pub events: Vec<EventMessage>,
}

/// See the module.
pub trait Analytics: Send + Sync + 'static {
    /// Counts a batch and keeps the group's place, in one transaction (P5): only last + 1 of each topic's epoch counts.
    fn count(&self, batch: CountBatch) -> Answer<'_, ()>;
    /// One short step of forgetting everything that was counted; whether there is more.
    fn forget_counts(&self) -> Answer<'_, bool>;
    /// One short step of counting what the record has: the builds behind `after`, at most `limit`. Gives the last one and how
    /// many there were; none when there are no more. `may_skip`: the stream has lost events, so what comes next of a topic
    /// counts though others before it are missing.
    fn recount(&self, after: Option<BuildId>, limit: u32, may_skip: bool) -> Answer<'_, Option<(BuildId, u64)>>;
    /// Statistics of a pipeline, or of all, of the last `days` up to today.
    fn statistics<'a>(&'a self, pipeline: Option<&'a PipelineName>, days: u32) -> Answer<'a, StatsView>;
}
