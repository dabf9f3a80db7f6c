//! `docs/asyncapi.yaml` against the types: each example is read as what it stands for, and written again it is the same;
//! no kind of message is missing there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/yaml.rs"]
mod yaml;

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use wire::{
    ClientFrame, Event, EventMessage, GatewayMessage, about,
    chunks::{Answer, Chunk, Open},
    command::{Command, Query},
    frame::Incoming,
    reply::{CallbackPayload, QueueReply},
    task::{
        AccessChanged, ControlReply, ControlRequest, ExecutorNotice, ExecutorNow, Hint, PipelineChanged, from_bytes,
        to_bytes,
    },
};

/// The reference with something in the place of what stands for any id.
fn reference() -> Value {
    let text = include_str!("../../../docs/asyncapi.yaml");
    let id = "00000000-0000-4000-8000-000000000001";
    let text = text.replace("<uuid>", id).replace("<id>", id).replace("<instance>-<n>", "north-0");
    yaml::read(&text)
}

/// The examples of the messages of a channel, each with the name of its message.
fn examples(reference: &Value, channel: &str) -> Vec<(String, Value)> {
    let messages = reference["channels"][channel]["messages"].as_object().unwrap();
    let of = |(name, link): (&String, &Value)| {
        let message = reference.pointer(link["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
        let examples = message["examples"].as_array().unwrap().clone();
        examples.into_iter().map(|example| (name.clone(), example["payload"].clone())).collect::<Vec<_>>()
    };
    messages.iter().flat_map(of).collect()
}

/// Reads an example as a message of the broker, and writes it again.
fn same<T: Serialize + DeserializeOwned>(name: &str, example: &Value) {
    let read: T = from_bytes(example.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::from_slice::<Value>(&to_bytes(read)).unwrap(), *example, "{name}");
}

/// The words that `tag` can be; serde lists them for who gives another.
fn kinds<T: DeserializeOwned>(tag: &str) -> BTreeSet<String> {
    let told = serde_json::from_value::<T>(serde_json::json!({tag: "?"})).err().unwrap().to_string();
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// The names that the one member of a request can have.
fn variants<T: DeserializeOwned>() -> BTreeSet<String> {
    let told = serde_json::from_value::<T>(serde_json::json!({"?": {}})).err().unwrap().to_string();
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// Fails where a kind of message has no example.
fn assert_all<T: DeserializeOwned>(tag: &str, examples: &[&Value]) {
    let told: BTreeSet<String> =
        examples.iter().filter_map(|example| Some(example.get(tag)?.as_str()?.to_owned())).collect();
    let missing: Vec<String> = kinds::<T>(tag).difference(&told).cloned().collect();
    assert!(missing.is_empty() && !told.is_empty(), "the reference has no example of {tag} {missing:?}");
}

#[test]
fn what_executors_and_control_say_stands_in_the_reference_as_it_is() {
    let reference = reference();
    let [tasks, control, notices, answers] =
        ["tasks", "control", "notices", "answers"].map(|channel| examples(&reference, channel));
    for (name, example) in &tasks {
        same::<Hint>(name, example);
    }
    for (name, example) in examples(&reference, "pipelines") {
        same::<PipelineChanged>(&name, &example);
    }
    for (name, example) in examples(&reference, "access") {
        same::<AccessChanged>(&name, &example);
    }
    for (name, example) in examples(&reference, "replies") {
        let read: QueueReply =
            serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), example, "{name}");
    }
    for (_, example) in examples(&reference, "receipts") {
        assert!(example["client_id"].is_string() && example["message_id"].is_string());
    }
    for (name, example) in &control {
        same::<ControlRequest>(name, example);
    }
    for (name, example) in &notices {
        same::<ExecutorNotice>(name, example);
    }
    for (name, example) in &answers {
        match name.as_str() {
            "running" => same::<ExecutorNow>(name, example),
            "received" => assert!(example["client_id"].is_string() && example["message_id"].is_string()),
            _ => same::<ControlReply>(name, example),
        }
    }
    let payloads = |examples| -> Vec<&Value> { <[(String, Value)]>::iter(examples).map(|(_, value)| value).collect() };
    assert_all::<ControlRequest>("request", &payloads(&control));
    assert_all::<ExecutorNotice>("notice", &payloads(&notices));
    assert_all::<ControlReply>("answer", &payloads(&answers));
}

#[test]
fn chunks_stand_in_the_reference_as_they_are() {
    fn same<T: Serialize + DeserializeOwned>(name: &str, example: &Value) {
        let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(read).unwrap(), *example, "{name}");
    }
    let reference = reference();
    let [opens, chunks, answers] =
        ["chunks", "chunk_stream", "chunk_answers"].map(|channel| examples(&reference, channel));
    opens.iter().for_each(|(name, example)| same::<Open>(name, example));
    chunks.iter().for_each(|(name, example)| same::<Chunk>(name, example));
    answers.iter().for_each(|(name, example)| same::<Answer>(name, example));
    assert_all::<Answer>("answer", &answers.iter().map(|(_, value)| value).collect::<Vec<_>>());
}

#[test]
fn events_and_callbacks_stand_in_the_reference_as_they_are() {
    let reference = reference();
    let mut facts = Vec::new();
    for (name, example) in ["callbacks", "topics", "events"].map(|channel| examples(&reference, channel)).concat() {
        match GatewayMessage::decode(example.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}")) {
            GatewayMessage::Event(message) => {
                assert!(message.mac.is_some(), "{name}");
                let mut fact = example["event"].clone();
                let told = fact.as_object_mut().unwrap().remove("about");
                let about = told.map(|_| serde_json::to_value(about::of(&message.event)).unwrap());
                assert_eq!(about.as_ref(), example["event"].get("about"), "{name}");
                assert_eq!(serde_json::to_value(message.parse().unwrap()).unwrap(), fact, "{name}");
                let again = EventMessage::decode(&message.encode()).unwrap();
                assert_eq!(serde_json::to_value(&again).unwrap(), example, "{name}");
                facts.push(example["event"].clone());
            }
            GatewayMessage::Recorded(_) => assert_eq!(name, "record_moved"),
            GatewayMessage::Callback(callback) => {
                assert_eq!(name, "call_back");
                if example["payload"].get("kind").is_some() {
                    let told: CallbackPayload = serde_json::from_str(callback.payload.get()).unwrap();
                    assert_eq!(serde_json::to_value(told).unwrap(), example["payload"]);
                }
            }
            GatewayMessage::Callbacks(callbacks) => {
                assert!(name == "call_many_back" && callbacks.iter().all(Result::is_ok), "{name}");
            }
        }
    }
    assert_all::<Event>("kind", &facts.iter().collect::<Vec<_>>());
}

#[test]
fn frames_stand_in_the_reference_as_they_are() {
    let reference = reference();
    let examples = examples(&reference, "socket");
    let [servers, clients] = [kinds::<Incoming>("type"), kinds::<ClientFrame>("type")];
    for (name, example) in &examples {
        assert_eq!(example["type"], name.as_str());
        assert!(servers.contains(name) || clients.contains(name), "{name}");
        if servers.contains(name) {
            let read = serde_json::from_value::<Incoming>(example.clone());
            read.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        if clients.contains(name) {
            let read = serde_json::from_value::<ClientFrame>(example.clone());
            let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(serde_json::to_value(read).unwrap(), *example, "{name}");
        }
    }
    let payloads: Vec<&Value> = examples.iter().map(|(_, value)| value).collect();
    assert_all::<Incoming>("type", &payloads);
    assert_all::<ClientFrame>("type", &payloads);
}

#[test]
fn every_command_and_query_stands_in_the_reference() {
    let reference = reference();
    for (schema, known) in [("Command", variants::<Command>()), ("Query", variants::<Query>())] {
        let told = reference["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), known, "{schema}");
    }
}
