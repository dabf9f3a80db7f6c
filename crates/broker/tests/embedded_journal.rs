//! What the embedded broker promises of its journal: nothing is confirmed before it is written, what gathers is written
//! at once, and a journal that fails costs patience and nothing else. Commits are held and let go by the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Delivery, Outgoing, StreamError, StreamFrom,
    embedded::{EmbeddedBroker, Journal, JournalEntry, KeptMessage, Loaded, MemoryJournal, StreamEntries},
    topology::{self, Exchange, Queue, QueueKind},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tells what the broker writes, when it begins to write it.
struct Watched {
    memory: MemoryJournal,
    begun: mpsc::UnboundedSender<Vec<JournalEntry>>,
}

impl Journal for Watched {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, String>> {
        self.memory.load()
    }

    fn append(&self, entries: Vec<JournalEntry>) -> BoxFuture<'_, Result<(), String>> {
        let _ = self.begun.send(entries.clone());
        self.memory.append(entries)
    }

    fn read_stream(&self, from: u64, max: usize) -> BoxFuture<'_, Result<StreamEntries, String>> {
        self.memory.read_stream(from, max)
    }
}

struct Scene {
    broker: Arc<EmbeddedBroker>,
    journal: Arc<Watched>,
    begun: mpsc::UnboundedReceiver<Vec<JournalEntry>>,
    shutdown: CancellationToken,
}

const WORK: &str = "tasks.any";
const ALL: ConsumeOptions = ConsumeOptions { prefetch: 1000, exclusive: false };

impl Scene {
    async fn start() -> Self {
        Self::on(MemoryJournal::default()).await
    }

    async fn on(memory: MemoryJournal) -> Self {
        let (sender, begun) = mpsc::unbounded_channel();
        let journal = Arc::new(Watched { memory, begun: sender });
        let shutdown = CancellationToken::new();
        let broker = EmbeddedBroker::start(Arc::clone(&journal) as _, shutdown.clone()).await.unwrap();
        let queue = Queue { name: WORK.to_owned(), kind: QueueKind::Work, bindings: Vec::new() };
        broker.declare(&queue).await.unwrap();
        Self { broker, journal, begun, shutdown }
    }

    /// The journal waits with a first message in its hands; what is published from now on gathers.
    async fn held() -> (Self, Confirm) {
        let mut scene = Self::start().await;
        scene.journal.memory.hold();
        let confirm = scene.broker.publish(work("held"));
        let lot = scene.lot().await;
        assert_eq!(lot.len(), 1);
        (scene, confirm)
    }

    /// What the broker writes next.
    async fn lot(&mut self) -> Vec<JournalEntry> {
        soon(self.begun.recv()).await.unwrap()
    }

    async fn consumer(&self) -> Consumer {
        self.broker.consume(WORK, ALL).await.unwrap()
    }

    /// Starts anew on the same data, the former broker being cut off.
    async fn killed(self) -> Self {
        Self::on(self.journal.memory.reopen()).await
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap()
}

fn work(body: &str) -> Outgoing {
    Outgoing::new(Exchange::Direct, WORK, body.as_bytes().to_vec())
}

fn event(body: &str) -> Outgoing {
    let mut message = Outgoing::new(Exchange::Utils, "job.1", body.as_bytes().to_vec());
    message.stream = true;
    message
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}

async fn next(consumer: &mut Consumer) -> Delivery {
    soon(consumer.next()).await.unwrap()
}

/// `e3` for the stream's entry 3, `+` for an enqueue, `-` for a removal.
fn shape(lot: &[JournalEntry]) -> Vec<String> {
    let name = |entry: &JournalEntry| match entry {
        JournalEntry::Enqueue(kept) => format!("+{}", kept.sequence),
        JournalEntry::Remove { sequence } => format!("-{sequence}"),
        JournalEntry::Stream { offset, .. } => format!("e{offset}"),
        JournalEntry::Trim { first } => format!("t{first}"),
    };
    lot.iter().map(name).collect()
}

#[tokio::test]
async fn p7_nothing_is_confirmed_or_read_from_the_stream_before_the_commit_and_consumers_do_not_wait_for_it() {
    let (scene, mut held) = Scene::held().await;
    let mut reader = scene.broker.read_stream(StreamFrom::First).await.unwrap();
    let mut consumer = scene.consumer().await;
    let mut confirm = scene.broker.publish(event("an event"));
    assert_eq!(body(&next(&mut consumer).await), "held");
    assert_eq!((&mut held).now_or_never(), None);
    assert_eq!((&mut confirm).now_or_never(), None);
    assert!(reader.next_batch(10).now_or_never().is_none(), "an entry was read before it was committed");
    scene.journal.memory.release();
    soon(held).await.unwrap();
    soon(confirm).await.unwrap();
    assert_eq!(&*reader.next_batch(10).now_or_never().unwrap().unwrap()[0].body, b"an event");
}

#[tokio::test]
async fn what_gathers_during_a_commit_is_written_in_one_call_and_in_order() {
    let (mut scene, held) = Scene::held().await;
    let mut confirms = vec![held];
    for message in [work("1"), event("2"), work("3"), event("4")] {
        confirms.push(scene.broker.publish(message));
    }
    scene.journal.memory.release();
    assert_eq!(shape(&scene.lot().await), ["+1", "e0", "+2", "e1"]);
    for confirm in confirms {
        soon(confirm).await.unwrap();
    }
}

#[tokio::test]
async fn confirms_of_one_commit_are_settled_in_the_order_of_the_calls() {
    let (scene, held) = Scene::held().await;
    let publish = |number: usize| scene.broker.publish(work(&number.to_string())).map(move |_| number);
    let mut confirms: FuturesUnordered<_> = (0..50).map(publish).collect();
    // All of them wait from here on, and come out in the order in which they are woken.
    assert!(confirms.next().now_or_never().is_none());
    scene.journal.memory.release();
    soon(held).await.unwrap();
    assert_eq!(soon(confirms.collect::<Vec<_>>()).await, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_that_was_settled_before_it_was_written_leaves_no_trace() {
    let (mut scene, held) = Scene::held().await;
    let mut consumer = scene.consumer().await;
    let confirm = scene.broker.publish(work("fast"));
    next(&mut consumer).await.ack();
    next(&mut consumer).await.ack();
    scene.journal.memory.release();
    assert_eq!(shape(&scene.lot().await), ["-0"], "the first was being written when it was acked, the second was not");
    soon(held).await.unwrap();
    soon(confirm).await.unwrap();
    let mut again = scene.killed().await.consumer().await;
    assert!(again.try_next().is_none());
}

#[tokio::test]
async fn a_delivery_before_the_write_is_counted_in_it() {
    let (mut scene, _held) = Scene::held().await;
    let mut consumer = scene.consumer().await;
    drop(scene.broker.publish(work("delivered")));
    drop(scene.broker.publish(work("waiting")));
    let _first = next(&mut consumer).await;
    let _second = next(&mut consumer).await;
    scene.journal.memory.release();
    let deliveries = |entry: &JournalEntry| match entry {
        JournalEntry::Enqueue(kept) => kept.deliveries,
        other => panic!("{other:?} was written"),
    };
    assert_eq!(scene.lot().await.iter().map(deliveries).collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn while_the_journal_fails_confirms_wait_health_tells_why_and_the_order_holds() {
    let mut scene = Scene::start().await;
    scene.journal.memory.fail("the disk is full");
    let mut confirms: Vec<Confirm> = ["1", "2"].map(|body| scene.broker.publish(work(body))).into();
    let first = scene.lot().await;
    confirms.push(scene.broker.publish(event("3")));
    // The second try begins when the first has failed and the broker has said so.
    assert_eq!(scene.lot().await, first);
    let health = scene.broker.health().await;
    assert!(
        matches!(&health, Err(BrokerError::Unavailable(reason)) if reason.contains("the disk is full")),
        "{health:?}"
    );
    assert!(confirms.iter_mut().all(|confirm| confirm.now_or_never().is_none()));
    let mut consumer = scene.consumer().await;
    let delivered = [next(&mut consumer).await, next(&mut consumer).await];
    assert_eq!(delivered.each_ref().map(body), ["1", "2"], "consumers do not wait for the disk");
    scene.journal.memory.recover();
    for confirm in confirms {
        soon(confirm).await.unwrap();
    }
    scene.broker.health().await.unwrap();
    let mut lots = Vec::new();
    while let Ok(lot) = scene.begun.try_recv() {
        lots.push(shape(&lot));
    }
    assert_eq!(lots.last().unwrap(), &["e0"], "the later lot came last: {lots:?}");
}

#[tokio::test]
async fn beyond_the_backlogs_limit_publishers_are_refused_and_nothing_of_it_is_delivered() {
    const MIB: usize = 1024 * 1024;
    let (scene, held) = Scene::held().await;
    let large: Arc<[u8]> = vec![b' '; MIB].into();
    let mut accepted = vec![held];
    let refused = loop {
        let mut message = work("");
        message.body = Arc::clone(&large);
        let mut confirm = scene.broker.publish(message);
        match (&mut confirm).now_or_never() {
            None => accepted.push(confirm),
            Some(refused) => break refused,
        }
        assert!(accepted.len() < 100, "the backlog has no limit");
    };
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    assert!(accepted.len() > 60, "only {} messages were accepted", accepted.len());
    assert_eq!(scene.broker.queue_length(WORK).await, Ok(Some(accepted.len() as u64)));
    let refused = scene.broker.publish(event("too much")).now_or_never();
    assert!(matches!(refused, Some(Err(BrokerError::Unavailable(_)))), "{refused:?}");
    let mut request = work("a request needs no disk");
    request.reply_to = Some("reply.x".to_owned());
    assert_eq!(scene.broker.publish(request).now_or_never(), Some(Ok(())));

    scene.journal.memory.release();
    for confirm in accepted {
        soon(confirm).await.unwrap();
    }
    soon(scene.broker.publish(event("room again"))).await.unwrap();
    let mut reader = scene.broker.read_stream(StreamFrom::First).await.unwrap();
    let batch = soon(reader.next_batch(10)).await.unwrap();
    assert_eq!(batch.iter().map(|entry| &*entry.body).collect::<Vec<_>>(), [b"room again"]);
}

#[tokio::test]
async fn what_needs_no_disk_is_not_written() {
    let mut scene = Scene::start().await;
    let kind = QueueKind::Gateway { expires: Duration::from_secs(300), message_ttl: Duration::from_secs(240) };
    let gateway = Queue { name: "gateway.a-0".to_owned(), kind, bindings: vec!["a-0".to_owned()] };
    let private = Queue { name: "reply.x".to_owned(), kind: QueueKind::Private, bindings: Vec::new() };
    scene.broker.declare(&gateway).await.unwrap();
    scene.broker.declare(&private).await.unwrap();
    scene.journal.memory.hold();

    let mut request = Outgoing::new(Exchange::Direct, topology::CONTROL, b"1".to_vec());
    request.reply_to = Some(private.name.clone());
    assert_eq!(scene.broker.publish(request).now_or_never(), Some(Ok(())));
    let answer = Outgoing::new(Exchange::Direct, private.name, b"2".to_vec());
    assert_eq!(scene.broker.publish(answer).now_or_never(), Some(Ok(())));

    let mut event = event("3");
    event.cc = vec!["a-0".to_owned()];
    drop(scene.broker.publish(event));
    assert_eq!(shape(&scene.lot().await), ["e0"], "the gateway's copy of an event stands in the stream");

    // A callback stands nowhere else, and its reply_to is for the receipt.
    let mut callback = Outgoing::new(Exchange::Utils, "a-0", b"4".to_vec());
    callback.reply_to = Some("reply.y".to_owned());
    drop(scene.broker.publish(callback));
    scene.journal.memory.release();
    assert_eq!(shape(&scene.lot().await), ["+0"]);
    assert_eq!(scene.broker.queue_length(&gateway.name).await, Ok(Some(2)));
}

#[tokio::test]
async fn p7_a_killed_broker_confirms_nothing_that_the_next_one_does_not_have() {
    let (scene, mut held) = Scene::held().await;
    let (old, shutdown) = (Arc::clone(&scene.broker), scene.shutdown.clone());
    let memory = scene.journal.memory.reopen();
    memory.release();
    let anew = Scene::on(memory).await;
    assert!(anew.consumer().await.try_next().is_none());
    shutdown.cancel();
    soon(old.finished()).await;
    assert!(matches!((&mut held).now_or_never(), Some(Err(BrokerError::Unavailable(_)))));
}

#[tokio::test]
async fn a_shutdown_writes_what_was_handed_over_and_takes_nothing_more() {
    let scene = Scene::start().await;
    let mut reader = scene.broker.read_stream(StreamFrom::Next).await.unwrap();
    let mut consumer = scene.broker.consume(topology::DEAD, ALL).await.unwrap();
    // Both are waiting when the broker ends.
    let waiting = tokio::spawn(async move { (consumer.next().await.is_none(), reader.next_batch(1).await) });
    let confirms: Vec<Confirm> = (0..5_000).map(|number| scene.broker.publish(work(&number.to_string()))).collect();
    scene.shutdown.cancel();
    soon(scene.broker.finished()).await;
    for confirm in confirms {
        soon(confirm).await.unwrap();
    }
    let (ended, read) = soon(waiting).await.unwrap();
    assert!(ended);
    assert!(matches!(read, Err(StreamError::Broker(BrokerError::Unavailable(_)))));
    let refused = scene.broker.publish(work("late")).now_or_never();
    assert!(matches!(refused, Some(Err(BrokerError::Unavailable(_)))), "{refused:?}");
    assert!(scene.broker.health().await.is_err());
    assert_eq!(scene.killed().await.broker.queue_length(WORK).await, Ok(Some(5_000)));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_with_a_journal_that_fails_or_hangs() {
    for hangs in [false, true] {
        let mut scene = Scene::start().await;
        if hangs {
            scene.journal.memory.hold();
        } else {
            scene.journal.memory.fail("the disk is full");
        }
        let confirm = scene.broker.publish(work("1"));
        scene.lot().await;
        scene.shutdown.cancel();
        soon(scene.broker.finished()).await;
        assert!(matches!(soon(confirm).await, Err(BrokerError::Unavailable(_))));
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_becomes_a_dead_letter() {
    let memory = MemoryJournal::default();
    let damaged = KeptMessage { sequence: 7, queue: WORK.to_owned(), deliveries: 0, message: b"damaged".to_vec() };
    memory.append(vec![JournalEntry::Enqueue(damaged)]).await.unwrap();
    let mut scene = Scene::on(memory).await;
    let mut dead = scene.broker.consume(topology::DEAD, ALL).await.unwrap();
    let delivery = next(&mut dead).await;
    assert_eq!(body(&delivery), "damaged");
    assert!(delivery.message.death.as_ref().unwrap().contains("could not be read"));
    delivery.ack();
    assert_eq!(shape(&scene.lot().await), ["-7"]);
    drop(scene.broker.publish(work("next")));
    assert_eq!(shape(&scene.lot().await), ["+8"], "sequences go on behind the highest that was kept");
}

#[tokio::test]
async fn a_reader_far_behind_reads_the_journal_and_then_the_memory_without_a_seam() {
    const COUNT: usize = 80;
    let scene = Scene::start().await;
    // Twice what the memory keeps.
    let padding = " ".repeat(1024 * 1024 - 8);
    for number in 0..COUNT {
        soon(scene.broker.publish(event(&format!("{padding}{number}")))).await.unwrap();
    }
    let mut reader = scene.broker.read_stream(StreamFrom::First).await.unwrap();
    assert_eq!(reader.lag(), COUNT as u64);
    let mut read = Vec::new();
    while read.len() < COUNT {
        for entry in soon(reader.next_batch(7)).await.unwrap() {
            let number: usize = std::str::from_utf8(&entry.body).unwrap().trim().parse().unwrap();
            read.push((entry.offset, number));
        }
    }
    assert_eq!(read, (0..COUNT).map(|number| (number as u64, number)).collect::<Vec<_>>());
    assert_eq!(reader.lag(), 0);
}

#[tokio::test]
async fn trimming_forgets_nothing_that_is_not_written_and_holds_after_a_restart() {
    let (scene, held) = Scene::held().await;
    let confirm = scene.broker.publish(event("0"));
    let early = scene.broker.trim_stream(1);
    assert_eq!(scene.broker.stream_range(), 0..0, "the entry is not on the disk yet");
    scene.journal.memory.release();
    for confirm in [held, confirm, early] {
        soon(confirm).await.unwrap();
    }
    soon(scene.broker.publish(event("1"))).await.unwrap();
    let mut reader = scene.broker.read_stream(StreamFrom::First).await.unwrap();
    soon(scene.broker.trim_stream(1)).await.unwrap();
    assert_eq!(soon(reader.next_batch(1)).await.unwrap_err(), StreamError::Trimmed { asked: 0, first: 1 });
    let scene = scene.killed().await;
    assert_eq!(scene.broker.stream_range(), 1..2);
    let mut reader = scene.broker.read_stream(StreamFrom::First).await.unwrap();
    assert_eq!(&*soon(reader.next_batch(1)).await.unwrap()[0].body, b"1");
    let from = StreamFrom::After { incarnation: reader.incarnation, offset: 2 };
    let refused = scene.broker.read_stream(from).await.err();
    assert_eq!(refused, Some(StreamError::Anew { now: reader.incarnation }), "nobody can have read what is not there");
}
