//! The programs in `examples/` against a cluster: what they show to others must be true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::Instant,
};

use client::{As, Client, connect, lines};
use cluster::{Cluster, Executor, node::Node};
use serde_json::{Value, json};
use support::{PATIENCE, Server};

/// A client id that nobody has.
const NOBODY: &str = "0b9c4f2e-6c1e-4c0e-9d55-1f0d6a7c3b11";
/// A port on which nothing listens.
const NOWHERE: &str = "amqp://guest:guest@127.0.0.1:1/";

/// A program of `examples/`, and the broker that it is told of.
fn example(name: &str, broker: &str) -> Command {
    static PYTHON: OnceLock<&str> = OnceLock::new();
    // The one on the PATH may be another than the system's, and only that has the packages of the system.
    let python = PYTHON.get_or_init(|| {
        let has_pika = |python: &&str| {
            let asked = Command::new(python).args(["-c", "import pika"]).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let found = ["python3", "/usr/bin/python3"].into_iter().find(has_pika);
        found.expect("these tests need pika: run `sudo apt-get install python3-pika`")
    });
    let mut command = Command::new(python);
    command.arg(format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"))).env("STEPCAST_BROKER", broker);
    command
}

/// Runs a program to its end: it must say one sentence that holds `word`, and end with `status`.
fn refused(command: &mut Command, status: i32, word: &str) {
    let Output { status: ended, stdout, stderr } = command.output().unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert_eq!((ended.code(), stdout.is_empty()), (Some(status), true), "{told}");
    assert!(told.trim_end().lines().count() == 1 && told.contains(word), "{told}");
}

fn client_of(server: &Server) -> Client {
    connect(server, As::Token(&server.token), None).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn p4_a_program_calls_a_client_back_and_has_its_receipt() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let (mut called, mut other) = (client_of(&server), client_of(&server));
    let mut command = example("callback.py", &cluster.broker);
    command.args([text(&called.hello, "server_id"), text(&called.hello, "client_id"), r#"{"deployed": [1, "é"]}"#]);
    let program = command.stdout(Stdio::piped()).spawn().unwrap();
    let callback = called.frame();
    assert_eq!(callback["type"], "callback", "{callback}");
    assert_eq!(callback["payload"], json!({"deployed": [1, "é"]}));
    called.send(&json!({"type": "receipt", "message_id": callback["message_id"]}));
    let ended = program.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let receipt: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(receipt, json!({"client_id": called.hello["client_id"], "message_id": callback["message_id"]}));
    other.send(&json!({"type": "ping"}));
    assert_eq!(other.frame()["type"], "pong", "nobody else is called");
}

#[test]
fn p4_a_callback_that_found_no_client_is_told_and_delivered_when_the_client_attaches() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let meta = client_of(&server).hello;
    let mut command = example("callback.py", &cluster.broker);
    command.args(["gone-0", text(&meta, "client_id"), r#""late""#, "--wait", "0.5"]);
    refused(&mut command, 1, "is not connected to gone-0");
    let mut again = client_of(&server);
    again.send(&json!({"type": "attach", "resume": meta["resume"], "positions": []}));
    assert_eq!(again.until(|frame| frame["type"] == "callback")["payload"], "late");
}

#[test]
fn callback_py_tells_in_one_sentence_what_is_wrong() {
    let cluster = Cluster::on(Node::shared());
    let call = |words: &[&str], broker: &str, status, word: &str| {
        refused(example("callback.py", broker).args(words), status, word);
    };
    call(&["north", NOBODY], &cluster.broker, 2, "<instance>-<number>");
    call(&["north-0", "me"], &cluster.broker, 2, "'me'");
    call(&["north-0", NOBODY, "{nonsense"], &cluster.broker, 2, "no JSON");
    call(&["north-0", NOBODY], "nonsense", 2, "--broker");
    call(&["north-0", NOBODY], NOWHERE, 3, "127.0.0.1:1 ");
    call(&["north-0", NOBODY], &cluster.broker, 3, "no exchange 'utils'");
    refused(&mut example("executor.py", NOWHERE), 3, "127.0.0.1:1 ");
    refused(&mut example("executor.py", &cluster.broker), 3, "start `stepcast serve` first");
}

const SITE: &str = r#"
name: site
env: {GREETING: hello}
jobs:
  pack:
    steps:
      - name: count
        run: |
          for n in $(seq 1 3000); do echo "line $n"; done
          echo kept > kept.txt
      - run: |
          cat kept.txt; echo "$GREETING $CI $STEPCAST_JOB_NAME $STEPCAST_ATTEMPT" >&2
          printf 'caf\303\251 \377 no end'
  check:
    needs: [pack]
    steps:
      - run: echo checked; false | true; echo never
"#;

#[test]
fn a_build_runs_on_executor_py_and_its_record_is_exact() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let executor = Executor::start(example("executor.py", &cluster.broker).args(["--name", "pete"]));
    server.apply("site", SITE);
    let mut asker = client_of(&server);
    let build = server.post("/api/v1/pipelines/site/builds", &json!({"socket": asker.meta()})).json();
    // The one who asked hears every event by its server id, once and in order: each was signed as its attempt demands.
    let (mut printed, mut offsets, mut jobs_finished) = (Vec::new(), Vec::new(), 0);
    loop {
        let frame = asker.frame();
        assert_eq!(frame["type"], "event", "{frame}");
        let event = &frame["event"];
        if text(&frame, "topic").starts_with("job.") {
            printed.extend(lines(&frame));
            offsets.push(frame["offset"].as_u64().unwrap());
        } else if event["kind"] == "job_finished" {
            let told: Vec<u64> = (0..=event["last_offset"].as_u64().unwrap()).collect();
            assert_eq!(std::mem::take(&mut offsets), told);
            jobs_finished += 1;
        } else if event["kind"] == "build_finished" {
            assert_eq!(event["outcome"], "failed");
            break;
        }
    }
    assert_eq!(jobs_finished, 2);
    // The recorder has refused none of them either.
    let job = |name| {
        let found = server.build(text(&build, "id"))["jobs"].as_array().unwrap().clone();
        found.into_iter().find(|job| job["name"] == name).unwrap()
    };
    let (pack, check) = (job("pack"), job("check"));
    let expected: Vec<String> = (1..=3000)
        .map(|n| format!("line {n}"))
        .chain(["kept", "hello true pack 1", "café \u{fffd} no end"].map(str::to_owned))
        .collect();
    assert_eq!(server.log(text(&pack, "id"), 1), expected);
    assert_eq!(server.log(text(&check, "id"), 1), ["checked"]);
    assert_eq!(printed, [&expected[..], &["checked".to_owned()]].concat());
    // The record is sealed, and with it how the steps ended.
    let steps = |name| -> Vec<(Value, Value)> {
        let steps = job(name)["steps"].as_array().unwrap().clone();
        steps.into_iter().map(|mut step| (step["outcome"].take(), step["exit_code"].take())).collect()
    };
    assert_eq!(steps("pack"), vec![(json!("succeeded"), json!(0)); 2]);
    assert_eq!(steps("check"), [(json!("failed"), json!(1))]);
    assert_eq!(executor.stopped(), Some(0));
}

#[test]
fn executor_py_keeps_its_lease_answers_now_and_obeys_a_cancel() {
    let cluster = Cluster::on(Node::shared());
    let options = ["--roles", "gateway,control,projections", "--lease-seconds", "5"];
    let server = cluster.server_with("127.0.0.1:0", "north", &options);
    let _executor = Executor::start(example("executor.py", &cluster.broker).args(["--name", "pete"]));
    // It says that it was asked to end, and ends a moment later: none of its lines is lost.
    server.apply(
        "long",
        "name: long\njobs: {a: {steps: [{run: 'trap \"echo asked; exit 1\" TERM; echo begun; while :; do read -r -t 0.05 <> <(:) || :; done'}]}}\n",
    );
    let build = server.trigger("long");
    let job = server.build(&build)["jobs"][0].clone();
    server.until_recorded(text(&job, "id"), 1, "begun");
    let executor = || server.get("/api/v1/executors").json()[0].clone();
    // Its lease of 5 s would have run out by then.
    let (begun, first) = (Instant::now(), executor());
    assert_eq!(first["name"], "pete");
    while executor()["heard_at"].as_i64().unwrap() < first["heard_at"].as_i64().unwrap() + 6_000_000 {
        assert!(begun.elapsed() < PATIENCE, "it does not register again");
        std::thread::yield_now();
    }
    let now = server.until_it_answers(&format!("/api/v1/executors/{}/now", text(&first, "id")));
    assert_eq!((&now["slots"], &now["running"]), (&json!(1), &json!([{"job": job["id"], "attempt": 1}])), "{now}");
    assert_eq!(server.post(&format!("/api/v1/builds/{build}/cancel"), &json!({})).status, 202);
    let ended = server.finished(&build);
    assert_eq!((&ended["outcome"], &ended["jobs"][0]["attempt"]), (&json!("cancelled"), &json!(1)), "{ended}");
    assert_eq!(server.log(text(&job, "id"), 1), ["begun", "asked"]);
}

#[test]
fn p5_group_py_counts_every_build_once_though_it_is_killed() {
    let cluster = Cluster::on(Node::shared());
    let server = cluster.server("north", "gateway,control,projections");
    let _executor = cluster.executor("east", "2");
    server.apply("good", "name: good\njobs: {a: {steps: [{run: echo hi}]}}\n");
    server.apply("bad", "name: bad\njobs: {a: {steps: [{run: '[ $STEPCAST_ATTEMPT -gt 1 ]'}]}}\n");
    let file = cluster.data_dir("counts.db");
    let group = |words: &[&str]| {
        let mut command = example("group.py", &cluster.broker);
        command.arg(&file).args(words);
        command
    };
    let run = |count: usize| -> Vec<String> {
        let ids: Vec<String> = (0..count).map(|n| server.trigger(if n % 3 == 0 { "bad" } else { "good" })).collect();
        for id in &ids {
            server.finished(id);
        }
        ids
    };
    let first = run(6);
    // Killed behind a transaction of its own, with more to read.
    for _ in 0..2 {
        let mut reading = group(&[]).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(reading.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        assert!(line.starts_with("at "), "{line}");
        run(3);
        reading.kill().unwrap();
        reading.wait().unwrap();
    }
    // One that failed ends once more, and well.
    let retried = server.post(&format!("/api/v1/builds/{}/retry", first[0]), &json!({}));
    assert_eq!(retried.status, 202, "{}", retried.text);
    assert_eq!(server.finished_by_the_record(&first[0])["outcome"], "succeeded");
    let counted = || -> Value {
        let ended = group(&["--until-idle", "2"]).stderr(Stdio::null()).output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        serde_json::from_slice(&ended.stdout).unwrap()
    };
    // The last end may come after it was idle for so long.
    let (begun, all) = (Instant::now(), json!({"failed": 3, "succeeded": 9}));
    loop {
        let counted = counted();
        if counted == all {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it counts {counted}");
    }
    assert_eq!(counted(), all, "none is counted again");
    refused(example("group.py", NOWHERE).arg(&file), 3, "127.0.0.1:1 ");
    refused(group(&["--until-idle", "soon"]).arg("more"), 2, "--until-idle");
}
