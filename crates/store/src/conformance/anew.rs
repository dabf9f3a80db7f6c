//! A database that was put back from a backup.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use wire::{Event, Timestamp, Topic};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, granted, job, message, record},
};
use crate::model::{JournalChange, JournalMessage, Outbound};

/// Builds, their events, what is still to be published and named leases are of the new epoch, and so is each job's next attempt;
/// nothing is held any more, and the stream is another one.
pub async fn p3_a_restored_store_begins_anew_above_every_epoch(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let running = granted(&*store, &claim("linux", LONG)).await.job;
    let queued = message(Topic::Build(made.id), 1, 0, &Event::BuildQueued { pipeline: made.pipeline, retry: false });
    record(&*store, 5, vec![queued]).await;
    store.hold("relay", Uuid::new_v4(), LONG).await.unwrap().unwrap();
    store.put_sign_in_link("link", Timestamp(i64::MAX)).await.unwrap();
    let before = store.journal_load().await.unwrap();
    let waiting = |sequence, queue: &str| {
        JournalChange::Enqueue(JournalMessage { sequence, queue: queue.to_owned(), deliveries: 0, message: vec![1] })
    };
    let entry = JournalChange::Stream { offset: 0, body: Arc::from(&b"event"[..]) };
    store.journal_append(vec![waiting(0, "dead"), waiting(1, "gateway.a-1"), entry]).await.unwrap();

    assert_eq!(store.begin_anew(900, &["dead", "unrouted"]).await.unwrap(), 900);
    let loaded = store.load_build(made.id).await.unwrap().unwrap();
    assert_eq!(loaded.epoch, 900);
    let events = store.build_events(made.id, None, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| (event.epoch, event.offset)).collect::<Vec<_>>(), [(900, 0)]);
    assert_eq!(store.recorded(Topic::Build(made.id), 1).await.unwrap(), None);
    assert_eq!(store.recorded(Topic::Build(made.id), 900).await.unwrap().unwrap().offset, Some(0));
    for row in store.outbox(0, 100).await.unwrap() {
        if let Outbound::Event { message, .. } = row.outbound {
            assert_eq!(message.epoch, 900);
        }
    }
    let expired = store.expired_jobs(10).await.unwrap();
    assert_eq!(expired.iter().map(|one| one.lease.job).collect::<Vec<_>>(), [running]);
    let other = granted(&*store, &claim("linux", LONG)).await;
    assert_eq!(super::samples::find(&other.build, other.job).attempt, 900);
    let lease = store.hold("relay", Uuid::new_v4(), Duration::from_secs(1)).await.unwrap().unwrap();
    assert!(lease.term >= 900, "{}", lease.term);
    assert!(!store.sign_in_link("link").await.unwrap());
    assert!(store.group_place("recorder").await.unwrap().is_none());
    let journal = store.journal_load().await.unwrap();
    assert_ne!(journal.incarnation, before.incarnation);
    assert_eq!((journal.first, journal.next), (1, 1));
    assert_eq!(journal.messages.iter().map(|message| &*message.queue).collect::<Vec<_>>(), ["dead"]);
    // Once more, with a clock that has gone back: above what is there all the same.
    assert_eq!(store.begin_anew(2, &[]).await.unwrap(), 901);
}
