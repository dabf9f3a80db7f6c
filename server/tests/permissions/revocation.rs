//! What is open ends, or comes back under what may be done now, the moment that access is taken away.

use std::{
    io::{BufRead as _, BufReader},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    client::{As, connect},
    people::{Browser, person},
    support::{PATIENCE, STEPCAST, Server},
    world::{World, ask, pipeline, token},
};

fn id_of(server: &Server, name: &str) -> String {
    let (_, text) = ask(server, Some(&server.token), "GET", "/api/v1/tokens", "");
    let tokens: Value = serde_json::from_str(&text).unwrap();
    let found = tokens.as_array().unwrap().iter().find(|token| token["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {text}"))["id"].as_str().unwrap().to_owned()
}

#[test]
fn p8_a_token_that_is_taken_back_loses_its_sockets_sessions_and_live_events() {
    let server = Server::start(&[]);
    server.apply("site", &pipeline("site"));
    let build = server.trigger("site");
    let viewer = token(&server, "viewer", &["site"]);
    let socket = connect(&server, As::Token(&viewer), None).unwrap();
    let mut browser = Browser::new(&server.url);
    assert_eq!(browser.form("/sign-in", &[("token", &viewer)]).location, "/");
    let session = connect(&server, As::Cookie(&browser.cookie), Some(&server.url)).unwrap();
    let agent: ureq::Agent = ureq::Agent::new_with_defaults();
    let request = agent.get(format!("{}/api/v1/builds/{build}/events", server.url));
    let request = request.header("authorization", format!("Bearer {viewer}"));
    let live = request.header("accept", "text/event-stream").call().unwrap();
    let mut lines = BufReader::new(live.into_body().into_reader()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), ": bound", "it is live");
    let own = connect(&server, As::Token(&server.token), None).unwrap();
    let (status, _) =
        ask(&server, Some(&server.token), "DELETE", &format!("/api/v1/tokens/{}", id_of(&server, "viewer")), "");
    assert_eq!(status, 204);
    assert_eq!(socket.closed(), 4500);
    assert_eq!(session.closed(), 4500);
    // Keep-alives would go on for ever.
    assert!(lines.all(|line| line.is_ok()), "the stream ends");
    assert_eq!(browser.get("/account").0, 401, "a session by a token ends with it");
    assert_eq!(connect(&server, As::Token(&viewer), None).err(), Some(401));
    // Nobody else is meant.
    let mut own = own;
    own.send(&json!({"type": "ping"}));
    assert_eq!(own.frame()["type"], "pong");
}

#[test]
fn p8_a_role_that_changes_lets_sockets_come_back_and_see_what_may_be_seen_now() {
    let world = World::new();
    let server = &world.server;
    let mut ada = person(server, "Ada", "admin", &[]);
    let grace = person(server, "Grace", "viewer", &[]);
    let mut socket = connect(server, As::Cookie(&grace.cookie), Some(&server.url)).unwrap();
    let (site, other) = (format!("build.{}", world.build), format!("build.{}", world.other_build));
    for topic in [&site, &other] {
        socket.send(&json!({"type": "subscribe", "topic": topic}));
        let answer = socket.until(|frame| !matches!(frame["type"].as_str(), Some("event" | "recorded")));
        assert_eq!((&answer["type"], &answer["topic"]), (&json!("resumed"), &json!(topic)));
    }
    let resume = socket.hello["resume"].clone();
    let (_, accounts) = ada.get("/accounts");
    let found = accounts.as_array().unwrap().iter().find(|account| account["name"] == "Grace").unwrap();
    let path = format!("/accounts/{}", found["id"].as_str().unwrap());
    assert_eq!(ada.json("PATCH", &path, &json!({"grants": {"pipelines": {"site": "viewer"}}})).0, 200);
    assert_eq!(socket.closed(), 4003);
    let mut again = connect(server, As::Cookie(&grace.cookie), Some(&server.url)).unwrap();
    let positions = json!([{"topic": site}, {"topic": other}]);
    again.send(&json!({"type": "attach", "resume": resume, "positions": positions}));
    let mut told = Vec::new();
    while told.len() < 2 {
        let frame = again.frame();
        match frame["type"].as_str() {
            Some("resumed") if frame["topic"] == *site => told.push("resumed"),
            Some("problem") => {
                assert!(frame["title"] == "forbidden" && frame["detail"].as_str().unwrap().contains(&other), "{frame}");
                told.push("forbidden");
            }
            Some("resumed") => panic!("it is told of what it may not see: {frame}"),
            _ => {}
        }
    }
    told.sort_unstable();
    assert_eq!(told, ["forbidden", "resumed"]);
    // What changes nothing closes nothing.
    assert_eq!(ada.json("PATCH", &path, &json!({"grants": {"pipelines": {"site": "viewer"}}})).0, 200);
    again.send(&json!({"type": "ping"}));
    again.until(|frame| frame["type"] == "pong");
}

#[test]
fn p8_a_token_that_has_expired_is_refused_and_so_are_its_sockets_and_sessions() {
    let server = Server::start(&[]);
    server.apply("site", &pipeline("site"));
    let mut ada = person(&server, "Ada", "admin", &[]);
    let begun = std::time::Instant::now();
    let made =
        ada.json("POST", "/tokens", &json!({"name": "brief", "grants": {"everywhere": "viewer"}, "expires_in": 10}));
    assert_eq!(made.0, 201, "{}", made.1);
    let brief = made.1["secret"].as_str().unwrap().to_owned();
    let socket = connect(&server, As::Token(&brief), None).unwrap();
    let mut browser = Browser::new(&server.url);
    assert_eq!(browser.form("/sign-in", &[("token", &brief)]).location, "/");
    let session = connect(&server, As::Cookie(&browser.cookie), Some(&server.url)).unwrap();
    while ask(&server, Some(&brief), "GET", "/api/v1/pipelines/site", "").0 == 200 {
        assert!(begun.elapsed() < PATIENCE, "it does not expire");
    }
    let expired = std::time::Instant::now();
    assert!(begun.elapsed().as_secs() >= 9, "not before its time: {:?}", begun.elapsed());
    let (status, told) = ask(&server, Some(&brief), "GET", "/api/v1/pipelines/site", "");
    assert_eq!(status, 401, "{told}");
    assert_eq!(connect(&server, As::Token(&brief), None).err(), Some(401));
    assert_eq!(browser.get("/account").0, 401, "a session by a token ends with it");
    assert!(browser.form("/sign-in", &[("token", &brief)]).location.contains("wrong"));
    assert_eq!((socket.closed(), session.closed()), (4500, 4500));
    assert!(expired.elapsed() < PATIENCE, "each gateway looks by itself every 15 s: {:?}", expired.elapsed());
    assert_eq!(ada.get("/account").0, 200, "nobody else is meant");
}

#[test]
fn p8_a_token_that_is_taken_back_on_the_servers_machine_loses_its_sockets_within_seconds() {
    let server = Server::start(&[]);
    let viewer = token(&server, "viewer", &["site"]);
    let socket = connect(&server, As::Token(&viewer), None).unwrap();
    let revoke = Command::new(STEPCAST)
        .args(["token", "revoke", &id_of(&server, "viewer"), "--data-dir"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert!(revoke.status.success(), "{}", String::from_utf8_lossy(&revoke.stderr));
    let begun = std::time::Instant::now();
    assert_eq!(socket.closed(), 4500);
    assert!(begun.elapsed() < PATIENCE, "each gateway looks by itself every 15 s");
}
