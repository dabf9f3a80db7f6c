//! The contract for concurrency groups. Who is in one stands in `model` ([`crate::model::Build::concurrency`],
//! [`crate::model::JobPlan::concurrency`]); who has a place is decided in the transaction that queues it, or in the one in
//! which the former holder ends, whichever way: so what may be claimed has its place already, however many processes grant.
//!
//! # Rules
//!
//! - A build enters its group when it is queued, and leaves it when it is finished. A job enters its own when it is queued
//!   and its build has its place, and leaves when it is finished: between two attempts it keeps its place.
//! - A place is given when fewer than the limit of the one who asks have one, to the oldest build that waits.
//! - Groups of builds and of jobs are apart, so who has a place as a job waits for nobody: there is no deadlock.
//! - A newer build takes the turn of builds of its own pipeline alone: who may write one pipeline ends nothing of another.
//! - Who was superseded gets no place any more. It stays until control has ended it ([`Concurrency::superseded`]).

use wire::{BuildId, JobId, PipelineName};

use crate::Answer;

/// Concurrency groups.
pub trait Concurrency: Send + Sync + 'static {
    /// Those whose turn a newer build has taken and whose end was not asked for yet, at most `limit`.
    fn superseded(&self, limit: u32) -> Answer<'_, Vec<Superseded>>;
    /// What holds each waiting job of a build up.
    fn held_up(&self, build: BuildId) -> Answer<'_, Vec<HeldUp>>;
    /// Makes those leave that are finished and are still there, which an older process may have left behind. How many.
    fn tidy_groups(&self) -> Answer<'_, u64>;
}

/// Whose turn a newer build has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The build.
    pub build: BuildId,
    /// The job, unless it is the build as a whole.
    pub job: Option<JobId>,
    /// By whom: "build #12 of site".
    pub by: String,
}

/// A job that waits for its group, or its build's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// The job.
    pub job: JobId,
    /// The group.
    pub group: String,
    /// Builds that have a place in it, the oldest first.
    pub holders: Vec<(PipelineName, u64)>,
}
