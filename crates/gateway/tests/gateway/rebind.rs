//! Bindings that go: a topic that is watched again while it is being unbound, one that an earlier life left.

use std::sync::Arc;

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, ConsumerSource, Delivery, Outgoing, StreamError,
    StreamFrom, StreamReader, topology,
};
use gateway::Limits;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use wire::Topic;

use crate::rig::{build, config, gap, job, rig_over, within};

/// The broker, but deliveries wait while the test holds them, and the test is told of what was unbound.
struct Held {
    broker: Arc<dyn Broker>,
    held: watch::Receiver<bool>,
    unbound: mpsc::UnboundedSender<String>,
}

struct HeldConsumer {
    consumer: Consumer,
    held: watch::Receiver<bool>,
}

impl ConsumerSource for HeldConsumer {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async {
            let next = self.consumer.next().await;
            self.held.wait_for(|held| !held).await.unwrap();
            next
        })
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if *self.held.borrow() { None } else { self.consumer.try_next() }
    }
}

impl Broker for Held {
    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        Box::pin(async move {
            let consumer = self.broker.consume(queue, options).await?;
            Ok(Consumer::new(HeldConsumer { consumer, held: self.held.clone() }))
        })
    }
    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.broker.unbind(queue, key).await?;
            self.unbound.send(key.to_owned()).unwrap();
            Ok(())
        })
    }
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.declare(queue)
    }
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.delete(queue)
    }
    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.bind(queue, key)
    }
    fn publish(&self, message: Outgoing) -> Confirm {
        self.broker.publish(message)
    }
    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        self.broker.stream_end()
    }
    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        self.broker.read_stream(from)
    }
    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        self.broker.queue_length(queue)
    }
    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.broker.health()
    }
}

#[tokio::test]
async fn p3_what_was_routed_before_an_unbind_and_comes_after_it_is_not_continued_as_if_nothing_was_missed() {
    let (hold, held) = watch::channel(false);
    let (unbound, mut unbinds) = mpsc::unbounded_channel();
    let rig = rig_over(config(Limits::default()), |broker| Arc::new(Held { broker, held, unbound })).await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Job(job(1));
    client.subscribe(topic, None).await;
    rig.event(&None, topic, 1, 0).await;
    assert_eq!(client.offsets(topic, 1).await, [0]);

    // Event 1 is in the worker's queue, event 2 finds no binding.
    hold.send_replace(true);
    rig.event(&None, topic, 1, 1).await;
    client.say(json!({"type": "unsubscribe", "topic": topic}));
    assert_eq!(within(unbinds.recv()).await, Some(topic.to_string()));
    rig.event(&None, topic, 1, 2).await;
    client.say(json!({"type": "subscribe", "topic": topic, "position": {"epoch": 1, "offset": 0}}));
    client.nothing_came().await;

    hold.send_replace(false);
    assert_eq!(gap(client.resumed().await), (1, 1, None));
    assert_eq!(gap(client.subscribe(topic, Some((1, 1))).await), (1, 2, None), "event 2 was missed");
    rig.event(&None, topic, 1, 3).await;
    assert_eq!(client.offsets(topic, 1).await, [3]);
}

#[tokio::test]
async fn a_binding_that_an_earlier_life_left_is_taken_away_by_the_first_event_that_nobody_watches() {
    let (_hold, held) = watch::channel(false);
    let (unbound, mut unbinds) = mpsc::unbounded_channel();
    let rig = rig_over(config(Limits::default()), |broker| Arc::new(Held { broker, held, unbound })).await;
    let (left, watched) = (Topic::Build(build(1)), Topic::Build(build(2)));
    let mut client = rig.client(0, "a").await;
    client.subscribe(watched, None).await;
    rig.broker.bind("gateway.gw-0", &left.to_string()).await.unwrap();
    for topic in [watched, left] {
        rig.event(&None, topic, 1, 0).await;
    }
    assert_eq!(within(unbinds.recv()).await, Some(left.to_string()));
    assert_eq!(client.offsets(watched, 1).await, [0]);
}
