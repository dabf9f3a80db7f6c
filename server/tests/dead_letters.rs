//! Poison: messages that nobody can process, handed to everybody who reads. Work goes on, each is listed once with its
//! reason, and a person decides. On the embedded broker, whose queues hold them when the server starts, and on RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/client.rs"]
mod client;
#[path = "support/cluster.rs"]
mod cluster;
// The program's own, to hand messages in while it does not run.
#[path = "../src/journal.rs"]
mod journal;
mod support;

use std::{collections::BTreeMap, fs, process::Command, sync::Arc, time::Instant};

use broker::{Broker, Origin, Outgoing, embedded::EmbeddedBroker, topology, topology::Exchange};
use broker_rabbitmq::RabbitBroker;
use client::{As, connect};
use cluster::{Cluster, node::Node};
use serde_json::{Value, json};
use store::sqlite::SqliteStore;
use support::{PATIENCE, STEPCAST, Server};
use tokio_util::sync::CancellationToken;
use wire::{
    Event, EventMessage, JobId, LogLine, Outcome, Position, Timestamp, Topic, VERSION, event::raw, mac::InstallationKey,
};

const QUICK: &str = "name: quick\njobs: {a: {steps: [{run: echo hi}]}}\n";
const ID: &str = "01a22000-0000-7000-8000-000000000001";

/// A place where messages are handed in, whether what is handed in there has a name of its own, and where it is retried.
struct Place {
    name: &'static str,
    exchange: Exchange,
    key: String,
    stream: bool,
    origin: Origin,
}

fn place(name: &'static str, exchange: Exchange, key: &str) -> Place {
    let stream = topology::is_of_a_topic(key);
    let origin = if stream { Origin::named(topology::EVENTS) } else { Origin { exchange, key: key.to_owned() } };
    Place { name, exchange, key: key.to_owned(), stream, origin }
}

/// What no reader can process, with the cause and a part of the reason that is to be told.
fn poisons(place: &str) -> [(&'static str, &'static str, Vec<u8>); 3] {
    let id = ID;
    let refused = match place {
        // Signed by nobody.
        "job" => json!({"version": 1, "topic": format!("job.{id}"), "build": id, "epoch": 1, "offset": 0, "at": 0,
            "event": {"kind": "step_started", "step": 0, "name": "x", "command": "x"}}),
        _ => json!({"version": 1, "at": place}),
    };
    [
        ("not_json", "not valid", format!("nonsense for {place}").into_bytes()),
        ("unknown_version", "version 9", json!({"version": 9, "at": place}).to_string().into_bytes()),
        ("refused", "", refused.to_string().into_bytes()),
    ]
}

/// Hands everything in everywhere; where it went, by its body.
async fn poison(broker: &dyn Broker, places: Vec<Place>) -> BTreeMap<String, (Place, &'static str, &'static str)> {
    let mut sent = BTreeMap::new();
    for place in places {
        for (cause, reason, body) in poisons(place.name) {
            let mut message = Outgoing::new(place.exchange, place.key.clone(), body.clone());
            message.stream = place.stream;
            message.mandatory = true;
            broker.publish(message).await.unwrap();
            let Place { name, exchange, ref key, stream, ref origin } = place;
            let place = Place { name, exchange, key: key.clone(), stream, origin: origin.clone() };
            sent.insert(String::from_utf8(body).unwrap(), (place, cause, reason));
        }
    }
    sent
}

fn letters(server: &Server, query: &str) -> Vec<Value> {
    server.get(&format!("/api/v1/dead-letters?limit=200{query}")).json().as_array().unwrap().clone()
}

fn letter(server: &Server, id: &Value) -> Value {
    server.get(&format!("/api/v1/dead-letters/{}", id.as_str().unwrap())).json()
}

/// The command line: its exit status and what it printed.
fn stepcast(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(STEPCAST);
    command.arg("dead-letters").args(words).env("STEPCAST_URL", &server.url).env("STEPCAST_TOKEN", &server.token);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Looks again until `done`.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "this did not come: {what}");
        std::thread::yield_now();
    }
}

fn metric(server: &Server, name: &str, cause: &str) -> u64 {
    let text = server.get("/metrics").text;
    let row = format!("stepcast_dead_letters_{name}{{cause=\"{cause}\"}} ");
    let row = text.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_else(|| panic!("no {row} in {text}"));
    row.parse().unwrap()
}

fn works(server: &Server) {
    server.apply("quick", QUICK);
    let id = server.trigger("quick");
    assert_eq!(server.finished(&id)["outcome"], "succeeded");
    // The recorder has read what was there before.
    server.until_whole(&id);
}

/// Each is listed exactly once, with its cause, its reason, its body and where it came from; work goes on.
fn all_are_listed(server: &Server, sent: &BTreeMap<String, (Place, &'static str, &'static str)>) -> Vec<Value> {
    let found = until("all letters", || Some(letters(server, "")).filter(|found| found.len() >= sent.len()));
    works(server);
    let found = if letters(server, "").len() == found.len() { found } else { letters(server, "") };
    let mut bodies: Vec<String> = Vec::new();
    for view in &found {
        let whole = letter(server, &view["id"]);
        let body = whole["body"].as_str().unwrap();
        let (place, cause, reason) = sent.get(body).unwrap_or_else(|| panic!("nobody sent {whole}"));
        assert_eq!(view["cause"], *cause, "{whole}");
        assert!(view["reason"].as_str().unwrap().contains(reason), "{whole}");
        let origin = json!({"exchange": place.origin.exchange.name(), "key": place.origin.key});
        assert_eq!((&view["origin"], &view["state"]), (&origin, &json!("open")), "{} {whole}", place.name);
        assert_eq!((whole["size"].as_u64(), whole["whole"].as_bool()), (Some(body.len() as u64), Some(true)));
        bodies.push(body.to_owned());
    }
    bodies.sort();
    assert_eq!(bodies, sent.keys().cloned().collect::<Vec<_>>(), "each once");
    found
}

/// Each that is retried dies again, in its row; each that is discarded is gone from the open ones; all are counted.
fn a_person_decides(server: &Server, found: &[Value]) {
    let count = found.len() as u64;
    let per_cause = count / 3;
    for cause in ["not_json", "unknown_version", "refused"] {
        assert_eq!(metric(server, "open", cause), per_cause);
        assert!(metric(server, "total", cause) >= per_cause);
    }
    assert_eq!((metric(server, "open", "job_lost"), metric(server, "open", "never_settled")), (0, 0));
    for view in found {
        let (id, deaths) = (view["id"].as_str().unwrap(), letter(server, &view["id"])["deaths"].as_u64().unwrap());
        let retried = server.post(&format!("/api/v1/dead-letters/{id}/retry"), &json!({}));
        assert_eq!(retried.status, 200, "{view} {}", retried.text);
        until("the next death", || {
            let now = letter(server, &view["id"]);
            (now["deaths"].as_u64().unwrap() > deaths && now["state"] == "open").then_some(())
        });
    }
    assert_eq!(letters(server, "").len(), found.len(), "no second row");
    works(server);
    // A copy that another reader of the same stream buries late opens it again.
    until("all are discarded", || {
        let open = letters(server, "&state=open");
        for view in &open {
            server.post(&format!("/api/v1/dead-letters/{}/discard", view["id"].as_str().unwrap()), &json!({}));
        }
        (open.is_empty() && letters(server, "&state=discarded").len() == found.len()).then_some(())
    });
    let again = server.post(&format!("/api/v1/dead-letters/{}/discard", found[0]["id"].as_str().unwrap()), &json!({}));
    assert_eq!(again.status, 409, "{}", again.text);
    let refused = server.post(&format!("/api/v1/dead-letters/{}/retry", found[0]["id"].as_str().unwrap()), &json!({}));
    assert!(refused.status == 409 && refused.text.contains("discarded already"), "{}", refused.text);
    assert!(metric(server, "total", "not_json") >= 2 * per_cause && metric(server, "open", "not_json") == 0);
    works(server);
}

#[test]
fn poison_in_the_embedded_brokers_queues_is_listed_once_and_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let arguments = ["--instance", "north"];
    let mut server = Server::start_in(&data_dir, &arguments);
    works(&server);
    server.kill();
    let sent = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = SqliteStore::open(&data_dir.join("stepcast.db")).await.unwrap();
        let shutdown = CancellationToken::new();
        let broker =
            EmbeddedBroker::start(Arc::new(journal::StoreJournal(store.clone())), shutdown.clone()).await.unwrap();
        let north: wire::ServerId = "north-0".to_owned().try_into().unwrap();
        broker.declare(&topology::gateway(&north, PATIENCE * 60)).await.unwrap();
        let sent = poison(
            &*broker,
            vec![
                place("control", Exchange::Direct, topology::CONTROL),
                place("unrouted", Exchange::Direct, topology::UNROUTED),
                place("gateway", Exchange::Utils, "north-0"),
                place("nobody", Exchange::Utils, "gone-0"),
                place("job", Exchange::Utils, &format!("job.{ID}")),
                place("build", Exchange::Utils, &format!("build.{ID}")),
            ],
        )
        .await;
        shutdown.cancel();
        broker.finished().await;
        store.close().await;
        sent
    });
    server.restart();
    let found = all_are_listed(&server, &sent);
    // Nothing comes back when the server is killed: each was stored and then acked.
    server.kill();
    server.restart();
    works(&server);
    assert_eq!(letters(&server, "").len(), found.len());
    a_person_decides(&server, &found);
}

#[test]
fn poison_on_rabbitmq_is_listed_once_and_blocks_nothing() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server_with("127.0.0.1:0", "north", &["--roles", "gateway,control,projections"]);
    let south = cluster.server_with("127.0.0.1:0", "south", &["--roles", "gateway,control,projections"]);
    let _east = cluster.executor("east", "2");
    works(&north);
    let executor = north.get("/api/v1/executors").json()[0]["id"].as_str().unwrap().to_owned();
    let broker = cluster.runtime.block_on(RabbitBroker::start(&cluster.broker, CancellationToken::new())).unwrap();
    let places = vec![
        place("control", Exchange::Direct, topology::CONTROL),
        place("notice", Exchange::Direct, &format!("executor.{executor}")),
        place("unrouted", Exchange::Direct, topology::UNROUTED),
        place("gateway", Exchange::Utils, "north-0"),
        place("nobody", Exchange::Utils, "gone-0"),
        place("job", Exchange::Utils, &format!("job.{ID}")),
        place("build", Exchange::Utils, &format!("build.{ID}")),
    ];
    // Somebody watches the job: what the recorder refuses comes by its gateway as well.
    let mut socket = connect(&north, As::Token(&north.token), None).unwrap();
    socket.send(&json!({"type": "subscribe", "topic": format!("job.{ID}")}));
    let sent = cluster.runtime.block_on(poison(&*broker, places));
    // A hint's body is never read: any is as good as another.
    let hint = Outgoing::new(Exchange::Direct, "tasks.any", b"nonsense".to_vec());
    cluster.runtime.block_on(broker.publish(hint)).unwrap();
    let found = all_are_listed(&north, &sent);
    a_person_decides(&north, &found);
    drop(south);

    // The cause is gone: what a former reader refused reaches the client when it is handed in again.
    let body = json!({"client_id": socket.meta()["client_id"], "payload": {"hi": 1}}).to_string().into_bytes();
    let key = socket.meta()["server_id"].as_str().unwrap().to_owned();
    let message = Outgoing::dead(body.into(), "a former reader did not know it", Origin::utils(key));
    let id = message.message_id;
    cluster.runtime.block_on(broker.publish(message)).unwrap();
    let open = until("the letter", || letters(&north, "&state=open").pop());
    assert_eq!(open["message_id"], id.to_string());
    let retry = format!("/api/v1/dead-letters/{}/retry", open["id"].as_str().unwrap());
    let retried = north.post(&retry, &json!({}));
    assert_eq!((retried.status, retried.json()["state"].as_str()), (200, Some("retried")), "{}", retried.text);
    let frame = socket.until(|frame| frame["type"] == "callback");
    assert_eq!((&frame["message_id"], &frame["payload"]["hi"]), (&json!(id.to_string()), &json!(1)));
    assert_eq!(letters(&north, "&state=open").len(), 0);

    // Nobody is there any more: it stays, and that is said.
    let gone = Outgoing::dead(b"{}"[..].into(), "no", Origin::named("executor.gone"));
    cluster.runtime.block_on(broker.publish(gone)).unwrap();
    let open = until("the letter", || letters(&north, "&state=open").pop());
    let refused = north.post(&format!("/api/v1/dead-letters/{}/retry", open["id"].as_str().unwrap()), &json!({}));
    assert!(refused.status == 409 && refused.text.contains("executor.gone"), "{} {}", refused.status, refused.text);
    assert_eq!(letter(&north, &open["id"])["state"], "open");
}

/// The key that all processes of an installation share: that of the first one.
fn installation_key(server: &Server) -> InstallationKey {
    let digits = fs::read_to_string(server.data_dir().join("installation-key")).unwrap();
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
    InstallationKey(bytes.try_into().unwrap())
}

/// The last event of a job that the record has.
fn recorded(server: &Server, job: &str) -> u64 {
    let request = ureq::get(format!("{}/api/v1/jobs/{job}/log?attempt=1", server.url));
    let answer = request.header("authorization", format!("Bearer {}", server.token)).call().unwrap();
    answer.headers()["x-log-offset"].to_str().unwrap().parse().unwrap()
}

#[test]
fn a_forged_event_of_a_running_job_is_neither_live_nor_in_the_record_and_is_a_dead_letter() {
    let cluster = Cluster::on(Node::shared());
    let north = cluster.server_with("127.0.0.1:0", "north", &["--roles", "gateway,control,projections"]);
    let _east = cluster.executor("east", "2");
    let (gate, talk) = cluster.talk();
    north.apply("talk", &talk);
    let [build, other] = [(); 2].map(|()| north.trigger("talk"));
    let job_of = |build: &str| north.build(build)["jobs"][0]["id"].as_str().unwrap().to_owned();
    let (job, other) = (job_of(&build), job_of(&other));
    let topic = Topic::Job(job.parse().unwrap());
    let live = north.events(&build);
    for job in [&job, &other] {
        north.until_recorded(job, 1, "line 200");
    }
    let known = recorded(&north, &job);
    let mut socket = connect(&north, As::Token(&north.token), None).unwrap();
    socket.send(&json!({"type": "subscribe", "topic": topic, "position": {"epoch": 1, "offset": known}}));
    // It would be the next one.
    let next = Position { epoch: 1, offset: known + 1 };

    let key = installation_key(&north);
    let (own, of_other) = (job.parse::<JobId>().unwrap(), other.parse::<JobId>().unwrap());
    let broker = cluster.runtime.block_on(RabbitBroker::start(&cluster.broker, CancellationToken::new())).unwrap();
    let forge_at = |topic, place, text: &str, mac: &dyn Fn(&str) -> Option<String>| {
        let text = text.to_owned();
        let line = LogLine { n: 200, t: Timestamp(1), text, open: false, split: false, err: false, note: false };
        let event = raw(&Event::Log { step: 0, lines: vec![line] });
        let mac = mac(event.get());
        let (build, Position { epoch, offset }) = (build.parse().unwrap(), place);
        let at = Timestamp(1);
        EventMessage { version: VERSION, topic, build, epoch, offset, at, client_id: None, mac, event }
    };
    let forge = |text: &str, mac: &dyn Fn(&str) -> Option<String>| forge_at(topic, next, text, mac);
    // First what an executor may say of its own job, by the key of this one's topic. The record has had that offset.
    let (elsewhere, place) = (Topic::Job(of_other), Position { epoch: 1, offset: 1 });
    let seal = |event: &str| Some(key.event_key(of_other, 1).seal(elsewhere, place, event));
    let genuine = forge_at(elsewhere, place, "forged into the topic of another job", &seal);
    let genuine = Outgoing::event(None, topic, genuine.encode());
    cluster.runtime.block_on(broker.publish(genuine)).unwrap();
    let forged = [
        forge("forged by nobody", &|_| None),
        forge("forged by a guess", &|event| Some(InstallationKey([7; 32]).event_key(own, 1).seal(topic, next, event))),
        forge("forged by another job", &|event| Some(key.event_key(of_other, 1).seal(topic, next, event))),
        forge("forged by another attempt", &|event| Some(key.event_key(own, 2).seal(topic, next, event))),
        forge("forged from another event", &|_| Some(key.event_key(own, 1).seal(topic, next, "{}"))),
        forge("forged by control's key", &|event| Some(key.control_key().seal(topic, next, event))),
    ];
    for message in &forged {
        let message = Outgoing::event(None, topic, message.encode());
        cluster.runtime.block_on(broker.publish(message)).unwrap();
    }
    let found = until("all letters", || Some(letters(&north, "")).filter(|found| found.len() >= forged.len()));
    let mut bodies: Vec<String> = Vec::new();
    for view in &found {
        let whole = letter(&north, &view["id"]);
        assert!(view["cause"] == "refused" && view["state"] == "open", "{whole}");
        bodies.push(whole["body"].as_str().unwrap().to_owned());
    }
    let mut sent: Vec<String> = forged.iter().map(|message| String::from_utf8(message.encode()).unwrap()).collect();
    bodies.sort();
    sent.sort();
    assert_eq!(bodies, sent, "each once");

    // Of the build, by an executor that may sign for a job of it: it would end who follows it.
    let of_build = Topic::Build(build.parse().unwrap());
    let place = Position { epoch: 1, offset: north.build(&build)["position"]["offset"].as_u64().unwrap() + 1 };
    let event = raw(&Event::BuildFinished { outcome: Outcome::Succeeded });
    let mac = Some(key.event_key(own, 1).seal(of_build, place, event.get()));
    let (id, Position { epoch, offset }, at) = (build.parse().unwrap(), place, Timestamp(1));
    let end =
        EventMessage { version: VERSION, topic: of_build, build: id, epoch, offset, at, client_id: None, mac, event };
    let end = Outgoing::event(None, of_build, end.encode());
    cluster.runtime.block_on(broker.publish(end)).unwrap();
    until("the letter of the end", || (letters(&north, "").len() > forged.len()).then_some(()));
    assert_eq!(north.build(&build)["state"], "running");

    fs::write(gate, "").unwrap();
    assert_eq!(north.finished(&build)["outcome"], "succeeded");
    let expected: Vec<String> = (1..=400).map(|n| format!("line {n}")).collect();
    assert_eq!(north.log(&job, 1), expected);
    let mut heard = Vec::new();
    while heard.last().is_none_or(|line| line != "line 400") {
        heard.extend(client::lines(&socket.frame()));
    }
    assert_eq!(heard, expected[200..], "on the socket");
    // From the record on: the whole.
    live.until(move |frame| {
        assert!(!frame.to_string().contains("forged"), "{frame}");
        let is_end = frame["event"]["kind"] == "build_finished";
        assert!(!is_end || frame["offset"] != offset, "{frame}");
        is_end
    });
    assert_eq!(letters(&north, "").len(), forged.len() + 1);
}

#[test]
fn a_job_that_was_given_up_is_listed_and_retried_with_its_build() {
    let mut server = Server::start(&[]);
    let gate = server.data_dir().join("gate");
    let yaml = format!(
        "name: fragile\njobs:\n  a:\n    lost_attempts: 1\n    steps: [{{run: \"echo up; until [ -e '{}' ]; do read -r -t 0.05 <> <(:) || :; done\"}}]\n",
        gate.display()
    );
    server.apply("fragile", &yaml);
    let id = server.trigger("fragile");
    let job = server.build(&id)["jobs"][0]["id"].as_str().unwrap().to_owned();
    server.until_recorded(&job, 1, "up");
    server.kill();
    server.restart();
    assert_eq!(server.finished_by_the_record(&id)["outcome"], "failed");
    let [view] = <[Value; 1]>::try_from(letters(&server, "&state=open")).unwrap();
    assert_eq!((&view["cause"], &view["job"], &view["build"]), (&json!("job_lost"), &json!(job), &json!(id)));
    assert_eq!((&view["pipeline"], &view["number"]), (&json!("fragile"), &json!(1)));
    assert_eq!(letter(&server, &view["id"])["body"], Value::Null);
    assert_eq!((metric(&server, "open", "job_lost"), metric(&server, "total", "job_lost")), (1, 1));
    std::fs::write(&gate, "").unwrap();
    let lost = &server.build(&id)["jobs"][0]["lost"];
    assert_eq!((lost.as_array().unwrap().len(), &lost[0]["attempt"]), (1, &json!(1)), "{lost}");
    assert!(lost[0]["executor"].as_str().unwrap().starts_with("ex-"), "{lost}");
    let letter_id = view["id"].as_str().unwrap();
    let (code, out) = stepcast(&server, &[]);
    let row = format!("{letter_id}  job_lost  fragile#1  its executor was lost: ");
    assert!(code == Some(0) && out.starts_with(&row) && out.lines().count() == 1, "{out}");
    let (code, out) = stepcast(&server, &["show", letter_id]);
    assert!(code == Some(0) && out.starts_with("job_lost  fragile#1  open\n"), "{out}");
    assert_eq!(stepcast(&server, &["retry", letter_id]), (Some(0), format!("{letter_id} retried\n")));
    assert_eq!(stepcast(&server, &["discard", letter_id]).0, Some(2), "it was decided on");
    assert_eq!(stepcast(&server, &["list"]), (Some(0), String::new()));
    assert!(stepcast(&server, &["list", "--all"]).1.starts_with(&format!("{letter_id}  retried  job_lost")));
    assert_eq!(server.finished(&id)["outcome"], "succeeded");
    assert_eq!(server.build(&id)["jobs"][0]["lost"], json!([]), "a person has queued it anew");
    assert_eq!((metric(&server, "open", "job_lost"), metric(&server, "total", "job_lost")), (0, 1));
    let unknown = server.get(&format!("/api/v1/dead-letters/{ID}"));
    assert_eq!((unknown.status, unknown.content_type.as_str()), (404, "application/problem+json"));
    assert_eq!(server.get("/api/v1/dead-letters?state=lost").status, 400);
    assert_eq!(server.get("/api/v1/dead-letters?limit=0").status, 400);
}
