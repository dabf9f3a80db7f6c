//! Events: to the one who asked, to watchers, each once and in order.

use broker::{Broker, Outgoing};
use gateway::Limits;
use serde_json::json;
use wire::{
    Event, EventMessage, Outcome, Topic,
    event::{Recorded, encode_recorded},
    frame::Incoming,
};

use crate::rig::{build, complete, config, gap, job, log, message, rig, rig_with, server};

#[tokio::test]
async fn p3_the_one_who_asked_and_watchers_at_both_workers_get_each_event_once() {
    let rig = rig().await;
    let mut asker = rig.client(0, "a").await;
    let (mut near, mut far) = (rig.client(0, "b").await, rig.client(1, "c").await);
    let topic = Topic::Job(job(1));
    for client in [&mut asker, &mut near, &mut far] {
        assert_eq!(gap(client.subscribe(topic, None).await), (1, 0, None));
    }
    let to = asker.asker();
    for offset in 0..20 {
        rig.event(&to, topic, 1, offset).await;
        rig.event(&to, topic, 1, offset).await;
    }
    rig.event(&to, topic, 1, 20).await;
    for client in [&mut asker, &mut near, &mut far] {
        assert_eq!(client.offsets(topic, 21).await, (0..21).collect::<Vec<u64>>());
        client.nothing_came().await;
    }
}

#[tokio::test]
async fn events_reach_the_one_who_asked_without_subscribing_and_nobody_else() {
    let rig = rig().await;
    let (mut asker, mut other) = (rig.client(0, "a").await, rig.client(0, "b").await);
    rig.event(&asker.asker(), Topic::Build(build(1)), 1, 0).await;
    rig.event(&asker.asker(), Topic::Job(job(1)), 1, 0).await;
    assert_eq!(asker.event().await.topic, Topic::Build(build(1)));
    assert_eq!(asker.event().await.topic, Topic::Job(job(1)));
    other.nothing_came().await;
}

#[tokio::test]
async fn p3_a_subscription_is_completed_from_the_replay_and_continues_behind_it() {
    let rig = rig().await;
    let (mut first, mut second) = (rig.client(0, "a").await, rig.client(0, "b").await);
    let topic = Topic::Job(job(1));
    first.subscribe(topic, None).await;
    for offset in 3..8 {
        rig.event(&None, topic, 1, offset).await;
    }
    first.offsets(topic, 5).await;
    assert_eq!(complete(second.subscribe(topic, Some((1, 4))).await), (1, 5, Some(7)));
    assert_eq!(second.offsets(topic, 3).await, [5, 6, 7]);
    assert_eq!(complete(second.subscribe(topic, Some((1, 7))).await), (1, 8, None));
    assert_eq!(gap(first.subscribe(topic, Some((1, 0))).await), (1, 1, Some(7)));
    rig.event(&None, topic, 1, 8).await;
    rig.event(&None, topic, 2, 0).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.offsets(topic, 1).await, [8]);
        assert_eq!(client.event().await.epoch, 2);
    }
    assert_eq!(gap(first.subscribe(topic, Some((1, 8))).await), (2, 0, Some(0)));
}

#[tokio::test]
async fn after_unsubscribe_nothing_comes_and_the_replay_claims_nothing_that_it_did_not_hear() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Job(job(1));
    client.subscribe(topic, None).await;
    rig.event(&None, topic, 1, 0).await;
    client.offsets(topic, 1).await;
    client.say(json!({"type": "unsubscribe", "topic": topic}));
    client.nothing_came().await;
    rig.event(&None, topic, 1, 1).await;
    assert_eq!(gap(client.subscribe(topic, Some((1, 0))).await), (1, 1, None));
    rig.event(&None, topic, 1, 2).await;
    // The first of them may still have been on its way when the binding came back.
    while client.event().await.offset != 2 {}
}

#[tokio::test]
async fn a_client_that_unsubscribes_what_it_asked_for_gets_no_more_of_it() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Job(job(1));
    rig.event(&client.asker(), topic, 1, 0).await;
    client.offsets(topic, 1).await;
    client.say(json!({"type": "unsubscribe", "topic": topic}));
    client.nothing_came().await;
    rig.event(&client.asker(), topic, 1, 1).await;
    rig.callback(server(0).as_str(), client.id, json!("marker")).await;
    assert_eq!(client.callback().await.1, json!("marker"));
    assert_eq!(complete(client.subscribe(topic, Some((1, 0))).await), (1, 1, Some(1)));
    assert_eq!(client.offsets(topic, 1).await, [1]);
}

#[tokio::test]
async fn hints_of_the_recorder_reach_watchers_and_the_one_who_asked() {
    let rig = rig().await;
    let (mut asker, mut watcher) = (rig.client(0, "a").await, rig.client(1, "b").await);
    let topic = Topic::Job(job(1));
    watcher.subscribe(topic, None).await;
    rig.event(&asker.asker(), topic, 1, 0).await;
    let hint = Recorded { topic, epoch: 1, offset: Some(0), sealed: true };
    let outgoing = Outgoing::event(Some(&server(0)), topic, encode_recorded(&hint));
    rig.broker.publish(outgoing).await.unwrap();
    for client in [&mut asker, &mut watcher] {
        assert_eq!(client.offsets(topic, 1).await, [0]);
        let frame = client.frame().await;
        assert!(matches!(frame, Incoming::Recorded(found) if found == hint), "{frame:?}");
    }
}

#[tokio::test]
async fn a_forged_event_is_refused_and_becomes_a_dead_letter_with_its_reason() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (to, topic) = (client.asker(), Topic::Job(job(1)));
    let mut forged = message(&to, topic, 1, 0, &log(0));
    forged.mac = message(&to, Topic::Job(job(2)), 1, 0, &log(0)).mac;
    rig.publish(&to, forged).await;
    let dead = rig.next_unrouted().await;
    assert!(dead.message.death.as_deref().is_some_and(|reason| reason.contains("MAC")), "{dead:?}");
    dead.ack();
    rig.event(&to, topic, 1, 0).await;
    assert_eq!(client.offsets(topic, 1).await, [0]);
}

#[tokio::test]
async fn an_executor_cannot_speak_for_control() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (to, topic) = (client.asker(), Topic::Build(build(1)));
    let done = Event::BuildFinished { outcome: Outcome::Succeeded };
    for mac in [None, message(&to, Topic::Job(job(1)), 1, 0, &log(0)).mac] {
        let forged = EventMessage { mac, ..message(&to, topic, 1, 0, &done) };
        rig.publish(&to, forged).await;
        let dead = rig.next_unrouted().await;
        assert!(dead.message.death.as_deref().is_some_and(|reason| reason.contains("MAC")), "{dead:?}");
        dead.ack();
    }
    rig.event(&to, topic, 1, 0).await;
    assert!(matches!(client.event().await.event, Event::BuildStarted {}));
}

#[tokio::test]
async fn p8_what_a_session_may_not_see_reaches_it_neither_by_subscription_nor_by_address() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (hidden, shown) = (Topic::Job(job(1)), Topic::Job(job(2)));
    rig.desk.denied.lock().unwrap().insert(hidden);
    client.say(json!({"type": "subscribe", "topic": hidden, "id": "s1"}));
    let (id, title, _) = client.problem().await;
    assert_eq!((id.as_deref(), title.as_str()), (Some("s1"), "forbidden"));
    rig.event(&client.asker(), hidden, 1, 0).await;
    rig.event(&client.asker(), shown, 1, 0).await;
    assert_eq!(client.event().await.topic, shown);
}

#[tokio::test]
async fn p8_a_topic_that_must_be_looked_up_is_heard_once_it_is_known_and_not_before() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (wished, addressed) = (Topic::Job(job(1)), Topic::Job(job(2)));
    let answers = [wished, addressed].map(|topic| (topic, tokio::sync::watch::Sender::new(None)));
    *rig.desk.asked.lock().unwrap() = answers.clone().into();
    client.say(json!({"type": "subscribe", "topic": wished, "id": "s1"}));
    rig.event(&client.asker(), addressed, 1, 0).await;
    // The worker goes on meanwhile.
    let other = Topic::Job(job(3));
    rig.event(&client.asker(), other, 1, 0).await;
    assert_eq!(client.event().await.topic, other);
    answers[0].1.send_replace(Some(false));
    let (id, title, _) = client.problem().await;
    assert_eq!((id.as_deref(), title.as_str()), (Some("s1"), "forbidden"));
    answers[1].1.send_replace(Some(true));
    let resumed = client.resumed().await;
    assert_eq!((resumed.topic, resumed.from), (addressed, 0), "what came before stands in the record");
    rig.event(&client.asker(), addressed, 1, 1).await;
    assert_eq!(client.event().await.offset, 1);
}

#[tokio::test]
async fn a_topic_that_was_left_while_it_was_looked_up_is_not_watched() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let topic = Topic::Job(job(1));
    let answer = tokio::sync::watch::Sender::new(None);
    *rig.desk.asked.lock().unwrap() = [(topic, answer.clone())].into();
    client.say(json!({"type": "subscribe", "topic": topic}));
    client.say(json!({"type": "unsubscribe", "topic": topic}));
    client.say(json!({"type": "ping"}));
    assert!(matches!(client.frame().await, Incoming::Pong {}), "it was left");
    answer.send_replace(Some(true));
    client.say(json!({"type": "subscribe", "topic": topic, "position": {"epoch": 1, "offset": 4}}));
    assert_eq!(client.resumed().await.from, 5, "the one answer is to the later wish");
}

#[tokio::test]
async fn p8_what_cannot_be_told_for_a_moment_is_asked_again_and_never_forbidden() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let (wished, addressed, hidden) = (Topic::Job(job(1)), Topic::Job(job(2)), Topic::Job(job(3)));
    *rig.desk.fails.lock().unwrap() = [(wished, 2), (addressed, 1), (hidden, 1)].into();
    rig.desk.denied.lock().unwrap().insert(hidden);
    client.say(json!({"type": "subscribe", "topic": wished}));
    assert_eq!(client.resumed().await.topic, wished);
    rig.event(&client.asker(), addressed, 1, 0).await;
    let resumed = client.resumed().await;
    assert_eq!((resumed.topic, resumed.from), (addressed, 0));
    client.say(json!({"type": "subscribe", "topic": hidden, "id": "s1"}));
    assert_eq!(client.problem().await.1, "forbidden", "it is told as soon as it is known");
}

#[tokio::test]
async fn p8_a_client_comes_back_when_it_cannot_be_told_for_long_what_it_may_watch() {
    let rig = rig_with(config(Limits { topics_per_socket_max: 1, ..Limits::default() })).await;
    let topic = Topic::Job(job(1));
    *rig.desk.fails.lock().unwrap() = [(topic, usize::MAX)].into();
    let mut client = rig.client(0, "a").await;
    client.say(json!({"type": "subscribe", "topic": topic}));
    assert_eq!(client.closed().await, 1013);
    // What is addressed to a client that waits for the answers to all that it may ask: it would never know.
    let mut client = rig.client(0, "a").await;
    let never = tokio::sync::watch::Sender::new(None);
    let (wished, addressed) = (Topic::Job(job(2)), Topic::Job(job(3)));
    *rig.desk.asked.lock().unwrap() = [(wished, never.clone()), (addressed, never)].into();
    client.say(json!({"type": "subscribe", "topic": wished}));
    client.say(json!({"type": "ping"}));
    assert!(matches!(client.frame().await, Incoming::Pong {}));
    rig.event(&client.asker(), addressed, 1, 0).await;
    assert_eq!(client.closed().await, 1013);
}

#[tokio::test]
async fn p4_the_end_of_a_build_that_cannot_be_judged_is_kept_for_its_client() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    *rig.desk.fails.lock().unwrap() = [(Topic::Build(build(1)), 1), (Topic::Build(build(2)), usize::MAX)].into();
    let finished = |n| json!({"kind": "build_finished", "build": {"id": build(n)}});
    let first = rig.callback(server(0).as_str(), client.id, finished(1)).await;
    assert_eq!(client.callback().await.0, first);
    client.say(json!({"type": "receipt", "message_id": first}));
    let second = rig.callback(server(0).as_str(), client.id, finished(2)).await;
    assert_eq!(client.closed().await, 1013);
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, second);
    kept.ack();
}
