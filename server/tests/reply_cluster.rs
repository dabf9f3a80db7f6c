//! Results over RabbitMQ and PostgreSQL: a queue of replies, and a receipt that comes home though everybody dies in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use broker::{Broker as _, ConsumeOptions, topology::Queue, topology::QueueKind};
use broker_rabbitmq::RabbitBroker;
use client::{As, Client, connect};
use cluster::{Cluster, Executor, node::Node};
use serde_json::{Value, json};
use support::{PATIENCE, STEPCAST, Server};
use tokio_util::sync::CancellationToken;
use tungstenite::Message;

const HI: &str = "name: hi\njobs: {a: {steps: [{run: echo hi}]}}\n";

/// Servers and a node are killed and come back: that takes longer than anything else here.
const LONG: Duration = Duration::from_secs(120);

fn trigger(server: &Server, body: &Value) -> String {
    let answer = server.post("/api/v1/pipelines/hi/builds", body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Waits until the reply is as wanted, and gives it.
fn until(server: &Server, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let reply = server.build(id)["reply"].clone();
        if wanted(&reply) {
            return reply;
        }
        assert!(begun.elapsed() < LONG, "still {reply}");
        std::thread::yield_now();
    }
}

#[test]
fn reply_to_a_queue_of_rabbitmq_waits_for_the_queue_and_brings_the_correlation_id() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let _executor = cluster.executor("east", "1");
    north.apply("hi", HI);
    let reply = json!({"mode": "queue", "reply_to": "reply.mine", "correlation_id": "order 7"});
    let id = trigger(&north, &json!({ "reply": reply }));
    let shown = until(&north, &id, |reply| reply["attempts"].as_u64() >= Some(1));
    assert_eq!((&shown["last_error"], &shown["state"]), (&json!("there is no queue reply.mine"), &json!("due")));
    let (body, correlation) = cluster.runtime.block_on(async {
        let stop = CancellationToken::new();
        let broker = RabbitBroker::start(&cluster.broker, stop.clone()).await.unwrap();
        let queue = Queue { name: "reply.mine".to_owned(), kind: QueueKind::Private, bindings: Vec::new() };
        broker.declare(&queue).await.unwrap();
        let mut consumer = broker.consume(&queue.name, ConsumeOptions { prefetch: 10, exclusive: true }).await.unwrap();
        assert_eq!(north.post(&format!("/api/v1/builds/{id}/reply"), &json!({})).status, 202);
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("no message came").unwrap();
        let found: Value = serde_json::from_slice(&delivery.message.body).unwrap();
        let correlation = delivery.message.correlation_id.clone();
        delivery.ack();
        stop.cancel();
        (found, correlation)
    });
    assert_eq!(correlation.as_deref(), Some("order 7"));
    assert_eq!((&body["version"], &body["build"]["id"]), (&json!(1), &json!(id)));
    assert_eq!(body["build"]["outcome"], "succeeded");
    until(&north, &id, |reply| reply["state"] == "delivered");
}

/// Control, the relay, the recorder and who tells results: a process without sockets.
fn control(cluster: &Cluster) -> Executor {
    let mut command = Command::new(STEPCAST);
    command.args(["serve", "--roles", "control,projections", "--broker", &cluster.broker, "--store", &cluster.store]);
    command.args(["--lease-seconds", "5", "--public-url", "http://127.0.0.1:1"]);
    Executor::start(command.arg("--data-dir").arg(cluster.data_dir("control")))
}

/// Comes back with the token that the former socket was given.
fn back(server: &Server, token: &str, former: &Value) -> Client {
    let mut client = connect(server, As::Token(token), None).unwrap();
    client.send(&json!({"type": "attach", "resume": former["resume"], "positions": []}));
    client.hello = client.until(|frame| frame["type"] == "hello");
    assert_eq!(client.hello["client_id"], former["client_id"]);
    client
}

#[test]
fn receipt_is_stored_at_last_though_client_gateway_control_and_broker_die_in_turn() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let mut north = cluster.server("north", "gateway");
    let south = cluster.server("south", "gateway");
    let first = control(&cluster);
    let _executor = cluster.executor("east", "1");
    north.apply("hi", HI);
    let mut asker = connect(&north, As::Token(&north.token), None).unwrap();
    let id = trigger(&north, &json!({"socket": asker.meta()}));
    let callback = asker.until(|frame| frame["type"] == "callback");
    let former = asker.hello.clone();
    // The gateway dies with a callback in its hands, and the client with it.
    north.kill();
    drop(asker);
    let mut client = back(&south, &north.token, &former);
    let again = client.until(|frame| frame["type"] == "callback");
    assert_eq!(again["message_id"], callback["message_id"]);
    assert_eq!(again["payload"]["build"]["id"], json!(id));
    // Control dies before the receipt is on its way, and the broker with the receipt, or before it has it.
    drop(first);
    client.send(&json!({"type": "receipt", "message_id": again["message_id"]}));
    cluster.runtime.block_on(node.keep_what_was_declared());
    node.kill();
    node.revive();
    cluster.runtime.block_on(async { drop(node.broker().await) });
    let _second = control(&cluster);
    let former = client.hello.clone();
    drop(client);
    let mut client = back(&south, &north.token, &former);
    // Whatever still comes is acknowledged.
    std::thread::spawn(move || {
        while let Ok(message) = client.socket.read() {
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "callback" {
                client.send(&json!({"type": "receipt", "message_id": frame["message_id"]}));
            }
        }
    });
    let received = until(&south, &id, |reply| reply["state"] == "received");
    assert!(received["received_at"].is_i64(), "{received}");
}
