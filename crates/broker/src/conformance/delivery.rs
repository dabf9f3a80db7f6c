//! How queues deliver: in order, at least once, to one consumer at a time, bounded, and as long as the queue lives.

use std::{collections::HashSet, sync::Arc};

use futures_util::FutureExt;

use super::{
    Fixture,
    probe::{
        LONG, LOOK_AGAIN, SHARED, confirmed, consume, declared, next, nothing_more, private, send, soon, text, texts,
        to, unique, until_length, utils, work,
    },
};
use crate::{
    BrokerError, ConsumeOptions,
    topology::{PRIVATE_BYTES_MAX, Queue, QueueKind},
};

/// What one publisher sends arrives in the order of the calls, however many confirms are in flight.
pub async fn a_queue_keeps_the_order(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    let expected: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    for text in &expected {
        drop(broker.publish(to(&queue, text)));
    }
    assert_eq!(texts(&mut consumer, expected.len()).await, expected);
}

/// A confirm means that all before are confirmed.
pub async fn confirms_come_in_order(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut confirms: Vec<_> = (0..500).map(|number| broker.publish(to(&queue, &number.to_string()))).collect();
    let last = confirms.pop().unwrap();
    soon("the last confirm", last).await.unwrap();
    for (number, before) in confirms.into_iter().enumerate() {
        // Not awaited: it must be there. Tokio lets a task look at so many futures in one turn, hence a turn for each.
        tokio::task::yield_now().await;
        assert_eq!(before.now_or_never(), Some(Ok(())), "confirm {number} of 500 was behind the last");
    }
}

/// What a consumer leaves unsettled is delivered again and says so: in order, before what came later, where the broker
/// gives back to the front.
pub async fn unsettled_deliveries_come_again_in_order(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    for number in 0..6 {
        send(&*broker, to(&queue, &number.to_string())).await;
    }
    let options = ConsumeOptions { prefetch: 4, exclusive: false };
    let mut consumer = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let delivery = next(&mut consumer).await;
        assert!(!delivery.message.redelivered);
        held.push(delivery);
    }
    held.remove(1).ack();
    drop((held, consumer));
    until_length(&*broker, &queue.name, Some(5)).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    let mut again = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut consumer).await;
        again.push((text(&delivery.message.body), delivery.message.redelivered));
        delivery.ack();
    }
    let expected = [("0", true), ("2", true), ("3", true), ("4", false), ("5", false)];
    if !fixture.gives_back_to_the_front() {
        again.sort();
    }
    assert_eq!(again, expected.map(|(text, redelivered)| (text.to_owned(), redelivered)));
}

/// A requeued message is delivered again: next, where the broker gives back to the front.
pub async fn a_requeued_message_comes_first(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let options = ConsumeOptions { prefetch: 1, exclusive: false };
    let mut consumer = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    send(&*broker, to(&queue, "first")).await;
    send(&*broker, to(&queue, "second")).await;
    next(&mut consumer).await.requeue();
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = next(&mut consumer).await;
        again.push((text(&delivery.message.body), delivery.message.redelivered));
        delivery.ack();
    }
    if !fixture.gives_back_to_the_front() {
        again.sort();
    }
    assert_eq!(again, [("first".to_owned(), true), ("second".to_owned(), false)]);
}

/// Two consumers share a queue: each message goes to one of them.
pub async fn nothing_is_taken_by_two(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let options = ConsumeOptions { prefetch: 3, exclusive: false };
    let mut one = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    let mut two = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    for number in 0..200 {
        drop(broker.publish(to(&queue, &number.to_string())));
    }
    let mut seen = HashSet::new();
    while seen.len() < 200 {
        let delivery = soon("a delivery", async {
            tokio::select! {
                delivery = one.next() => delivery,
                delivery = two.next() => delivery,
            }
        })
        .await
        .unwrap();
        assert!(!delivery.message.redelivered);
        assert!(seen.insert(text(&delivery.message.body)), "a message was delivered twice");
        delivery.ack();
    }
    drop(two);
    nothing_more(&*broker, &queue, &mut one).await;
}

/// A consumer that settles nothing is given `prefetch` messages; the others stay in the queue for someone else.
pub async fn prefetch_bounds_what_is_held(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let options = ConsumeOptions { prefetch: 3, exclusive: false };
    let mut slow = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    for number in 0..7 {
        send(&*broker, to(&queue, &number.to_string())).await;
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut slow).await);
    }
    let mut other = consume(&*broker, &queue.name).await;
    assert_eq!(texts(&mut other, 4).await, ["3", "4", "5", "6"]);
    drop(other);
    assert!(slow.try_next().is_none(), "the slow consumer was given more than it may hold");
    send(&*broker, to(&queue, "7")).await;
    until_length(&*broker, &queue.name, Some(1)).await;
    assert!(slow.try_next().is_none(), "the slow consumer was given more than it may hold");
    held.remove(0).ack();
    assert_eq!(texts(&mut slow, 1).await, ["7"]);
}

/// A consumer that waits, because it holds all it may, goes on when one of them is settled.
pub async fn an_ack_makes_room_for_one_who_waits(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let options = ConsumeOptions { prefetch: 1, exclusive: false };
    let mut consumer = soon("consuming", broker.consume(&queue.name, options)).await.unwrap();
    send(&*broker, to(&queue, "first")).await;
    send(&*broker, to(&queue, "second")).await;
    let first = next(&mut consumer).await;
    // Polled in this order: the wait begins before the ack.
    let (second, ()) = tokio::join!(next(&mut consumer), async { first.ack() });
    assert_eq!(text(&second.message.body), "second");
    second.ack();
}

/// A second consumer of an exclusively consumed queue is refused, exclusive or not; so is an exclusive second one.
pub async fn exclusive_is_exclusive(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let exclusive = ConsumeOptions { prefetch: 10, exclusive: true };
    let queue = work(&*broker).await;
    let in_use = Some(BrokerError::InUse(queue.name.clone()));
    let first = soon("consuming", broker.consume(&queue.name, exclusive)).await.unwrap();
    assert_eq!(soon("consuming", broker.consume(&queue.name, exclusive)).await.err(), in_use);
    assert_eq!(soon("consuming", broker.consume(&queue.name, SHARED)).await.err(), in_use);
    drop(first);

    let queue = work(&*broker).await;
    let shared = consume(&*broker, &queue.name).await;
    let refused = soon("consuming", broker.consume(&queue.name, exclusive)).await.err();
    assert_eq!(refused, Some(BrokerError::InUse(queue.name.clone())));
    drop(shared);
}

/// When an exclusive consumer went, the next one may come.
pub async fn a_consumer_gives_its_queue_free(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let exclusive = ConsumeOptions { prefetch: 10, exclusive: true };
    drop(soon("consuming", broker.consume(&queue.name, exclusive)).await.unwrap());
    let mut look = tokio::time::interval(LOOK_AGAIN);
    soon("the queue being free", async {
        // A broker over a network learns a little later that the first one went.
        while let Err(error) = broker.consume(&queue.name, exclusive).await {
            assert_eq!(error, BrokerError::InUse(queue.name.clone()));
            look.tick().await;
        }
    })
    .await;
}

/// A private queue is there while its consumer is.
pub async fn a_private_queue_goes_with_its_consumer(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = private(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    send(&*broker, to(&queue, "here")).await;
    assert_eq!(texts(&mut consumer, 1).await, ["here"]);
    drop(consumer);
    until_length(&*broker, &queue.name, None).await;
    let mut message = to(&queue, "gone");
    message.mandatory = true;
    assert_eq!(confirmed(&*broker, message).await, Err(BrokerError::Unroutable(queue.name)));
}

/// A private queue whose consumer does not read ends at its limit, and takes its messages with it; its consumer is told, and
/// neither the publisher nor who else is bound to the same key notices. Declared anew, it is as good as before.
pub async fn a_private_queue_that_nobody_reads_ends(fixture: &impl Fixture) {
    const BODY_BYTES: usize = 64 * 1024;
    let broker = fixture.broker();
    let key = unique("watched");
    let queue = || Queue { name: unique("watch"), kind: QueueKind::Private, bindings: vec![key.clone()] };
    let (slow, fast) = (declared(&*broker, queue()).await, declared(&*broker, queue()).await);
    let mut silent = consume(&*broker, &slow.name).await;
    let mut reading = consume(&*broker, &fast.name).await;
    let held = {
        send(&*broker, utils(&key, "held")).await;
        assert_eq!(texts(&mut reading, 1).await, ["held"]);
        next(&mut silent).await
    };
    let body: Arc<[u8]> = vec![b' '; BODY_BYTES].into();
    for _ in 0..=PRIVATE_BYTES_MAX / BODY_BYTES {
        let mut message = utils(&key, "");
        message.body = Arc::clone(&body);
        send(&*broker, message).await;
        let delivery = next(&mut reading).await;
        assert_eq!(delivery.message.body.len(), BODY_BYTES);
        delivery.ack();
    }
    until_length(&*broker, &slow.name, None).await;
    assert!(soon("the consumer's end", silent.next()).await.is_none(), "messages are missing without a word");
    held.ack();
    let mut look = tokio::time::interval(LOOK_AGAIN);
    soon("the memory being free", async {
        while Arc::strong_count(&body) > 1 {
            look.tick().await;
        }
    })
    .await;

    // The former consumer is still there when the queue is made again, and does not take it away when it goes.
    declared(&*broker, slow.clone()).await;
    drop(silent);
    let mut anew = consume(&*broker, &slow.name).await;
    send(&*broker, utils(&key, "anew")).await;
    assert_eq!(texts(&mut anew, 1).await, ["anew"]);
    assert_eq!(texts(&mut reading, 1).await, ["anew"]);
}

/// A gateway's queue that nobody consumes goes after its time, and not while it is consumed.
pub async fn an_unused_gateway_queue_goes(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let expires = fixture.time_to_live();
    let kind = QueueKind::Gateway { expires, message_ttl: expires };
    let queue = |kind: QueueKind| Queue { name: unique("gateway"), kind, bindings: Vec::new() };
    let used = queue(kind.clone());
    let consumer = soon("consuming", async {
        loop {
            declared(&*broker, used.clone()).await;
            match broker.consume(&used.name, SHARED).await {
                Ok(consumer) => break consumer,
                // Its time was over before it was consumed.
                Err(error) => assert_eq!(error, BrokerError::NoQueue(used.name.clone())),
            }
        }
    })
    .await;
    let unused = declared(&*broker, queue(kind)).await;
    let kept = declared(&*broker, queue(QueueKind::Gateway { expires: LONG, message_ttl: LONG })).await;
    until_length(&*broker, &unused.name, None).await;
    assert_eq!(broker.queue_length(&used.name).await, Ok(Some(0)), "a consumed queue was deleted");
    drop(consumer);
    until_length(&*broker, &used.name, None).await;
    assert_eq!(broker.queue_length(&kept.name).await, Ok(Some(0)), "a queue was deleted before its time");
    broker.delete(&kept.name).await.unwrap();
}

/// A queue that is declared again keeps its messages and its consumers.
pub async fn declaring_again_changes_nothing(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    send(&*broker, to(&queue, "kept")).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    let held = next(&mut consumer).await;
    broker.declare(&queue).await.unwrap();
    send(&*broker, to(&queue, "next")).await;
    assert_eq!(texts(&mut consumer, 1).await, ["next"]);
    held.ack();
    nothing_more(&*broker, &queue, &mut consumer).await;
}

/// A deleted queue's consumers end; deleting what is not there is no error.
pub async fn deleting_ends_consumers(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let queue = work(&*broker).await;
    let mut consumer = consume(&*broker, &queue.name).await;
    soon("deleting", broker.delete(&queue.name)).await.unwrap();
    assert!(soon("the consumer's end", consumer.next()).await.is_none());
    assert_eq!(broker.queue_length(&queue.name).await, Ok(None));
    soon("deleting", broker.delete(&queue.name)).await.unwrap();
}

/// A queue that is not there cannot be consumed or bound; unbinding from it is no error.
pub async fn what_is_missing_is_told(fixture: &impl Fixture) {
    let broker = fixture.broker();
    let name = unique("tasks");
    let missing = BrokerError::NoQueue(name.clone());
    assert_eq!(soon("consuming", broker.consume(&name, SHARED)).await.err(), Some(missing.clone()));
    assert_eq!(soon("binding", broker.bind(&name, "a.b")).await, Err(missing));
    assert_eq!(soon("unbinding", broker.unbind(&name, "a.b")).await, Ok(()));
    assert_eq!(soon("looking", broker.queue_length(&name)).await, Ok(None));
}
