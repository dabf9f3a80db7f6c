//! Large payloads: brought and read as claim checks, given to builds as files, and let go of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use broker::{Broker as _, Outgoing, topology::Exchange};
use broker_rabbitmq::RabbitBroker;
use client::{As, connect};
use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{PATIENCE, STEPCAST, Server};
use tokio_util::sync::CancellationToken;

const SUM: &str = r#"
name: sum
inputs:
  data: {type: file, description: What to add up}
  word: {default: none}
jobs:
  a: {steps: [{run: 'sha256sum < "$INPUT_DATA"; wc -c < "$INPUT_DATA"; echo "$INPUT_WORD"; ls -l "$INPUT_DATA"'}]}
  b: {steps: [{run: 'cat "$INPUT_DATA" | wc -c'}]}
"#;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "this did not happen: {what}");
        std::thread::yield_now();
    }
}

fn bring(server: &Server, text: &str) -> Value {
    let answer = server.post_with("/api/v1/payloads", text, &[("content-type", "text/plain")]);
    assert_eq!(answer.status, 201, "{}", answer.text);
    let check = answer.json();
    assert_eq!(answer.location, format!("/api/v1/payloads/{}", check["ref"].as_str().unwrap()));
    check
}

fn address(check: &Value) -> String {
    format!("/api/v1/payloads/{}", check["ref"].as_str().unwrap())
}

fn trigger(server: &Server, data: Value) -> support::Answer {
    server.post("/api/v1/pipelines/sum/builds", &json!({"inputs": {"data": data}}))
}

fn kept(server: &Server, check: &Value) -> PathBuf {
    server.data_dir().join("artifacts/payloads").join(check["ref"].as_str().unwrap())
}

fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    build["jobs"].as_array().unwrap().iter().find(|job| job["name"] == name).unwrap()
}

#[test]
fn claim_check_a_payload_comes_back_with_its_tag_and_in_parts_and_is_told_when_it_was_changed() {
    let server = Server::start(&["--payload-limit", "1MB"]);
    let text = "0123456789".repeat(50_000);
    let check = bring(&server, &text);
    assert_eq!((&check["size"], &check["sha256"]), (&json!(500_000), &json!(hex(text.as_bytes()))));
    assert_eq!(check["content_type"], "text/plain");
    let got = server.get(&address(&check));
    assert_eq!((got.status, got.content_type.as_str()), (200, "text/plain"));
    assert_eq!(got.etag, format!("\"{}\"", hex(text.as_bytes())));
    assert!(got.text == text);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let ask = |name: &str, value: &str| {
        let request = agent.get(format!("{}{}", server.url, address(&check)));
        request.header("authorization", format!("Bearer {}", server.token)).header(name, value).call().unwrap()
    };
    assert_eq!(ask("if-none-match", &got.etag).status(), 304);
    let mut part = ask("range", "bytes=499998-");
    assert_eq!((part.status().as_u16(), part.body_mut().read_to_string().unwrap().as_str()), (206, "89"));
    assert_eq!(ask("range", "bytes=500000-").status(), 416);
    // Not for nobody, not above the limit, not with another digest than was said.
    let nobody = agent.get(format!("{}{}", server.url, address(&check))).call().unwrap();
    assert_eq!(nobody.status(), 401);
    assert_eq!(agent.post(format!("{}/api/v1/payloads", server.url)).send("x").unwrap().status(), 401);
    let large = server.post_with("/api/v1/payloads", &"x".repeat(1_000_001), &[("expect", "100-continue")]);
    assert_eq!(large.status, 413, "{}", large.text);
    let digest = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    assert_eq!(server.post_with("/api/v1/payloads", "x", &[("content-digest", digest)]).status, 422);
    assert_eq!(server.get("/api/v1/payloads/00000000-0000-4000-8000-000000000000").status, 404);
    // Changed on the disk: never given as whole.
    std::fs::write(kept(&server, &check), text.replacen('0', "1", 1)).unwrap();
    let request = agent.get(format!("{}{}", server.url, address(&check)));
    let mut changed = request.header("authorization", format!("Bearer {}", server.token)).call().unwrap();
    assert!(changed.body_mut().with_config().limit(u64::MAX).read_to_vec().is_err(), "it was given as whole");
    std::fs::write(kept(&server, &check), "short").unwrap();
    let shorter = server.get(&address(&check));
    assert!(shorter.status == 500 && shorter.text.contains("it has 5 bytes, and had 500000"), "{}", shorter.text);
}

#[test]
fn file_input_reaches_the_steps_as_a_path_by_claim_check_by_ref_and_by_the_program() {
    let server = Server::start(&["--slots", "2"]);
    server.apply("sum", SUM);
    let text = "line of a file\n".repeat(20_000);
    let check = bring(&server, &text);
    for value in [check.clone(), check["ref"].clone()] {
        let answer = trigger(&server, value);
        assert_eq!(answer.status, 202, "{}", answer.text);
        runs_on(&server, answer.json()["id"].as_str().unwrap(), &text);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.txt");
    std::fs::write(&path, &text).unwrap();
    let done = Command::new(STEPCAST)
        .args(["trigger", "sum", "--input", "word=@text", "--input"])
        .arg(format!("data=@{}", path.display()))
        .env("STEPCAST_URL", &server.url)
        .env("STEPCAST_TOKEN", &server.token)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let build = String::from_utf8(done.stdout).unwrap().trim().to_owned();
    let log = runs_on(&server, &build, &text);
    assert_eq!(log[2], "@text", "text that begins so is no path where no file is asked for");
    let path = log[3].rsplit(' ').next().unwrap();
    until("it goes with the job's folders", || !Path::new(path).exists());
    // An empty one is a file too.
    let answer = trigger(&server, bring(&server, ""));
    runs_on(&server, answer.json()["id"].as_str().unwrap(), "");
}

fn runs_on(server: &Server, build: &str, text: &str) -> Vec<String> {
    let view = server.finished(build);
    assert_eq!(view["outcome"], "succeeded", "{view}");
    let log = server.log(job(&view, "a")["id"].as_str().unwrap(), 1);
    assert_eq!(log[0], format!("{}  -", hex(text.as_bytes())));
    assert_eq!(log[1], text.len().to_string());
    assert_eq!(server.log(job(&view, "b")["id"].as_str().unwrap(), 1), [text.len().to_string()]);
    log
}

#[test]
fn file_input_that_is_wrong_is_told_in_a_sentence_and_one_that_was_changed_fails_the_job() {
    let server = Server::start(&["--slots", "1"]);
    server.apply("sum", SUM);
    let check = bring(&server, "good");
    let refused = |data: Value| {
        let answer = trigger(&server, data);
        assert_eq!(answer.status, 422, "{}", answer.text);
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    assert!(refused(json!("some text")).contains("POST /api/v1/payloads"));
    assert!(refused(json!("00000000-0000-4000-8000-000000000000")).contains("There is no payload"));
    let mut claimed = check.clone();
    claimed["size"] = json!(5);
    assert!(refused(claimed).contains("its claim check says 5 bytes"));
    let missing = server.post("/api/v1/pipelines/sum/builds", &json!({}));
    assert!(missing.status == 422 && missing.text.contains("`data` is missing"), "{}", missing.text);
    let long = json!({"inputs": {"word": "x".repeat(70_000), "data": check}});
    let long = server.post("/api/v1/pipelines/sum/builds", &long);
    assert!(long.status == 422 && long.text.contains("`type: file`"), "{}", long.text);
    std::fs::write(kept(&server, &check), "baad").unwrap();
    let build = trigger(&server, check.clone()).json();
    let view = server.finished(build["id"].as_str().unwrap());
    assert_eq!(view["outcome"], "failed", "{view}");
    let reason = job(&view, "a")["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("input file \"data\" could not be had: payload") && reason.contains("was changed"),
        "{reason}"
    );
    server.until_whole(view["id"].as_str().unwrap());
    let view = server.build(view["id"].as_str().unwrap());
    assert_eq!(job(&view, "a")["steps"], json!([]), "no step has seen it");
}

#[test]
fn claim_check_what_nobody_refers_to_goes_and_what_a_build_uses_stays_until_the_build_goes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_in(folder.path(), &[]);
    server.apply("sum", SUM);
    let (used, unused) = (bring(&server, "used"), bring(&server, "unused"));
    let build = trigger(&server, used.clone()).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.finished(&build)["outcome"], "succeeded");
    drop(server);
    // Both are older than that by now.
    let server = Server::start_in(folder.path(), &["--payload-keep-seconds", "1", "--retention-look-seconds", "1"]);
    until("the unused one goes", || !kept(&server, &unused).exists());
    assert_eq!(server.get(&address(&unused)).status, 404);
    assert_eq!(server.get(&address(&used)).text, "used");
    until("the build can be deleted", || server.delete(&format!("/api/v1/builds/{build}")).status != 409);
    until("its payload goes with it", || !kept(&server, &used).exists());
    assert_eq!(server.get(&address(&used)).status, 404);
}

#[test]
fn claim_check_a_backup_brings_payloads_back() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let server = Server::start_in(&data_dir, &["--slots", "1"]);
    server.apply("sum", SUM);
    let check = bring(&server, "kept for later");
    let file = folder.path().join("backup.tar");
    let run = |words: &[&str], data_dir: &Path| {
        let done = Command::new(STEPCAST).args(words).arg(&file).arg("--data-dir").arg(data_dir).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run(&["backup"], &data_dir);
    drop(server);
    let other = folder.path().join("other");
    run(&["restore"], &other);
    let server = Server::start_in(&other, &["--slots", "1"]);
    assert_eq!(server.get(&address(&check)).text, "kept for later");
    let build = trigger(&server, check).json();
    runs_on(&server, build["id"].as_str().unwrap(), "kept for later");
}

/// A file that no memory should hold: it is sent as it is made.
struct Zeros(u64);

impl std::io::Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buffer[..count].fill(0);
        self.0 -= count as u64;
        Ok(count)
    }
}

/// The most memory that a server ever had, without the pages of its own file.
fn peak(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() * 1024
    };
    field("VmHWM").saturating_sub(field("RssFile"))
}

#[test]
fn file_input_of_many_megabytes_streams_through_bounded_memory() {
    const BYTES: u64 = 300 << 20;
    let server = Server::start(&["--slots", "1"]);
    server.apply("sum", "name: sum\ninputs: {data: {type: file}}\njobs: {a: {steps: [{run: 'wc -c < \"$INPUT_DATA\"; cp \"$INPUT_DATA\" out'}], artifacts: [out]}}\n");
    let before = peak(&server);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{}/api/v1/payloads", server.url));
    let request = request.header("authorization", format!("Bearer {}", server.token));
    let mut zeros = Zeros(BYTES);
    let mut answer = request.send(ureq::SendBody::from_reader(&mut zeros)).unwrap();
    let check: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(check["size"], BYTES);
    // A disk that is busy takes its time for so much, and nothing shows meanwhile that it goes on.
    let build = trigger(&server, check).json()["id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    while server.build(&build)["state"] != "finished" {
        assert!(begun.elapsed() < PATIENCE * 5, "{}", server.build(&build));
        std::thread::yield_now();
    }
    let view = server.build(&build);
    assert_eq!(view["outcome"], "succeeded", "{view}");
    let job = job(&view, "a")["id"].as_str().unwrap();
    assert_eq!(server.log(job, 1), [BYTES.to_string()]);
    let artifacts = server.get(&format!("/api/v1/jobs/{job}/artifacts")).json();
    let request = agent.get(format!("{}/api/v1/artifacts/{}", server.url, artifacts[0]["id"].as_str().unwrap()));
    let answer = request.header("authorization", format!("Bearer {}", server.token)).call().unwrap();
    let mut read = 0;
    let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
    let mut piece = vec![0; 1 << 20];
    loop {
        match body.read(&mut piece).unwrap() {
            0 => break,
            count => read += count as u64,
        }
    }
    assert_eq!(read, BYTES);
    let grown = peak(&server).saturating_sub(before);
    let _ = writeln!(std::io::stderr(), "300 MiB through all of it: {} MiB more at most", grown >> 20);
    assert!(grown < 128 << 20, "{grown} bytes were held");
}

#[test]
fn file_input_reaches_an_executor_on_another_machine() {
    let cluster = Cluster::on(Node::shared());
    let options = ["--roles", "gateway,control,projections"];
    let [north, south] = ["north", "south"].map(|name| cluster.server_with("127.0.0.1:0", name, &options));
    let _executor = cluster.executor("east", "2");
    north.apply("sum", SUM);
    let text = "far away\n".repeat(100_000);
    let check = bring(&south, &text);
    assert!(north.get(&address(&check)).text == text, "every gateway has it");
    let build = trigger(&north, check).json();
    runs_on(&south, build["id"].as_str().unwrap(), &text);
}

#[test]
fn claim_check_a_callback_that_is_too_large_is_a_dead_letter_and_its_claim_check_arrives_marked() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let mut page = connect(&north, As::Token(&north.token), None).unwrap();
    let (client, server_id) = (page.hello["client_id"].clone(), page.hello["server_id"].as_str().unwrap().to_owned());
    let large = "x".repeat(300_000);
    let check = bring(&north, &format!("\"{large}\""));
    let shutdown = CancellationToken::new();
    cluster.runtime.block_on(async {
        let broker = RabbitBroker::start(&cluster.broker, shutdown.clone()).await.unwrap();
        for body in [
            json!({"client_id": client, "payload": large}),
            json!({"client_id": client, "payload": check, "claim_check": true}),
        ] {
            let body = body.to_string().into_bytes();
            broker.publish(Outgoing::new(Exchange::Utils, server_id.as_str(), body)).await.unwrap();
        }
    });
    let callback = page.until(|frame| frame["type"] == "callback");
    assert_eq!((&callback["claim_check"], &callback["payload"]), (&json!(true), &check));
    let read = north.get(&address(&callback["payload"])).text;
    assert_eq!((read.len(), hex(read.as_bytes())), (300_002, check["sha256"].as_str().unwrap().to_owned()));
    until("the large one is a dead letter", || {
        let letters = north.get("/api/v1/dead-letters").text;
        letters.contains("the payload has 300002 bytes") && letters.contains("POST /api/v1/payloads")
    });
    shutdown.cancel();
}
