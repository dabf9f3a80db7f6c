//! How the result of a build is told: by webhook, by a callback that is acknowledged, and what was not received.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/receiver.rs"]
mod receiver;
mod support;

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use client::{As, connect};
use hmac::{Hmac, Mac as _};
use receiver::{Receiver, Request};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{PATIENCE, Server};

const HI: &str = "name: hi\njobs: {a: {steps: [{run: echo hi}]}}\n";

/// Receivers of these tests are in this machine, where webhooks do not go otherwise.
const LOOPBACK: [&str; 2] = ["--webhook-allow", "127.0.0.1"];

/// Starts a build with this reply, and gives its id.
fn trigger(server: &Server, body: &Value) -> String {
    let answer = server.post("/api/v1/pipelines/hi/builds", body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn webhook(url: &str) -> Value {
    json!({"reply": {"mode": "webhook", "url": url}})
}

/// Waits until the reply is as wanted, and gives it.
fn until(server: &Server, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let reply = server.build(id)["reply"].clone();
        if wanted(&reply) {
            return reply;
        }
        assert!(begun.elapsed() < PATIENCE, "still {reply}");
        std::thread::yield_now();
    }
}

fn until_state(server: &Server, id: &str, state: &str) -> Value {
    until(server, id, |reply| reply["state"] == state)
}

/// What webhooks to this address are signed with.
fn secret(server: &Server, url: &str) -> String {
    let answer = server.get(&format!("/api/v1/webhook-secret?url={url}"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["secret"].as_str().unwrap().to_owned()
}

/// Fails unless the request is signed with the secret that the server tells for its receiver.
fn assert_signed(server: &Server, request: &Request) {
    let secret = secret(server, &format!("http://{}/", request.header("host")));
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, time) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    mac.update(format!("{id}.{time}.{}", request.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), expected);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 300, "{time}");
}

#[test]
fn reply_by_webhook_is_signed_and_told_until_it_is_taken_though_the_server_is_killed() {
    let mut server = Server::start(&LOOPBACK);
    server.apply("hi", HI);
    let hook = Receiver::answering(&[500, 500, 200]);
    let id = trigger(&server, &webhook(&hook.url("/hook")));
    let first = hook.next();
    assert_signed(&server, &first);
    assert_eq!((first.line.as_str(), first.header("content-type")), ("POST /hook HTTP/1.1", "application/json"));
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("build.finished"), &json!(id)));
    assert_eq!((&body["data"]["state"], &body["data"]["outcome"]), (&json!("finished"), &json!("succeeded")));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
    let shown = until(&server, &id, |reply| reply["attempts"].as_u64() >= Some(1));
    assert_eq!((&shown["state"], &shown["last_error"]), (&json!("due"), &json!("it answered 500")));
    assert!(shown["next_at"].is_i64(), "{shown}");
    let second = hook.next();
    server.kill();
    server.restart();
    let third = hook.next();
    for again in [&second, &third] {
        assert_signed(&server, again);
        assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    }
    let shown = until_state(&server, &id, "delivered");
    assert!(shown["delivered_at"].is_i64() && shown["last_error"].is_null(), "{shown}");
    // What was taken is not told again: the next one is another build's.
    let other = trigger(&server, &webhook(&hook.url("/hook")));
    assert_ne!(secret(&server, &hook.url("/")), secret(&server, "http://127.0.0.1/"), "each receiver has its own");
    let next: Value = serde_json::from_str(&hook.next().body).unwrap();
    assert_eq!(next["data"]["id"], json!(other));
    until_state(&server, &other, "delivered");
    // Run again it is told again, as another message.
    assert_eq!(server.post(&format!("/api/v1/builds/{id}/retry"), &json!({})).status, 202);
    assert_ne!(hook.next().header("webhook-id"), first.header("webhook-id"));
    assert_eq!(server.build(&id)["reply"]["mode"], "webhook");
}

#[test]
fn reply_by_webhook_does_not_wait_for_a_receiver_that_is_slow() {
    let server = Server::start(&LOOPBACK);
    server.apply("hi", HI);
    let slow = Receiver::silent();
    for _ in 0..20 {
        trigger(&server, &webhook(&slow.url("/")));
    }
    slow.next();
    let quick = Receiver::answering(&[204]);
    let id = trigger(&server, &webhook(&quick.url("/")));
    quick.next();
    until_state(&server, &id, "delivered");
}

#[test]
fn reply_by_webhook_ends_where_it_is_not_wanted_follows_no_redirect_and_is_tried_again_by_hand() {
    let server = Server::start(&LOOPBACK);
    server.apply("hi", HI);
    let hook = Receiver::answering(&[410, 200]);
    let id = trigger(&server, &webhook(&hook.url("/?token=secret")));
    hook.next();
    let shown = until_state(&server, &id, "stopped");
    assert!(shown["last_error"].as_str().unwrap().contains("410") && shown["next_at"].is_null(), "{shown}");
    assert!(!shown["address"].as_str().unwrap().contains("secret"), "{shown}");
    let answer = server.post(&format!("/api/v1/builds/{id}/reply"), &json!({}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    hook.next();
    until_state(&server, &id, "delivered");

    let target = Receiver::answering(&[200]);
    let elsewhere = Receiver::redirecting(&target.url("/"));
    let id = trigger(&server, &webhook(&elsewhere.url("/")));
    elsewhere.next();
    let shown = until(&server, &id, |reply| reply["attempts"].as_u64() >= Some(1));
    assert!(shown["last_error"].as_str().unwrap().contains("redirects are not followed"), "{shown}");
    assert!(target.has_heard_nothing());

    let nobody = Receiver::nobody();
    let id = trigger(&server, &webhook(&nobody));
    let shown = until(&server, &id, |reply| reply["attempts"].as_u64() >= Some(1));
    assert_eq!(shown["last_error"], "connection refused", "{shown}");
    let none = trigger(&server, &json!({}));
    server.finished(&none);
    assert_eq!(server.post(&format!("/api/v1/builds/{none}/reply"), &json!({})).status, 409);
    server.until_whole(&none);
    assert_eq!(server.delete(&format!("/api/v1/builds/{none}")).status, 204);
    assert_eq!(server.post(&format!("/api/v1/builds/{none}/reply"), &json!({})).status, 404);
}

#[test]
fn reply_with_a_wrong_address_is_refused_in_one_sentence_and_the_key_covers_it() {
    let server = Server::start(&LOOPBACK);
    server.apply("hi", HI);
    let path = "/api/v1/pipelines/hi/builds";
    for reply in [
        json!({"mode": "webhook", "url": "ftp://example.org"}),
        json!({"mode": "queue", "reply_to": "control"}),
        json!({"mode": "callback"}),
    ] {
        let answer = server.post(path, &json!({ "reply": reply }));
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    let key = [("idempotency-key", "k")];
    let hook = Receiver::answering(&[200]);
    let first = server.post_with(path, &webhook(&hook.url("/a")).to_string(), &key);
    assert_eq!(first.status, 202, "{}", first.text);
    let again = server.post_with(path, &webhook(&hook.url("/a")).to_string(), &key);
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(server.post_with(path, &webhook(&hook.url("/b")).to_string(), &key).status, 422);
}

#[test]
fn reply_by_webhook_goes_to_no_address_inside_unless_it_is_allowed_by_name() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let hook = Receiver::answering(&[200]);
    let port = hook.url("").rsplit_once(':').unwrap().1.to_owned();
    for url in [hook.url("/"), format!("http://localhost:{port}/"), format!("http://[::ffff:127.0.0.1]:{port}/")] {
        let answer = server.post("/api/v1/pipelines/hi/builds", &webhook(&url));
        assert_eq!(answer.status, 422, "{url}: {}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains("`--webhook-allow "), "{}", answer.text);
    }
    // Not an address by its looks, but to the system's lookup.
    for host in ["127.1", "2130706433", "0x7f.1"] {
        let id = trigger(&server, &webhook(&format!("http://{host}:{port}/")));
        let shown = until_state(&server, &id, "stopped");
        let why = shown["last_error"].as_str().unwrap();
        assert!(why.contains("`--webhook-allow ADDRESS`"), "{shown}");
        assert!(!why.contains("127.0.0.1"), "what a name leads to inside is not told: {shown}");
    }
    assert!(hook.has_heard_nothing());

    let allowed = Server::start(&["--webhook-allow", "10.9.8.0/24,127.0.0.0/8"]);
    allowed.apply("hi", HI);
    assert_eq!(allowed.post("/api/v1/pipelines/hi/builds", &webhook("http://192.168.1.1/")).status, 422);
    let id = trigger(&allowed, &webhook(&format!("http://127.1:{port}/")));
    hook.next();
    until_state(&allowed, &id, "delivered");
    let wrong = support::refused(&["--webhook-allow", "10.0.0.0/40"]);
    assert!(wrong.contains("must be a network such as 10.1.0.0/16"), "{wrong}");
}

#[test]
fn receipt_of_a_callback_is_written_down_and_a_lost_one_is_asked_for_again() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let mut asker = connect(&server, As::Token(&server.token), None).unwrap();
    let id = trigger(&server, &json!({"socket": asker.meta()}));
    asker.until(|frame| frame["event"]["kind"] == "build_finished");
    let callback = asker.frame();
    let payload = &callback["payload"];
    assert_eq!((&callback["type"], &payload["kind"]), (&json!("callback"), &json!("build_finished")), "{callback}");
    assert_eq!((&payload["build"]["id"], &payload["build"]["outcome"]), (&json!(id), &json!("succeeded")));
    assert_eq!(server.build(&id)["reply"]["state"], "sent");
    let receipt = |of: &Value| json!({"type": "receipt", "message_id": of["message_id"]});
    for _ in 0..2 {
        asker.send(&receipt(&callback));
    }
    let shown = until_state(&server, &id, "received");
    assert!(shown["received_at"].is_i64(), "{shown}");

    // The tab goes between callback and receipt: it is called back again when it returns, under the same id.
    let id = trigger(&server, &json!({"socket": asker.meta()}));
    let callback = asker.until(|frame| frame["type"] == "callback");
    let token = asker.hello["resume"].clone();
    drop(asker);
    let mut back = connect(&server, As::Token(&server.token), None).unwrap();
    back.send(&json!({"type": "attach", "resume": token, "positions": []}));
    let again = back.until(|frame| frame["type"] == "callback");
    assert_eq!(again["message_id"], callback["message_id"]);
    assert_eq!(server.build(&id)["reply"]["received_at"], Value::Null);
    back.send(&receipt(&again));
    until_state(&server, &id, "received");
    // It was sent more than once on the way; a person who asks for one more is told that it is there.
    assert_eq!(server.post(&format!("/api/v1/builds/{id}/reply"), &json!({})).status, 409);
}

#[test]
fn results_that_were_not_received_are_listed_until_who_asked_says_so() {
    let server = Server::start(&[]);
    server.apply("hi", HI);
    let asker = connect(&server, As::Token(&server.token), None).unwrap();
    let meta = asker.meta();
    drop(asker);
    let ids = [(); 2].map(|()| trigger(&server, &json!({ "socket": meta })));
    for id in &ids {
        server.finished(id);
    }
    let listed = || -> Vec<String> {
        let answer = server.get("/api/v1/results?received=false");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let results = answer.json().as_array().cloned().unwrap();
        let mut ids: Vec<String> = results.iter().map(|build| build["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let mut both = ids.to_vec();
    both.sort();
    assert_eq!(listed(), both);
    for _ in 0..2 {
        assert_eq!(server.post(&format!("/api/v1/builds/{}/receipt", ids[0]), &json!({})).status, 204);
    }
    assert_eq!(listed(), [ids[1].clone()]);
    assert_eq!(server.build(&ids[0])["reply"]["state"], "received");
    assert_eq!(server.get("/api/v1/results").status, 400);
    let none = trigger(&server, &json!({}));
    server.finished(&none);
    assert_eq!(server.post(&format!("/api/v1/builds/{none}/receipt"), &json!({})).status, 409);
}
