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

/// The page has the reason too: it was written with the same words.
fn page_tells(server: &Server, reason: &str) {
    let page = server.get("/").text;
    assert!(page.contains(r#"class="broker-note""#) && page.contains(reason), "{reason}: {page}");
}

/// Waits until `/readyz` says that it is not ready, for this reason, and gives its text: first it may tell no more than that
/// the connection was lost.
fn until_not_ready_for(server: &Server, reason: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = server.get("/readyz");
        if answer.status == 503 && answer.text.contains(reason) {
            return answer.text;
        }
        assert!(begun.elapsed() < PATIENCE, "still {}: {}", answer.status, answer.text);
        std::thread::yield_now();
    }
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
    let told = north.until_ready_is(503);
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
    north.until_ready_is(200);
    assert!(north.get("/").text.contains("broker-note absent"));

    cluster.runtime.block_on(node.keep_what_was_declared());
    node.kill();
    let told = until_not_ready_for(&north, &node.place());
    assert!(told.contains("RabbitMQ"), "{told}");
    page_tells(&north, &node.place());
    let id = north.trigger("quick");
    node.revive();
    cluster.runtime.block_on(async { drop(node.broker().await) });
    assert_eq!(north.finished_by_the_record(&id)["outcome"], "succeeded");
    north.until_ready_is(200);
}

#[test]
fn p3_a_stream_that_an_operator_deletes_costs_what_was_not_recorded_and_that_is_told() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let north = cluster.server("north", "gateway,control");
    let recorder = cluster.recorder("record");
    let _executor = cluster.executor("east", "1");
    let (gate, talk) = cluster.talk();
    north.apply("talk", &talk);
    north.apply("quick", QUICK);
    let first = north.trigger("talk");
    let job = north.build(&first)["jobs"][0]["id"].as_str().unwrap().to_owned();
    north.until_line(&first, "line 200");

    // Nobody records while the rest is printed; then what is printed is gone with the stream.
    drop(recorder);
    std::fs::write(&gate, "").unwrap();
    // Control's word: live events of a build are completed from the record, which stands still.
    north.finished_by_the_record(&first);
    cluster.runtime.block_on(node.control(&["delete_queue", "--vhost", cluster.vhost(), "events"]));
    let _recorder = cluster.recorder("record");

    assert_eq!(north.finished_by_the_record(&first)["outcome"], "succeeded");
    assert_eq!(north.log(&job, 1).len(), 200, "the record is sealed with what it has");
    let told = north.build(&first);
    assert!(told["jobs"][0]["unrecorded"].as_u64().unwrap() > 0, "{told}");
    let groups = north.get("/api/v1/groups").json();
    let recorder = groups.as_array().unwrap().iter().find(|group| group["name"] == "recorder").unwrap();
    // Once more where it finds that its place is not there, either.
    assert!(recorder["losses"].as_u64() >= Some(1), "{recorder}");
    let second = north.trigger("quick");
    let job = north.finished_by_the_record(&second)["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(north.log(&job, 1), ["hi"]);
    assert!(north.build(&second)["jobs"][0]["unrecorded"].is_null());
}

#[test]
fn p3_a_job_that_prints_faster_than_the_record_takes_waits_and_no_other_begins() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let options = ["--roles", "gateway,control", "--lease-seconds", "6", "--recorder-lag-max", "40"];
    let north = cluster.server_with("127.0.0.1:0", "north", &options);
    let _executor = cluster.executor("east", "2");
    // It prints until there is a gate, however fast the machine is.
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let run = format!("n=0; until [ -e '{}' ]; do seq $((n + 1)) $((n + 1000)); n=$((n + 1000)); done", gate.display());
    north.apply("flood", &format!("name: flood\njobs: {{a: {{steps: [{{run: {}}}]}}}}\n", serde_json::json!(run)));
    north.apply("quick", QUICK);
    let flood = north.trigger("flood");

    // Nobody records: the job is held back, and a new one does not begin.
    let lag = || {
        let text = north.get("/metrics").text;
        let line = text.lines().find_map(|line| line.strip_prefix("stepcast_recorder_lag ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let begun = Instant::now();
    let (mut last, mut since) = (lag(), Instant::now());
    while last <= 40 || since.elapsed() < std::time::Duration::from_secs(8) {
        std::thread::yield_now();
        let now = lag();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(begun.elapsed() < PATIENCE, "the lag grows on: {now} events");
    }
    let waiting = north.trigger("quick");
    for (id, state) in [(&flood, "running"), (&waiting, "queued")] {
        assert_eq!(north.build(id)["state"], state);
    }
    std::fs::write(gate, "").unwrap();
    let _recorder = cluster.recorder("record");
    let build = north.finished_while_it_grows(&flood);
    assert_eq!(build["outcome"], "succeeded");
    assert_eq!(north.finished_by_the_record(&waiting)["outcome"], "succeeded");
    let job = build["jobs"][0]["id"].as_str().unwrap();
    let text = north.get(&format!("/api/v1/jobs/{job}/log.txt")).text;
    let lines = text.lines().count();
    assert!(lines >= 1_000 && lines.is_multiple_of(1_000), "{lines} lines");
    assert!(text.lines().eq((1..=lines).map(|n| n.to_string())), "{lines} lines");
}
