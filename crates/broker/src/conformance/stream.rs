//! The stream keeps its offsets.

use uuid::Uuid;

use super::{
    Fixture,
    probe::{
        LOOK_AGAIN, consume, event, find_entries, find_entry, json, nothing_more, private, send, soon, text, unique,
    },
};
use crate::{
    Outgoing, StreamError, StreamFrom, StreamReader,
    topology::{self, Exchange},
};

async fn read(fixture: &impl Fixture, from: StreamFrom) -> Result<StreamReader, StreamError> {
    soon("reading", fixture.broker().read_stream(from)).await
}

/// Publishes events, waits for the confirm of each, and gives their texts.
async fn publish(fixture: &impl Fixture, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let (message, text) = event(&unique("job"));
        send(&*fixture.broker(), message).await;
        texts.push(text);
    }
    texts
}

/// Entries stand in the order of the calls, and offsets rise.
pub async fn the_stream_keeps_the_order(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let mut expected = Vec::new();
    for _ in 0..1_000 {
        let (message, text) = event(&unique("job"));
        expected.push(text);
        drop(broker.publish(message));
    }
    let found = find_entries(&mut reader, &expected).await;
    assert_eq!(found.iter().map(|entry| text(&entry.body)).collect::<Vec<_>>(), expected);
    assert!(found.is_sorted_by(|a, b| a.offset < b.offset), "offsets must rise");
}

/// From the oldest, from now on, and from behind an offset.
pub async fn a_reader_begins_where_it_asks(fixture: &impl Fixture) {
    let before = publish(fixture, 3).await;
    let mut from_next = read(fixture, StreamFrom::Next).await.unwrap();
    let after = publish(fixture, 2).await;
    let mut from_first = read(fixture, StreamFrom::First).await.unwrap();
    let mut all = before.clone();
    all.extend(after.iter().cloned());
    let found = find_entries(&mut from_first, &all).await;
    assert_eq!(found.iter().map(|entry| text(&entry.body)).collect::<Vec<_>>(), all);

    let next = soon("an entry", from_next.next_batch(1)).await.unwrap();
    assert_eq!(text(&next[0].body), after[0], "a reader from now on was given something older");

    let from = StreamFrom::After { incarnation: from_first.incarnation, offset: found[1].offset };
    let mut from_middle = read(fixture, from).await.unwrap();
    let next = soon("an entry", from_middle.next_batch(1)).await.unwrap();
    assert_eq!((next[0].offset, text(&next[0].body)), (found[2].offset, all[2].clone()));
}

/// What is published to the stream's name is in the stream, and with nobody who watches topics.
pub async fn the_stream_is_published_to_by_its_name(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let watcher = private(&*broker).await;
    broker.bind(&watcher.name, "#").await.unwrap();
    let mut watching = consume(&*broker, &watcher.name).await;
    let text = Uuid::new_v4().to_string();
    let mut message = Outgoing::new(Exchange::Direct, topology::EVENTS, json(&text));
    message.mandatory = true;
    send(&*broker, message).await;
    find_entry(&mut reader, &text).await;
    nothing_more(&*broker, &watcher, &mut watching).await;
}

/// Readers do not take entries from each other, and one that waits is woken.
pub async fn readers_are_independent(fixture: &impl Fixture) {
    let mut one = read(fixture, StreamFrom::Next).await.unwrap();
    let mut two = read(fixture, StreamFrom::Next).await.unwrap();
    assert_eq!(one.incarnation, two.incarnation);
    let (batch, sent) = tokio::join!(soon("an entry", one.next_batch(10)), publish(fixture, 2));
    assert!(sent.contains(&text(&batch.unwrap()[0].body)));
    let found = find_entries(&mut two, &sent).await;
    assert_eq!(found.len(), 2);
}

/// An entry has the same offset, in the same incarnation, after the broker was killed; new ones get higher offsets.
pub async fn offsets_and_incarnation_survive_a_restart(fixture: &impl Fixture) {
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let texts = publish(fixture, 3).await;
    let before = find_entries(&mut reader, &texts).await;
    let incarnation = reader.incarnation;
    fixture.restart().await;
    let mut reader = read(fixture, StreamFrom::First).await.unwrap();
    assert_eq!(reader.incarnation, incarnation);
    let after = find_entries(&mut reader, &texts).await;
    let offsets = |entries: &[crate::StreamEntry]| entries.iter().map(|entry| entry.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&after), offsets(&before));
    let later = publish(fixture, 1).await;
    assert!(find_entry(&mut reader, &later[0]).await.offset > before[2].offset);
}

/// A place in another incarnation is refused, never taken for one in this.
pub async fn another_incarnation_is_told(fixture: &impl Fixture) {
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let texts = publish(fixture, 1).await;
    let offset = find_entry(&mut reader, &texts[0]).await.offset;
    let refused = read(fixture, StreamFrom::After { incarnation: Uuid::new_v4(), offset }).await.err();
    assert_eq!(refused, Some(StreamError::Anew { now: reader.incarnation }));
}

/// A place whose successors were trimmed is refused; the oldest entry that is left can be had.
pub async fn a_trimmed_place_is_told(fixture: &impl Fixture) {
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let incarnation = reader.incarnation;
    let texts = publish(fixture, 5).await;
    let entries = find_entries(&mut reader, &texts).await;
    let Some(trimmed) = fixture.trim_stream(entries[2].offset) else { return };
    trimmed.await;
    let asked = entries[0].offset;
    match read(fixture, StreamFrom::After { incarnation, offset: asked }).await.err() {
        Some(StreamError::Trimmed { asked: told, first }) => {
            assert_eq!(told, asked);
            assert!(first > entries[2].offset, "the oldest is said to be {first}");
        }
        other => panic!("a trimmed place gave {other:?}"),
    }
    let mut left = read(fixture, StreamFrom::After { incarnation, offset: entries[2].offset }).await.unwrap();
    assert_eq!(text(&soon("an entry", left.next_batch(1)).await.unwrap()[0].body), texts[3]);
    let mut oldest = read(fixture, StreamFrom::First).await.unwrap();
    assert_eq!(find_entry(&mut oldest, &texts[3]).await.offset, entries[3].offset);
}

/// It is behind what was confirmed before, or a few entries short of it.
pub async fn the_streams_end_is_told(fixture: &impl Fixture) {
    let mut reader = read(fixture, StreamFrom::Next).await.unwrap();
    let texts = publish(fixture, 5).await;
    let found = find_entries(&mut reader, &texts).await;
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let end = soon("the end", async {
        loop {
            // A broker over a network may not learn it in time.
            if let Some(end) = fixture.broker().stream_end().await.unwrap() {
                break end;
            }
            look.tick().await;
        }
    })
    .await;
    assert!(end > found[0].offset, "{end} is the end of what begins at {}", found[0].offset);
}
