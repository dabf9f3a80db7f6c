//! What goes because it is old, too much, or not wanted any more.

use wire::{ArtifactId, JobId, PipelineName, Timestamp, pipeline::RetentionSpec};

/// A pipeline that has builds, and what it says itself of how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineRetention {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// In its text.
    pub spec: RetentionSpec,
}

/// Which finished builds of a pipeline have outlived their time: those to which one of the rules applies. The last build
/// and the last one that succeeded have not, whatever the rules say; nor has one whose result is still being told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlived {
    /// Those that finished before.
    pub before: Option<Timestamp>,
    /// Those behind so many younger ones.
    pub builds: Option<u64>,
    /// Those that, with all younger ones, have more bytes of logs and artifacts than this.
    pub bytes: Option<u64>,
    /// One with an idempotency key stays while it was triggered later than this: the key must not make another build.
    pub keys_before: Timestamp,
}

/// What became of a build that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Nobody finds it any more. What is left of it is swept ([`crate::Kept::sweep`]).
    Done,
    /// There is none.
    NoBuild,
    /// It is not finished.
    Unfinished,
    /// It has just finished, and its record is not complete: what is still to be recorded would be left for good.
    Unrecorded,
}

/// What one step of sweeping has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Their rows are gone, so their files must go.
    pub artifacts: Vec<(JobId, ArtifactId)>,
    /// Whether something may be left for another step.
    pub more: bool,
}
