//! Nobody's message is not lost: what dies in a queue is found again, with the reason.

use std::sync::Arc;

use super::{
    Fixture,
    probe::{
        confirmed, consume, declared, find, gateway, grave, next, nothing_more, send, soon, text, to, unique, work,
    },
};
use crate::{
    ConsumeOptions, NEVER_SETTLED, Origin, Outgoing,
    topology::{self, DELIVERY_LIMIT, Queue, QueueKind},
};

const ALONE: ConsumeOptions = ConsumeOptions { prefetch: 1, exclusive: false };

async fn rejected(fixture: &impl Fixture, queue: Queue) {
    let broker = fixture.broker();
    let mut message = to(&queue, "bad");
    message.correlation_id = Some("c1".to_owned());
    let id = message.message_id;
    send(&*broker, message).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    next(&mut consumer).await.reject("it makes no sense");
    let found = find(&*broker, grave(&queue.kind), id).await;
    assert_eq!((text(&found.body).as_str(), found.correlation_id.as_deref()), ("bad", Some("c1")));
    let reason = found.death.expect("a dead letter has a reason");
    assert!(reason.contains("it makes no sense"), "the reason is {reason:?}");
    nothing_more(&*broker, &queue, &mut consumer).await;

    // Handed in where it came from, it is there again, under its id, and alive.
    let origin = found.origin.expect("a dead letter tells where it came from");
    let mut again = Outgoing::new(origin.exchange, origin.key, found.body.to_vec());
    (again.message_id, again.mandatory) = (id, true);
    send(&*broker, again).await;
    let delivery = next(&mut consumer).await;
    let message = &delivery.message;
    assert_eq!((message.message_id, text(&message.body).as_str()), (id, "bad"));
    assert_eq!((message.death.as_ref(), message.origin.as_ref()), (None, None));
    delivery.ack();
    nothing_more(&*broker, &queue, &mut consumer).await;
}

/// What a consumer of a work queue rejects reaches `dead`.
pub async fn rejected_work_is_dead_with_its_reason(fixture: &impl Fixture) {
    rejected(fixture, work(&*fixture.broker()).await).await;
}

/// Who cannot reject what it reads publishes a dead letter: it says why as well.
pub async fn a_dead_letter_can_be_published_with_its_reason(fixture: &impl Fixture) {
    let broker = fixture.broker();
    broker.declare(&topology::dead()).await.unwrap();
    let origin = Origin::utils("north-0");
    let message = Outgoing::dead(Arc::from(&b"{}"[..]), "it has version 9", origin.clone());
    let id = message.message_id;
    confirmed(&*broker, message).await.unwrap();
    let found = find(&*broker, topology::DEAD, id).await;
    assert_eq!((found.death.as_deref(), &*found.body), (Some("it has version 9"), &b"{}"[..]));
    assert_eq!(found.origin, Some(origin));
}

/// What a consumer of a gateway's queue rejects reaches `unrouted`.
pub async fn a_rejected_callback_is_unrouted_with_its_reason(fixture: &impl Fixture) {
    rejected(fixture, gateway(&*fixture.broker()).await).await;
}

/// What waits in a gateway's queue longer than it may reaches `unrouted`, with a reason.
pub async fn a_callback_that_waited_too_long_is_unrouted(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let message_ttl = fixture.time_to_live();
    let kind = QueueKind::Gateway { expires: message_ttl * 1000, message_ttl };
    let queue = declared(&*broker, Queue { name: unique("gateway"), kind, bindings: Vec::new() }).await;
    let message = to(&queue, "late");
    let id = message.message_id;
    confirmed(&*broker, message).await.unwrap();
    let found = find(&*broker, grave(&queue.kind), id).await;
    assert!(found.death.is_some_and(|reason| !reason.is_empty()));
    broker.delete(&queue.name).await.unwrap();
}

/// Work that every consumer gives back becomes a dead letter: it must not block what is behind it.
pub async fn work_that_is_never_settled_dies(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let poison = to(&queue, "poison");
    let id = poison.message_id;
    send(&*broker, poison).await;
    send(&*broker, to(&queue, "behind it")).await;
    let mut deliveries = 0;
    let mut consumer = soon("consuming", broker.consume(&queue.name, ALONE)).await.unwrap();
    loop {
        let delivery = next(&mut consumer).await;
        if text(&delivery.message.body) == "behind it" {
            delivery.ack();
            break;
        }
        deliveries += 1;
        assert!(deliveries <= DELIVERY_LIMIT + 1, "it was delivered {deliveries} times");
        delivery.requeue();
    }
    assert!(deliveries >= DELIVERY_LIMIT, "it died after {deliveries} deliveries");
    let found = find(&*broker, grave(&queue.kind), id).await;
    assert!(found.death.is_some_and(|reason| reason.contains(NEVER_SETTLED)));
    assert_eq!(found.origin, Some(Origin::named(queue.name)));
}

/// A consumer that goes without having settled says nothing about what it held: work outlives many of them.
pub async fn work_survives_consumers_that_go(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    send(&*broker, to(&queue, "a hint")).await;
    for _ in 0..DELIVERY_LIMIT * 3 {
        let mut consumer = soon("consuming", broker.consume(&queue.name, ALONE)).await.unwrap();
        assert_eq!(text(&next(&mut consumer).await.message.body), "a hint");
    }
    let mut consumer = consume(&*broker, &queue.name).await;
    next(&mut consumer).await.ack();
    nothing_more(&*broker, &queue, &mut consumer).await;
}
