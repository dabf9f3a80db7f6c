//! A cluster of three nodes loses the one that leads its queues and its stream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod node;

use std::{collections::BTreeSet, sync::Arc};

use broker::{
    Broker as _, ConsumeOptions, Outgoing, StreamFrom,
    topology::{Exchange, Queue, QueueKind},
};
use broker_rabbitmq::RabbitBroker;
use node::{LOOK_AGAIN, Node, PATIENCE};
use tokio_util::sync::CancellationToken;

const COUNT: usize = 500;
const KEY: &str = "tasks.many";
const TOPIC: &str = "job.many";

/// Publishes each until it is confirmed, as those do whose messages must arrive. A hint and an event.
async fn publish(broker: Arc<RabbitBroker>, numbers: std::ops::Range<usize>) {
    let both = |number: usize| {
        let mut event = Outgoing::new(Exchange::Utils, TOPIC, number.to_string().into_bytes());
        event.stream = true;
        [Outgoing::new(Exchange::Tasks, KEY, number.to_string().into_bytes()), event]
    };
    let mut left: Vec<_> = numbers.flat_map(both).collect();
    while !left.is_empty() {
        let confirms: Vec<_> = left.iter().map(|message| broker.publish(message.clone())).collect();
        let mut refused = Vec::new();
        for (message, confirm) in left.into_iter().zip(confirms) {
            if confirm.await.is_err() {
                refused.push(message);
            }
        }
        left = refused;
    }
}

/// Asks until it works: the link to a node that went may still be away.
async fn again<T, E>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    let asked = async {
        loop {
            if let Ok(had) = ask().await {
                break had;
            }
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{what} did not work within {PATIENCE:?}"))
}

fn number(body: &[u8]) -> usize {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

#[tokio::test]
async fn p7_nothing_confirmed_is_lost_with_a_node_of_three_and_its_leaders() {
    let nodes = Node::cluster().await;
    let places: Vec<_> = nodes.iter().map(Node::place).collect();
    let mut brokers = Vec::new();
    for first in 0..3 {
        // Each begins at another node and knows all.
        let hosts: Vec<_> = (0..3).map(|step| places[(first + step) % 3].clone()).collect();
        let url = format!("amqp://guest:guest@{}", hosts.join(","));
        // A replica of the stream may still be on its way to this cluster.
        brokers.push(again("a start", async || RabbitBroker::start(&url, CancellationToken::new()).await).await);
    }
    let queue = Queue { bindings: vec![KEY.to_owned()], name: KEY.to_owned(), kind: QueueKind::Work };
    again("declaring", async || brokers[0].declare(&queue).await).await;
    // Who watches events at the node that goes: RabbitMQ 4 keeps their queues and refuses what is routed to them.
    let of_gateway = QueueKind::Gateway { expires: PATIENCE * 2, message_ttl: PATIENCE };
    let mut watching = Vec::new();
    for (name, kind) in [("watch.a", QueueKind::Private), ("gateway.a-0", of_gateway)] {
        let watched = Queue { name: name.to_owned(), kind, bindings: vec![TOPIC.to_owned()] };
        let options = ConsumeOptions { prefetch: 100, exclusive: true };
        let open = async || {
            brokers[0].declare(&watched).await?;
            brokers[0].consume(&watched.name, options).await
        };
        watching.push(again("consuming", open).await);
    }
    for (n, broker) in brokers.iter().enumerate() {
        publish(Arc::clone(broker), n..n + 1).await;
    }
    let publishing: Vec<_> =
        (0..3).map(|n| tokio::spawn(publish(Arc::clone(&brokers[n]), 3 + n * COUNT..3 + (n + 1) * COUNT))).collect();
    // When this one is confirmed, the others are on their way.
    publish(Arc::clone(&brokers[0]), 0..1).await;
    nodes[0].kill();
    for publisher in publishing {
        tokio::time::timeout(PATIENCE, publisher).await.expect("everything is confirmed").unwrap();
    }

    let all: BTreeSet<usize> = (0..3 + 3 * COUNT).collect();
    let options = ConsumeOptions { prefetch: 100, exclusive: false };
    let taken = async {
        let mut seen = BTreeSet::new();
        while seen != all {
            let mut consumer = again("consuming", async || brokers[0].consume(KEY, options).await).await;
            while seen != all
                && let Some(delivery) = consumer.next().await
            {
                seen.insert(number(&delivery.message.body));
                delivery.ack();
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("every hint is in the queue");
    let read = async {
        let mut seen = BTreeSet::new();
        while seen != all {
            let mut reader = again("reading", async || brokers[0].read_stream(StreamFrom::First).await).await;
            while seen != all
                && let Ok(batch) = reader.next_batch(COUNT).await
            {
                seen.extend(batch.iter().map(|entry| number(&entry.body)));
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("every event is in the stream");
}
