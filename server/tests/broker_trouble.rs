//! RabbitMQ takes no messages, because of an alarm or because it is gone: builds are accepted, the reason is told, and all goes
//! on afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::time::Instant;

use cluster::{Cluster, node::Node};
use support::{PATIENCE, Server};

const QUICK: &str = "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n";

/// Waits until `/readyz` answers with this status, and gives its text.
fn until_ready_is(server: &Server, status: u16) -> String {
    let begun = Instant::now();
    loop {
        let answer = server.get("/readyz");
        if answer.status == status {
            return answer.text;
        }
        assert!(begun.elapsed() < PATIENCE, "still {}: {}", answer.status, answer.text);
        std::thread::yield_now();
    }
}

/// The page has the reason too: it was written with the same words.
fn page_tells(server: &Server, reason: &str) {
    let page = server.get("/").text;
    assert!(page.contains(r#"class="broker-note""#) && page.contains(reason), "{reason}: {page}");
}

#[test]
fn p1_an_alarm_of_the_broker_is_told_with_its_reason_and_what_was_accepted_runs_afterwards() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let north = cluster.server("north", "gateway,control,projections");
    let _executor = cluster.executor("east", "1");
    north.apply("quick", QUICK);
    assert_eq!(north.finished(&north.trigger("quick"))["outcome"], "succeeded");

    let watermark = |share: &str| {
        cluster.runtime.block_on(node.control(&["set_vm_memory_high_watermark", share]));
    };
    watermark("0.0000001");
    let mut accepted = vec![north.trigger("quick")];
    let told = until_ready_is(&north, 503);
    assert!(told.contains("RabbitMQ takes no messages now: low on memory."), "{told}");
    page_tells(&north, "low on memory");
    accepted.push(north.trigger("quick"));
    for id in &accepted {
        assert_ne!(north.build(id)["state"], "finished");
    }
    watermark("0.4");
    for id in &accepted {
        assert_eq!(north.finished_by_the_record(id)["outcome"], "succeeded");
    }
    until_ready_is(&north, 200);
    assert!(north.get("/").text.contains("broker-note absent"));

    cluster.runtime.block_on(node.keep_what_was_declared());
    node.kill();
    let told = until_ready_is(&north, 503);
    assert!(told.contains("RabbitMQ") && told.contains(&node.place()), "{told}");
    page_tells(&north, &node.place());
    let id = north.trigger("quick");
    node.revive();
    assert_eq!(north.finished_by_the_record(&id)["outcome"], "succeeded");
    until_ready_is(&north, 200);
}
