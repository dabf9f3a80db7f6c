//! The socket as a client meets it: socket meta, callbacks, resume, who may have what, and frames that are wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::Instant;

use client::{As, connect, connect_from, lines, sign_in};
use serde_json::{Value, json};
use support::{PATIENCE, Server};
use tungstenite::Message;

const HI: &str = "name: hi\njobs: {a: {steps: [{run: 'echo one; echo two'}]}}\n";

#[test]
fn p4_the_client_that_triggers_with_its_socket_meta_gets_every_event_once_without_subscribing() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let mut asker = connect(&server, As::Token(&server.token), None).unwrap();
    let mut other = connect(&server, As::Token(&server.token), None).unwrap();
    let answer = server.post("/api/v1/pipelines/hi/builds", &json!({"socket": asker.meta()}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let mut kinds = Vec::new();
    let mut printed = Vec::new();
    let mut last = std::collections::HashMap::new();
    loop {
        let frame = asker.frame();
        assert_eq!(frame["type"], "event", "{frame}");
        let offset = frame["offset"].as_u64().unwrap();
        let before = last.insert(frame["topic"].clone().to_string(), offset);
        assert_eq!(offset, before.map_or(0, |before| before + 1), "{frame}");
        kinds.push(frame["event"]["kind"].as_str().unwrap().to_owned());
        printed.extend(lines(&frame));
        if kinds.last().is_some_and(|kind| kind == "build_finished") {
            break;
        }
    }
    assert_eq!(printed, ["one", "two"]);
    for kind in
        ["build_queued", "job_queued", "build_started", "job_started", "step_started", "step_finished", "job_finished"]
    {
        assert!(kinds.iter().any(|found| found == kind), "{kind} is missing in {kinds:?}");
    }
    // The other client of the same person hears nothing of it: its next frame is the answer to its ping.
    other.send(&json!({"type": "ping"}));
    assert_eq!(other.frame()["type"], "pong");
}

#[test]
fn a_watcher_binds_reads_the_record_and_misses_nothing() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let id = server.trigger("hi");
    let build = server.finished(&id);
    let job = build["jobs"][0]["id"].as_str().unwrap().to_owned();
    let mut watcher = connect(&server, As::Token(&server.token), None).unwrap();
    watcher.send(&json!({"type": "subscribe", "topic": format!("job.{job}")}));
    let resumed = watcher.until(|frame| frame["type"] == "resumed");
    assert_eq!(resumed["outcome"], "gap", "{resumed}");
    assert_eq!(server.log(&job, 1), ["one", "two"]);
}

#[test]
fn p3_p8_a_returning_client_resumes_with_its_own_session_only() {
    let server = Server::start(&["--workers", "3"]);
    server.apply("hi", HI);
    let (mine, theirs) = (sign_in(&server), sign_in(&server));
    let mut first = connect(&server, As::Cookie(&mine), Some(&server.url)).unwrap();
    let answer = server.post("/api/v1/pipelines/hi/builds", &json!({"socket": first.meta()}));
    let build = answer.json()["id"].as_str().unwrap().to_owned();
    let queued = first.until(|frame| frame["event"]["kind"] == "build_queued");
    let (meta, token) = (first.meta(), first.hello["resume"].clone());
    drop(first);
    server.finished(&build);
    let topic = queued["topic"].clone();
    let attach = json!({"type": "attach", "resume": token, "positions": [{"topic": topic, "epoch": 1, "offset": 0}]});

    let mut thief = connect(&server, As::Cookie(&theirs), Some(&server.url)).unwrap();
    thief.send(&attach);
    let refused = thief.frame();
    assert_eq!(refused["type"], "problem", "{refused}");

    let mut again = connect(&server, As::Cookie(&mine), Some(&server.url)).unwrap();
    // The cookie brings it back to its worker.
    assert_eq!(again.hello["server_id"], meta["server_id"]);
    again.send(&attach);
    let hello = again.frame();
    assert_eq!((&hello["client_id"], &hello["resumed"]), (&meta["client_id"], &json!(true)), "{hello}");
    let resumed = again.until(|frame| frame["type"] == "resumed" && frame["topic"] == topic);
    assert_eq!((resumed["outcome"].as_str(), resumed["from"].as_u64()), (Some("complete"), Some(1)), "{resumed}");
    let end = again.until(|frame| frame["topic"] == topic && frame["event"]["kind"] == "build_finished");
    // Live where it was stored, but not yet published, when the client came back.
    assert_eq!(end["offset"], server.build(&build)["position"]["offset"]);
}

#[test]
fn p4_a_client_that_lands_at_another_worker_is_called_back_there() {
    let server = Server::start(&["--workers", "8"]);
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let yaml =
        format!("name: gated\njobs: {{a: {{steps: [{{run: 'echo ready; cat {}; echo after'}}]}}}}\n", gate.display());
    server.apply("gated", &yaml);
    let mut first = connect(&server, As::Token(&server.token), None).unwrap();
    let answer = server.post("/api/v1/pipelines/gated/builds", &json!({"socket": first.meta()}));
    let build = server.build(answer.json()["id"].as_str().unwrap());
    let topic = format!("job.{}", build["jobs"][0]["id"].as_str().unwrap());
    let ready = first.until(|frame| lines(frame).iter().any(|line| line == "ready"));
    let (meta, token, at) = (first.meta(), first.hello["resume"].clone(), ready["offset"].clone());
    // Tokens have no session to remember a worker by: the address decides, so another address lands elsewhere.
    drop(first);
    let mut again = (2..=254)
        .map(|last| connect_from(&server, [127, 0, 0, last].into()))
        .find(|client| client.hello["server_id"] != meta["server_id"])
        .expect("every address hashes to the same worker");
    again.send(&json!({"type": "attach", "resume": token, "positions": [{"topic": topic, "epoch": 1, "offset": at}]}));
    assert_eq!(again.frame()["client_id"], meta["client_id"]);
    again.until(|frame| frame["type"] == "resumed" && frame["topic"] == topic.as_str());
    std::fs::write(&gate, "open\n").unwrap();
    let mut printed = Vec::new();
    while printed.last().is_none_or(|line| line != "after") {
        let frame = again.until(|frame| frame["topic"] == topic.as_str() && frame["type"] == "event");
        printed.extend(lines(&frame));
    }
    assert_eq!(printed, ["open", "after"]);
}

#[test]
fn a_foreign_origin_is_refused_before_the_upgrade() {
    let server = Server::start(&[]);
    let cookie = sign_in(&server);
    assert_eq!(connect(&server, As::Cookie(&cookie), Some("http://evil.example")).err(), Some(403));
    assert_eq!(connect(&server, As::Cookie("stepcast_session=none"), Some(&server.url)).err(), Some(401));
    assert!(connect(&server, As::Cookie(&cookie), Some(&server.url)).is_ok());
}

#[test]
fn a_wrong_frame_is_told_and_the_socket_stays_while_a_huge_one_closes_it() {
    let server = Server::start(&[]);
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    client.socket.send(Message::text("{nonsense")).unwrap();
    let problem = client.frame();
    assert_eq!(problem["type"], "problem", "{problem}");
    client.send(&json!({"type": "subscribe", "topik": "x"}));
    let problem = client.frame();
    assert!(problem["detail"].as_str().unwrap().contains("topik"), "{problem}");
    client.send(&json!({"type": "subscribe", "topic": "nothing.1"}));
    assert_eq!(client.frame()["type"], "problem");
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.frame()["type"], "pong");
    client.send(&json!({"type": "ping", "x": "x".repeat(100_000)}));
    assert_eq!(client.closed(), 1009);
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    client.socket.send(Message::binary(vec![1, 2])).unwrap();
    assert_eq!(client.closed(), 1003);
}

#[test]
fn commands_and_queries_are_answered_on_the_socket() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    client.send(&json!({"type": "command", "id": "c1", "command": {"trigger": {"pipeline": "hi"}}}));
    let reply = client.until(|frame| frame["type"] == "reply");
    assert_eq!((reply["id"].as_str(), reply["status"].as_u64()), (Some("c1"), Some(202)), "{reply}");
    client.until(|frame| frame["event"]["kind"] == "build_finished");
    client.send(&json!({"type": "command", "id": "c2", "command": {"trigger": {"pipeline": "none"}}}));
    let reply = client.until(|frame| frame["type"] == "reply");
    assert_eq!(reply["status"], 404, "{reply}");
    client.send(&json!({"type": "query", "id": "q1", "query": {"executors": {}}}));
    let executors = client.until(|frame| frame["type"] == "reply")["body"].clone();
    let id = executors[0]["id"].as_str().unwrap();
    // It has told the end of the job, and forgets it when that is answered.
    let begun = Instant::now();
    loop {
        client.send(&json!({"type": "query", "id": "q2", "query": {"executor_now": {"id": id}}}));
        let now = client.until(|frame| frame["type"] == "reply");
        assert_eq!(now["status"], 200, "{now}");
        if now["body"]["running"] == json!([]) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{now}");
    }
}

#[test]
fn a_live_query_is_pushed_when_a_build_starts_elsewhere() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    let query = json!({"builds": {"pipeline": "hi", "limit": 20}});
    client.send(&json!({"type": "subscribe", "topic": "query", "id": "q1", "query": query}));
    let first = client.until(|frame| frame["type"] == "result");
    assert_eq!((first["id"].as_str(), &first["body"]), (Some("q1"), &json!([])));
    server.trigger("hi");
    client.until(|frame| frame["type"] == "result" && frame["body"][0]["state"] == "finished");
}

#[test]
fn a_live_query_goes_on_with_differences_when_its_client_comes_back() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    // Among others: where a list is short, the whole of it is shorter than what has changed.
    (0..5).for_each(|_| drop(server.finished(&server.trigger("hi"))));
    let query = json!({"builds": {"pipeline": "hi", "limit": 20}});
    let mut subscribe = json!({"type": "subscribe", "topic": "query", "id": "q1", "query": query, "patch": true});
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    client.send(&subscribe);
    let first = client.until(|frame| frame["type"] == "result");
    let (mut body, at) = (first["body"].clone(), std::cell::RefCell::new(first["offset"].clone()));
    let mut take = |frame: &Value| {
        let from = at.replace(frame["offset"].clone());
        assert_eq!((&frame["type"], &frame["epoch"], &frame["from"]), (&json!("change"), &first["epoch"], &from));
        wire::patch::apply(&mut body, &mut frame["patch"].as_array().unwrap().clone()).unwrap();
        body.clone()
    };
    let id = server.trigger("hi");
    while take(&client.until(|frame| frame["id"] == "q1"))[0]["state"] != "finished" {}
    drop(client);
    let other = server.trigger("hi");
    server.finished(&other);
    let mut client = connect(&server, As::Token(&server.token), None).unwrap();
    subscribe["position"] = json!({"epoch": first["epoch"], "offset": *at.borrow()});
    client.send(&subscribe);
    let builds = server.get("/api/v1/builds?pipeline=hi").json();
    assert_eq!([&builds[0]["id"], &builds[1]["id"]], [&json!(other), &json!(id)]);
    while take(&client.until(|frame| frame["id"] == "q1")) != builds {}
}

#[test]
fn p8_signing_out_ends_the_sockets_of_the_session_and_the_session() {
    let server = Server::start(&[]);
    let cookie = sign_in(&server);
    let first = connect(&server, As::Cookie(&cookie), Some(&server.url)).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let post = |path: &str, cookie: &str, form: &[(&str, &str)]| {
        let request = agent.post(format!("{}{path}", server.url)).header("origin", &server.url);
        request.header("cookie", cookie).send_form(form.iter().copied()).unwrap()
    };
    // Signing in again gives another cookie, and the sockets that were open stay the session's.
    let again = post("/sign-in", &cookie, &[("token", server.token.as_str())]);
    let renewed = again.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_ne!(renewed, cookie);
    assert_eq!(connect(&server, As::Cookie(&cookie), Some(&server.url)).err(), Some(401));
    let out = post("/sign-out", &renewed, &[]);
    assert_eq!(out.status().as_u16(), 303);
    assert_eq!(first.closed(), 4500);
    assert_eq!(connect(&server, As::Cookie(&renewed), Some(&server.url)).err(), Some(401));
    // A tab that knew nothing of it presses the same button.
    let again = post("/sign-out", &renewed, &[]);
    assert_eq!((again.status().as_u16(), again.headers()["location"].to_str().unwrap()), (303, "/sign-in"));
}

#[test]
fn who_reads_the_database_cannot_sign_in_by_it() {
    let server = Server::start(&[]);
    let cookie = sign_in(&server);
    let id = cookie.split_once('=').unwrap().1.as_bytes();
    for entry in std::fs::read_dir(server.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            // The database's own may be gone meanwhile.
            let bytes = match std::fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                bytes => bytes.unwrap(),
            };
            for secret in [id, server.token.as_bytes()] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
            }
        }
    }
}
