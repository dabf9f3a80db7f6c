//! Results: due with the end of their build, told until somebody has them, gone with their build.

use std::time::Duration;

use uuid::Uuid;
use wire::{
    BuildId, Event, Outcome,
    audit::Action,
    reply::{CallbackPayload, ReplyKind, ReplyState},
};

use super::{
    Fixture,
    samples::{build, create, entries, entry, job},
};
use crate::{
    Store,
    model::{
        Announcement, Build, BuildState, JobState, NewBuild, Outbound,
        reply::{Acknowledged, DueReply, NewReply, Tried, TryNow},
        retention::Deletion,
    },
};

fn asked(mode: ReplyKind, address: &str, receiver: &str) -> NewBuild {
    let mut new = build("p", vec![job("a")]);
    let address = match (&new.build.reply, mode) {
        (Some(reply), ReplyKind::Callback) => reply.client_id.to_string(),
        _ => address.to_owned(),
    };
    new.told = Some(NewReply {
        mode,
        address,
        receiver: receiver.to_owned(),
        correlation_id: Some("c".to_owned()),
        asked_by: "session:1".to_owned(),
    });
    new
}

/// Ends all jobs of a build, and it.
async fn end(store: &dyn Store, id: BuildId) -> Build {
    let decide = |build: &mut Build, now| {
        let outcome = Outcome::Succeeded;
        for job in &mut build.jobs {
            let (executor, since, reason, last_offset) = (None, None, None, None);
            job.state = JobState::Finished { outcome, executor, since, until: now, reason, last_offset };
        }
        build.state = BuildState::Finished { outcome, since: None, until: now };
        Ok(vec![Announcement::Event(Event::BuildFinished { outcome })])
    };
    store.change_build(id, Box::new(decide)).await.unwrap()
}

/// Queues it again.
async fn again(store: &dyn Store, id: BuildId) {
    let decide = |build: &mut Build, now| {
        for job in &mut build.jobs {
            job.state = JobState::Queued { since: now };
        }
        build.state = BuildState::Queued;
        Ok(vec![Announcement::Event(Event::BuildQueued { pipeline: build.pipeline.clone(), retry: true })])
    };
    store.change_build(id, Box::new(decide)).await.unwrap();
}

async fn due(store: &dyn Store) -> Vec<DueReply> {
    store.due_replies(&[], 100).await.unwrap().due
}

async fn state(store: &dyn Store, id: BuildId) -> ReplyState {
    store.reply(id).await.unwrap().unwrap().state
}

/// Not before, and not without; a kill in between loses nothing; a retry makes it due again under another id.
pub async fn p1_a_reply_is_due_with_the_end_of_its_build(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, asked(ReplyKind::Webhook, "http://u:p@h/x?y", "h")).await;
    let silent = create(&*store, build("p", vec![job("a")])).await;
    assert_eq!(state(&*store, made.id).await, ReplyState::Waiting);
    assert_eq!(due(&*store).await, []);
    end(&*store, made.id).await;
    end(&*store, silent.id).await;
    assert_eq!(store.reply(silent.id).await.unwrap(), None);
    let found = fixture.after_kill().await;
    let [first] = &due(&*found).await[..] else { panic!("one is due") };
    assert_eq!((first.build.id, first.attempts, first.build.outcome), (made.id, 0, Some(Outcome::Succeeded)));
    assert_eq!((first.reply.address.as_str(), first.reply.correlation_id.as_deref()), ("http://u:p@h/x?y", Some("c")));
    let view = found.build_view(made.id).await.unwrap().unwrap().reply.unwrap();
    assert_eq!((view.address.as_str(), view.state), ("http://h", ReplyState::Due));

    again(&*found, made.id).await;
    assert_eq!(state(&*found, made.id).await, ReplyState::Waiting);
    // What is still said of the former end changes nothing.
    found.reply_tried(made.id, first.message_id, Tried::Delivered).await.unwrap();
    assert_eq!(state(&*found, made.id).await, ReplyState::Waiting);
    end(&*found, made.id).await;
    let [second] = &due(&*found).await[..] else { panic!("one is due") };
    assert_ne!(second.message_id, first.message_id);
    found.reply_tried(made.id, second.message_id, Tried::Delivered).await.unwrap();
    let view = found.reply(made.id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempts, view.next_at), (ReplyState::Delivered, 1, None));
    assert!(view.delivered_at.is_some());
    assert_eq!(due(&*found).await, []);
}

/// What failed waits its time, what was given up waits for a person, and a receiver that is busy hides no other.
pub async fn a_reply_that_failed_is_due_again_at_its_time_or_by_hand(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = create(&*store, asked(ReplyKind::Queue, "reply.a", "a")).await;
    let other = create(&*store, asked(ReplyKind::Queue, "reply.b", "b")).await;
    assert_eq!(store.try_reply_now(first.id, entry(Action::ReplyTried)).await.unwrap(), TryNow::NotYet);
    end(&*store, first.id).await;
    end(&*store, other.id).await;
    let busy = store.due_replies(&["a".to_owned()], 10).await.unwrap().due;
    assert_eq!(busy.iter().map(|due| due.build.id).collect::<Vec<_>>(), [other.id]);
    assert_eq!(due(&*store).await.len(), 2);
    let id = due(&*store).await.into_iter().find(|due| due.build.id == first.id).unwrap().message_id;
    store.reply_tried(first.id, id, Tried::Again("no".to_owned(), Duration::from_secs(600))).await.unwrap();
    let found = store.due_replies(&[], 10).await.unwrap();
    assert_eq!(found.due.len(), 1);
    assert!(found.next.is_some_and(|next| next > Duration::from_secs(500) && next <= Duration::from_secs(600)));
    let view = store.reply(first.id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempts, view.last_error.as_deref()), (ReplyState::Due, 1, Some("no")));
    assert!(view.next_at.is_some());
    store.reply_tried(first.id, id, Tried::Stopped("gone".to_owned())).await.unwrap();
    assert_eq!(state(&*store, first.id).await, ReplyState::Stopped);
    assert_eq!(entries(&*store, Action::ReplyTried).await, 0, "nothing was tried");
    assert_eq!(store.try_reply_now(first.id, entry(Action::ReplyTried)).await.unwrap(), TryNow::Due);
    assert_eq!(entries(&*store, Action::ReplyTried).await, 1);
    assert_eq!(due(&*store).await.len(), 2);
}

/// A callback stands in the outbox behind the event that tells the same; a receipt ends it, however often that comes.
pub async fn receipt_ends_a_callback_that_the_outbox_sends(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, asked(ReplyKind::Callback, "", "callbacks")).await;
    let reply = made.reply.clone().unwrap();
    end(&*store, made.id).await;
    let rows = store.outbox(0, 100).await.unwrap();
    let [.., event, callback] = &rows[..] else { panic!("{rows:?}") };
    assert!(matches!(&event.outbound, Outbound::Event { message, .. }
        if matches!(message.parse(), Ok(Event::BuildFinished { .. }))));
    let Outbound::Callback { server_id, message_id, body } = &callback.outbound else { panic!("{callback:?}") };
    assert_eq!(server_id, &reply.server_id);
    let sent: wire::Callback = serde_json::from_slice(body).unwrap();
    let CallbackPayload::BuildFinished { build: told } = serde_json::from_str(sent.payload.get()).unwrap();
    assert_eq!((sent.client_id, told.id, told.outcome), (reply.client_id, made.id, Some(Outcome::Succeeded)));
    assert!(told.finished_at.is_some());
    assert_eq!(state(&*store, made.id).await, ReplyState::Sent);
    assert_eq!(due(&*store).await, [], "its receipt is waited for");

    // The client came back: it is sent again under the same id.
    store.resend_replies(&[wire::ClientId(Uuid::new_v4())]).await.unwrap();
    assert_eq!(due(&*store).await, [], "another client");
    store.resend_replies(&[reply.client_id]).await.unwrap();
    let [again] = &due(&*store).await[..] else { panic!("one is due") };
    assert_eq!((again.message_id, again.socket.as_ref()), (*message_id, Some(&reply)));
    store.reply_tried(made.id, *message_id, Tried::Sent(None)).await.unwrap();
    assert_eq!(due(&*store).await, []);

    assert_eq!(store.receipt(Uuid::new_v4()).await.unwrap(), None);
    assert_eq!(store.receipt(*message_id).await.unwrap(), Some((made.id, made.pipeline.clone())));
    let received = store.reply(made.id).await.unwrap().unwrap();
    assert!(received.state == ReplyState::Received && received.received_at.is_some());
    assert_eq!(store.receipt(*message_id).await.unwrap(), None);
    store.reply_tried(made.id, *message_id, Tried::Sent(None)).await.unwrap();
    assert_eq!(store.reply(made.id).await.unwrap().unwrap(), received, "a late word changes nothing");
    assert!(matches!(store.try_reply_now(made.id, entry(Action::ReplyTried)).await.unwrap(), TryNow::Received(_)));
}

/// Listed for who asked until they say so; what was delivered or received is not; gone with the build.
pub async fn results_that_were_not_received_are_listed_for_who_asked(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(create(&*store, asked(ReplyKind::Callback, "", "callbacks")).await.id);
    }
    let hook = create(&*store, asked(ReplyKind::Webhook, "http://h", "h")).await.id;
    assert_eq!(store.not_received("session:1", 10).await.unwrap(), []);
    assert_eq!(store.acknowledge(made[0], "session:1").await.unwrap(), Acknowledged::NotYet);
    for id in made.iter().chain([&hook]) {
        end(&*store, *id).await;
    }
    let listed = async |by: &str| -> Vec<BuildId> {
        store.not_received(by, 10).await.unwrap().into_iter().map(|build| build.id).collect()
    };
    assert_eq!(listed("session:1").await, [hook, made[2], made[1], made[0]]);
    assert_eq!(listed("session:2").await, []);
    assert_eq!(store.acknowledge(made[0], "session:2").await.unwrap(), Acknowledged::NotTheirs);
    for _ in 0..2 {
        assert_eq!(store.acknowledge(made[0], "session:1").await.unwrap(), Acknowledged::Done);
    }
    assert_eq!(state(&*store, made[0]).await, ReplyState::Received);
    // A person's word does not stop a webhook.
    assert_eq!(store.acknowledge(hook, "session:1").await.unwrap(), Acknowledged::Done);
    assert_eq!(state(&*store, hook).await, ReplyState::Due);
    let hooks = due(&*store).await;
    store.reply_tried(hook, hooks[0].message_id, Tried::Stopped("410".to_owned())).await.unwrap();
    assert_eq!(state(&*store, hook).await, ReplyState::Stopped);
    assert_eq!(due(&*store).await, []);
    assert_eq!(store.try_reply_now(hook, entry(Action::ReplyTried)).await.unwrap(), TryNow::Due);
    assert_eq!(due(&*store).await.len(), 1);
    assert_eq!(listed("session:1").await, [made[2], made[1]]);
    assert_eq!(store.acknowledge(BuildId(Uuid::nil()), "session:1").await.unwrap(), Acknowledged::NoBuild);
    assert_eq!(store.try_reply_now(BuildId(Uuid::nil()), entry(Action::ReplyTried)).await.unwrap(), TryNow::NoBuild);
    assert!(matches!(store.delete_build(made[1], None).await.unwrap(), Deletion::Done | Deletion::Unrecorded));
}
