//! Secrets as they are kept: encrypted, by whom the store does not know.

use wire::{PipelineName, Timestamp, secret::SecretName};

/// A secret that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// The pipeline that it belongs to; none for one of the installation.
    pub pipeline: Option<PipelineName>,
    /// Its name.
    pub name: SecretName,
    /// The key that opens it.
    pub key_id: String,
    /// The value, encrypted.
    pub sealed: Vec<u8>,
    /// Of one of the installation: the only pipelines that may use it; an empty list: all may. None: as it was, at first all.
    pub allowed: Option<Vec<PipelineName>>,
    /// Who sets it.
    pub set_by: String,
}

/// A secret that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// The pipeline that it belongs to; none for one of the installation.
    pub pipeline: Option<PipelineName>,
    /// Its name.
    pub name: SecretName,
    /// The key that opens it.
    pub key_id: String,
    /// The value, encrypted.
    pub sealed: Vec<u8>,
    /// Of one of the installation: the only pipelines that may use it. None: all may.
    pub allowed: Vec<PipelineName>,
    /// When it was set last.
    pub set_at: Timestamp,
    /// Who set it.
    pub set_by: String,
}

/// The same value under another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// The pipeline that it belongs to; none for one of the installation.
    pub pipeline: Option<PipelineName>,
    /// Its name.
    pub name: SecretName,
    /// As it was read: where it is another one now, it stays.
    pub was: Vec<u8>,
    /// The key that opens it from now on.
    pub key_id: String,
    /// The value, encrypted anew.
    pub sealed: Vec<u8>,
}

/// What became of a secret that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutSecret {
    /// It is new.
    Created,
    /// It had another value.
    Replaced,
    /// There is no such pipeline.
    NoPipeline,
}
