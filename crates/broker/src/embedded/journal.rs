//! What the embedded broker asks of whoever keeps its data, and the data's shape. How it is kept is the store's
//! business; the journal in memory is in [`super::memory`].

use std::sync::Arc;

use uuid::Uuid;

use crate::BoxFuture;

/// Where the embedded broker keeps what must survive. One broker at a time uses a journal.
pub trait Journal: Send + Sync + 'static {
    /// What was kept: read once, at the start.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, String>>;
    /// Writes all of `entries` in one transaction, on the disk when the answer is there. Entries are in order. After a
    /// failure the same entries come again, although they may have been written: sequence and offset name an entry, and
    /// writing it again (or removing what is gone) changes nothing. The future may be dropped when the broker ends.
    fn append(&self, entries: Vec<JournalEntry>) -> BoxFuture<'_, Result<(), String>>;
    /// Stream entries with `offset >= from`, in order, at most `max`.
    fn read_stream(&self, from: u64, max: usize) -> BoxFuture<'_, Result<StreamEntries, String>>;
}

/// Entries of the stream, each with its offset.
pub type StreamEntries = Vec<(u64, Vec<u8>)>;

/// What a journal holds at the start.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Made once for each stream.
    pub incarnation: Uuid,
    /// The oldest stream offset kept; equal to `next` if none is.
    pub first: u64,
    /// The offset that the next stream entry gets.
    pub next: u64,
    /// Messages of durable queues that were not settled, in the order of their sequence.
    pub messages: Vec<KeptMessage>,
}

/// A message in a durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// Unique in the journal, rising.
    pub sequence: u64,
    /// The queue.
    pub queue: String,
    /// How often it was delivered.
    pub deliveries: u32,
    /// Properties and body, as the broker encodes them (opaque to the journal).
    pub message: Vec<u8>,
}

/// One change to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEntry {
    /// A message came to a durable queue.
    Enqueue(KeptMessage),
    /// A message was settled, or its queue deleted.
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
    /// Everything in the stream before `first` may go.
    Trim {
        /// The oldest offset to keep.
        first: u64,
    },
}
