//! What the embedded broker keeps in the store: the broker's own bytes, and where they belong.

use std::sync::Arc;

use uuid::Uuid;

/// What the journal holds at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalContents {
    /// Made once for each stream.
    pub incarnation: Uuid,
    /// The oldest stream offset kept; equal to `next` if none is.
    pub first: u64,
    /// The offset of the next stream entry.
    pub next: u64,
    /// Messages that were not settled, by sequence.
    pub messages: Vec<JournalMessage>,
}

/// A message in a durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalMessage {
    /// Unique, rising.
    pub sequence: u64,
    /// The queue.
    pub queue: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// The broker's own bytes.
    pub message: Vec<u8>,
}

/// One change to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalChange {
    /// A message came (or came back with more deliveries).
    Enqueue(JournalMessage),
    /// It was settled.
    Remove {
        /// Its sequence.
        sequence: u64,
    },
    /// An event came to the stream.
    Stream {
        /// Its offset.
        offset: u64,
        /// Its body.
        body: Arc<[u8]>,
    },
    /// Everything before `first` may go.
    Trim {
        /// The oldest offset to keep.
        first: u64,
    },
}
