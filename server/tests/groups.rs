//! Consumer groups: each at its own pace, paused, resumed and rebuilt while builds go on; and statistics that say what the
//! record holds, whoever was killed meanwhile. On the embedded broker and SQLite, and on RabbitMQ and PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{path::Path, time::Instant};

use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use support::{PATIENCE, Server};

/// The first attempt of `shaky` fails; `slow` has the slowest step.
const SITE: &str = "
name: site
jobs:
  shaky:
    attempts: 2
    lost_attempts: 5
    steps: [{name: try, run: '[ $STEPCAST_ATTEMPT -gt 1 ]'}]
  slow:
    lost_attempts: 5
    steps: [{name: wait, run: 'read -r -t 0.3 <> <(:) || :'}]
";
const BROKEN: &str = "name: broken\njobs: {a: {steps: [{name: end, run: exit 3}]}}\n";

fn group(server: &Server, name: &str) -> Value {
    let groups = server.get("/api/v1/groups").json();
    let found = groups.as_array().unwrap().iter().find(|group| group["name"] == name);
    found.unwrap_or_else(|| panic!("no group {name} in {groups}")).clone()
}

/// Waits until a group is shown so.
fn until_group(server: &Server, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let found = group(server, name);
        if is(&found) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{name} is never {what}: {found}");
        std::thread::yield_now();
    }
}

fn until_state(server: &Server, name: &str, state: &str) -> Value {
    until_group(server, name, state, |group| group["state"] == state)
}

fn ask(server: &Server, group: &str, verb: &str) {
    let answer = server.post(&format!("/api/v1/groups/{group}/{verb}"), &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text);
}

/// What all builds add up to by themselves: ends, attempts, and what was flaky or lost.
fn recount(server: &Server) -> Value {
    let builds = server.get("/api/v1/builds?limit=500").json();
    let (mut ends, mut attempts, mut flaky, mut lost) = ([0, 0], 0, 0, 0);
    for build in builds.as_array().unwrap() {
        assert_eq!(build["state"], "finished", "{build}");
        ends[usize::from(build["outcome"] != "succeeded")] += 1;
        let build = server.build(build["id"].as_str().unwrap());
        for job in build["jobs"].as_array().unwrap() {
            let (attempt, gone) = (job["attempt"].as_u64().unwrap(), job["lost"].as_array().unwrap().len() as u64);
            let succeeded = job["outcome"] == "succeeded";
            let failures = attempt - gone - u64::from(succeeded);
            (attempts, lost) = (attempts + attempt, lost + gone);
            flaky += u64::from(succeeded && failures > 0);
        }
    }
    json!({"succeeded": ends[0], "failed": ends[1], "attempts": attempts, "flaky": flaky, "lost": lost})
}

/// The same as the statistics have it.
fn counted(server: &Server) -> Value {
    let stats = server.get("/api/v1/stats?days=2").json();
    let rows = stats["flaky_jobs"].as_array().unwrap();
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    json!({
        "succeeded": stats["builds"]["succeeded"], "failed": stats["builds"]["failed"], "attempts": stats["queue_micros"]["count"],
        "flaky": sum("flaky"), "lost": sum("lost_attempts"),
    })
}

/// Waits until the statistics say what the builds do.
fn until_right(server: &Server) {
    let (begun, expected) = (Instant::now(), recount(server));
    loop {
        let found = counted(server);
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "counted {found}, and there are {expected}");
        std::thread::yield_now();
    }
}

fn builds_finish(server: &Server, count: usize) {
    let ids: Vec<String> = (0..count).map(|_| server.trigger("site")).collect();
    for id in ids {
        assert_eq!(server.finished_by_the_record(&id)["outcome"], "succeeded");
    }
}

/// Groups are paused, resumed and rebuilt while builds go on, and each stands for itself.
fn groups_obey(server: &Server) {
    ask(server, "analytics", "pause");
    until_state(server, "analytics", "paused");
    let before = counted(server);
    builds_finish(server, 2);
    assert_eq!(counted(server), before, "it was paused");
    let behind = until_group(server, "analytics", "behind", |group| group["lag"].as_u64().unwrap() > 0);
    assert!(behind["active"].is_string(), "its member waits: {behind}");
    until_group(server, "recorder", "up with the stream", |group| group["lag"] == 0 && group["state"] == "running");
    ask(server, "analytics", "resume");
    until_state(server, "analytics", "running");
    until_right(server);
    until_group(server, "analytics", "up with the stream", |group| group["lag"] == 0);

    ask(server, "analytics", "rebuild");
    builds_finish(server, 2);
    until_state(server, "analytics", "running");
    until_right(server);

    // The recorder stands still, and another group goes on.
    ask(server, "recorder", "pause");
    until_state(server, "recorder", "paused");
    let place = group(server, "analytics")["offset"].as_u64().unwrap();
    let id = server.trigger("site");
    until_group(server, "analytics", "further", |group| group["offset"].as_u64().unwrap() > place);
    assert_eq!(group(server, "recorder")["state"], "paused");
    ask(server, "recorder", "resume");
    assert_eq!(server.finished_by_the_record(&id)["outcome"], "succeeded");
    until_right(server);
    until_group(server, "analytics", "idle", |group| group["speed"] == 0);

    let refused = server.post("/api/v1/groups/recorder/rebuild", &json!({}));
    assert_eq!((refused.status, refused.content_type.as_str()), (409, "application/problem+json"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("the record itself"), "{}", refused.text);
    let unknown = server.post("/api/v1/groups/nobody/pause", &json!({}));
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["detail"].as_str().unwrap().contains("analytics"), "{}", unknown.text);
}

#[test]
fn p5_statistics_are_right_when_the_server_is_killed_at_any_time() {
    let mut server = Server::start(&["--lease-seconds", "5"]);
    server.apply("site", SITE);
    server.apply("broken", BROKEN);
    for _ in 0..2 {
        let ids: Vec<String> = (0..3).map(|_| server.trigger("site")).collect();
        let broken = server.trigger("broken");
        drop(server.finished_by_the_record(&ids[0]));
        server.kill();
        server.restart();
        for id in &ids {
            assert_eq!(server.finished_by_the_record(id)["outcome"], "succeeded");
        }
        assert_eq!(server.finished_by_the_record(&broken)["outcome"], "failed");
    }
    until_right(&server);
    groups_obey(&server);

    let stats = server.get("/api/v1/pipelines/site/stats?days=1").json();
    assert_eq!(stats["slowest_steps"][0]["step"], "wait", "{stats}");
    let took = stats["slowest_steps"][0]["duration_micros"]["p50"].as_u64().unwrap();
    assert!(took > 280_000, "{stats}");
    assert_eq!(stats["builds"]["failed"], 0, "of this pipeline alone");
    for (path, status) in [
        ("/api/v1/pipelines/site/stats?days=0", 400),
        ("/api/v1/pipelines/site/stats?days=401", 400),
        ("/api/v1/stats?weeks=1", 400),
        ("/api/v1/pipelines/nothing/stats", 404),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    // A wish survives the one who was told of it.
    ask(&server, "analytics", "pause");
    server.kill();
    server.restart();
    until_state(&server, "analytics", "paused");
}

fn instance(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("instance")).unwrap().trim().to_owned()
}

#[test]
fn p5_another_process_reads_on_where_the_one_that_was_killed_had_been() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control");
    let _executor = cluster.executor("east", "3");
    north.apply("site", SITE);
    let first = cluster.recorder("first");
    let names = ["first", "second"].map(|name| cluster.data_dir(name));
    for name in ["analytics", "recorder"] {
        let active = instance(&names[0]);
        until_group(&north, name, "read by the first", |group| group["active"] == *active);
    }
    let _second = cluster.recorder("second");
    let both =
        until_group(&north, "analytics", "of two members", |group| group["members"].as_array().unwrap().len() == 2);
    assert_eq!(both["active"], *instance(&names[0]), "{both}");
    let ids: Vec<String> = (0..4).map(|_| north.trigger("site")).collect();
    drop(north.finished_by_the_record(&ids[0]));
    let busy = until_group(&north, "analytics", "quick", |group| group["speed"].as_u64().unwrap() > 0);
    assert_eq!(busy["state"], "running", "{busy}");
    drop(first); // kill -9
    for id in &ids {
        assert_eq!(north.finished_by_the_record(id)["outcome"], "succeeded");
    }
    for name in ["analytics", "recorder"] {
        let active = instance(&names[1]);
        until_group(&north, name, "read by the second", |group| group["active"] == *active);
    }
    until_right(&north);
    groups_obey(&north);
}
