//! Executors as this process has heard them: name and incarnation, so that most claims need no further question.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;
use wire::ExecutorId;

/// Executors that were not heard for so many leases are forgotten.
const LEASES_REMEMBERED: u32 = 10;

/// Executors by id.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    // A std mutex: held for a map operation, never across an await.
    known: Mutex<HashMap<ExecutorId, Known>>,
}

/// What is remembered of an executor.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Which start of it.
    pub(crate) incarnation: Uuid,
    /// For people.
    pub(crate) name: String,
    heard: Instant,
}

impl Registry {
    /// It has registered.
    pub(crate) fn heard(&self, executor: ExecutorId, incarnation: Uuid, name: &str, lease: Duration) {
        let heard = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, other| heard.duration_since(other.heard) < lease * LEASES_REMEMBERED);
        known.insert(executor, Known { incarnation, name: name.to_owned(), heard });
    }

    /// It has left.
    pub(crate) fn left(&self, executor: ExecutorId, incarnation: Uuid) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&executor).is_some_and(|known| known.incarnation == incarnation) {
            known.remove(&executor);
        }
    }

    /// What is remembered of it.
    pub(crate) fn get(&self, executor: ExecutorId) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&executor).cloned()
    }
}
