//! The event stream: offsets in the order of publishing, a tail of recent entries in memory, and the readers. Only what
//! is on the disk is shown, so an offset that someone has read never means something else after a restart.

use std::{collections::VecDeque, ops::Range, pin::pin, sync::Arc};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{Core, journal::Loaded};
use crate::{BoxFuture, BrokerError, StreamEntry, StreamError, StreamFrom, StreamSource};

/// Bytes of recent entries kept in memory; readers further behind read the journal.
pub(super) const STREAM_TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Entries read from the journal in one call.
pub(super) const STREAM_READ_ENTRIES_MAX: usize = 1_000;
/// Bytes that an entry takes beside its body, roughly.
const ENTRY_BYTES: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) incarnation: Uuid,
    /// The oldest that is kept.
    first: u64,
    /// What is before it is on the disk.
    committed: u64,
    /// The offset of the next entry.
    next: u64,
    /// The last entries before `committed`, without gaps.
    tail: VecDeque<StreamEntry>,
    tail_bytes: usize,
    moved: Arc<Notify>,
}

/// What a reader finds in memory.
enum Found {
    Entries(Vec<StreamEntry>),
    /// It is older than the tail: at most so many entries stand in the journal.
    InJournal(usize),
    /// Nothing new.
    Nothing,
}

impl Stream {
    pub(super) fn new(loaded: &Loaded) -> Self {
        Self {
            incarnation: loaded.incarnation,
            first: loaded.first,
            committed: loaded.next,
            next: loaded.next,
            tail: VecDeque::new(),
            tail_bytes: 0,
            moved: Arc::default(),
        }
    }

    /// Gives the next entry its offset.
    pub(super) fn assign(&mut self) -> u64 {
        let offset = self.next;
        self.next += 1;
        offset
    }

    /// An entry is on the disk.
    pub(super) fn commit(&mut self, offset: u64, body: Arc<[u8]>) {
        self.committed = offset + 1;
        self.tail_bytes += ENTRY_BYTES + body.len();
        self.tail.push_back(StreamEntry { offset, body });
        while self.tail_bytes > STREAM_TAIL_BYTES_MAX && self.tail.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Wakes the readers.
    pub(super) fn wake(&self) {
        self.moved.notify_waiters();
    }

    /// Forgets what is before `first` and gives the bound that holds: nothing that is not on the disk is forgotten.
    pub(super) fn trim(&mut self, first: u64) -> u64 {
        self.first = first.clamp(self.first, self.committed);
        while self.tail.front().is_some_and(|entry| entry.offset < self.first) {
            self.drop_oldest();
        }
        self.first
    }

    /// What readers can have.
    pub(super) fn range(&self) -> Range<u64> {
        self.first..self.committed
    }

    /// The offset that a reader begins with.
    fn place(&self, from: StreamFrom) -> Result<u64, StreamError> {
        match from {
            StreamFrom::First => Ok(self.first),
            StreamFrom::Next => Ok(self.next),
            // An offset from the future belongs to a stream that this journal does not hold, whatever it is called.
            StreamFrom::After { incarnation, offset }
                if incarnation != self.incarnation || offset >= self.committed =>
            {
                Err(StreamError::Anew { now: self.incarnation })
            }
            StreamFrom::After { offset, .. } if offset + 1 < self.first => {
                Err(StreamError::Trimmed { asked: offset, first: self.first })
            }
            StreamFrom::After { offset, .. } => Ok(offset + 1),
        }
    }

    fn find(&self, place: u64, max: usize) -> Result<Found, StreamError> {
        if place < self.first {
            return Err(StreamError::Trimmed { asked: place.saturating_sub(1), first: self.first });
        }
        if place >= self.committed {
            return Ok(Found::Nothing);
        }
        let oldest = self.tail.front().map_or(self.committed, |entry| entry.offset);
        match place.checked_sub(oldest) {
            Some(index) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                Ok(Found::Entries(self.tail.range(index.min(self.tail.len())..).take(max).cloned().collect()))
            }
            None => Ok(Found::InJournal(usize::try_from(oldest - place).unwrap_or(usize::MAX).min(max))),
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes -= ENTRY_BYTES + entry.body.len();
        }
    }
}

/// A reader of the embedded stream.
pub(super) struct Reader {
    core: Arc<Core>,
    moved: Arc<Notify>,
    /// The offset that comes next.
    place: u64,
}

impl Reader {
    pub(super) fn new(core: &Arc<Core>, from: StreamFrom) -> Result<(Uuid, Self), StreamError> {
        let state = core.lock();
        state.running()?;
        let (place, moved) = (state.stream.place(from)?, Arc::clone(&state.stream.moved));
        Ok((state.stream.incarnation, Self { core: Arc::clone(core), moved, place }))
    }

    fn find(&self, max: usize) -> Result<Found, StreamError> {
        let state = self.core.lock();
        state.running()?;
        state.stream.find(self.place, max)
    }

    async fn read_journal(&self, max: usize) -> Result<Vec<StreamEntry>, StreamError> {
        let read = self.core.journal.read_stream(self.place, max.min(STREAM_READ_ENTRIES_MAX)).await;
        let read = read.map_err(|reason| BrokerError::Unavailable(format!("the stream cannot be read: {reason}")))?;
        if read.first().is_some_and(|(offset, _)| *offset == self.place) {
            return Ok(read.into_iter().map(|(offset, body)| StreamEntry { offset, body: body.into() }).collect());
        }
        // Trimmed while it was read, or the journal has a hole.
        self.find(max)?;
        Err(BrokerError::Unavailable(format!("the journal does not hold the stream's entry {}", self.place)).into())
    }
}

impl StreamSource for Reader {
    fn next_batch(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<StreamEntry>, StreamError>> {
        Box::pin(async move {
            let moved = Arc::clone(&self.moved);
            let batch = loop {
                let mut moved = pin!(moved.notified());
                moved.as_mut().enable();
                match self.find(max.max(1))? {
                    Found::Entries(entries) => break entries,
                    Found::InJournal(count) => break self.read_journal(count).await?,
                    Found::Nothing => moved.await,
                }
            };
            self.place = batch.last().map_or(self.place, |last| last.offset + 1);
            Ok(batch)
        })
    }

    fn lag(&self) -> u64 {
        self.core.lock().stream.committed.saturating_sub(self.place)
    }

    fn passed(&self) -> Option<u64> {
        self.place.checked_sub(1)
    }
}

/// What everyone is told once the broker was shut down.
pub(super) fn shut_down() -> BrokerError {
    BrokerError::Unavailable("it was shut down".to_owned())
}
