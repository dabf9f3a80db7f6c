//! The embedded broker's journal.

use std::sync::Arc;

use super::Fixture;
use crate::model::{JournalChange, JournalMessage};

fn message(sequence: u64, deliveries: u32) -> JournalMessage {
    let message = format!("body {sequence}").into_bytes();
    JournalMessage { sequence, queue: "control".to_owned(), deliveries, message }
}

fn entry(offset: u64) -> JournalChange {
    JournalChange::Stream { offset, body: Arc::from(format!("event {offset}").into_bytes()) }
}

/// Messages that were not settled, the stream, and its name, which is made once.
pub async fn p7_the_journal_comes_back_as_it_was_written(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let empty = store.journal_load().await.unwrap();
    assert_eq!((empty.first, empty.next, empty.messages.len()), (0, 0, 0));
    let mut changes: Vec<_> = (0..100).map(|sequence| JournalChange::Enqueue(message(sequence, 0))).collect();
    changes.extend((0..200).map(entry));
    changes.extend([JournalChange::Remove { sequence: 98 }, JournalChange::Enqueue(message(97, 2))]);
    store.journal_append(changes).await.unwrap();
    store.journal_append((0..90).map(|sequence| JournalChange::Remove { sequence }).collect()).await.unwrap();
    store.journal_append(Vec::new()).await.unwrap();
    let store = fixture.after_kill().await;
    let kept = store.journal_load().await.unwrap();
    assert_eq!((kept.incarnation, kept.first, kept.next), (empty.incarnation, 0, 200));
    let mut expected: Vec<_> = (90..97).map(|sequence| message(sequence, 0)).collect();
    expected.extend([message(97, 2), message(99, 0)]);
    assert_eq!(kept.messages, expected);
    let read = store.journal_read(150, 30).await.unwrap();
    let expected: Vec<_> = (150..180).map(|offset| (offset, format!("event {offset}").into_bytes())).collect();
    assert_eq!(read, expected);
}

/// What was trimmed is gone at once; offsets go on, also when nothing is left.
pub async fn a_trimmed_stream_keeps_its_offsets(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store.journal_append((0..3_000).map(entry).collect()).await.unwrap();
    store.journal_append(vec![JournalChange::Trim { first: 2_500 }]).await.unwrap();
    let kept = store.journal_load().await.unwrap();
    assert_eq!((kept.first, kept.next), (2_500, 3_000));
    assert_eq!(store.journal_read(0, 1).await.unwrap()[0].0, 2_500);
    for offset in 3_000..3_010 {
        store.journal_append(vec![entry(offset)]).await.unwrap();
    }
    assert_eq!(store.journal_read(0, 10_000).await.unwrap().len(), 510);
    store.journal_append(vec![JournalChange::Trim { first: 3_010 }]).await.unwrap();
    let store = fixture.after_kill().await;
    let kept = store.journal_load().await.unwrap();
    assert_eq!((kept.first, kept.next), (3_010, 3_010));
    assert!(store.journal_read(0, 10).await.unwrap().is_empty());
    store.journal_append(vec![entry(3_010)]).await.unwrap();
    assert_eq!(store.journal_load().await.unwrap().next, 3_011);
}
