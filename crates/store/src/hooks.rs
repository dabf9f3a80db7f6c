//! The contract of hooks. That a delivery is built once stands with [`crate::Builds::create_build`]: the build and the marks of
//! its delivery are one transaction.

use std::time::Duration;

use wire::{HookId, PipelineName, Timestamp, hook::Provider};

use crate::{Answer, audit::NewEntry};

/// Hooks of one pipeline.
pub const HOOKS_MAX: u32 = 20;
/// A delivery is known again for so long.
pub const DELIVERIES_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its id.
    pub id: HookId,
    /// What it builds.
    pub pipeline: PipelineName,
    /// Who calls.
    pub provider: Provider,
    /// Which of its secrets is the present one, from 1.
    pub generation: u32,
    /// When it was made, by the database's clock.
    pub created_at: Timestamp,
    /// The name of who made it.
    pub created_by: String,
    /// When a delivery was last built, of those within [`DELIVERIES_KEPT`]; told by [`Hooks::hooks`] alone.
    pub last_built_at: Option<Timestamp>,
}

/// A delivery that is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To which hook.
    pub hook: HookId,
    /// Of the secret that it was signed with.
    pub generation: u32,
    /// As its sender named it.
    pub id: String,
    /// SHA-256 of its signature, in lower-case hex: another id under the same signature is the same delivery.
    pub digest: String,
}

/// Hooks.
pub trait Hooks: Send + Sync {
    /// Makes a hook with its first secret; none where the pipeline has [`HOOKS_MAX`] of them, or is not there.
    fn create_hook<'a>(
        &'a self,
        id: HookId,
        pipeline: &'a PipelineName,
        provider: Provider,
        by: NewEntry,
    ) -> Answer<'a, Option<Hook>>;
    /// Those of a pipeline, the oldest first.
    fn hooks<'a>(&'a self, pipeline: &'a PipelineName) -> Answer<'a, Vec<Hook>>;
    /// One by its id.
    fn hook(&self, id: HookId) -> Answer<'_, Option<Hook>>;
    /// Gives a hook of a pipeline its next secret; none if there is no such hook.
    fn rotate_hook<'a>(&'a self, pipeline: &'a PipelineName, id: HookId, by: NewEntry) -> Answer<'a, Option<Hook>>;
    /// Deletes a hook of a pipeline; false if there is none.
    fn delete_hook<'a>(&'a self, pipeline: &'a PipelineName, id: HookId, by: NewEntry) -> Answer<'a, bool>;
}
