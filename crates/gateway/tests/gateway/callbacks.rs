//! Callbacks: to the client that asked, wherever it is, with receipts.

use std::{sync::Arc, time::Duration};

use broker::{Broker, ConsumeOptions, Outgoing, embedded::EmbeddedBroker, topology};
use gateway::Limits;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{Callback, ClientId, Topic};

use crate::rig::{build, config, rig, rig_with, server, within};

#[tokio::test]
async fn p4_a_callback_by_server_id_reaches_the_client_that_asked_and_no_other() {
    let rig = rig().await;
    let (mut asker, mut other) = (rig.client(0, "a").await, rig.client(0, "a").await);
    let id = rig.callback(server(0).as_str(), asker.id, json!({"done": true})).await;
    assert_eq!(asker.callback().await, (id, json!({"done": true})));
    other.nothing_came().await;
}

/// The payload that tells the end of a build.
fn finished(n: u128) -> Value {
    json!({"kind": "build_finished", "build": {"id": build(n)}})
}

#[tokio::test]
async fn p8_the_end_of_a_build_that_may_not_be_seen_now_is_told_to_nobody_and_kept_for_nobody() {
    let mut rig = rig().await;
    let (hidden, asked) = (Topic::Build(build(1)), Topic::Build(build(2)));
    rig.desk.denied.lock().unwrap().insert(hidden);
    let answer = watch::Sender::new(None);
    rig.desk.asked.lock().unwrap().insert(asked, answer.clone());
    let mut client = rig.client(0, "a").await;
    let call = async |payload| rig.callback(server(0).as_str(), client.id, payload).await;
    call(finished(1)).await;
    call(finished(2)).await;
    let plain = call(json!({"kind": "another", "build": {"id": build(1)}})).await;
    assert_eq!(client.callback().await.0, plain, "what is no end of a build is not judged");
    client.nothing_came().await;
    answer.send_replace(Some(false));
    client.nothing_came().await;
    // What may be seen comes, also where it had to be looked up.
    answer.send_replace(None);
    let seen = rig.callback(server(0).as_str(), client.id, finished(2)).await;
    client.nothing_came().await;
    answer.send_replace(Some(true));
    assert_eq!(client.callback().await, (seen, finished(2)));
    let at_once = rig.callback(server(0).as_str(), client.id, finished(3)).await;
    assert_eq!(client.callback().await.0, at_once);
    // What was held back is not passed on when the client goes.
    client.leave().await;
    let mut left = [plain, seen, at_once];
    for _ in 0..left.len() {
        let kept = rig.next_unrouted().await;
        let place = left.iter_mut().find(|id| **id == kept.message.message_id);
        *place.unwrap_or_else(|| panic!("{:?}", kept.message)) = Uuid::nil();
        kept.ack();
    }
}

#[tokio::test]
async fn p4_the_end_of_a_build_whose_client_goes_while_it_is_judged_is_passed_on() {
    let mut rig = rig().await;
    let answer = watch::Sender::new(None);
    rig.desk.asked.lock().unwrap().insert(Topic::Build(build(2)), answer.clone());
    let mut client = rig.client(0, "a").await;
    let id = rig.callback(server(0).as_str(), client.id, finished(2)).await;
    client.nothing_came().await;
    client.leave().await;
    answer.send_replace(Some(true));
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, id);
    kept.ack();
}

#[tokio::test]
async fn p4_a_callback_to_a_client_that_moved_is_passed_on_to_where_it_is() {
    let mut rig = rig().await;
    let former = rig.client(0, "a").await.leave().await;
    let mut moved = rig.client(1, "a").await;
    moved.attach(&former, json!([])).await;
    assert_eq!(within(rig.attached.recv()).await, Some(former.id));
    let id = rig.callback(server(0).as_str(), former.id, json!(1)).await;
    assert_eq!(moved.callback().await, (id, json!(1)));
}

#[tokio::test]
async fn p4_a_callback_to_a_client_that_is_nowhere_is_left_to_control_with_its_message_id() {
    let mut rig = rig().await;
    let client = ClientId(Uuid::from_u128(9));
    let id = rig.callback(server(0).as_str(), client, json!(1)).await;
    let kept = rig.next_unrouted().await;
    assert_eq!((kept.message.message_id, kept.message.reply_to.as_deref()), (id, Some("reply.test")));
    kept.ack();
}

#[tokio::test]
async fn p4_a_callback_by_the_clients_key_that_finds_nobody_goes_to_control_and_not_in_circles() {
    let mut rig = rig().await;
    let client = ClientId(Uuid::from_u128(9));
    let key = topology::client_key(client);
    rig.broker.bind("gateway.gw-0", &key).await.unwrap();
    let id = rig.callback(server(0).as_str(), client, json!(1)).await;
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, id);
    kept.ack();
}

#[tokio::test]
async fn a_receipt_reaches_the_producer_with_the_message_id_as_correlation_id() {
    let rig = rig().await;
    let mut queue = topology::reply();
    queue.name = "reply.test".to_owned();
    rig.broker.declare(&queue).await.unwrap();
    let options = ConsumeOptions { prefetch: 10, exclusive: true };
    let mut receipts = rig.broker.consume(&queue.name, options).await.unwrap();
    let mut client = rig.client(0, "a").await;
    let id = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    client.callback().await;
    client.say(json!({"type": "receipt", "message_id": id}));
    let receipt = within(receipts.next()).await.unwrap();
    assert_eq!(receipt.message.correlation_id, Some(id.to_string()));
    receipt.ack();
}

#[tokio::test]
async fn p4_a_callback_without_a_receipt_is_passed_on_when_its_socket_goes_and_an_acknowledged_one_is_not() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let acknowledged = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    let lost = rig.callback(server(0).as_str(), client.id, json!(2)).await;
    client.callback().await;
    client.callback().await;
    client.say(json!({"type": "receipt", "message_id": acknowledged}));
    client.nothing_came().await;
    client.leave().await;
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, lost);
    kept.ack();
}

#[tokio::test]
async fn p4_a_callback_that_was_sent_but_not_acknowledged_outlives_its_worker() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let acknowledged = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    let unacknowledged = rig.callback(server(0).as_str(), client.id, json!(2)).await;
    client.callback().await;
    client.callback().await;
    client.say(json!({"type": "receipt", "message_id": acknowledged}));
    client.nothing_came().await;
    rig.gateway.fail_worker(&server(0)).await;
    assert_eq!(client.closed().await, 1012);
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, unacknowledged);
    kept.ack();
}

#[tokio::test]
async fn p4_a_callback_that_was_sent_but_not_acknowledged_outlives_the_process() {
    let rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let acknowledged = rig.callback(server(0).as_str(), client.id, json!(1)).await;
    let unacknowledged = rig.callback(server(0).as_str(), client.id, json!(2)).await;
    client.callback().await;
    client.callback().await;
    client.say(json!({"type": "receipt", "message_id": acknowledged}));
    client.nothing_came().await;
    // Confirmed, so that the receipt's trace is on the disk as well.
    rig.event(&None, Topic::Build(build(1)), 1, 0).await;
    let anew = EmbeddedBroker::start(Arc::new(rig.journal.reopen()), CancellationToken::new()).await.unwrap();
    let queue = topology::gateway(&server(0), Duration::from_secs(300));
    anew.declare(&queue).await.unwrap();
    let options = ConsumeOptions { prefetch: 10, exclusive: true };
    let mut consumer = anew.consume(&queue.name, options).await.unwrap();
    let kept = within(consumer.next()).await.unwrap();
    assert_eq!(kept.message.message_id, unacknowledged);
    assert!(consumer.try_next().is_none());
}

#[tokio::test]
async fn p6_clients_that_never_acknowledge_callbacks_do_not_keep_events_from_others() {
    let limits = Limits { prefetch: 8, ..Limits::default() };
    let rig = rig_with(config(limits)).await;
    let (mut silent, mut other) = (rig.client(0, "a").await, rig.client(0, "b").await);
    let topic = Topic::Build(build(1));
    other.subscribe(topic, None).await;
    for number in 0..20 {
        rig.callback(server(0).as_str(), silent.id, json!(number)).await;
        assert_eq!(silent.callback().await.1, json!(number));
    }
    rig.event(&None, topic, 1, 0).await;
    assert_eq!(other.offsets(topic, 1).await, [0]);
}

#[tokio::test]
async fn p4_each_callback_of_a_batch_has_its_own_id_receipt_and_way() {
    let mut rig = rig().await;
    let (mut here, mut other) = (rig.client(0, "a").await, rig.client(0, "b").await);
    let nowhere = ClientId(Uuid::from_u128(9));
    let to = [here.id, nowhere, other.id, here.id];
    let id =
        rig.batch(server(0).as_str(), to.iter().map(|client| json!({"client_id": client, "payload": client}))).await;
    let nth = |n| Callback::id_in_batch(id, n);
    assert_eq!(here.callback().await, (nth(0), json!(here.id)));
    assert_eq!(other.callback().await, (nth(2), json!(other.id)));
    assert_eq!(here.callback().await, (nth(3), json!(here.id)));
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, nth(1));
    assert_eq!(serde_json::from_slice::<Value>(&kept.message.body).unwrap()["client_id"], json!(nowhere));
    kept.ack();
    // Without the receipts of the others, one that was acknowledged is not passed on and the rest is.
    here.say(json!({"type": "receipt", "message_id": nth(0)}));
    here.nothing_came().await;
    here.leave().await;
    let kept = rig.next_unrouted().await;
    assert_eq!(kept.message.message_id, nth(3));
    kept.ack();
}

#[tokio::test]
async fn an_element_of_a_batch_that_is_no_callback_becomes_a_dead_letter_and_its_neighbours_arrive() {
    let rig = rig().await;
    rig.broker.declare(&topology::dead()).await.unwrap();
    let options = ConsumeOptions { prefetch: 10, exclusive: false };
    let mut dead = rig.broker.consume(topology::DEAD, options).await.unwrap();
    let mut client = rig.client(0, "a").await;
    let good = |n| json!({"client_id": client.id, "payload": n});
    let id = rig.batch(server(0).as_str(), [good(0), json!({"payload": 1}), good(2)]).await;
    assert_eq!(client.callback().await, (id, json!(0)));
    assert_eq!(client.callback().await, (Callback::id_in_batch(id, 2), json!(2)));
    let letter = within(dead.next()).await.unwrap();
    assert_eq!(letter.message.message_id, Callback::id_in_batch(id, 1));
    assert_eq!(&*letter.message.body, br#"{"payload":1}"#);
    assert!(letter.message.death.as_ref().is_some_and(|reason| reason.contains("client_id")), "{letter:?}");
    letter.ack();
}

#[tokio::test]
async fn p4_a_batch_that_was_not_acknowledged_whole_outlives_its_worker() {
    let mut rig = rig().await;
    let mut client = rig.client(0, "a").await;
    let id = rig.batch(server(0).as_str(), (0..2).map(|n| json!({"client_id": client.id, "payload": n}))).await;
    client.callback().await;
    client.callback().await;
    client.say(json!({"type": "receipt", "message_id": id}));
    client.nothing_came().await;
    rig.gateway.fail_worker(&server(0)).await;
    assert_eq!(client.closed().await, 1012);
    for n in 0..2 {
        let kept = rig.next_unrouted().await;
        assert_eq!(kept.message.message_id, Callback::id_in_batch(id, n));
        kept.ack();
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_becomes_a_dead_letter_with_its_reason() {
    let mut rig = rig().await;
    for body in [&b"not json"[..], br#"{"version":9}"#, br#"{"version":1,"hello":1}"#] {
        let outgoing = Outgoing::new(topology::Exchange::Utils, "gw-0", body.to_vec());
        within(rig.broker.publish(outgoing)).await.unwrap();
        let dead = rig.next_unrouted().await;
        assert_eq!(&*dead.message.body, body);
        assert!(dead.message.death.is_some());
        dead.ack();
    }
}
