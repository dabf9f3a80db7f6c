//! The message flows of `docs/flows.md`, one test each, on one process with nothing beside it and on several over RabbitMQ
//! and PostgreSQL. There the one who asks sits at a gateway that knows neither control nor executor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/receiver.rs"]
mod receiver;
mod support;

use client::{As, connect, lines};
use cluster::{Cluster, Executor, node::Node};
use receiver::Receiver;
use serde_json::{Value, json};
use support::Server;

const QUICK: &str =
    "name: quick\ninputs: {who: {default: world}}\njobs: {a: {steps: [{run: 'echo \"hi $INPUT_WHO\"'}]}}\n";
/// Where the receivers of webhooks are.
const LOOPBACK: [&str; 2] = ["--webhook-allow", "127.0.0.1"];
/// No executor has this label.
const WAITS: &str = "name: waits\njobs: {a: {labels: [nobody], steps: [{run: echo}]}}\n";

/// Where a flow is shown.
struct Field {
    /// The gateway of the one who asks.
    near: Server,
    /// Where control, the relay and the projections work; none where that is the same process.
    far: Option<Server>,
    _executor: Option<Executor>,
    // Its database goes last.
    _cluster: Option<Cluster>,
}

impl Field {
    fn alone() -> Self {
        Self { near: Server::start(&LOOPBACK), far: None, _executor: None, _cluster: None }
    }

    fn apart() -> Self {
        let cluster = Cluster::on(Node::shared());
        let server = |name, roles| {
            let options = ["--roles", roles];
            cluster.server_with("127.0.0.1:0", name, &[&options[..], &LOOPBACK].concat())
        };
        let (far, near) = (server("far", "gateway,control,projections"), server("near", "gateway"));
        let executor = cluster.executor("runner", "2");
        Self { near, far: Some(far), _executor: Some(executor), _cluster: Some(cluster) }
    }

    /// Another gateway, if there is one.
    fn far(&self) -> &Server {
        self.far.as_ref().unwrap_or(&self.near)
    }

    /// Asks the gateway until the answer is as wanted, and gives it.
    fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let answer = self.near.get(path);
            if answer.status == 200 && wanted(&answer.json()) {
                return answer.json();
            }
            assert!(begun.elapsed() < support::PATIENCE, "{path} still says {}", answer.text);
            std::thread::yield_now();
        }
    }

    /// The id of the executor, once it is known at the gateway.
    fn executor(&self) -> String {
        let executors = self.until("/api/v1/executors", |executors| executors[0]["id"].is_string());
        executors[0]["id"].as_str().unwrap().to_owned()
    }
}

/// Each flow on both.
macro_rules! flows {
    ($($name:ident)*) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(&super::Field::alone()); })*
        }
        mod rabbitmq {
            $(#[test] fn $name() { super::$name(&super::Field::apart()); })*
        }
    };
}

flows! {
    command_without_a_reply
    command_polled_by_its_id
    command_replied_to_by_event
    command_replied_to_by_callback
    command_replied_to_by_webhook
    command_repeated_under_its_key
    command_waited_for
    query_direct
    query_over_the_broker
    query_hybrid_reads_what_a_command_wrote
    live_query_in_differences
    receipt_of_the_client_that_asked
    claim_check_as_an_input
    group_that_is_paused_reads_on_when_it_is_resumed
    search_finds_what_was_printed
    work_waits_for_labels_that_nobody_offers
}

fn command_without_a_reply(field: &Field) {
    field.near.apply("quick", QUICK);
    let mut asker = connect(&field.near, As::Token(&field.near.token), None).unwrap();
    let body = json!({"socket": asker.meta(), "reply": {"mode": "none"}});
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(field.near.finished(&id)["outcome"], "succeeded");
    // The socket answers, and nothing else came there before.
    asker.send(&json!({"type": "ping"}));
    assert_eq!(asker.frame(), json!({"type": "pong"}));
}

fn command_polled_by_its_id(field: &Field) {
    field.near.apply("quick", QUICK);
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &json!({"reply": {"mode": "none"}}));
    assert_eq!(answer.status, 202);
    // Wherever it is asked.
    let id = answer.location.strip_prefix("/api/v1/builds/").unwrap().to_owned();
    assert_eq!(field.far().finished_by_the_record(&id)["outcome"], "succeeded");
    assert_eq!(field.near.finished_by_the_record(&id)["outcome"], "succeeded");
}

fn command_replied_to_by_event(field: &Field) {
    field.near.apply("quick", QUICK);
    let id = field.near.trigger("quick");
    // Readers that had no part in it.
    for reader in [&field.near, field.far()] {
        let (frame, _) = reader.events(&id).until(|frame| frame["event"]["kind"] == "build_finished");
        assert_eq!(frame["event"]["outcome"], "succeeded", "{frame}");
    }
}

fn command_replied_to_by_callback(field: &Field) {
    field.near.apply("quick", QUICK);
    let mut asker = connect(&field.near, As::Token(&field.near.token), None).unwrap();
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &json!({"socket": asker.meta()}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let mut printed = Vec::new();
    let end = loop {
        let frame = asker.frame();
        printed.extend(lines(&frame));
        if frame["event"]["kind"] == "build_finished" {
            break frame;
        }
    };
    assert_eq!((printed, &end["event"]["outcome"]), (vec!["hi world".to_owned()], &json!("succeeded")));
}

fn command_replied_to_by_webhook(field: &Field) {
    field.near.apply("quick", QUICK);
    let hook = Receiver::answering(&[500, 200]);
    let reply = json!({"reply": {"mode": "webhook", "url": hook.url("/hook")}});
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &reply);
    assert_eq!(answer.status, 202, "{}", answer.text);
    let path = answer.location;
    let (first, second) = (hook.next(), hook.next());
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    let body: Value = serde_json::from_str(&second.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["outcome"]), (&json!("build.finished"), &json!("succeeded")));
    field.until(&path, |build| build["reply"]["state"] == "delivered");
}

fn command_repeated_under_its_key(field: &Field) {
    field.near.apply("quick", QUICK);
    let send = |server: &Server, body: &str| {
        server.post_with("/api/v1/pipelines/quick/builds", body, &[("idempotency-key", "k1")])
    };
    let first = send(&field.near, r#"{"inputs":{"who":"me"}}"#);
    let again = send(field.far(), r#"{"inputs":{"who":"me"}}"#);
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(send(field.far(), r#"{"inputs":{"who":"you"}}"#).status, 422);
    assert_eq!(field.near.get("/api/v1/builds").json().as_array().unwrap().len(), 1);
}

fn command_waited_for(field: &Field) {
    field.near.apply("quick", QUICK);
    let done = field.near.post_with("/api/v1/pipelines/quick/builds", "{}", &[("prefer", "wait=60")]);
    assert_eq!((done.status, &done.json()["outcome"]), (200, &json!("succeeded")), "{}", done.text);
    field.near.apply("waits", WAITS);
    let late = field.near.post_with("/api/v1/pipelines/waits/builds", "{}", &[("prefer", "wait=1")]);
    assert_eq!((late.status, &late.json()["state"]), (202, &json!("queued")), "{}", late.text);
}

fn query_direct(field: &Field) {
    field.near.apply("quick", QUICK);
    let build = field.near.finished(&field.near.trigger("quick"));
    let job = build["jobs"][0]["id"].as_str().unwrap();
    assert_eq!(field.near.log(job, 1), ["hi world"]);
    assert_eq!(field.far().log(job, 1), ["hi world"]);
    let page = field.near.get("/api/v1/builds?pipeline=quick&limit=1").json();
    assert_eq!(page[0]["id"], build["id"]);
}

fn query_over_the_broker(field: &Field) {
    let id = field.executor();
    let now = field.until(&format!("/api/v1/executors/{id}/now"), |now| now["executor"] == json!(id));
    assert_eq!(now["running"], json!([]));
    let unknown = field.near.get("/api/v1/executors/00000000-0000-4000-8000-000000000001/now");
    assert_eq!(unknown.status, 404, "{}", unknown.text);
}

fn query_hybrid_reads_what_a_command_wrote(field: &Field) {
    field.near.apply("waits", WAITS);
    // What was answered 202 is read at once, at every gateway: it is in the store, whatever the broker does.
    let id = field.near.trigger("waits");
    for reader in [&field.near, field.far()] {
        assert_eq!(reader.build(&id)["state"], "queued");
    }
    assert_eq!(field.far().post(&format!("/api/v1/builds/{id}/cancel"), &json!({})).status, 202);
    assert_eq!(field.near.build(&id)["outcome"], "cancelled");
}

fn live_query_in_differences(field: &Field) {
    field.near.apply("waits", WAITS);
    (0..5).for_each(|_| drop(field.near.trigger("waits")));
    let subscribe = |id: &str| {
        let query = json!({"builds": {"pipeline": "waits", "limit": 20}});
        json!({"type": "subscribe", "topic": "query", "id": id, "query": query, "patch": true})
    };
    let mut watchers = [&field.near, field.far()].map(|server| {
        let mut watcher = connect(server, As::Token(&server.token), None).unwrap();
        watcher.send(&subscribe("q"));
        let first = watcher.until(|frame| frame["id"] == "q");
        assert_eq!(first["type"], "result");
        (watcher, first)
    });
    let id = field.near.trigger("waits");
    for (watcher, first) in &mut watchers {
        let (mut body, mut from) = (first["body"].clone(), first["offset"].clone());
        while body[0]["id"] != json!(id) {
            let change = watcher.until(|frame| frame["id"] == "q");
            assert_eq!(
                (&change["type"], &change["epoch"], &change["from"]),
                (&json!("change"), &first["epoch"], &from)
            );
            wire::patch::apply(&mut body, &mut change["patch"].as_array().unwrap().clone()).unwrap();
            from = change["offset"].clone();
        }
        let ids: Vec<&Value> = body.as_array().unwrap().iter().map(|build| &build["id"]).collect();
        assert_eq!(ids.len(), 6);
    }
}

fn receipt_of_the_client_that_asked(field: &Field) {
    field.near.apply("quick", QUICK);
    let mut asker = connect(&field.near, As::Token(&field.near.token), None).unwrap();
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &json!({"socket": asker.meta()}));
    let callback = asker.until(|frame| frame["type"] == "callback");
    assert_eq!(callback["payload"]["build"]["outcome"], "succeeded", "{callback}");
    let build = field.until(&answer.location, |build| build["reply"]["state"] != "due");
    assert_eq!((&build["reply"]["state"], &build["reply"]["received_at"]), (&json!("sent"), &Value::Null));
    asker.send(&json!({"type": "receipt", "message_id": callback["message_id"]}));
    let build = field.until(&answer.location, |build| build["reply"]["state"] == "received");
    assert!(build["reply"]["received_at"].is_i64());
}

fn claim_check_as_an_input(field: &Field) {
    field.near.apply(
        "sum",
        "name: sum\ninputs: {data: {type: file}}\njobs: {a: {steps: [{run: 'sha256sum < \"$INPUT_DATA\"'}]}}\n",
    );
    let text = "0123456789".repeat(100_000);
    let check = field.near.post_with("/api/v1/payloads", &text, &[("content-type", "text/plain")]).json();
    assert_eq!(check["size"], 1_000_000);
    let answer = field.near.post("/api/v1/pipelines/sum/builds", &json!({"inputs": {"data": check}}));
    assert_eq!(answer.status, 202, "{}", answer.text);
    let build = field.near.finished(answer.json()["id"].as_str().unwrap());
    let printed = field.near.log(build["jobs"][0]["id"].as_str().unwrap(), 1);
    assert_eq!(printed, [format!("{}  -", check["sha256"].as_str().unwrap())]);
}

fn group_that_is_paused_reads_on_when_it_is_resumed(field: &Field) {
    field.near.apply("quick", QUICK);
    let state = |name: &'static str, wanted: &'static str| {
        field.until("/api/v1/groups", |groups| {
            groups.as_array().unwrap().iter().any(|group| group["name"] == name && group["state"] == wanted)
        });
    };
    let counted = || {
        let stats = field.near.get("/api/v1/pipelines/quick/stats").json();
        stats["builds"]["succeeded"].as_u64().unwrap_or(0)
    };
    state("analytics", "running");
    assert_eq!(field.near.post("/api/v1/groups/analytics/pause", &json!({})).status, 202);
    state("analytics", "paused");
    // Builds go on, and so do the others.
    field.near.finished(&field.near.trigger("quick"));
    field.until("/api/v1/search?q=world&kind=log", |page| page["hits"].as_array().unwrap().len() == 1);
    assert_eq!(counted(), 0);
    assert_eq!(field.far().post("/api/v1/groups/analytics/resume", &json!({})).status, 202);
    field.until("/api/v1/pipelines/quick/stats", |stats| stats["builds"]["succeeded"] == 1);
    assert_eq!(field.near.post("/api/v1/groups/analytics/rebuild", &json!({})).status, 202);
    field.near.finished(&field.near.trigger("quick"));
    field.until("/api/v1/pipelines/quick/stats", |stats| stats["builds"]["succeeded"] == 2);
    assert_eq!(field.near.post("/api/v1/groups/recorder/rebuild", &json!({})).status, 409);
}

fn search_finds_what_was_printed(field: &Field) {
    field.near.apply("quick", QUICK);
    let body = json!({"inputs": {"who": "the needle in it"}});
    let answer = field.near.post("/api/v1/pipelines/quick/builds", &body);
    let page = field.until("/api/v1/search?q=needle&kind=log", |page| !page["hits"][0].is_null());
    assert_eq!(
        (&page["hits"][0]["text"], &page["hits"][0]["ranges"]),
        (&json!("hi the needle in it"), &json!([[7, 13]]))
    );
    assert_eq!(page["hits"][0]["build"], answer.json()["id"]);
}

fn work_waits_for_labels_that_nobody_offers(field: &Field) {
    field.near.apply("waits", WAITS);
    let build = field.near.build(&field.near.trigger("waits"));
    let sentence = build["jobs"][0]["waiting_for"].as_str().unwrap();
    assert!(sentence.contains("nobody"), "{sentence}");
}
