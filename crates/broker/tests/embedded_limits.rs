//! How the embedded broker behaves at its limits: full graves, messages that nobody survives, a writer that dies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use broker::{
    BoxFuture, Broker, BrokerError, ConsumeOptions, Outgoing,
    embedded::{EmbeddedBroker, Journal, JournalEntry, Loaded, MemoryJournal, StreamEntries},
    topology::{self, Exchange, Queue, QueueKind},
};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

const WORK: &str = "tasks.any";
const ALONE: ConsumeOptions = ConsumeOptions { prefetch: 1, exclusive: false };

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap()
}

async fn start(journal: impl Journal) -> Arc<EmbeddedBroker> {
    let broker = EmbeddedBroker::start(Arc::new(journal), CancellationToken::new()).await.unwrap();
    let queue = Queue { name: WORK.to_owned(), kind: QueueKind::Work, bindings: Vec::new() };
    broker.declare(&queue).await.unwrap();
    broker
}

fn work(body: &str) -> Outgoing {
    Outgoing::new(Exchange::Direct, WORK, body.as_bytes().to_vec())
}

#[tokio::test]
async fn dead_letters_beyond_the_limit_push_out_the_oldest_and_a_restart_finds_no_more_of_them() {
    let journal = MemoryJournal::default();
    let broker = start(journal.reopen()).await;
    let mut consumer = broker.consume(WORK, ALONE).await.unwrap();
    for number in 0..topology::DEAD_LENGTH_MAX + 5 {
        drop(broker.publish(work(&number.to_string())));
        soon(consumer.next()).await.unwrap().reject("it makes no sense");
    }
    let limit = Some(topology::DEAD_LENGTH_MAX as u64);
    assert_eq!(broker.queue_length(topology::DEAD).await, Ok(limit));
    soon(broker.publish(work("written after all of them"))).await.unwrap();

    let broker = start(journal.reopen()).await;
    assert_eq!(broker.queue_length(topology::DEAD).await, Ok(limit));
    let mut dead = broker.consume(topology::DEAD, ALONE).await.unwrap();
    assert_eq!(&*soon(dead.next()).await.unwrap().message.body, b"5", "the oldest went first");
}

#[tokio::test]
async fn work_that_no_consumer_survives_becomes_a_dead_letter_at_last() {
    let broker = start(MemoryJournal::default()).await;
    drop(broker.publish(work("poison")));
    for _ in 0..topology::ABANDONED_LIMIT {
        let mut consumer = broker.consume(WORK, ALONE).await.unwrap();
        drop(soon(consumer.next()).await.unwrap());
    }
    assert_eq!(broker.queue_length(WORK).await, Ok(Some(0)));
    let mut dead = broker.consume(topology::DEAD, ALONE).await.unwrap();
    assert_eq!(&*soon(dead.next()).await.unwrap().message.body, b"poison");
}

/// A journal with a defect that it shows when it is told to.
struct Defective {
    memory: MemoryJournal,
    shows: Arc<AtomicBool>,
}

impl Journal for Defective {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, String>> {
        self.memory.load()
    }

    fn append(&self, entries: Vec<JournalEntry>) -> BoxFuture<'_, Result<(), String>> {
        assert!(!self.shows.load(Ordering::Relaxed), "the scripted journal fails");
        self.memory.append(entries)
    }

    fn read_stream(&self, from: u64, max: usize) -> BoxFuture<'_, Result<StreamEntries, String>> {
        self.memory.read_stream(from, max)
    }
}

#[tokio::test]
async fn a_writer_that_dies_fails_what_waits_and_what_comes_and_health_says_so() {
    let shows = Arc::new(AtomicBool::new(false));
    let broker = start(Defective { memory: MemoryJournal::default(), shows: Arc::clone(&shows) }).await;
    soon(broker.publish(work("good"))).await.unwrap();
    broker.health().await.unwrap();
    assert!(broker.failed().now_or_never().is_none());

    shows.store(true, Ordering::Relaxed);
    let waiting = [broker.publish(work("1")), broker.publish(work("2"))];
    for confirm in waiting {
        let outcome = soon(confirm).await;
        assert!(matches!(&outcome, Err(BrokerError::Unavailable(_))), "{outcome:?}");
    }
    assert!(soon(broker.failed()).await.contains("the scripted journal fails"));
    let later = broker.publish(work("3")).now_or_never();
    assert!(matches!(&later, Some(Err(BrokerError::Unavailable(reason))) if reason.contains("failed")), "{later:?}");
    assert!(matches!(broker.health().await, Err(BrokerError::Unavailable(_))));
    // Whoever waits for the end of a shutdown must not wait for a writer that is no more.
    soon(broker.finished()).await;
}

#[tokio::test]
async fn a_shutdown_is_no_failure() {
    let shutdown = CancellationToken::new();
    let broker = EmbeddedBroker::start(Arc::new(MemoryJournal::default()), shutdown.clone()).await.unwrap();
    shutdown.cancel();
    soon(broker.finished()).await;
    tokio::task::yield_now().await;
    assert!(broker.failed().now_or_never().is_none());
}

#[tokio::test]
async fn what_a_gateway_does_not_take_in_time_leaves_its_memory_events_for_the_record_and_callbacks_for_control() {
    let broker = start(MemoryJournal::default()).await;
    let server_id = wire::ServerId::new("gw", 0).unwrap();
    broker.declare(&topology::unrouted()).await.unwrap();
    broker.declare(&topology::gateway(&server_id, Duration::from_secs(60))).await.unwrap();
    let (topic, mib) = (wire::Topic::Job(wire::JobId(uuid::Uuid::nil())), vec![b'x'; 1 << 20]);
    let callback = Outgoing::new(Exchange::Utils, server_id.to_string(), mib.clone());
    soon(broker.publish(callback)).await.unwrap();
    let (fit, count) = (topology::GATEWAY_BYTES_MAX / mib.len(), topology::GATEWAY_BYTES_MAX / mib.len() + 10);
    for _ in 0..count {
        soon(broker.publish(Outgoing::event(Some(&server_id), topic, mib.clone()))).await.unwrap();
    }
    let queue = topology::gateway(&server_id, Duration::from_secs(60)).name;
    let held = broker.queue_length(&queue).await.unwrap().unwrap();
    assert_eq!(held, (count - fit - 1) as u64, "what came since it was broken off is there");
    assert_eq!(broker.queue_length(topology::UNROUTED).await, Ok(Some(1)), "the callback, and none of the events");
    assert_eq!(broker.stream_end().await.unwrap(), Some(count as u64), "the stream has every event");
}

#[tokio::test]
async fn p3_a_worker_whose_queue_lost_events_is_told_by_the_end_of_its_consumer() {
    let broker = start(MemoryJournal::default()).await;
    let server_id = wire::ServerId::new("gw", 0).unwrap();
    let queue = topology::gateway(&server_id, Duration::from_secs(60));
    broker.declare(&topology::unrouted()).await.unwrap();
    broker.declare(&queue).await.unwrap();
    let options = ConsumeOptions { prefetch: 1, exclusive: true };
    let mut slow = broker.consume(&queue.name, options).await.unwrap();
    let (topic, mib) = (wire::Topic::Job(wire::JobId(uuid::Uuid::nil())), vec![b'x'; 1 << 20]);
    for _ in 0..=topology::GATEWAY_BYTES_MAX / mib.len() {
        soon(broker.publish(Outgoing::event(Some(&server_id), topic, mib.clone()))).await.unwrap();
    }
    while let Some(delivery) = soon(slow.next()).await {
        drop(delivery);
    }
    let mut again = broker.consume(&queue.name, options).await.unwrap();
    soon(broker.publish(Outgoing::event(Some(&server_id), topic, b"{}".to_vec()))).await.unwrap();
    assert_eq!(&*soon(again.next()).await.unwrap().message.body, b"{}", "it goes on with what comes");
}
