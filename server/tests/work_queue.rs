//! Which of many waiting jobs an executor gets, and what an executor says of itself: from the form of a pipeline to the answer
//! over HTTP, on the embedded broker and on RabbitMQ with PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{fs, path::Path, time::Instant};

use cluster::{Cluster, node::Node};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{PATIENCE, STEPCAST, Server};

/// A pipeline whose only job waits for a gate, and writes its name into a file when it begins.
fn gated(name: &str, folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "name: {name}\n{more}jobs:\n  work:\n    steps:\n      - run: |\n          echo \"$STEPCAST_PIPELINE $STEPCAST_NUMBER\" >> '{folder}/order'\n          \
         until [ -e '{folder}/gate' ]; do read -r -t 0.05 <> <(:) || :; done\n"
    )
}

fn open(folder: &Path) {
    fs::write(folder.join("gate"), "").unwrap();
}

fn order(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("order")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "this did not happen: {what}");
        std::thread::yield_now();
    }
}

fn until_running(server: &Server, id: &str) {
    until("the build runs", || server.build(id)["state"] == "running");
}

/// On each of the two: a process, or processes over RabbitMQ and PostgreSQL, with one slot.
fn on_both(test: impl Fn(&Server, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&["--slots", "1"]);
    test(&server, folder.path());
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let _south = cluster.server("south", "gateway,control,projections");
    let _executor = cluster.executor("east", "1");
    test(&north, folder.path());
}

#[test]
fn work_queue_fair_a_long_queue_does_not_hold_up_a_single_build() {
    on_both(|server, folder| {
        server.apply("flood", &gated("flood", folder, ""));
        server.apply("single", &gated("single", folder, ""));
        let first = server.trigger("flood");
        until_running(server, &first);
        let mut builds: Vec<String> = (0..30).map(|_| server.trigger("flood")).collect();
        let single = server.trigger("single");
        let waits = server.build(&single)["jobs"][0]["waiting_for"].clone();
        assert_eq!(waits, "waits for a free executor");
        open(folder);
        assert_eq!(server.finished(&single)["outcome"], "succeeded");
        let place = order(folder).iter().position(|line| line == "single 1").unwrap();
        assert!(place <= 2, "it was granted as number {place} behind the one that ran: {:?}", order(folder));
        let last = builds.pop().unwrap();
        assert_eq!(server.finished(&last)["outcome"], "succeeded", "and the others go on");
    });
}

#[test]
fn work_queue_priority_an_urgent_build_goes_first() {
    on_both(|server, folder| {
        server.apply("first", &gated("first", folder, ""));
        server.apply("late", &gated("late", folder, "priority: -5\n"));
        let first = server.trigger("first");
        until_running(server, &first);
        let late = server.trigger("late");
        let plain = server.trigger("first");
        let trigger = |priority: i64| server.post("/api/v1/pipelines/late/builds", &json!({"priority": priority}));
        let urgent = trigger(50);
        assert_eq!(urgent.status, 202, "{}", urgent.text);
        let urgent = urgent.json()["id"].as_str().unwrap().to_owned();
        let refused = trigger(101);
        assert_eq!(
            (refused.status, refused.json()["detail"].as_str()),
            (422, Some("`priority` must be a whole number from -100 to 100"))
        );
        let command = std::process::Command::new(STEPCAST)
            .args(["trigger", "first", "--priority", "-100"])
            .envs([("STEPCAST_URL", &server.url), ("STEPCAST_TOKEN", &server.token)])
            .output()
            .unwrap();
        assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
        let last = String::from_utf8(command.stdout).unwrap().trim().to_owned();
        let priority = |id: &str| server.build(id)["jobs"][0]["priority"].clone();
        assert_eq!(
            [priority(&late), priority(&plain), priority(&urgent), priority(&last)],
            [json!(-5), Value::Null, json!(45), json!(-100)]
        );
        open(folder);
        server.finished(&last);
        assert_eq!(order(folder), ["first 1", "late 2", "first 2", "late 1", "first 3"]);
    });
}

#[test]
fn work_queue_concurrency_builds_of_a_group_take_turns_and_say_so() {
    on_both(|server, folder| {
        let group = "inputs: {env: {default: prod}}\nconcurrency: {group: \"deploy-${{ inputs.env }}\"}\n";
        server.apply("site", &gated("site", folder, group));
        server.apply("other", &gated("other", folder, "concurrency: deploy-prod\n"));
        server.apply("free", "name: free\njobs: {a: {steps: [{run: 'true'}]}}\n");
        let first = server.trigger("site");
        until_running(server, &first);
        let (second, third) = (server.trigger("other"), server.trigger("site"));
        let waits = |id: &str| server.build(id)["jobs"][0]["waiting_for"].as_str().unwrap_or_default().to_owned();
        let sentence = "waits for concurrency group deploy-prod, held by build #1 of site";
        assert_eq!([waits(&second), waits(&third)], [sentence, sentence]);
        // The slot is taken: who is in no group waits for that alone.
        let free = server.trigger("free");
        assert_eq!(waits(&free), "waits for a free executor");
        // Cancelled, its holder frees the group for the next one at once.
        until("its step has begun", || !order(folder).is_empty());
        server.post(&format!("/api/v1/builds/{first}/cancel"), &json!({}));
        assert_eq!(server.finished(&first)["outcome"], "cancelled");
        until_running(server, &second);
        assert_eq!(waits(&third), "waits for concurrency group deploy-prod, held by build #1 of other");
        open(folder);
        for build in [&second, &third, &free] {
            assert_eq!(server.finished(build)["outcome"], "succeeded");
        }
        assert_eq!(order(folder), ["site 1", "other 1", "site 2"]);
    });
}

#[test]
fn work_queue_concurrency_the_newest_build_supersedes_those_that_wait() {
    on_both(|server, folder| {
        let group = "concurrency: {group: deploy, when_full: newest_wins}\n";
        server.apply("site", &gated("site", folder, group));
        let first = server.trigger("site");
        until_running(server, &first);
        let (second, third) = (server.trigger("site"), server.trigger("site"));
        let superseded = server.finished(&second);
        assert_eq!(
            (&superseded["outcome"], &superseded["jobs"][0]["reason"]),
            (&json!("cancelled"), &json!("superseded by build #3 of site"))
        );
        open(folder);
        for build in [&first, &third] {
            assert_eq!(server.finished(build)["outcome"], "succeeded");
        }
        assert_eq!(order(folder), ["site 1", "site 3"]);
    });
}

/// The whole process is killed while a build holds the group and another one waits: both come to their end, one at a time.
#[test]
fn work_queue_concurrency_a_group_outlives_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&["--slots", "2"]);
    server.apply("site", &gated("site", folder.path(), "concurrency: deploy\n"));
    let first = server.trigger("site");
    until_running(&server, &first);
    until("its step has begun", || order(folder.path()).len() == 1);
    let second = server.trigger("site");
    server.kill();
    server.restart();
    until("the first build runs again", || order(folder.path()).len() >= 2);
    assert_eq!(order(folder.path()), ["site 1", "site 1"]);
    let waits = server.build(&second)["jobs"][0]["waiting_for"].clone();
    assert_eq!(waits, "waits for concurrency group deploy, held by build #1 of site");
    open(folder.path());
    for build in [&first, &second] {
        assert_eq!(server.finished(build)["outcome"], "succeeded");
    }
    assert_eq!(order(folder.path()).last().unwrap(), "site 2");
}

fn the_executor(server: &Server) -> String {
    until("an executor is known", || {
        server.get("/api/v1/executors").json().as_array().is_some_and(|all| all.iter().any(|one| one["alive"] == true))
    });
    server.get("/api/v1/executors").json()[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn query_over_the_broker_an_executor_tells_what_only_it_knows() {
    on_both(|server, folder| {
        server.apply("site", &gated("site", folder, ""));
        let executor = the_executor(server);
        let path = format!("/api/v1/executors/{executor}/now");
        let idle = server.until_it_answers(&path);
        assert_eq!((&idle["slots"], &idle["free_slots"], &idle["running"]), (&json!(1), &json!(1), &json!([])));
        assert!(idle["disk_free"].as_u64().is_some_and(|bytes| bytes > 0) && idle["load"].is_number(), "{idle}");
        let build = server.trigger("site");
        until("the step runs", || !order(folder).is_empty());
        let busy = server.until_it_answers(&format!("{path}?lines=20"));
        assert_eq!((&busy["free_slots"], &busy["attempts"][0]["build"]), (&json!(0), &json!(build)), "{busy}");
        let attempt = &busy["attempts"][0];
        assert_eq!(
            (&attempt["pipeline"], &attempt["name"], &attempt["number"]),
            (&json!("site"), &json!("work"), &json!(1))
        );
        assert_eq!(attempt["step"]["step"], 0);
        let (since, step) = (attempt["since"].as_i64().unwrap(), attempt["step"]["since"].as_i64().unwrap());
        assert!(since > 0 && step >= since, "{attempt}");
        let refused = server.get(&format!("{path}?lines=21"));
        let sentence = "`lines` must be a whole number from 0 to 20.";
        assert_eq!((refused.status, refused.json()["detail"].as_str()), (400, Some(sentence)));
        assert_eq!(server.get("/api/v1/executors/00000000-0000-4000-8000-000000000000/now").status, 404);
        open(folder);
        server.finished(&build);
    });
}

#[test]
fn query_over_the_broker_a_stopped_executor_is_told_by_504() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let east = cluster.executor("east", "1");
    let path = format!("/api/v1/executors/{}/now", the_executor(&north));
    north.until_it_answers(&path);
    east.signal(Signal::STOP);
    let asked = Instant::now();
    let answer = north.get(&path);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 504, "{}", answer.text);
    assert!(detail.contains("does not answer") && asked.elapsed() < PATIENCE, "{detail}");
    east.signal(Signal::CONT);
    north.until_it_answers(&path);
}
