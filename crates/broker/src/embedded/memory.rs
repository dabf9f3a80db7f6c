//! A journal that lives as long as the process: for tests, and for trying Stepcast without a disk. It can be told to
//! fail and to hold commits back, so that a test steers what a disk does by chance.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use super::journal::{Journal, JournalEntry, KeptMessage, Loaded, StreamEntries};
use crate::BoxFuture;

/// One opening of a journal in memory. [`MemoryJournal::reopen`] opens the same data anew and cuts this one off, as a
/// killed process is cut off from its disk.
#[derive(Debug)]
pub struct MemoryJournal {
    data: Arc<Mutex<Data>>,
    held: Arc<watch::Sender<bool>>,
    opening: u64,
}

#[derive(Debug)]
struct Data {
    incarnation: Uuid,
    first: u64,
    next: u64,
    messages: BTreeMap<u64, KeptMessage>,
    stream: BTreeMap<u64, Arc<[u8]>>,
    failure: Option<String>,
    openings: u64,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        let data = Data {
            incarnation: Uuid::new_v4(),
            first: 0,
            next: 0,
            messages: BTreeMap::new(),
            stream: BTreeMap::new(),
            failure: None,
            openings: 0,
        };
        Self { data: Arc::new(Mutex::new(data)), held: Arc::new(watch::Sender::new(false)), opening: 0 }
    }
}

impl MemoryJournal {
    /// Opens the same data anew. What is appended through `self` from now on fails, a commit that is held included.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut data = self.lock();
        data.openings += 1;
        Self { data: Arc::clone(&self.data), held: Arc::clone(&self.held), opening: data.openings }
    }

    /// Every append fails with `reason` until [`MemoryJournal::recover`].
    pub fn fail(&self, reason: &str) {
        self.lock().failure = Some(reason.to_owned());
    }

    /// Appends succeed again.
    pub fn recover(&self) {
        self.lock().failure = None;
    }

    /// Every append waits until [`MemoryJournal::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Appends go on.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Data {
    fn apply(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::Enqueue(message) => {
                self.messages.insert(message.sequence, message);
            }
            JournalEntry::Remove { sequence } => {
                self.messages.remove(&sequence);
            }
            JournalEntry::Stream { offset, body } => {
                self.stream.insert(offset, body);
                self.next = offset + 1;
            }
            JournalEntry::Trim { first } => {
                self.stream = self.stream.split_off(&first);
                self.first = first;
            }
        }
    }
}

impl Journal for MemoryJournal {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, String>> {
        Box::pin(async {
            let data = self.lock();
            Ok(Loaded {
                incarnation: data.incarnation,
                first: data.first,
                next: data.next,
                messages: data.messages.values().cloned().collect(),
            })
        })
    }

    fn append(&self, entries: Vec<JournalEntry>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            // The sender lives as long as `self`, so this fails never.
            let _ = self.held.subscribe().wait_for(|held| !held).await;
            let mut data = self.lock();
            if data.openings != self.opening {
                return Err("the journal was opened anew by another broker".to_owned());
            }
            if let Some(reason) = &data.failure {
                return Err(reason.clone());
            }
            entries.into_iter().for_each(|entry| data.apply(entry));
            Ok(())
        })
    }

    fn read_stream(&self, from: u64, max: usize) -> BoxFuture<'_, Result<StreamEntries, String>> {
        Box::pin(async move {
            let data = self.lock();
            Ok(data.stream.range(from..).take(max).map(|(offset, body)| (*offset, body.to_vec())).collect())
        })
    }
}
