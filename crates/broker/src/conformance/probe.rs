//! What the promises' functions have in common: fresh queues, messages that are told apart by their text, and waiting
//! with an upper bound.

use std::{future::Future, time::Duration};

use uuid::Uuid;

use super::PATIENCE;
use crate::{
    Broker, BrokerError, ConsumeOptions, Consumer, Delivery, Outgoing, StreamEntry, StreamReader,
    topology::{self, Exchange, Queue, QueueKind},
};

/// Long enough to play no part in a test.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// How often a state is looked at that no broker announces.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) const SHARED: ConsumeOptions = ConsumeOptions { prefetch: 100, exclusive: false };

/// Waits, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// A name that nobody had before.
pub(super) fn unique(prefix: &str) -> String {
    format!("{prefix}.t{}", Uuid::new_v4().simple())
}

/// A work queue, declared, bound to `tasks` by its own name.
pub(super) async fn work(broker: &dyn Broker) -> Queue {
    let name = unique("tasks");
    declared(broker, Queue { bindings: vec![name.clone()], name, kind: QueueKind::Work }).await
}

/// A gateway's queue, declared, bound to `utils` by its own name, with times that play no part.
pub(super) async fn gateway(broker: &dyn Broker) -> Queue {
    let name = unique("gateway");
    let kind = QueueKind::Gateway { expires: LONG * 2, message_ttl: LONG };
    declared(broker, Queue { bindings: vec![name.clone()], name, kind }).await
}

/// A private queue, declared, bound to `utils` by its own name.
pub(super) async fn private(broker: &dyn Broker) -> Queue {
    let name = unique("reply");
    declared(broker, Queue { bindings: vec![name.clone()], name, kind: QueueKind::Private }).await
}

pub(super) async fn declared(broker: &dyn Broker, queue: Queue) -> Queue {
    soon("declaring", broker.declare(&queue)).await.unwrap();
    queue
}

pub(super) async fn consume(broker: &dyn Broker, queue: &str) -> Consumer {
    soon("consuming", broker.consume(queue, SHARED)).await.unwrap()
}

/// A message to a queue by its name.
pub(super) fn to(queue: &Queue, text: &str) -> Outgoing {
    Outgoing::new(Exchange::Direct, queue.name.clone(), json(text))
}

/// A message to `utils`.
pub(super) fn utils(key: &str, text: &str) -> Outgoing {
    Outgoing::new(Exchange::Utils, key, json(text))
}

pub(super) fn json(text: &str) -> Vec<u8> {
    format!("{{\"text\":\"{text}\"}}").into_bytes()
}

/// Publishes and waits for the confirm.
pub(super) async fn confirmed(broker: &dyn Broker, message: Outgoing) -> Result<(), BrokerError> {
    soon("the confirm", broker.publish(message)).await
}

/// Publishes, waits for the confirm and wants it to be good.
pub(super) async fn send(broker: &dyn Broker, message: Outgoing) {
    confirmed(broker, message).await.unwrap();
}

pub(super) async fn next(consumer: &mut Consumer) -> Delivery {
    soon("a delivery", consumer.next()).await.expect("the consumer must not end")
}

/// The text of a message.
pub(super) fn text(body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    body.strip_prefix("{\"text\":\"").and_then(|rest| rest.strip_suffix("\"}")).unwrap_or(body).to_owned()
}

/// Acks the next `count` deliveries and gives their texts.
pub(super) async fn texts(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let delivery = next(consumer).await;
        texts.push(text(&delivery.message.body));
        delivery.ack();
    }
    texts
}

/// The next text, proven to be all there is: the message is followed by one that is published now.
pub(super) async fn nothing_more(broker: &dyn Broker, queue: &Queue, consumer: &mut Consumer) {
    send(broker, to(queue, "nothing more")).await;
    assert_eq!(texts(consumer, 1).await, ["nothing more"], "queue {} held more than it should", queue.name);
}

/// Finds a message in one of the shared queues `unrouted` and `dead`; what others left there is thrown away.
pub(super) async fn find(broker: &dyn Broker, shared: &str, message_id: Uuid) -> crate::Incoming {
    let (_, found) = take_until(broker, shared, message_id).await;
    found
}

/// As [`find`], together with what stood before it.
pub(super) async fn take_until(
    broker: &dyn Broker,
    shared: &str,
    message_id: Uuid,
) -> (Vec<crate::Incoming>, crate::Incoming) {
    let mut consumer = consume(broker, shared).await;
    let mut before = Vec::new();
    loop {
        let delivery = next(&mut consumer).await;
        let message = delivery.message.clone();
        delivery.ack();
        if message.message_id == message_id {
            return (before, message);
        }
        before.push(message);
    }
}

/// Waits until a queue holds `length` messages (none: until it is gone). No broker announces that, so it is asked again.
pub(super) async fn until_length(broker: &dyn Broker, queue: &str, length: Option<u64>) {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    soon(&format!("queue {queue} with length {length:?}"), async {
        while broker.queue_length(queue).await.unwrap() != length {
            look.tick().await;
        }
    })
    .await;
}

/// An event with a text that nobody used before, and that text. It goes to the stream and to whoever is bound to its key.
pub(super) fn event(key: &str) -> (Outgoing, String) {
    let text = Uuid::new_v4().to_string();
    let mut message = utils(key, &text);
    message.stream = true;
    (message, text)
}

/// Reads on until the entry with this text; others' entries are passed over.
pub(super) async fn find_entry(reader: &mut StreamReader, wanted: &str) -> StreamEntry {
    soon("the stream's entry", async {
        loop {
            // One by one, so that nothing behind the entry is lost.
            for entry in reader.next_batch(1).await.unwrap() {
                if text(&entry.body) == wanted {
                    return entry;
                }
            }
        }
    })
    .await
}

/// Reads on until all these texts came and gives their entries in the order of the stream.
pub(super) async fn find_entries(reader: &mut StreamReader, wanted: &[String]) -> Vec<StreamEntry> {
    let mut found = Vec::new();
    soon("the stream's entries", async {
        while found.len() < wanted.len() {
            let batch = reader.next_batch(wanted.len()).await.unwrap();
            assert!((1..=wanted.len()).contains(&batch.len()), "a batch of {} was given", batch.len());
            found.extend(batch.into_iter().filter(|entry| wanted.contains(&text(&entry.body))));
        }
    })
    .await;
    found
}

/// The queue of dead letters of a queue's kind.
pub(super) fn grave(kind: &QueueKind) -> &'static str {
    if *kind == QueueKind::Work { topology::DEAD } else { topology::UNROUTED }
}
