//! Starting, failing, being taken away from, signing out, ending.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom, StreamReader,
    topology,
};
use gateway::{Gateway, GatewayError, Limits};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use wire::{Topic, frame::Incoming};

use crate::rig::{Client, Heard, POISON, Rig, build, config, gap, rig, rig_over, rig_with, server, within};

#[tokio::test]
async fn a_panic_in_one_worker_hurts_no_other_and_it_comes_back_under_its_server_id() {
    let rig = rig().await;
    let (mut hurt, mut unhurt) = (rig.client(0, "a").await, rig.client(1, "b").await);
    let topic = Topic::Build(build(1));
    unhurt.subscribe(topic, None).await;
    rig.gateway.fail_worker(&server(0)).await;
    assert_eq!(hurt.closed().await, 1012);
    let former = hurt.leave().await;
    rig.event(&None, topic, 1, 0).await;
    assert_eq!(unhurt.offsets(topic, 1).await, [0]);

    let mut back = next_life(&rig).await;
    back.attach(&former, json!([{"topic": topic, "epoch": 1, "offset": 0}])).await;
    assert_eq!(gap(back.resumed().await), (1, 1, None));
    let id = rig.callback(server(0).as_str(), former.id, json!(1)).await;
    loop {
        match back.frame().await {
            Incoming::Callback { message_id, .. } => break assert_eq!(message_id, id),
            Incoming::Resumed(_) => {} // The queue was consumed anew while the socket was there.
            other => panic!("{other:?}"),
        }
    }
    let workers = rig.gateway.workers().await;
    assert_eq!(workers.iter().map(|worker| worker.restarts).collect::<Vec<u64>>(), [1, 0]);
    assert_eq!((workers[1].sockets, workers[1].topics), (1, 1));
    unhurt.nothing_came().await;
}

/// A client of worker 0 in its next life: until that begins, sockets are told to come back.
async fn next_life(rig: &Rig) -> Client {
    loop {
        let mut client = rig.silent(0, "a", 100);
        match client.hear().await {
            Heard::Close(1012) => tokio::task::yield_now().await,
            Heard::Frame(Incoming::Hello { client_id, server_id, .. }) => {
                assert_eq!(server_id, server(0));
                client.id = client_id;
                return client;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_message_that_a_life_ended_over_is_refused_by_the_next_one_and_what_came_with_it_is_not_lost() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    rig.event(&client.asker(), POISON, 1, 0).await;
    let behind = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    assert_eq!(client.closed().await, 1012);
    let mut arrived = [rig.next_unrouted().await, rig.next_unrouted().await];
    arrived.sort_by_key(|delivery| delivery.message.message_id == behind);
    assert_eq!(arrived[0].message.death.as_deref(), Some("the worker failed over it"));
    assert_eq!(arrived[1].message.message_id, behind);
    arrived.into_iter().for_each(broker::Delivery::ack);
    let mut next = next_life(&rig).await;
    let id = rig.callback(server(0).as_str(), next.id, json!(2)).await;
    assert_eq!(next.callback().await.0, id);
    assert_eq!(rig.gateway.workers().await[0].restarts, 1);
}

/// The broker, but for one queue that cannot be declared.
struct Without {
    queue: &'static str,
    broker: Arc<dyn Broker>,
}

impl Broker for Without {
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        if queue.name == self.queue {
            return Box::pin(async { Err(BrokerError::Unavailable("its node is down".to_owned())) });
        }
        self.broker.declare(queue)
    }
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.delete(queue)
    }
    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.bind(queue, key)
    }
    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.unbind(queue, key)
    }
    fn publish(&self, message: Outgoing) -> Confirm {
        self.broker.publish(message)
    }
    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        self.broker.consume(queue, options)
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
async fn a_queue_that_cannot_be_declared_is_replaced_by_another_one_with_the_same_bindings() {
    let rig = rig_over(config(Limits::default()), |broker| Arc::new(Without { queue: "gateway.gw-0", broker })).await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Build(build(1));
    client.subscribe(topic, None).await;
    rig.event(&None, topic, 1, 0).await;
    assert_eq!(client.offsets(topic, 1).await, [0]);
    let id = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    assert_eq!(client.callback().await.0, id);
    assert_eq!(rig.broker.queue_length("gateway.gw-0").await, Ok(None));
}

/// As RabbitMQ 4 keeps it while its node is down: what is routed there as well would be refused.
#[tokio::test]
async fn p7_the_queue_whose_place_another_one_takes_is_unbound() {
    let rig = rig_over(config(Limits::default()), |broker| Arc::new(Without { queue: "gateway.gw-0", broker })).await;
    let topic = Topic::Build(build(1));
    let mut former = topology::gateway(&server(0), Duration::from_secs(600));
    former.bindings = vec![topic.to_string()];
    rig.broker.declare(&former).await.unwrap();
    let mut client = rig.client(0, "a").await;
    client.subscribe(topic, None).await;
    rig.event(&None, topic, 1, 0).await;
    assert_eq!(client.offsets(topic, 1).await, [0]);
    assert_eq!(rig.broker.queue_length("gateway.gw-0").await, Ok(Some(0)));
}

#[tokio::test]
async fn p3_a_queue_that_was_deleted_is_made_again_with_its_bindings_and_readers_look_into_the_record() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Build(build(1));
    client.subscribe(topic, None).await;
    rig.event(&None, topic, 1, 0).await;
    client.offsets(topic, 1).await;
    rig.broker.delete("gateway.gw-0").await.unwrap();
    assert_eq!(gap(client.resumed().await), (1, 1, None));
    rig.event(&None, topic, 1, 1).await;
    assert_eq!(client.offsets(topic, 1).await, [1]);
}

#[tokio::test]
async fn a_second_process_with_the_same_name_is_refused() {
    let rig = rig().await;
    let broker: Arc<dyn Broker> = rig.broker.clone();
    let started = Gateway::start(broker, rig.desk.clone(), config(Limits::default()), CancellationToken::new()).await;
    assert!(matches!(started, Err(GatewayError::Taken { .. })));
}

#[tokio::test]
async fn a_gateway_without_workers_or_with_a_wrong_name_does_not_start() {
    let rig = rig().await;
    let mut none = config(Limits::default());
    none.workers = 0;
    let mut wrong = config(Limits::default());
    wrong.instance = "a.b".to_owned();
    for config in [none, wrong] {
        let broker: Arc<dyn Broker> = rig.broker.clone();
        let started = Gateway::start(broker, rig.desk.clone(), config, CancellationToken::new()).await;
        assert!(matches!(started, Err(GatewayError::NoWorkers | GatewayError::Instance(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_silent_for_two_periods_is_closed_and_one_that_answers_pings_is_not() {
    let mut config = config(Limits::default());
    config.ping = Duration::from_millis(200);
    let rig = rig_with(config).await;
    let mut silent = rig.silent(0, "a", 100);
    let mut answering = rig.silent(0, "a", 100);
    let says = answering.says.clone();
    let answers = tokio::spawn(async move {
        let mut pings = 0;
        loop {
            match answering.hear().await {
                Heard::Ping => {
                    pings += 1;
                    says.send(gateway::SocketIn::Pong).unwrap();
                    if pings == 5 {
                        return;
                    }
                }
                Heard::Frame(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(silent.closed().await, 4002);
    within(answers).await.unwrap();
}

#[tokio::test]
async fn signing_out_closes_the_sessions_sockets_at_every_worker() {
    let rig = rig().await;
    let (mut one, mut two) = (rig.client(0, "a").await, rig.client(1, "a").await);
    let mut other = rig.client(0, "b").await;
    rig.gateway.sign_out("a");
    assert_eq!((one.closed().await, two.closed().await), (4500, 4500));
    other.nothing_came().await;
}

#[tokio::test]
async fn a_shutdown_tells_every_socket_to_come_back_and_then_ends() {
    let rig = rig().await;
    let (mut one, mut two) = (rig.client(0, "a").await, rig.client(1, "b").await);
    rig.shutdown.cancel();
    assert_eq!((one.closed().await, two.closed().await), (1012, 1012));
    within(rig.gateway.ended()).await;
    assert!(matches!(rig.silent(0, "a", 10).hear().await, Heard::Close(1012)));
}

#[tokio::test(start_paused = true)]
async fn a_draining_gateway_sends_its_sockets_away_in_small_groups() {
    let rig = rig().await;
    let mut clients = Vec::new();
    for n in 0..80 {
        clients.push(rig.client(n % 2, "a").await);
    }
    let (gateway, began) = (Arc::clone(&rig.gateway), Instant::now());
    tokio::spawn(async move { gateway.drain(Duration::from_secs(2), Duration::from_secs(2)).await });
    let mut waiting = JoinSet::new();
    for mut client in clients {
        waiting.spawn(async move { (client.closed().await, began.elapsed().as_millis()) });
    }
    let ends = waiting.join_all().await;
    assert!(ends.iter().all(|(code, _)| *code == 1012), "{ends:?}");
    let mut groups = BTreeMap::new();
    for (_, at) in ends {
        *groups.entry(at).or_insert(0) += 1;
    }
    let (first, last) = (groups.first_key_value().unwrap(), groups.last_key_value().unwrap());
    assert!(*first.0 >= 2000 && *last.0 < 4000, "a balancer has two seconds to notice, then they go: {groups:?}");
    assert!(groups.values().all(|size| *size == 2) && groups.len() == 40, "{groups:?}");
    assert!(matches!(rig.silent(0, "a", 10).hear().await, Heard::Close(1012)), "and nobody is taken any more");
}

#[tokio::test]
async fn a_wanted_worker_is_kept_if_it_is_of_this_instance() {
    let rig = rig().await;
    assert_eq!(rig.gateway.place(Some(&server(1)), "192.0.2.1"), server(1));
    let elsewhere = wire::ServerId::new("other", 0).unwrap();
    let placed = rig.gateway.place(Some(&elsewhere), "192.0.2.1");
    assert_eq!(placed, rig.gateway.place(None, "192.0.2.1"));
    assert_eq!(placed.instance(), "gw");
}
