//! The embedded broker's journal in a store, for tests that hand messages in while no server runs.

use std::sync::Arc;

use broker::embedded::{Journal, JournalEntry, KeptMessage, Loaded};
use store::{
    Store,
    model::{JournalChange, JournalMessage},
};

/// A journal in a store.
pub(crate) struct InStore(pub(crate) Arc<dyn Store>);

impl Journal for InStore {
    fn load(&self) -> broker::BoxFuture<'_, Result<Loaded, String>> {
        Box::pin(async {
            let contents = self.0.journal_load().await.map_err(|failure| failure.to_string())?;
            let messages = contents.messages.into_iter().map(|kept| KeptMessage {
                sequence: kept.sequence,
                queue: kept.queue,
                deliveries: kept.deliveries,
                message: kept.message,
            });
            Ok(Loaded {
                incarnation: contents.incarnation,
                first: contents.first,
                next: contents.next,
                messages: messages.collect(),
            })
        })
    }

    fn append(&self, entries: Vec<JournalEntry>) -> broker::BoxFuture<'_, Result<(), String>> {
        let changes = entries.into_iter().map(|entry| match entry {
            JournalEntry::Enqueue(kept) => JournalChange::Enqueue(JournalMessage {
                sequence: kept.sequence,
                queue: kept.queue,
                deliveries: kept.deliveries,
                message: kept.message,
            }),
            JournalEntry::Remove { sequence } => JournalChange::Remove { sequence },
            JournalEntry::Stream { offset, body } => JournalChange::Stream { offset, body },
            JournalEntry::Trim { first } => JournalChange::Trim { first },
        });
        let changes = changes.collect();
        Box::pin(async move { self.0.journal_append(changes).await.map_err(|failure| failure.to_string()) })
    }

    fn read_stream(&self, from: u64, max: usize) -> broker::BoxFuture<'_, Result<Vec<(u64, Vec<u8>)>, String>> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        Box::pin(async move { self.0.journal_read(from, max).await.map_err(|failure| failure.to_string()) })
    }
}
