//! Executors as they are kept.

use uuid::Uuid;
use wire::{ExecutorId, Isolation, LabelSet};

/// What an executor said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorRow {
    /// Its id.
    pub id: ExecutorId,
    /// Which start of it.
    pub incarnation: Uuid,
    /// For people.
    pub name: String,
    /// What it offers.
    pub labels: LabelSet,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How it keeps steps from the rest of its machine.
    pub isolation: Isolation,
    /// The hash of what it shows, if it shows anything.
    pub secret_sha256: Option<String>,
}

/// What became of an executor's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is written.
    Heard,
    /// Another start of it has taken its place.
    Replaced,
    /// It shows another secret than at its first registration, or none: nothing is written.
    Foreign,
}
