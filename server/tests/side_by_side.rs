//! Processes of two versions over one broker and one database, as they are while a team updates one after the other; and
//! messages of a version that nobody here knows.
//!
//! The other version is the program that `STEPCAST_TEST_FORMER` names (`cargo xtask test --only former` builds the commit
//! before this one); without it, this program plays both parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use broker::{Broker as _, Outgoing, topology, topology::Exchange};
use broker_rabbitmq::RabbitBroker;
use client::{As, connect};
use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use support::{PATIENCE, STEPCAST, Server};
use tokio_util::sync::CancellationToken;

const GATEWAY: &[&str] = &["--roles", "gateway,control,projections"];

const SITE: &str = "
name: site
jobs:
  pack:
    attempts: 2
    steps:
      - run: 'for n in $(seq 1 2000); do echo \"line $n\"; done; [ $STEPCAST_ATTEMPT = 2 ]'
      - run: 'echo packed > out.txt'
    artifacts: [out.txt]
  check:
    needs: [pack]
    steps: [{run: echo checked}]
";

fn former() -> PathBuf {
    std::env::var_os("STEPCAST_TEST_FORMER").map_or_else(|| STEPCAST.into(), PathBuf::from)
}

fn job_of<'a>(build: &'a Value, name: &str) -> &'a str {
    let jobs = build["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["name"] == name).unwrap()["id"].as_str().unwrap()
}

/// A build whose first job fails, is tried again and leaves an artifact: asked for by a socket, which sees all of it.
fn builds(server: &Server) {
    server.apply("site", SITE);
    let mut socket = connect(server, As::Token(&server.token), None).unwrap();
    let answer = server.post("/api/v1/pipelines/site/builds", &json!({"socket": socket.meta()}));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let (mut lines, mut kinds) = (0, BTreeSet::new());
    while !kinds.contains("build_finished") {
        let frame = socket.until(|frame| frame["type"] == "event");
        lines += frame["event"]["lines"].as_array().map_or(0, Vec::len);
        kinds.insert(frame["event"]["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(lines, 4001, "two attempts of 2,000 lines, and `checked`");
    for kind in ["build_queued", "job_started", "step_started", "step_finished", "artifact", "job_finished"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    let build = server.finished_by_the_record(&id);
    assert_eq!(build["outcome"], "succeeded", "{build}");
    let pack = job_of(&build, "pack");
    assert_eq!((server.log(pack, 1).len(), server.log(pack, 2).len()), (2000, 2000));
    let artifacts = server.get(&format!("/api/v1/jobs/{pack}/artifacts")).json();
    let artifact = artifacts[0]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/v1/artifacts/{artifact}")).text, "packed\n");
}

fn side_by_side(of_gateway: &Path, of_executor: &Path) {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server_of(of_gateway, "127.0.0.1:0", "north", GATEWAY);
    let _east = cluster.executor_of(of_executor, "east", &["--slots", "2"]);
    builds(&north);
}

#[test]
fn a_former_gateway_and_this_executor_run_a_build() {
    side_by_side(&former(), Path::new(STEPCAST));
}

#[test]
fn this_gateway_and_a_former_executor_run_a_build() {
    side_by_side(Path::new(STEPCAST), &former());
}

#[test]
fn a_former_process_works_on_when_this_one_has_migrated_its_database() {
    let cluster = Cluster::on(Node::shared());
    let mut north = cluster.server_of(&former(), "127.0.0.1:0", "north", GATEWAY);
    let _east = cluster.executor_of(&former(), "east", &["--slots", "2"]);
    builds(&north);
    let south = cluster.server_of(Path::new(STEPCAST), "127.0.0.1:0", "south", GATEWAY);
    builds(&north);
    builds(&south);
    north.kill();
    builds(&south);
}

#[test]
fn a_message_of_an_unknown_version_is_a_dead_letter_that_says_so_whoever_reads_it() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server_with("127.0.0.1:0", "north", GATEWAY);
    let _east = cluster.executor("east", "2");
    builds(&north); // The executor is known by now.
    let executors = north.get("/api/v1/executors").json();
    let executor = executors[0]["id"].as_str().unwrap().to_owned();
    let id = "01a22000-0000-7000-8000-000000000001";
    let unknown =
        |what: &str| json!({"version": 9, "what": what, "topic": {"of": "another kind"}}).to_string().into_bytes();
    cluster.runtime.block_on(async {
        let broker = RabbitBroker::start(&cluster.broker, CancellationToken::new()).await.unwrap();
        for (what, exchange, key) in [
            ("request", Exchange::Direct, topology::CONTROL.to_owned()),
            ("notice", Exchange::Direct, format!("executor.{executor}")),
            ("callback", Exchange::Utils, "north-0".to_owned()),
            ("unrouted", Exchange::Direct, topology::UNROUTED.to_owned()),
        ] {
            let mut message = Outgoing::new(exchange, key, unknown(what));
            message.mandatory = true;
            broker.publish(message).await.unwrap();
        }
        for (what, key) in [("event of a job", format!("job.{id}")), ("event of a build", format!("build.{id}"))] {
            let mut message = Outgoing::new(Exchange::Utils, key, unknown(what));
            message.stream = true;
            broker.publish(message).await.unwrap();
        }
    });
    let begun = Instant::now();
    let letters = loop {
        let letters = north.get("/api/v1/dead-letters").json().as_array().unwrap().clone();
        if letters.len() >= 6 {
            break letters;
        }
        assert!(begun.elapsed() < PATIENCE, "these are all: {letters:?}");
        std::thread::yield_now();
    };
    let mut of: BTreeSet<String> =
        ["request", "notice", "callback", "unrouted", "event of a job", "event of a build"].map(str::to_owned).into();
    for letter in letters {
        let whole = north.get(&format!("/api/v1/dead-letters/{}", letter["id"].as_str().unwrap())).json();
        let body: Value = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
        assert!(of.remove(body["what"].as_str().unwrap()), "{whole}");
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("the message has version 9, this Stepcast reads version 1"), "{reason}");
    }
    builds(&north); // Nobody has crashed, and nothing is blocked.
}
