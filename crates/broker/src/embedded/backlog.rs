//! What waits for the journal, in the order it happened, and the confirms that wait with it. It never waits itself and
//! knows nothing of queues: [`super::flusher`] takes lots from here.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use super::{
    journal::{JournalEntry, KeptMessage},
    message::Message,
};
use crate::BrokerError;

/// Entries of one journal call: SQLite writes so many in about 10 ms, the longest that a transaction may take.
pub(super) const LOT_ENTRIES_MAX: usize = 2_000;
/// Bytes of one journal call (the last entry may exceed it).
pub(super) const LOT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries that wait for the journal before publishers are refused: about two seconds at 100,000 messages a second.
pub(super) const BACKLOG_ENTRIES_MAX: usize = 200_000;
/// Bytes that wait for the journal before publishers are refused.
pub(super) const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that an entry takes beside its body, roughly.
const ENTRY_BYTES: usize = 64;

pub(super) type ConfirmSender = oneshot::Sender<Result<(), BrokerError>>;

/// One change that is not written yet. Encoded only when it is written: many never are.
#[derive(Debug)]
pub(super) enum Pending {
    Enqueue {
        sequence: u64,
        queue: Arc<str>,
        gateway: bool,
        deliveries: u32,
        message: Arc<Message>,
    },
    Remove {
        sequence: u64,
    },
    Stream {
        offset: u64,
        body: Arc<[u8]>,
    },
    Trim {
        first: u64,
    },
    /// An enqueue whose message was settled before it was written: both cancel each other out.
    Cancelled,
}

impl Pending {
    fn size(&self) -> usize {
        match self {
            Pending::Enqueue { message, .. } => ENTRY_BYTES + message.size(),
            Pending::Stream { body, .. } => ENTRY_BYTES + body.len(),
            Pending::Remove { .. } | Pending::Trim { .. } => ENTRY_BYTES,
            Pending::Cancelled => 0,
        }
    }

    /// As the journal writes it.
    pub(super) fn encode(&self) -> Result<Option<JournalEntry>, String> {
        Ok(Some(match self {
            Pending::Enqueue { sequence, queue, gateway, deliveries, message } => JournalEntry::Enqueue(KeptMessage {
                sequence: *sequence,
                queue: queue.to_string(),
                deliveries: *deliveries,
                message: message.encode(*gateway)?,
            }),
            Pending::Remove { sequence } => JournalEntry::Remove { sequence: *sequence },
            Pending::Stream { offset, body } => JournalEntry::Stream { offset: *offset, body: Arc::clone(body) },
            Pending::Trim { first } => JournalEntry::Trim { first: *first },
            Pending::Cancelled => return Ok(None),
        }))
    }
}

/// The changes of one journal call.
#[derive(Debug)]
pub(super) struct Lot {
    /// In order.
    pub(super) entries: Vec<Pending>,
    /// The place behind its last entry.
    until: u64,
    bytes: usize,
}

/// See the module. A place counts all changes since the start, so that a message finds its own in one step.
#[derive(Debug)]
pub(super) struct Backlog {
    slots: VecDeque<Pending>,
    /// The place of the first slot; what is before it was taken by the flusher.
    base: u64,
    /// Each with the place that must be written first; rising.
    confirms: VecDeque<(u64, ConfirmSender)>,
    waiting_bytes: usize,
    taken_entries: usize,
    taken_bytes: usize,
}

/// The place of what was written before this process began.
pub(super) const WRITTEN: u64 = 0;

impl Default for Backlog {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            base: WRITTEN + 1,
            confirms: VecDeque::new(),
            waiting_bytes: 0,
            taken_entries: 0,
            taken_bytes: 0,
        }
    }
}

impl Backlog {
    /// Whether a publisher may add to it. Settlements always may: they are fewer than what was taken in before.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() + self.taken_entries < BACKLOG_ENTRIES_MAX
            && self.waiting_bytes + self.taken_bytes < BACKLOG_BYTES_MAX
    }

    /// Adds a change and gives its place.
    pub(super) fn push(&mut self, pending: Pending) -> u64 {
        self.waiting_bytes += pending.size();
        self.slots.push_back(pending);
        self.end() - 1
    }

    /// Takes back what waits at `place`; false if it was taken by the flusher already.
    pub(super) fn cancel(&mut self, place: u64) -> bool {
        let Some(slot) = slot(&mut self.slots, self.base, place) else { return false };
        self.waiting_bytes -= slot.size();
        *slot = Pending::Cancelled;
        true
    }

    /// Notes a delivery of the message at `place`, if it is not written yet.
    pub(super) fn delivered(&mut self, place: u64) {
        if let Some(Pending::Enqueue { deliveries, .. }) = slot(&mut self.slots, self.base, place) {
            *deliveries += 1;
        }
    }

    /// Settles `confirm` when all that was added so far is written.
    pub(super) fn confirm(&mut self, confirm: ConfirmSender) {
        self.confirms.push_back((self.end(), confirm));
    }

    /// The next lot; none when nothing waits. It counts as waiting until [`Backlog::written`].
    pub(super) fn take(&mut self) -> Option<Lot> {
        let mut lot = Lot { entries: Vec::new(), until: self.base, bytes: 0 };
        while lot.entries.len() < LOT_ENTRIES_MAX && lot.bytes < LOT_BYTES_MAX {
            let Some(pending) = self.slots.pop_front() else { break };
            lot.until += 1;
            if !matches!(pending, Pending::Cancelled) {
                lot.bytes += pending.size();
                lot.entries.push(pending);
            }
        }
        if lot.until == self.base {
            return None;
        }
        self.base = lot.until;
        self.waiting_bytes -= lot.bytes;
        self.taken_bytes = lot.bytes;
        self.taken_entries = lot.entries.len();
        Some(lot)
    }

    /// The lot is on the disk: the confirms that waited for it, in order.
    pub(super) fn written(&mut self, lot: &Lot) -> Vec<ConfirmSender> {
        self.taken_bytes = 0;
        self.taken_entries = 0;
        let count = self.confirms.partition_point(|(place, _)| *place <= lot.until);
        self.confirms.drain(..count).map(|(_, confirm)| confirm).collect()
    }

    /// Everything that will not be written any more: its confirms, in order.
    pub(super) fn abandon(&mut self) -> Vec<ConfirmSender> {
        self.slots.clear();
        self.confirms.drain(..).map(|(_, confirm)| confirm).collect()
    }

    /// The place behind the last change.
    fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }
}

fn slot(slots: &mut VecDeque<Pending>, base: u64, place: u64) -> Option<&mut Pending> {
    let index = usize::try_from(place.checked_sub(base)?).ok()?;
    slots.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lot_is_bounded_in_entries_and_in_bytes_and_confirms_wait_for_their_own() {
        let mut backlog = Backlog::default();
        for sequence in 0..LOT_ENTRIES_MAX as u64 + 1 {
            backlog.push(Pending::Remove { sequence });
        }
        let (sender, mut confirm) = oneshot::channel();
        backlog.confirm(sender);
        let lot = backlog.take().unwrap();
        assert_eq!(lot.entries.len(), LOT_ENTRIES_MAX);
        assert!(backlog.written(&lot).is_empty() && confirm.try_recv().is_err());
        let lot = backlog.take().unwrap();
        assert_eq!((lot.entries.len(), backlog.written(&lot).len()), (1, 1));

        let body: Arc<[u8]> = vec![0; LOT_BYTES_MAX / 2].into();
        for offset in 0..3 {
            backlog.push(Pending::Stream { offset, body: Arc::clone(&body) });
        }
        assert_eq!(backlog.take().unwrap().entries.len(), 2);
    }

    #[test]
    fn only_what_still_waits_can_be_cancelled() {
        let mut backlog = Backlog::default();
        let taken = backlog.push(Pending::Remove { sequence: 1 });
        let lot = backlog.take().unwrap();
        assert!(!backlog.cancel(taken) && !backlog.cancel(WRITTEN));
        let waiting = backlog.push(Pending::Remove { sequence: 2 });
        assert!(backlog.cancel(waiting));
        assert_eq!(backlog.waiting_bytes, 0);
        backlog.written(&lot);
        assert!(backlog.take().unwrap().entries.is_empty(), "a cancelled slot is passed over");
        assert!(backlog.take().is_none());
    }
}
