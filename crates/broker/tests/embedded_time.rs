//! What time does to messages and queues of the embedded broker. The clock is moved, never waited for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use broker::{
    Broker, ConsumeOptions, Incoming, Outgoing,
    embedded::{EmbeddedBroker, MemoryJournal, ORPHAN_PATIENCE},
    topology::{self, Exchange, Queue, QueueKind},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const OPTIONS: ConsumeOptions = ConsumeOptions { prefetch: 10, exclusive: false };
/// Longer than any deadline here, so that what never comes ends the test.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);
const A_LITTLE: Duration = Duration::from_millis(20);

async fn start(journal: MemoryJournal) -> Arc<EmbeddedBroker> {
    EmbeddedBroker::start(Arc::new(journal), CancellationToken::new()).await.unwrap()
}

fn gateway(expires: u64, message_ttl: u64) -> Queue {
    let (expires, message_ttl) = (Duration::from_secs(expires), Duration::from_secs(message_ttl));
    let kind = QueueKind::Gateway { expires, message_ttl };
    Queue { name: "gateway.a-0".to_owned(), kind, bindings: vec!["a-0".to_owned()] }
}

fn callback(body: &str) -> Outgoing {
    Outgoing::new(Exchange::Utils, "a-0", body.as_bytes().to_vec())
}

/// The next message of a shared queue, and how long it took to come.
async fn next(broker: &EmbeddedBroker, queue: &str) -> (Incoming, Duration) {
    let since = Instant::now();
    let mut consumer = broker.consume(queue, OPTIONS).await.unwrap();
    let delivery = tokio::time::timeout(FOR_EVER, consumer.next()).await.unwrap().unwrap();
    let message = delivery.message.clone();
    delivery.ack();
    (message, since.elapsed())
}

fn about(expected: Duration, took: Duration) {
    assert!((expected..expected + A_LITTLE).contains(&took), "it took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_callback_waits_for_its_gateway_exactly_as_long_as_it_may() {
    let broker = start(MemoryJournal::default()).await;
    broker.declare(&gateway(300, 240)).await.unwrap();
    broker.publish(callback("first")).await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    broker.publish(callback("second")).await.unwrap();
    let (message, took) = next(&broker, topology::UNROUTED).await;
    assert_eq!(&*message.body, b"first");
    assert_eq!(message.death.unwrap(), "it waited longer than 240 s for its gateway");
    about(Duration::from_secs(140), took);
    // The queue goes first now: what still waits there goes before it.
    let (message, took) = next(&broker, topology::UNROUTED).await;
    assert_eq!(&*message.body, b"second");
    assert_eq!(message.death.unwrap(), "its gateway was away for 300 s");
    about(Duration::from_secs(60), took);
    assert_eq!(broker.queue_length("gateway.a-0").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_gives_back_keeps_its_time() {
    let broker = start(MemoryJournal::default()).await;
    broker.declare(&gateway(3000, 240)).await.unwrap();
    broker.publish(callback("held")).await.unwrap();
    let mut consumer = broker.consume("gateway.a-0", OPTIONS).await.unwrap();
    let held = consumer.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(200)).await;
    drop((held, consumer));
    let (message, took) = next(&broker, topology::UNROUTED).await;
    assert_eq!(&*message.body, b"held");
    about(Duration::from_secs(40), took);
}

#[tokio::test(start_paused = true)]
async fn declaring_a_gateways_queue_again_is_a_use_of_it() {
    let broker = start(MemoryJournal::default()).await;
    let queue = gateway(300, 240);
    broker.declare(&queue).await.unwrap();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(299)).await;
        broker.declare(&queue).await.unwrap();
    }
    assert_eq!(broker.queue_length(&queue.name).await, Ok(Some(0)));
}

#[tokio::test(start_paused = true)]
async fn p4_a_callback_whose_gateway_does_not_come_back_after_a_restart_is_unrouted_and_work_waits_on() {
    let journal = MemoryJournal::default();
    let broker = start(journal.reopen()).await;
    let task = Queue { name: "tasks.rare".to_owned(), kind: QueueKind::Work, bindings: Vec::new() };
    broker.declare(&task).await.unwrap();
    broker.declare(&gateway(300, 240)).await.unwrap();
    broker.publish(Outgoing::new(Exchange::Direct, "tasks.rare", b"work".to_vec())).await.unwrap();
    broker.publish(callback("lonely")).await.unwrap();

    let broker = start(journal.reopen()).await;
    let (message, took) = next(&broker, topology::UNROUTED).await;
    assert_eq!(&*message.body, b"lonely");
    assert!(message.death.unwrap().contains("gateway.a-0 did not come back"));
    about(ORPHAN_PATIENCE, took);
    broker.declare(&task).await.unwrap();
    assert_eq!(&*next(&broker, "tasks.rare").await.0.body, b"work");
}
