//! The loop over the store and the embedded broker.

use broker::{ConsumeOptions, embedded::EmbeddedBroker, topology::Queue, topology::QueueKind};
use control::{graph, pipeline, plan};
use serde_json::{Value, json};
use store::{
    Builds as _,
    audit::NewEntry,
    model::{NewBuild, reply::NewReply},
    replies::Replies as _,
    sqlite::SqliteStore,
};
use wire::{audit::Action, command::Trigger, reply::ReplyState};

use super::*;
use crate::journal::StoreJournal;

/// Nothing here takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn reply_to_a_queue_of_the_embedded_broker_waits_for_the_queue_and_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
    let stop = CancellationToken::new();
    let journal = Arc::new(StoreJournal(Arc::clone(&store) as _));
    let broker = EmbeddedBroker::start(journal, stop.clone()).await.unwrap();
    let key = InstallationKey([7; 32]);
    let running = tokio::spawn(run(
        Arc::clone(&broker) as _,
        Arc::clone(&store) as _,
        key,
        Destinations::default(),
        stop.clone(),
    ));

    let spec = pipeline::parse("name: hi\njobs: {a: {steps: [{run: echo hi}]}}\n").unwrap();
    let (build, announcements) = plan::plan(&spec, &Trigger::default(), BuildId(Uuid::now_v7()), None).unwrap();
    let (id, name) = (build.id, "reply.mine".to_owned());
    let told = NewReply {
        mode: ReplyKind::Queue,
        address: name.clone(),
        receiver: name.clone(),
        correlation_id: Some("7".to_owned()),
        asked_by: "token:1".to_owned(),
    };
    store
        .create_build(NewBuild { build, announcements, idempotency: None, told: Some(told), delivery: None })
        .await
        .unwrap();
    store.change_build(id, Box::new(graph::cancel)).await.unwrap();
    let until = async |wanted: &dyn Fn(&wire::reply::ReplyView) -> bool| {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let looked = async {
            loop {
                ticks.tick().await;
                let reply = store.reply(id).await.unwrap().unwrap();
                if wanted(&reply) {
                    return reply;
                }
            }
        };
        tokio::time::timeout(PATIENCE, looked).await.expect("the reply does not come so far")
    };
    let failed = until(&|reply| reply.attempts == 1).await;
    assert_eq!(failed.last_error.as_deref(), Some("there is no queue reply.mine"));

    broker.declare(&Queue { name: name.clone(), kind: QueueKind::Private, bindings: Vec::new() }).await.unwrap();
    let mut consumer = broker.consume(&name, ConsumeOptions { prefetch: 10, exclusive: true }).await.unwrap();
    store.try_reply_now(id, NewEntry::by_machine(Action::ReplyTried)).await.unwrap();
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    let body: Value = serde_json::from_slice(&delivery.message.body).unwrap();
    assert_eq!(delivery.message.correlation_id.as_deref(), Some("7"));
    assert_eq!((&body["version"], &body["build"]["id"]), (&json!(1), &json!(id)));
    assert_eq!(body["build"]["outcome"], "cancelled");
    delivery.ack();
    let done = until(&|reply| reply.state == ReplyState::Delivered).await;
    assert!(done.delivered_at.is_some() && done.last_error.is_none());
    assert!(consumer.try_next().is_none());
    stop.cancel();
    running.await.unwrap();
}

#[test]
fn what_follows_from_a_try_goes_by_the_age_of_the_builds_end() {
    let due = |mode, hours: u64| {
        DueReply {
        build: serde_json::from_value(json!({
            "id": Uuid::nil(), "number": 1, "pipeline": "hi", "state": "finished", "outcome": "succeeded", "queued_at": 0,
            "started_at": 0, "finished_at": 0, "jobs_finished": 1, "jobs_total": 1
        }))
        .unwrap(),
        message_id: Uuid::nil(),
        reply: NewReply {
            mode,
            address: String::new(),
            receiver: String::new(),
            correlation_id: None,
            asked_by: String::new(),
        },
        socket: None,
        attempts: 30,
        age: Duration::from_secs(hours * 3600),
    }
    };
    let failed = || Err(Failure::ForNow("no".to_owned()));
    for mode in [ReplyKind::Webhook, ReplyKind::Queue] {
        assert_eq!(judged(&due(mode, 0), Ok(())), Tried::Delivered);
        assert!(matches!(judged(&due(mode, 70), failed()), Tried::Again(why, wait) if why == "no" && wait >= PAUSE));
        assert_eq!(judged(&due(mode, 72), failed()), Tried::Stopped("no".to_owned()));
        assert_eq!(judged(&due(mode, 0), Err(Failure::ForGood("410".to_owned()))), Tried::Stopped("410".to_owned()));
    }
    let sent = |hours| judged(&due(ReplyKind::Callback, hours), Ok(()));
    assert_eq!(sent(0), Tried::Sent(Some(FIRST_RECEIPT)));
    assert_eq!(sent(6), Tried::Sent(Some(Duration::from_secs(18 * 3600))));
    assert_eq!(sent(7), Tried::Sent(None), "more than a day after the end its client must come back");
}

#[test]
fn waits_double_up_to_an_hour_and_vary_by_a_fifth() {
    let (least, middle, most) = (0, 20, 40);
    assert_eq!([0, 1, 2].map(|n| pause(n, middle).as_secs()), [5, 10, 20]);
    assert_eq!(pause(3, least), Duration::from_secs(32));
    assert_eq!(pause(3, most), Duration::from_secs(48));
    assert_eq!(pause(30, middle), PAUSE_MAX);
    assert_eq!(pause(u32::MAX, middle), PAUSE_MAX);
}
