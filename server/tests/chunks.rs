//! Artifacts over the broker: of an executor that reaches nothing else, and what becomes of a stream that is not right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{io::Read as _, sync::Arc};

use broker::{Broker, ConsumeOptions, Outgoing, topology};
use broker_rabbitmq::RabbitBroker;
use cluster::{Cluster, node::Node};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::Server;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    JobId,
    chunks::{Answer, Open},
    mac::InstallationKey,
    task::LeaseRef,
};

/// More than a window of chunks, and no whole number of them; an empty one; one in a folder.
const PACK: &str = "name: pack\njobs: {a: {steps: [{run: 'mkdir d; seq 1 600000 > d/many; : > empty; sha256sum < d/many'}], artifacts: [d/many, empty]}}\n";

fn bytes_of(server: &Server, artifact: &Value) -> Vec<u8> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.get(format!("{}/api/v1/artifacts/{}", server.url, artifact["id"].as_str().unwrap()));
    let answer = request.header("authorization", format!("Bearer {}", server.token)).call().unwrap();
    assert_eq!(answer.status(), 200);
    let mut bytes = Vec::new();
    answer.into_body().into_with_config().limit(u64::MAX).reader().read_to_end(&mut bytes).unwrap();
    bytes
}

fn packs(server: &Server) {
    let view = server.finished(&server.trigger("pack"));
    assert_eq!(view["outcome"], "succeeded", "{view}");
    let job = view["jobs"][0]["id"].as_str().unwrap();
    let log = server.log(job, 1);
    let artifacts = server.get(&format!("/api/v1/jobs/{job}/artifacts")).json();
    let named = |name: &str| artifacts.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    let many = bytes_of(server, &named("d/many"));
    assert!(many.len() > 4_000_000);
    let sha256: String = Sha256::digest(&many).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(log, [format!("{sha256}  -")]);
    assert_eq!(named("d/many")["sha256"], sha256);
    assert!(bytes_of(server, &named("empty")).is_empty());
}

#[test]
fn chunks_bring_artifacts_over_the_embedded_broker() {
    let server = Server::start(&["--slots", "1", "--upload", "broker"]);
    server.apply("pack", PACK);
    packs(&server);
}

#[test]
fn chunks_bring_artifacts_of_an_executor_that_reaches_only_rabbitmq() {
    let cluster = Cluster::on(Node::shared());
    // Nobody listens where executors are told to bring artifacts.
    let options = ["--roles", "gateway,control,projections", "--public-url", "http://127.0.0.1:9"];
    let listen = "127.0.0.1:0";
    let (north, executor) = {
        // The URL that is printed is the public one: the test asks at the address itself.
        let port = std::net::TcpListener::bind(listen).unwrap().local_addr().unwrap();
        let mut north = cluster.server_with(&port.to_string(), "north", &options);
        north.url = format!("http://{port}");
        (north, cluster.executor("east", "1"))
    };
    north.apply("pack", PACK);
    packs(&north);
    drop(executor);
}

#[test]
fn chunks_of_a_stranger_and_of_a_job_that_does_not_run_are_refused() {
    let cluster = Cluster::on(Node::shared());
    let _north = cluster.server("north", "gateway,control,projections");
    let shutdown = CancellationToken::new();
    cluster.runtime.block_on(async {
        let broker: Arc<dyn Broker> = RabbitBroker::start(&cluster.broker, shutdown.clone()).await.unwrap();
        let queue = topology::reply();
        broker.declare(&queue).await.unwrap();
        // As the server does, which may not have come to it.
        broker.declare(&topology::chunks()).await.unwrap();
        let mut answers = broker.consume(&queue.name, ConsumeOptions { prefetch: 10, exclusive: true }).await.unwrap();
        let lease = LeaseRef { job: JobId(Uuid::now_v7()), attempt: 1 };
        let stranger = InstallationKey([9; 32]).event_key(lease.job, 1);
        let open = Open::sealed(&stranger, Uuid::new_v4(), lease, "f".to_owned(), 1);
        let mut message = Outgoing::new(topology::Exchange::Direct, topology::CHUNKS, open.encode());
        (message.reply_to, message.mandatory) = (Some(queue.name.clone()), true);
        broker.publish(message).await.unwrap();
        let answer = tokio::time::timeout(support::PATIENCE, answers.next()).await.unwrap().unwrap();
        let Answer::Refused { reason, again, .. } = serde_json::from_slice(&answer.message.body).unwrap() else {
            panic!("it was not refused")
        };
        assert!(!again && reason.contains("not written by the holder"), "{reason}");
    });
    shutdown.cancel();
}
