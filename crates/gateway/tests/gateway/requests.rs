//! What clients ask for, and what they are told when they ask wrongly.

use std::sync::Arc;

use gateway::{Limits, LiveResult, SocketIn};
use serde_json::{Value, json, value::to_raw_value};
use tokio::sync::watch;
use wire::{Position, Topic, frame::Incoming, patch};

use crate::rig::{config, job, rig, rig_with};

/// Results one after the other, each with what has changed since the one before.
fn results(bodies: &[Value]) -> Vec<Arc<LiveResult>> {
    let raw = |value: &Value| Arc::from(to_raw_value(value).unwrap());
    let patch = |pair: &[Value]| raw(&serde_json::to_value(patch::difference(&pair[0], &pair[1])).unwrap());
    let patches: Vec<_> = bodies.windows(2).map(patch).collect();
    let result = |(n, body): (usize, &Value)| {
        let position = Position { epoch: 7, offset: n as u64 };
        Arc::new(LiveResult { position, body: raw(body), patches: patches[..n].iter().cloned().collect() })
    };
    bodies.iter().enumerate().map(result).collect()
}

#[tokio::test]
async fn a_command_carries_the_socket_meta_and_is_answered_by_its_id() {
    let rig = rig().await;
    let mut client = rig.client(1, "a").await;
    client.say(json!({"type": "command", "id": "c1", "command": {"trigger": {"pipeline": "site"}}}));
    let Incoming::Reply { id, status, body } = client.frame().await else { panic!("no reply") };
    assert_eq!((id.as_str(), status), ("c1", 202));
    assert_eq!(body["socket"], json!({"client_id": client.id, "server_id": "gw-1"}));
    client.say(json!({"type": "query", "id": "q1", "query": {"pipelines": {}}}));
    let frame = client.frame().await;
    assert!(matches!(&frame, Incoming::Reply { id, status: 200, .. } if id == "q1"), "{frame:?}");
}

#[tokio::test]
async fn a_desk_that_fails_is_answered_with_500_and_hurts_nothing() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    client.say(json!({"type": "command", "id": "c1", "command": {"trigger": {"pipeline": "broken"}}}));
    let frame = client.frame().await;
    assert!(matches!(&frame, Incoming::Reply { status: 500, .. }), "{frame:?}");
    client.nothing_came().await;
}

#[tokio::test]
async fn a_live_query_is_told_at_once_at_each_change_and_not_after_its_end() {
    let rig = rig().await;
    let [one, two] = results(&[json!([1]), json!([1, 2])]).try_into().unwrap();
    let results = watch::Sender::new(one);
    *rig.desk.live.lock().unwrap() = Some(results.clone());
    let mut client = rig.client(0, "a").await;
    client.say(json!({"type": "subscribe", "topic": "query", "id": "q1", "query": {"pipelines": {}}}));
    for expected in [json!([1]), json!([1, 2])] {
        let Incoming::Result { id, body: found, .. } = client.frame().await else { panic!("no result") };
        assert_eq!((id.as_str(), found), ("q1", expected));
        results.send_replace(Arc::clone(&two));
    }
    // The second replacement above is told as well.
    assert!(matches!(client.frame().await, Incoming::Result { .. }));
    client.say(json!({"type": "unsubscribe", "topic": "query", "id": "q1"}));
    client.nothing_came().await;
    results.closed().await;
    client.say(json!({"type": "subscribe", "topic": "query", "id": "q2", "query": {"executors": {}}}));
    assert_eq!(client.problem().await.0.as_deref(), Some("q2"));
}

#[tokio::test]
async fn a_live_query_ends_with_its_socket_and_says_when_it_cannot_be_served_any_more() {
    let rig = rig().await;
    let results = watch::Sender::new(results(&[json!([])]).remove(0));
    *rig.desk.live.lock().unwrap() = Some(results.clone());
    let subscribe = json!({"type": "subscribe", "topic": "query", "id": "q1", "query": {"pipelines": {}}});
    let mut gone = rig.client(0, "a").await;
    gone.say(subscribe.clone());
    gone.frame().await;
    gone.leave().await;
    crate::rig::within(results.closed()).await;
    let mut client = rig.client(0, "a").await;
    client.say(subscribe);
    client.frame().await;
    *rig.desk.live.lock().unwrap() = None;
    drop(results);
    assert_eq!(client.problem().await.1, "live query ended");
}

#[tokio::test]
async fn live_query_differences_continue_the_position_that_a_client_names_and_only_that() {
    let rig = rig().await;
    let builds = |last: &[&str]| -> Vec<Value> {
        let all = last.iter().chain(["m", "l", "k", "j", "i", "h", "g", "d", "c", "b", "a"].iter());
        all.map(|id| json!({"id": id, "state": "finished"})).collect()
    };
    let bodies = [json!(builds(&[])), json!(builds(&["e"])), json!(builds(&["f", "e"]))];
    let told = results(&bodies);
    let results = watch::Sender::new(Arc::clone(&told[0]));
    *rig.desk.live.lock().unwrap() = Some(results.clone());
    let subscribe = |position: Option<Value>| {
        let mut frame =
            json!({"type": "subscribe", "topic": "query", "id": "q", "query": {"pipelines": {}}, "patch": true});
        if let Some(position) = position {
            frame["position"] = position;
        }
        frame
    };
    let mut client = rig.client(0, "a").await;
    client.say(subscribe(None));
    let Incoming::Result { mut body, position: first, .. } = client.frame().await else { panic!("no result") };
    assert_eq!((&body, first.offset), (&bodies[0], 0));
    results.send_replace(Arc::clone(&told[1]));
    let Incoming::Change { position, from, mut patch, .. } = client.frame().await else { panic!("no change") };
    assert_eq!((position, from), (Position { epoch: 7, offset: 1 }, 0));
    patch::apply(&mut body, &mut patch).unwrap();
    assert_eq!(body, bodies[1]);
    results.send_replace(Arc::clone(&told[2]));
    assert!(matches!(client.frame().await, Incoming::Change { from: 1, .. }));
    // Who comes back is told what it has missed, though that were several results, or nothing.
    let mut back = rig.client(1, "a").await;
    back.say(subscribe(Some(json!({"epoch": 7, "offset": 0}))));
    let Incoming::Change { from: 0, mut patch, .. } = back.frame().await else { panic!("no change") };
    let mut body = bodies[0].clone();
    patch::apply(&mut body, &mut patch).unwrap();
    assert_eq!(body, bodies[2]);
    back.say(subscribe(Some(json!({"epoch": 7, "offset": 2}))));
    assert!(matches!(back.frame().await, Incoming::Change { from: 2, patch, .. } if patch.is_empty()));
    // Another evaluator's result is none of this one's.
    back.say(subscribe(Some(json!({"epoch": 8, "offset": 2}))));
    assert!(matches!(back.frame().await, Incoming::Result { body, .. } if body == bodies[2]));
}

#[tokio::test]
async fn bad_frames_are_explained_the_socket_stays_open_and_too_many_close_it() {
    let rig = rig_with(config(Limits { bad_frames_max: 6, ..Limits::default() })).await;
    let mut client = rig.client(0, "a").await;
    for (text, part) in [
        ("hello", "not JSON"),
        (r#"{"type":"dance"}"#, "expected one of `attach`"),
        (r#"{"type":"subscribe","topik":"x"}"#, "`topik`"),
        (r#"{"type":"subscribe","topic":"weather"}"#, "must be build.<id> or job.<id>"),
        (r#"{"type":"subscribe","topic":"query"}"#, "needs `id` and `query`"),
        (r#"{"type":"command","id":"c9","command":{}}"#, "not a frame"),
    ] {
        client.say_text(text);
        let (id, _, detail) = client.problem().await;
        assert!(detail.contains(part), "{text}: {detail}");
        assert_eq!(id.is_some(), text.contains("c9"));
    }
    client.nothing_came().await;
    client.say_text("[");
    client.problem().await;
    assert_eq!(client.closed().await, 1008);
}

#[tokio::test]
async fn frames_that_are_binary_or_too_large_close_the_socket() {
    let rig = rig().await;
    let large = SocketIn::Text(" ".repeat(wire::frame::CLIENT_FRAME_BYTES_MAX + 1));
    for (said, code) in [(SocketIn::NotText, 1003), (SocketIn::TooLarge, 1009), (large, 1009)] {
        let mut client = rig.client(0, "a").await;
        client.says.send(said).unwrap();
        assert_eq!(client.closed().await, code);
    }
}

#[tokio::test]
async fn topics_of_one_socket_are_bounded() {
    let rig = rig_with(config(Limits { topics_per_socket_max: 1, ..Limits::default() })).await;
    let mut client = rig.client(0, "a").await;
    client.subscribe(Topic::Job(job(1)), None).await;
    client.say(json!({"type": "subscribe", "topic": Topic::Job(job(2)), "id": "s"}));
    let (id, title, _) = client.problem().await;
    assert_eq!((id.as_deref(), title.as_str()), (Some("s"), "too many topics"));
}
