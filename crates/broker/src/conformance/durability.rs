//! Confirmed is kept: what was confirmed is there after the broker was killed.

use super::{
    Fixture,
    probe::{
        SHARED, confirmed, consume, event, find, find_entries, gateway, next, send, soon, text, texts, to, unique,
        until_length, utils, work,
    },
};
use crate::{StreamFrom, topology};

/// Confirmed messages of a work queue survive, in order.
pub async fn confirmed_work_is_kept(fixture: &impl Fixture) {
    let queue = work(&*fixture.broker()).await;
    for number in 0..20 {
        send(&*fixture.broker(), to(&queue, &number.to_string())).await;
    }
    fixture.restart().await;
    let broker = fixture.broker();
    broker.declare(&queue).await.unwrap();
    let mut consumer = consume(&*broker, &queue.name).await;
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(texts(&mut consumer, 20).await, expected);
}

/// A confirmed callback that is no event survives: in its gateway's queue, and in `unrouted` if it had none.
pub async fn a_confirmed_callback_is_kept(fixture: &impl Fixture) {
    let queue = gateway(&*fixture.broker()).await;
    let taken = utils(&queue.name, "for a gateway");
    let homeless = utils(&unique("nobody"), "for nobody");
    let homeless_id = homeless.message_id;
    send(&*fixture.broker(), taken).await;
    send(&*fixture.broker(), homeless).await;
    fixture.restart().await;
    let broker = fixture.broker();
    broker.declare(&queue).await.unwrap();
    assert_eq!(texts(&mut consume(&*broker, &queue.name).await, 1).await, ["for a gateway"]);
    assert_eq!(text(&find(&*broker, topology::UNROUTED, homeless_id).await.body), "for nobody");
}

/// An ack takes effect for good. It has no confirm, so it is proven by a message that was confirmed after it.
pub async fn what_was_acked_does_not_come_back(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    for number in 0..5 {
        send(&*broker, to(&queue, &format!("done {number}"))).await;
    }
    texts(&mut consumer, 5).await;
    drop(consumer);
    until_length(&*broker, &queue.name, Some(0)).await;
    send(&*broker, to(&queue, "left")).await;
    fixture.restart().await;
    let broker = fixture.broker();
    broker.declare(&queue).await.unwrap();
    let mut consumer = consume(&*broker, &queue.name).await;
    assert_eq!(texts(&mut consumer, 1).await, ["left"]);
}

/// A confirm covers the stream: what was confirmed is there at once, and after the broker was killed.
pub async fn confirmed_events_are_kept(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let mut reader = soon("reading", broker.read_stream(StreamFrom::Next)).await.unwrap();
    let incarnation = reader.incarnation;
    let (first, first_text) = event(&unique("job"));
    send(&*broker, first).await;
    let place = find_entries(&mut reader, &[first_text]).await[0].offset;
    let mut expected = Vec::new();
    for _ in 0..20 {
        let (message, text) = event(&unique("job"));
        expected.push(text);
        confirmed(&*broker, message).await.unwrap();
    }
    drop(reader);
    fixture.restart().await;
    let from = StreamFrom::After { incarnation, offset: place };
    let mut reader = soon("reading", fixture.broker().read_stream(from)).await.unwrap();
    let found = find_entries(&mut reader, &expected).await;
    assert_eq!(found.iter().map(|entry| text(&entry.body)).collect::<Vec<_>>(), expected);
}

/// What a consumer held when the broker was killed is delivered again and says so.
pub async fn unsettled_work_comes_back_after_a_crash(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    send(&*broker, to(&queue, "held")).await;
    let mut consumer = soon("consuming", broker.consume(&queue.name, SHARED)).await.unwrap();
    let held = next(&mut consumer).await;
    assert!(!held.message.redelivered);
    fixture.restart().await;
    drop((held, consumer));
    let broker = fixture.broker();
    broker.declare(&queue).await.unwrap();
    let again = next(&mut consume(&*broker, &queue.name).await).await;
    assert_eq!((text(&again.message.body).as_str(), again.message.redelivered), ("held", true));
    again.ack();
}
