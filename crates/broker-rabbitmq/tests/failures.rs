//! What goes wrong between Stepcast and RabbitMQ: the node is killed under load, connections and queues are ended by an
//! operator, an alarm blocks publishers, a message is refused, the URL is wrong. One broker lives through each, as a
//! process does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod node;

use std::{collections::HashSet, sync::Arc};

use broker::{
    Broker, BrokerError, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom,
    topology::{Exchange, Queue, QueueKind},
};
use broker_rabbitmq::{RabbitBroker, StartError};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use node::{LOOK_AGAIN, Node, PATIENCE};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const OPTIONS: ConsumeOptions = ConsumeOptions { prefetch: 100, exclusive: false };
const MIB: usize = 1 << 20;

/// One after the other: they share a node, and all of them disturb it.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// Waits for what nobody announces.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    soon(what, async {
        while !is_so().await {
            look.tick().await;
        }
    })
    .await;
}

fn work_queue() -> Queue {
    let name = format!("tasks.t{}", Uuid::new_v4().simple());
    Queue { bindings: vec![name.clone()], name, kind: QueueKind::Work }
}

fn hint(queue: &Queue, number: usize) -> Outgoing {
    Outgoing::new(Exchange::Tasks, queue.name.clone(), number.to_string().into_bytes())
}

fn event(topic: &str, number: usize) -> Outgoing {
    let mut message = Outgoing::new(Exchange::Utils, topic, format!("{topic} {number}").into_bytes());
    message.stream = true;
    message
}

async fn open(broker: &RabbitBroker, queue: &Queue) -> Consumer {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        if broker.declare(queue).await.is_ok()
            && let Ok(consumer) = broker.consume(&queue.name, OPTIONS).await
        {
            return consumer;
        }
        look.tick().await;
    }
}

/// Reads a queue as a process does, declaring and consuming anew when its consumer ends. What came for the first time is told.
fn follow(broker: &Arc<RabbitBroker>, queue: &Queue) -> watch::Receiver<Vec<usize>> {
    let (sender, seen) = watch::channel(Vec::new());
    let (broker, queue) = (Arc::clone(broker), queue.clone());
    tokio::spawn(async move {
        let mut known = HashSet::new();
        loop {
            let mut consumer = open(&broker, &queue).await;
            while let Some(delivery) = consumer.next().await {
                let number = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
                delivery.ack();
                if known.insert(number) {
                    sender.send_modify(|seen| seen.push(number));
                }
            }
        }
    });
    seen
}

/// Everything came, and in the order of the calls.
async fn all_came(mut seen: watch::Receiver<Vec<usize>>, count: usize) {
    soon("all messages", seen.wait_for(|seen| seen.len() == count)).await.unwrap();
    assert!(seen.borrow().is_sorted(), "the order was not kept");
}

async fn is_well(broker: &RabbitBroker) -> bool {
    broker.health().await.is_ok()
}

#[tokio::test]
async fn p7_a_node_killed_under_load_loses_nothing_and_keeps_the_order() {
    const COUNT: usize = 4_000;
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let (queue, topic) = (work_queue(), format!("job.t{}", Uuid::new_v4().simple()));
    let seen = follow(&broker, &queue);
    until("the queue", async || broker.queue_length(&queue.name).await == Ok(Some(0))).await;
    let mut reader = broker.read_stream(StreamFrom::Next).await.unwrap();
    let incarnation = reader.incarnation;
    soon("a first event", broker.publish(event(&topic, 0))).await.unwrap();
    let place = reader.next_batch(1).await.unwrap()[0].offset;
    let mut beside = broker.read_stream(StreamFrom::Next).await.unwrap();
    node.keep_what_was_declared().await;

    let mut confirms = Vec::new();
    for number in 0..COUNT {
        confirms.push(broker.publish(hint(&queue, number)));
        confirms.push(broker.publish(event(&topic, number)));
        if number == COUNT / 2 {
            // Some are confirmed, some on the way, and the others still to be handed over.
            soon("a confirm", confirms.remove(0)).await.unwrap();
            // What this reader is given is on its way to the other one as well, which takes it after the end.
            soon("an event", beside.next_batch(1)).await.unwrap();
            node.kill();
        }
    }
    until("the loss being told", async || !is_well(&broker).await).await;
    node.revive();
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    until("the node being back", async || is_well(&broker).await).await;
    all_came(seen, COUNT).await;

    assert!(reader.next_batch(COUNT).await.is_ok(), "what came before the end is given");
    let mut reader = broker.read_stream(StreamFrom::After { incarnation, offset: place }).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < COUNT {
        for entry in soon("entries", reader.next_batch(COUNT)).await.unwrap() {
            let body = String::from_utf8(entry.body.to_vec()).unwrap();
            let number = body.strip_prefix(&format!("{topic} ")).map(|number| number.parse::<usize>().unwrap());
            // Published twice is applied once: last + 1 counts.
            numbers.extend(number.filter(|number| *number == numbers.len()));
        }
    }
}

#[tokio::test]
async fn connections_that_an_operator_closes_are_opened_again() {
    const COUNT: usize = 2_000;
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let queue = work_queue();
    let seen = follow(&broker, &queue);
    until("the queue", async || broker.queue_length(&queue.name).await == Ok(Some(0))).await;
    let mut confirms: Vec<_> = (0..COUNT / 2).map(|number| broker.publish(hint(&queue, number))).collect();
    node.control(&["close_all_connections", "an operator wants it"]).await;
    confirms.extend((COUNT / 2..COUNT).map(|number| broker.publish(hint(&queue, number))));
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    all_came(seen, COUNT).await;
    until("both connections", async || is_well(&broker).await).await;
}

#[tokio::test]
async fn a_direct_reply_reaches_its_requester_and_counts_as_published() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let requester = lapin::Connection::connect(&node.url(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = requester.create_channel().await.unwrap();
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let direct = "amq.rabbitmq.reply-to";
    let mut replies = channel.basic_consume(direct.into(), "".into(), no_ack, FieldTable::default()).await.unwrap();
    // The name that others must use is told with the request.
    let queue = work_queue();
    let mut requests = open(&broker, &queue).await;
    let asking = BasicProperties::default().with_reply_to(direct.into());
    channel
        .basic_publish("".into(), queue.name.as_str().into(), BasicPublishOptions::default(), b"?", asking)
        .await
        .unwrap();
    let request = soon("the request", requests.next()).await.unwrap();
    let name = request.message.reply_to.clone().unwrap();
    request.ack();
    assert!(name.starts_with("amq.rabbitmq.reply-to."), "{name}");
    let mut reply = Outgoing::new(Exchange::Direct, name, b"!".to_vec());
    reply.mandatory = true;
    soon("the confirm", broker.publish(reply)).await.expect("it was handed to its requester");
    let came = soon("the reply", replies.next()).await.unwrap().unwrap();
    assert_eq!(came.data, b"!");
    requester.close(200, "".into()).await.unwrap();
}

#[tokio::test]
async fn a_queue_that_an_operator_deletes_is_declared_again() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let queue = work_queue();
    let mut consumer = open(&broker, &queue).await;
    node.control(&["delete_queue", &queue.name]).await;
    assert!(soon("the consumer's end", consumer.next()).await.is_none());
    let mut consumer = open(&broker, &queue).await;
    soon("the confirm", broker.publish(hint(&queue, 1))).await.unwrap();
    soon("a delivery", consumer.next()).await.unwrap().ack();
}

#[tokio::test]
async fn a_stream_that_an_operator_deletes_is_made_anew_and_says_so() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let mut reader = broker.read_stream(StreamFrom::Next).await.unwrap();
    let former = reader.incarnation;
    soon("the confirm", broker.publish(event("job.before", 0))).await.unwrap();
    let offset = soon("an entry", reader.next_batch(1)).await.unwrap()[0].offset;
    node.control(&["delete_queue", broker::topology::EVENTS]).await;
    let ended = soon("the reader's end", reader.next_batch(1)).await.err();
    assert!(matches!(ended, Some(StreamError::Broker(BrokerError::Unavailable(_)))), "{ended:?}");

    let refused = soon("reading", broker.read_stream(StreamFrom::After { incarnation: former, offset })).await;
    let Some(StreamError::Anew { now }) = refused.err() else { panic!("the new stream was taken for the former one") };
    assert_ne!(now, former);
    let mut reader = broker.read_stream(StreamFrom::First).await.unwrap();
    assert_eq!(reader.incarnation, now);
    soon("the confirm", broker.publish(event("job.after", 0))).await.unwrap();
    assert_eq!(&*soon("an entry", reader.next_batch(1)).await.unwrap()[0].body, b"job.after 0");
}

#[tokio::test]
async fn an_alarm_is_told_and_messages_wait_within_limits() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let queue = work_queue();
    let mut consumer = open(&broker, &queue).await;
    soon("the confirm", broker.publish(hint(&queue, 0))).await.unwrap();
    let held = soon("a delivery", consumer.next()).await.unwrap();

    node.control(&["set_vm_memory_high_watermark", "0"]).await;
    // RabbitMQ blocks a connection when it publishes.
    let waits = broker.publish(hint(&queue, 1));
    until("the alarm being told", async || {
        matches!(broker.health().await, Err(BrokerError::Unavailable(reason)) if reason.contains("takes no messages"))
    })
    .await;
    // Acks are not blocked: the queue lets go of what is acked.
    held.ack();
    let other = work_queue();
    soon("declaring", broker.declare(&other)).await.unwrap();
    // Nobody takes these, so that they cost the node nothing afterwards.
    let nowhere = || Outgoing::new(Exchange::Direct, "nobody", vec![b' '; MIB]);
    let mut confirms: Vec<_> = (0..64).map(|_| broker.publish(nowhere())).collect();
    let refused = soon("the refusal", broker.publish(nowhere())).await;
    assert!(matches!(&refused, Err(BrokerError::Unavailable(reason)) if reason.contains("too many")), "{refused:?}");

    node.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    soon("the confirm", waits).await.unwrap();
    confirms.truncate(63); // The last one passed the limit or did not: it depends on the hints.
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    until("the end of the alarm", async || is_well(&broker).await).await;
    let delivery = soon("a delivery", consumer.next()).await.unwrap();
    assert_eq!((&*delivery.message.body, delivery.message.redelivered), (b"1".as_slice(), false));
    delivery.ack();
}

#[tokio::test]
async fn a_message_that_is_refused_does_not_hold_up_the_others() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let queue = work_queue();
    let seen = follow(&broker, &queue);
    until("the queue", async || broker.queue_length(&queue.name).await == Ok(Some(0))).await;
    let before: Vec<_> = (0..50).map(|number| broker.publish(hint(&queue, number))).collect();
    let culprit = broker.publish(Outgoing::new(Exchange::Direct, queue.name.clone(), vec![b' '; MIB + 1]));
    let behind: Vec<_> = (50..100).map(|number| broker.publish(hint(&queue, number))).collect();
    for confirm in before.into_iter().chain(behind) {
        soon("a confirm", confirm).await.unwrap();
    }
    let refused = soon("the refusal", culprit).await;
    assert!(matches!(&refused, Err(BrokerError::Unavailable(reason)) if reason.contains("size")), "{refused:?}");
    all_came(seen, 100).await;
}

#[tokio::test]
async fn exclusive_is_exclusive_among_processes() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let (one, other) = (node.broker().await, node.broker().await);
    let queue = work_queue();
    one.declare(&queue).await.unwrap();
    let exclusive = ConsumeOptions { exclusive: true, ..OPTIONS };
    let first = one.consume(&queue.name, exclusive).await.unwrap();
    for options in [OPTIONS, exclusive] {
        assert_eq!(other.consume(&queue.name, options).await.err(), Some(BrokerError::InUse(queue.name.clone())));
    }
    drop(first);
    until("the queue being free", async || other.consume(&queue.name, exclusive).await.is_ok()).await;
}

#[tokio::test]
async fn messages_that_no_queue_takes_are_told_apart_however_many_are_on_the_way() {
    let _turn = TURN.lock().await;
    let broker = Node::shared().broker().await;
    let (queue, nowhere) = (work_queue(), work_queue());
    let seen = follow(&broker, &queue);
    until("the queue", async || broker.queue_length(&queue.name).await == Ok(Some(0))).await;
    let confirms: Vec<_> = (0..1_000)
        .map(|number| {
            let mut message = hint(if number % 3 == 1 { &nowhere } else { &queue }, number);
            message.mandatory = number % 3 != 0;
            broker.publish(message)
        })
        .collect();
    for (number, confirm) in confirms.into_iter().enumerate() {
        let expected = if number % 3 == 1 { Err(BrokerError::Unroutable(nowhere.name.clone())) } else { Ok(()) };
        assert_eq!(soon("a confirm", confirm).await, expected, "message {number}");
    }
    all_came(seen, (0..1_000).filter(|number| number % 3 != 1).count()).await;
}

#[tokio::test]
async fn an_exchange_that_an_operator_deletes_is_declared_again() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let name = r#"rabbit_misc:r(<<"/">>, exchange, <<"utils">>)"#;
    node.control(&["eval", &format!(r#"rabbit_exchange:delete({name}, false, <<"test">>)."#)]).await;
    // Its bindings went with it: the stream is bound when it is opened, a queue when it is declared.
    let mut reader = soon("reading", broker.read_stream(StreamFrom::Next)).await.unwrap();
    soon("the confirm", broker.publish(event("job.again", 0))).await.unwrap();
    assert_eq!(&*soon("an entry", reader.next_batch(1)).await.unwrap()[0].body, b"job.again 0");
}

#[tokio::test]
async fn a_queue_can_be_declared_after_an_operator_deleted_its_exchange() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let broker = node.broker().await;
    let name = r#"rabbit_misc:r(<<"/">>, exchange, <<"tasks">>)"#;
    node.control(&["eval", &format!(r#"rabbit_exchange:delete({name}, false, <<"test">>)."#)]).await;
    let queue = work_queue();
    let mut consumer = soon("consuming", open(&broker, &queue)).await;
    soon("the confirm", broker.publish(hint(&queue, 1))).await.unwrap();
    soon("a delivery", consumer.next()).await.unwrap().ack();
}

#[tokio::test]
async fn a_wrong_url_is_one_sentence_at_the_start() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    drop(node.broker().await);
    let start = async |url: String| {
        let started = soon("an answer", RabbitBroker::start(&url, CancellationToken::new())).await;
        started.err().expect("it must not start")
    };
    let error = start(node.url_of("guest", "wrong", "%2f")).await;
    assert!(matches!(&error, StartError::Credentials { user, .. } if user == "guest"), "{error}");
    let error = start(node.url_of("guest", "guest", "nowhere")).await;
    assert!(matches!(&error, StartError::VirtualHost { vhost, .. } if vhost == "nowhere"), "{error}");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = start(format!("amqp://guest:guest@127.0.0.1:{port}")).await;
    assert!(matches!(&error, StartError::NoAnswer { address, .. } if address.ends_with(&port.to_string())), "{error}");
    for error in [error.to_string(), start("amqp//wrong".to_owned()).await.to_string()] {
        assert!(!error.contains('\n') && error.len() < 200, "{error}");
    }
}

#[tokio::test]
async fn what_was_handed_over_before_a_shutdown_is_confirmed() {
    let _turn = TURN.lock().await;
    let node = Node::shared();
    let shutdown = CancellationToken::new();
    drop(node.broker().await);
    let broker = RabbitBroker::start(&node.url(), shutdown.clone()).await.unwrap();
    let queue = work_queue();
    broker.declare(&queue).await.unwrap();
    let confirms: Vec<_> = (0..50).map(|number| broker.publish(hint(&queue, number))).collect();
    shutdown.cancel();
    let late = soon("the refusal", broker.publish(hint(&queue, 50))).await;
    assert!(matches!(late, Err(BrokerError::Unavailable(_))), "{late:?}");
    for confirm in confirms {
        soon("a confirm", confirm).await.unwrap();
    }
    soon("the end", broker.finished()).await;
}
