//! The part of the contract for secrets. The store sees them encrypted, and never the key.

use wire::{
    PipelineName,
    secret::{SecretName, SecretUse},
};

use crate::{
    Answer,
    audit::NewEntry,
    model::secret::{NewSecret, PutSecret, Resealed, SecretRow},
};

/// Secrets of pipelines and of the installation.
pub trait Secrets: Send + Sync + 'static {
    /// Writes one, in the place of the one that has its name there; with `entry`, unless there is no such pipeline.
    fn put_secret(&self, secret: NewSecret, entry: NewEntry) -> Answer<'_, PutSecret>;
    /// Forgets one, with `entry`; whether it was there.
    fn delete_secret<'a>(
        &'a self,
        pipeline: Option<&'a PipelineName>,
        name: &'a SecretName,
        entry: NewEntry,
    ) -> Answer<'a, bool>;
    /// All of them, by pipeline (those of the installation first) and name.
    fn secrets(&self) -> Answer<'_, Vec<SecretRow>>;
    /// Those of a pipeline and of the installation that have one of these names.
    fn secrets_of<'a>(&'a self, pipeline: &'a PipelineName, names: &'a [SecretName]) -> Answer<'a, Vec<SecretRow>>;
    /// What the jobs of each pipeline want, of those that want any.
    fn secret_uses(&self) -> Answer<'_, Vec<(PipelineName, Vec<SecretUse>)>>;
    /// Puts secrets under another key, all in one transaction, with `entry`; how many. Those that were set or deleted meanwhile stay as they
    /// are.
    fn reseal_secrets(&self, secrets: Vec<Resealed>, entry: NewEntry) -> Answer<'_, u64>;
}
