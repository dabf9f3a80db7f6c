//! Access that is taken away at one gateway ends at all others, over RabbitMQ and PostgreSQL: at once by what the broker says,
//! and within seconds without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use client::{As, Client, connect};
use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use support::{STEPCAST, Server};

const PASSWORD: &str = "three blue kettles";
/// Each gateway looks by itself every 15 s.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// A browser, by its cookie: it may talk to any gateway.
struct Browser {
    agent: ureq::Agent,
    cookie: String,
}

impl Browser {
    /// Of a person whose account is made at the database.
    fn new(cluster: &Cluster, server: &Server, name: &str, role: &str) -> Self {
        let mut command = Command::new(STEPCAST);
        command.args(["account", "create", "--name", name, "--role", role, "--store", &cluster.store]);
        command.arg("--data-dir").arg(server.data_dir()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        Self::signed_in(server, name)
    }

    fn signed_in(server: &Server, name: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let mut browser = Self { agent: config.build().into(), cookie: String::new() };
        browser.sign_in(server, name);
        browser
    }

    fn sign_in(&mut self, server: &Server, name: &str) {
        let form = format!("name={name}&password={}", PASSWORD.replace(' ', "%20"));
        assert_eq!(self.send(server, "POST", "/sign-in", "application/x-www-form-urlencoded", form).0, 303);
    }

    fn send(&mut self, server: &Server, method: &str, path: &str, kind: &str, body: String) -> (u16, Value) {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", server.url));
        let request = request.header("origin", &server.url).header("content-type", kind).header("cookie", &self.cookie);
        let mut answer = if method == "GET" {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body).unwrap()).unwrap()
        };
        let set = answer.headers().get("set-cookie").and_then(|set| set.to_str().ok()).unwrap_or_default();
        if let Some((cookie, _)) = set.split_once(';') {
            cookie.clone_into(&mut self.cookie);
        }
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    fn json(&mut self, server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send(server, method, &format!("/api/v1{path}"), "application/json", body.to_string())
    }

    /// The path of one's own account.
    fn own(&mut self, server: &Server) -> String {
        let (status, own) = self.json(server, "GET", "/account", &Value::Null);
        assert_eq!(status, 200, "{own}");
        format!("/accounts/{}", own["account"].as_str().unwrap())
    }

    fn sign_out_everywhere(&mut self, server: &Server) {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(self.send(server, "POST", "/sign-out-everywhere", form, String::new()).0, 303);
    }

    fn socket(&self, server: &Server) -> Client {
        connect(server, As::Cookie(&self.cookie), Some(&server.url)).unwrap()
    }
}

/// The answer to a subscription.
fn subscribed(socket: &mut Client, topic: &str) -> Value {
    socket.send(&json!({"type": "subscribe", "id": "x", "topic": topic}));
    socket.until(|frame| matches!(frame["type"].as_str(), Some("resumed" | "problem")))
}

fn site_only() -> Value {
    json!({"grants": {"pipelines": {"site": "viewer"}}})
}

#[test]
fn p8_what_is_taken_away_at_one_gateway_ends_at_another_at_once() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server("north", "gateway,control,projections");
    let south = cluster.server("south", "gateway");
    for name in ["site", "other"] {
        north.apply(name, &format!("name: {name}\njobs: {{a: {{steps: [{{run: echo hi}}]}}}}\n"));
    }
    let topics = ["site", "other"].map(|name| format!("build.{}", north.trigger(name)));
    let mut ada = Browser::new(&cluster, &north, "Ada", "admin");
    let mut grace = Browser::new(&cluster, &north, "Grace", "viewer");
    // A role: she comes back, and what she may not see any more is not hers to watch.
    let mut socket = grace.socket(&south);
    assert_eq!(subscribed(&mut socket, &topics[1])["type"], "resumed");
    let graces = grace.own(&south);
    let begun = Instant::now();
    assert_eq!(ada.json(&north, "PATCH", &graces, &site_only()).0, 200);
    assert_eq!(socket.closed(), 4003);
    let mut socket = grace.socket(&south);
    assert_eq!(subscribed(&mut socket, &topics[0])["type"], "resumed");
    let refused = subscribed(&mut socket, &topics[1]);
    assert_eq!((&refused["type"], &refused["title"]), (&json!("problem"), &json!("forbidden")), "{refused}");
    // All of her sessions.
    grace.sign_out_everywhere(&north);
    assert_eq!(socket.closed(), 4500);
    // Another password: the session that asked goes on everywhere, the others end.
    let elsewhere = Browser::signed_in(&south, "Grace");
    let mut grace = Browser::signed_in(&north, "Grace");
    let (own, other) = (grace.socket(&south), elsewhere.socket(&south));
    let change = json!({"old": PASSWORD, "new": "four green kettles"});
    assert_eq!(grace.json(&north, "PUT", "/account/password", &change).0, 204);
    assert_eq!(other.closed(), 4500);
    assert_eq!(own.closed(), 4003);
    // Each of the three was done when the one before had been found: who looks by itself needs two whole times for them.
    assert!(begun.elapsed() < LOOK_EVERY * 2, "it was not told: {:?}", begun.elapsed());
    assert_eq!(subscribed(&mut grace.socket(&south), &topics[0])["type"], "resumed");
    assert_eq!(connect(&south, As::Cookie(&elsewhere.cookie), Some(&south.url)).err(), Some(401));
}

#[test]
fn p8_what_is_taken_away_while_the_broker_is_down_ends_within_seconds() {
    let node = Node::start();
    let cluster = Cluster::on(&node);
    let north = cluster.server("north", "gateway,control,projections");
    let south = cluster.server("south", "gateway");
    let mut ada = Browser::new(&cluster, &north, "Ada", "admin");
    let mut grace = Browser::new(&cluster, &north, "Grace", "viewer");
    let mut eve = Browser::new(&cluster, &north, "Eve", "viewer");
    let (adas, graces, eves) = (ada.socket(&south), grace.socket(&south), eve.socket(&south));
    let path = grace.own(&north);
    node.kill();
    assert_eq!(ada.json(&north, "PATCH", &path, &site_only()).0, 200);
    eve.sign_out_everywhere(&north);
    ada.sign_in(&north, "Ada");
    let begun = Instant::now();
    assert_eq!(graces.closed(), 4003);
    assert_eq!(eves.closed(), 4500);
    // She signed in again in the same browser: her session goes on, under a row that this gateway does not know.
    assert_eq!(adas.closed(), 4003);
    assert!(begun.elapsed() < LOOK_EVERY * 3, "{:?}", begun.elapsed());
    ada.socket(&south);
    assert_eq!(connect(&south, As::Cookie(&eve.cookie), Some(&south.url)).err(), Some(401));
}
