//! A cluster of three RabbitMQ nodes loses one of them. Takes a minute: with `STEPCAST_TEST_ALL=1`. What the broker promises of three
//! nodes is tested in every run (`crates/broker-rabbitmq/tests/nodes.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::time::Instant;

use client::{As, connect};
use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use support::PATIENCE;

fn job(build: &Value) -> &str {
    build["jobs"][0]["id"].as_str().unwrap()
}

#[test]
fn p7_a_node_of_three_is_killed_in_the_middle_of_20_builds_and_no_line_is_missing() {
    if std::env::var_os("STEPCAST_TEST_ALL").is_none_or(|all| all != "1") {
        println!("not run: it takes a minute, and STEPCAST_TEST_ALL=1");
        return;
    }
    let nodes = tokio::runtime::Runtime::new().unwrap().block_on(Node::cluster());
    let [first, second, third] = &nodes;
    let mut cluster = Cluster::on(first);
    let vhost = cluster.vhost().to_owned();
    let in_order = |nodes: [&Node; 3]| format!("amqp://guest:guest@{}/{vhost}", nodes.map(Node::place).join(","));
    // North begins at the node that will be killed, and so does an executor.
    cluster.broker = in_order([first, second, third]);
    let north = cluster.server("north", "gateway,control,projections");
    let _east = cluster.executor("east", "2");
    cluster.broker = in_order([second, third, first]);
    let south = cluster.server("south", "gateway,control,projections");
    cluster.broker = in_order([third, first, second]);
    let _west = cluster.executor("west", "2");
    let queues =
        |at: &Node| cluster.runtime.block_on(at.control(&["list_queues", "--vhost", &vhost, "name", "pid", "state"]));
    let mut client = connect(&north, As::Token(&north.token), None).unwrap();
    let own_queue = format!("gateway.{}", client.hello["server_id"].as_str().unwrap());
    let is_at = |list: &str, queue: &str, node: &Node| {
        list.lines().any(|line| line.starts_with(queue) && line.contains(node.name()))
    };
    let list = queues(second);
    assert!(is_at(&list, &own_queue, first), "{own_queue} lives on the node to be killed: {list}");

    let (gate, text) = cluster.talk();
    north.apply("talk", &text);
    let builds: Vec<String> = (0..20).map(|_| north.trigger("talk")).collect();
    north.until_recorded(job(&north.build(&builds[0])), 1, "line 200");
    first.kill();
    std::fs::write(&gate, "").unwrap();
    // The worker's queue is away with its node: another one with the same bindings takes its place.
    let begun = Instant::now();
    let takes_its_place = |line: &str| line.starts_with(&format!("{own_queue}.")) && line.contains("running");
    while !queues(second).lines().any(takes_its_place) {
        assert!(begun.elapsed() < PATIENCE, "no other queue takes the place of {own_queue}");
    }
    let expected: Vec<String> = (1..=400).map(|n| format!("line {n}")).collect();
    for id in &builds {
        let build = south.finished_by_the_record(id);
        assert_eq!(build["outcome"], "succeeded", "{build}");
        assert_eq!(south.log(job(&build), build["jobs"][0]["attempt"].as_u64().unwrap()), expected);
    }

    let answer = north.post("/api/v1/pipelines/talk/builds", &json!({"socket": client.meta()}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let topic = format!("build.{}", answer.json()["id"].as_str().unwrap());
    client.until(|frame| frame["topic"] == topic.as_str() && frame["event"]["kind"] == "build_finished");
    for server in [&north, &south] {
        server.until_ready_is(200);
    }
}
