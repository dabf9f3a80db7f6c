//! Searching in all logs and builds, on one process with nothing beside it and on many over RabbitMQ and PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{process::Command, time::Instant};

use cluster::{Cluster, node::Node};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
use support::{PATIENCE, STEPCAST, Server};

/// Fails once, then succeeds; each attempt says which it is, in colour.
const TWICE: &str = r#"
name: twice
inputs: {ref: {default: feature/log-search}}
jobs:
  pack:
    attempts: 2
    steps:
      - run: |
          for n in $(seq 1 500); do echo "line $n of attempt $STEPCAST_ATTEMPT"; done
          printf '\033[31mSocketTimeoutException\033[0m in src/net/pool.rs:%s\n' "$STEPCAST_ATTEMPT"
          echo site > site.tgz
          [ "$STEPCAST_ATTEMPT" = 2 ]
    artifacts: [site.tgz]
"#;

fn encoded(q: &str) -> String {
    q.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn search(server: &Server, q: &str) -> Value {
    let answer = server.get(&format!("/api/v1/search?q={}", encoded(q)));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn hits(server: &Server, q: &str) -> Vec<Value> {
    search(server, q)["hits"].as_array().unwrap().clone()
}

/// Waits until so many are found.
fn until(server: &Server, q: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let hits = hits(server, q);
        if hits.len() == count {
            return hits;
        }
        assert!(begun.elapsed() < PATIENCE, "{} hits of {count} for {q}: {hits:?}", hits.len());
        std::thread::yield_now();
    }
}

/// What is found of one build of [`TWICE`], by whichever gateway is asked.
fn finds_it(server: &Server, build: &Value) {
    let (id, job) = (build["id"].as_str().unwrap(), build["jobs"][0]["id"].as_str().unwrap());
    until(server, "twice succeeded", 2);
    let found = until(server, "timeout src/net/pool.rs", 2);
    let told = |hit: &Value| (hit["attempt"].clone(), hit["n"].clone(), hit["earlier"].clone(), hit["text"].clone());
    let text = |n: u32| Value::from(format!("SocketTimeoutException in src/net/pool.rs:{n}"));
    assert_eq!(told(&found[0]), (2.into(), 500.into(), Value::Null, text(2)));
    assert_eq!(told(&found[1]), (1.into(), 500.into(), true.into(), text(1)));
    assert_eq!(found[0]["url"], format!("/builds/{id}?job={job}#L501"));
    assert_eq!(found[0]["ranges"], serde_json::json!([[6, 13], [26, 41]]));
    assert_eq!(
        (&found[0]["kind"], &found[0]["pipeline"], &found[0]["job_name"]),
        (&"log".into(), &"twice".into(), &"pack".into())
    );
    let line = until(server, "\"line 77 of attempt 2\"", 1);
    assert_eq!(line[0]["n"], 76);
    assert_eq!(until(server, "site.tgz", 1)[0]["field"], "artifact");
    assert_eq!(until(server, "feature/log-search", 1)[0]["field"], "input");
    assert_eq!(hits(server, "31m"), [] as [Value; 0]);
    assert_eq!(hits(server, "timeout nowhere"), [] as [Value; 0]);
}

#[test]
fn search_finds_logs_and_builds_on_one_process() {
    let mut server = Server::start(&["--slots", "2"]);
    server.apply("twice", TWICE);
    let build = server.finished_by_the_record(&server.trigger("twice"));
    finds_it(&server, &build);
    // Killed, and started again: nothing comes twice.
    server.kill();
    server.restart();
    let second = server.finished_by_the_record(&server.trigger("twice"));
    assert_eq!(until(&server, "timeout src/net/pool.rs", 4)[0]["number"], 2);
    until(&server, "twice succeeded", 4);
    // Page by page.
    let page = server.get("/api/v1/search?q=line&limit=200&kind=log&pipeline=twice").json();
    let (mut told, mut next) = (page["hits"].as_array().unwrap().len(), page["next"].clone());
    while let Some(before) = next.as_str() {
        let page = server.get(&format!("/api/v1/search?q=line&limit=200&kind=log&before={before}")).json();
        told += page["hits"].as_array().unwrap().len();
        next = page["next"].clone();
    }
    assert_eq!(told, 2_000);
    let groups = server.get("/api/v1/groups").json();
    assert!(groups.as_array().unwrap().iter().any(|group| group["name"] == "search"), "{groups}");
    // An installation that had no index, and whose stream does not hold what was before.
    server.until_whole(second["id"].as_str().unwrap());
    server.kill();
    forget_index(&server);
    server.restart();
    assert_eq!(until(&server, "timeout src/net/pool.rs", 4)[0]["number"], 2);
    until(&server, "\"line 77 of attempt 2\"", 2);
    // A deleted build is found no more.
    let deleted = server.delete(&format!("/api/v1/builds/{}", second["id"].as_str().unwrap()));
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    finds_it(&server, &build);
}

/// As a former Stepcast has left it.
fn forget_index(server: &Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(server.data_dir().join("stepcast.db"));
        let mut connection = options.connect().await.unwrap();
        for sql in [
            "INSERT INTO search_words (search_words) VALUES ('delete-all')",
            "DELETE FROM search_blocks",
            "DELETE FROM search_logs",
            "DELETE FROM groups WHERE name = 'search'",
            "UPDATE search_state SET is_whole = 0",
            "DELETE FROM journal_stream",
            "UPDATE journal_meta SET first = next",
        ] {
            connection.execute(sql).await.unwrap();
        }
    });
}

#[test]
fn search_finds_logs_and_builds_across_processes() {
    let cluster = Cluster::on(Node::shared());
    let server = |name| cluster.server_with("127.0.0.1:0", name, &["--roles", "gateway,control,projections"]);
    let (north, south) = (server("north"), server("south"));
    let _executor = cluster.executor("east", "2");
    north.apply("twice", TWICE);
    let build = north.finished_by_the_record(&north.trigger("twice"));
    finds_it(&north, &build);
    finds_it(&south, &build);
    assert_eq!(hits(&north, "line"), hits(&south, "line"));
}

#[test]
fn what_cannot_be_searched_is_told_in_a_sentence() {
    let server = Server::start(&[]);
    for (query, sentence) in [
        ("", "`q` is empty: write the words to look for."),
        ("?q=", "`q` is empty: write the words to look for."),
        ("?q=-%3E", "`q` holds no word: words are made of letters and digits."),
        ("?q=a*", "`a*` is too short: at least 2 letters stand before `*`."),
        ("?q=%22a", "`q` opens a quotation mark and does not close it: write \"a phrase\"."),
        ("?q=a&kind=job", "`kind` \"job\" is not valid: it must be log or build."),
        ("?q=a&before=7", "`before` \"7\" is not valid: it must be the `next` of an answer."),
        ("?q=a&limit=201", "`limit` must be 1 to 200."),
        ("?q=a&sort=x", "`sort` is not known here: use q, pipeline, kind, before, limit."),
    ] {
        let answer = server.get(&format!("/api/v1/search{query}"));
        assert_eq!((answer.status, answer.json()["detail"].as_str()), (400, Some(sentence)), "{query}");
    }
}

#[test]
fn search_finds_on_the_command_line_what_stands_where() {
    let server = Server::start(&["--slots", "1"]);
    server.apply("site", "name: site\njobs: {a: {steps: [{run: 'seq 1 120; echo needle in a haystack'}]}}\n");
    server.finished_by_the_record(&server.trigger("site"));
    until(&server, "needle", 1);
    until(&server, "succeeded", 1);
    let begun = std::time::Instant::now();
    while search(&server, "needle")["building"] == true {
        assert!(begun.elapsed() < PATIENCE, "the index never becomes whole");
    }
    let stepcast = |words: &[&str]| {
        let mut command = Command::new(STEPCAST);
        command.arg("search").args(words).env("STEPCAST_URL", &server.url).env("STEPCAST_TOKEN", &server.token);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let found = (Some(0), "site#1 a:121: needle in a haystack\n".to_owned(), String::new());
    assert_eq!(stepcast(&["needle", "haystack"]), found);
    assert_eq!(stepcast(&["\"a haystack\"", "--kind", "log", "--pipeline", "site"]), found);
    assert_eq!(stepcast(&["succeeded"]).1, "site#1 outcome: succeeded\n");
    assert_eq!(stepcast(&["nowhere"]), (Some(0), String::new(), String::new()));
    let (code, _, told) = stepcast(&["e*"]);
    assert_eq!((code, told.as_str()), (Some(2), "stepcast: `e*` is too short: at least 2 letters stand before `*`.\n"));
}
