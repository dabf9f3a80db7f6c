//! Dead letters, over a real store and a real broker: they are kept once, come to nobody's loss, and can be retried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod world;

use std::time::Duration;

use broker::{Broker, Outgoing, topology};
use control::{
    dead_letters::{RetryError, retry},
    graph,
};
use store::{
    Builds, DeadLetters,
    audit::NewEntry,
    model::{Announcement, BuildState, JobState, dead_letter::DeadLetter},
};
use tokio::time::timeout;
use uuid::Uuid;
use wire::{
    ExecutorId, Outcome,
    audit::Action,
    dead_letter::{Cause, DeadLetterState},
    task::{ExecutorNotice, Hint, to_bytes},
};
use world::{Executor, LONG, PATIENCE, World, labels};

/// Short, since a test waits for it to run out.
const SHORT: Duration = Duration::from_millis(300);

fn poison(queue: &str) -> Outgoing {
    Outgoing::new(topology::Exchange::Direct, queue, b"nonsense".to_vec())
}

/// Waits until so many messages wait in a queue; no broker announces that.
async fn until_length(world: &World, queue: &str, length: u64) {
    let look = async {
        while world.broker.queue_length(queue).await.unwrap() != Some(length) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{queue} does not hold {length} messages"));
}

/// The only letter, once it has died so often.
async fn once_dead(world: &World, deaths: u32) -> DeadLetter {
    let look = async {
        loop {
            let letter = world.dead_letters(1).await.remove(0);
            if letter.view.deaths == deaths {
                break letter;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("it did not die {deaths} times"))
}

#[tokio::test]
async fn p2_a_job_lost_as_often_as_it_may_be_is_a_dead_letter_that_can_be_retried() {
    let world = World::start(SHORT).await;
    let linux = labels(&["linux"]);
    let mut executor = Executor::start(&world, &["linux"]).await;
    let build = world.build("{build: {labels: [linux], lost_attempts: 2, steps: [{run: make}]}}").await;
    for attempt in 1..=2 {
        assert_eq!(world.store.dead_letters(&Default::default()).await.unwrap().len(), 0);
        assert_eq!(executor.work(&linux).await.lease.attempt, attempt); // And it is never heard of again.
    }
    let letter = world.dead_letters(1).await.remove(0).view;
    let named = (letter.cause, letter.build, letter.job);
    assert_eq!(named, (Cause::JobLost, Some(build.id), Some(build.jobs[0].id)));
    assert!(letter.reason.starts_with("its executor was lost 2 times"), "{}", letter.reason);
    let then = world.load(&build).await;
    assert!(
        matches!(then.state, BuildState::Finished { outcome: Outcome::Failed, .. }),
        "in one transaction: {then:?}"
    );

    let decide = |build: &mut _, now| {
        let mut announcements = graph::retry(build, true, now)?;
        announcements.push(Announcement::TakenUp { by: "token:a".to_owned() });
        Ok(announcements)
    };
    let again = world.store.change_build(build.id, Box::new(decide)).await.unwrap();
    assert!(matches!(again.jobs[0].state, JobState::Queued { .. }));
    let settled = world.store.dead_letter(letter.id).await.unwrap().unwrap().view;
    assert_eq!((settled.state, settled.settled_by.as_deref()), (DeadLetterState::Retried, Some("token:a")));
}

#[tokio::test]
async fn a_message_that_is_retried_and_dies_again_is_the_same_letter() {
    let world = World::start(LONG).await;
    let mut executor = Executor::start(&world, &["linux"]).await;
    let message = poison(topology::CONTROL);
    let id = message.message_id;
    world.broker.publish(message).await.unwrap();
    for deaths in 1..=3 {
        let letter = once_dead(&world, deaths).await;
        assert_eq!((letter.view.message_id, letter.view.state), (id, DeadLetterState::Open));
        retry(&*world.broker, &*world.store, &letter, "token:a", NewEntry::by_machine(Action::DeadLetterRetried))
            .await
            .unwrap();
    }
    let counts = world.store.dead_letter_counts().await.unwrap();
    let lost = counts.iter().filter(|count| count.cause != Cause::NotJson).any(|count| count.total > 0);
    assert!(!lost && world.dead_letters(1).await.len() == 1, "{counts:?}");
    // And whoever comes behind it is answered.
    let build = world.build("{build: {labels: [linux], steps: [{run: make}]}}").await;
    assert_eq!(executor.work(&labels(&["linux"])).await.build, build.id);
}

#[tokio::test]
async fn a_message_is_retried_when_the_cause_is_gone_and_when_somebody_takes_it() {
    let world = World::start(LONG).await;
    let queue = topology::executor(ExecutorId(Uuid::new_v4()));
    world.broker.declare(&queue).await.unwrap();
    let mut reader = world.consume(&queue.name).await;
    let mut message =
        Outgoing::dead(to_bytes(ExecutorNotice::Now { lines: 0 }).into(), "no", broker::Origin::named(&*queue.name));
    message.correlation_id = Some("c1".to_owned());
    let id = message.message_id;
    world.broker.publish(message).await.unwrap();
    let letter = world.dead_letters(1).await.remove(0);
    assert_eq!(
        retry(&*world.broker, &*world.store, &letter, "token:a", NewEntry::by_machine(Action::DeadLetterRetried)).await,
        Ok(true)
    );
    let again = timeout(PATIENCE, reader.next()).await.expect("nothing came").unwrap();
    assert_eq!((again.message.message_id, again.message.correlation_id.as_deref()), (id, Some("c1")));
    assert_eq!((&again.message.death, &*again.message.body), (&None, &*letter.body));
    again.ack();

    // It dies once more, and its reader goes: nobody takes it, and it stays.
    let mut message = Outgoing::dead(letter.body.as_slice().into(), "no", broker::Origin::named(&*queue.name));
    message.message_id = id;
    world.broker.publish(message).await.unwrap();
    let letter = once_dead(&world, 2).await;
    drop(reader);
    let refused =
        retry(&*world.broker, &*world.store, &letter, "token:a", NewEntry::by_machine(Action::DeadLetterRetried)).await;
    assert!(matches!(&refused, Err(RetryError::Unroutable(reason)) if reason.contains(&queue.name)), "{refused:?}");
    assert_eq!(world.dead_letters(1).await[0].view.state, DeadLetterState::Open);
}

#[tokio::test]
async fn a_hint_that_nobody_settles_is_a_dead_letter_and_the_next_one_is_taken() {
    let world = World::start(LONG).await;
    let queue = topology::tasks(&labels(&["odd"]));
    world.broker.declare(&queue).await.unwrap();
    let hint = || to_bytes(Hint { label_set: labels(&["odd"]) });
    for _ in 0..2 {
        world.broker.publish(Outgoing::new(topology::Exchange::Direct, &*queue.name, hint())).await.unwrap();
    }
    let mut consumer = world.consume(&queue.name).await;
    let first = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    let id = first.message.message_id;
    first.requeue();
    for _ in 1..topology::DELIVERY_LIMIT {
        let mut next = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        if next.message.message_id != id {
            let other = next;
            next = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
            other.ack();
        }
        next.requeue();
    }
    let letter = world.dead_letters(1).await.remove(0).view;
    assert_eq!((letter.message_id, letter.cause), (id, Cause::NeverSettled));
    assert_eq!(letter.origin.unwrap().key, queue.name);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_stored_waits_until_it_can() {
    let mut world = World::start(LONG).await;
    let letter = poison(topology::DEAD);
    let id = letter.message_id;
    world.close_store().await;
    world.broker.publish(letter).await.unwrap();
    until_length(&world, topology::DEAD, 0).await; // Taken, and held.
    world.stop_control().await;
    until_length(&world, topology::DEAD, 1).await;
    world.reopen_store().await;
    let letter = world.dead_letters(1).await.remove(0).view;
    assert_eq!((letter.message_id, letter.deaths), (id, 1));
    assert_eq!(letter.not_retriable.as_deref(), Some("It is not known where it came from."));
    until_length(&world, topology::DEAD, 0).await;
}
