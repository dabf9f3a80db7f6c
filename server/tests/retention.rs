//! What goes, by hand and by the rules, and what stays: nothing of a deleted build is found again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::{path::Path, process::Command, time::Instant};

use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};
use support::{PATIENCE, STEPCAST, Server};

const PACK: &str = "name: pack\njobs: {a: {steps: [{run: 'seq 1 5000; printf 0123456789 > f'}], artifacts: [f]}}\n";

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "this did not happen: {what}");
        std::thread::yield_now();
    }
}

fn delete(server: &Server, build: &str) -> u16 {
    server.delete(&format!("/api/v1/builds/{build}")).status
}

fn numbers(server: &Server, pipeline: &str) -> Vec<u64> {
    let listed = server.get(&format!("/api/v1/builds?pipeline={pipeline}")).json();
    listed.as_array().unwrap().iter().map(|build| build["number"].as_u64().unwrap()).collect()
}

fn files(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder).unwrap();
    folders.map(|of_job| std::fs::read_dir(of_job.unwrap().path()).map_or(0, Iterator::count)).sum()
}

/// Rows of the tables in which something of a build is kept.
fn rows(data_dir: &Path) -> Vec<(&'static str, i64)> {
    const TABLES: [&str; 14] = [
        "builds",
        "jobs",
        "build_events",
        "topics",
        "steps",
        "log_chunks",
        "open_lines",
        "artifacts",
        "dead_letters",
        "leavings",
        "outbox",
        "missing_lines",
        "search_blocks",
        "search_logs",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(data_dir.join("stepcast.db"));
        let mut connection = options.connect().await.unwrap();
        let mut found = Vec::new();
        for table in TABLES {
            let counted =
                sqlx::query(&format!("SELECT COUNT(*) FROM {table}")).fetch_one(&mut connection).await.unwrap();
            found.push((table, counted.get::<i64, _>(0)));
        }
        found
    })
}

/// Waits until the first attempt of a build's only job has said so.
fn begun(server: &Server, build: &str, line: &str) {
    let job = server.build(build)["jobs"][0]["id"].as_str().unwrap().to_owned();
    server.until_recorded(&job, 1, line);
}

#[test]
fn a_build_that_a_person_deletes_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut server = Server::start_in(&data_dir, &["--slots", "1"]);
    let artifacts = server.data_dir().join("artifacts");
    server.apply("pack", PACK);
    server.apply("lost", "name: lost\njobs: {a: {lost_attempts: 1, steps: [{run: 'echo ready; while :; do read -r -t 9 <> <(:) || :; done'}]}}\n");
    let lost = server.trigger("lost");
    begun(&server, &lost, "ready");
    assert_eq!(delete(&server, &lost), 409, "it runs");
    server.kill();
    let server = Server::start_in(&data_dir, &["--slots", "1"]);
    assert_eq!(server.finished(&lost)["outcome"], "failed");
    let build = server.trigger("pack");
    let view = server.finished(&build);
    let job = view["jobs"][0]["id"].as_str().unwrap();
    server.until_whole(&build);
    server.until_whole(&lost);
    assert_eq!(delete(&server, &build), 204);
    assert_eq!(delete(&server, &lost), 204);
    for gone in [
        format!("/api/v1/builds/{build}"),
        format!("/api/v1/builds/{build}/events"),
        format!("/api/v1/jobs/{job}/log"),
        format!("/api/v1/jobs/{job}/log.txt"),
        format!("/api/v1/jobs/{job}/artifacts"),
    ] {
        assert_eq!(server.get(&gone).status, 404, "{gone}");
    }
    assert_eq!((delete(&server, &build), delete(&server, "nonsense")), (404, 400));
    assert_eq!(server.post(&format!("/api/v1/builds/{build}/retry"), &json!({})).status, 404);
    assert_eq!(server.get("/api/v1/dead-letters").json(), json!([]));
    until("its files are gone", || files(&artifacts) == 0);
    // Its number does not come again, and the program deletes as well.
    let next = server.trigger("pack");
    assert_eq!(server.finished(&next)["number"], 2);
    server.until_whole(&next);
    let done = Command::new(STEPCAST)
        .args(["delete", "pack#2"])
        .env("STEPCAST_URL", &server.url)
        .env("STEPCAST_TOKEN", &server.token)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(numbers(&server, "pack"), [0; 0]);
    until("all rows are gone", || rows(server.data_dir()).iter().all(|(_, count)| *count == 0));
    until("the files follow", || files(&artifacts) == 0);
}

#[test]
fn builds_go_by_the_rules_of_their_pipeline_and_of_the_installation() {
    let server = Server::start(&["--slots", "2", "--retention-look-seconds", "1", "--retention-builds", "4"]);
    let text = |name: &str, retention: &str| {
        format!(
            "name: {name}\n{retention}jobs: {{a: {{steps: [{{run: 'seq 1 3000; exit ${{INPUT_STATUS}}'}}]}}}}\ninputs: {{status: {{default: '1'}}}}\n"
        )
    };
    server.apply("few", &text("few", "retention: {builds: 2}\n"));
    server.apply("all", &text("all", "retention: {builds: unlimited}\n"));
    server.apply("some", &text("some", ""));
    // One build says about 4 KB; nothing but the last ones fit.
    server.apply("small", &text("small", "retention: {builds: unlimited, size: 1KB}\n"));
    let trigger = |name: &str, status: &str| -> Value {
        let answer = server.post(&format!("/api/v1/pipelines/{name}/builds"), &json!({"inputs": {"status": status}}));
        server.finished(answer.json()["id"].as_str().unwrap())
    };
    for name in ["few", "all", "some", "small"] {
        assert_eq!(trigger(name, "0")["outcome"], "succeeded");
        for _ in 0..5 {
            assert_eq!(trigger(name, "1")["outcome"], "failed");
        }
    }
    // The last one that succeeded stays beside those that the rule keeps.
    until("builds go by number", || {
        numbers(&server, "few") == [6, 5, 1] && numbers(&server, "some") == [6, 5, 4, 3, 1]
    });
    until("builds go by size", || numbers(&server, "small") == [6, 1]);
    assert_eq!(numbers(&server, "all"), [6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_key_makes_no_second_build_because_the_first_was_one_of_many() {
    let server = Server::start(&["--retention-look-seconds", "1", "--retention-builds", "1"]);
    server.apply("quick", "name: quick\njobs: {a: {steps: [{run: 'exit 1'}]}}\n");
    let keyed = || {
        let answer = server.post_with("/api/v1/pipelines/quick/builds", "{}", &[("idempotency-key", "k")]);
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let first = keyed();
    server.finished(&first);
    for _ in 0..3 {
        let build = server.trigger("quick");
        server.finished(&build);
    }
    until("builds go by number", || numbers(&server, "quick") == [4, 1]);
    assert_eq!(keyed(), first);
}
