//! The recorder over the embedded broker: a place that was trimmed away while it stood still, and a stream made anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use broker::{
    Broker, Outgoing,
    embedded::{EmbeddedBroker, MemoryJournal},
};
use projections::recorder;
use store::{
    Builds, Outbox, Record,
    model::{Announcement, Build, BuildState, Created, NewBuild, Outbound},
    sqlite::SqliteStore,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{BuildId, Event, Outcome, Timestamp, Topic, mac::InstallationKey};

const PATIENCE: Duration = Duration::from_secs(60);

async fn until<F: Future<Output = bool>>(what: &str, is: impl Fn() -> F) {
    let begun = std::time::Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        tokio::task::yield_now().await;
    }
}

/// Publishes what control has announced so far, as the relay does.
async fn relay(store: &SqliteStore, broker: &EmbeddedBroker) {
    for row in store.outbox(0, 100).await.unwrap() {
        if let Outbound::Event { server_id, mut message } = row.outbound {
            let topic = message.topic;
            message.mac = Some(InstallationKey([7; 32]).control_key().sealed(&message));
            broker.publish(Outgoing::event(server_id.as_ref(), topic, message.encode())).await.unwrap();
        }
        store.outbox_done(&[row.id]).await.unwrap();
    }
}

/// A build that says one thing more `times` times.
async fn says(store: &SqliteStore, id: BuildId, times: usize) {
    for _ in 0..times {
        let more = |_: &mut Build, _| Ok(vec![Announcement::Event(Event::BuildStarted {})]);
        store.change_build(id, Box::new(more)).await.unwrap();
    }
}

struct Recorder(CancellationToken, tokio::task::JoinHandle<()>);

fn record(store: &Arc<SqliteStore>, broker: &Arc<EmbeddedBroker>) -> Recorder {
    let shutdown = CancellationToken::new();
    let key = InstallationKey([7; 32]);
    let run = recorder::run(Arc::clone(broker) as _, Arc::clone(store) as _, key, "here".to_owned(), shutdown.clone());
    Recorder(shutdown, tokio::spawn(run))
}

impl Recorder {
    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap();
    }
}

#[tokio::test]
async fn p3_a_recorder_whose_place_was_trimmed_or_made_anew_goes_on_and_says_what_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
    let shutdown = CancellationToken::new();
    let broker = EmbeddedBroker::start(Arc::new(MemoryJournal::default()), shutdown.clone()).await.unwrap();
    let build = Build {
        id: BuildId(Uuid::now_v7()),
        number: 0,
        pipeline: "p".parse().unwrap(),
        inputs: BTreeMap::new(),
        reply: None,
        epoch: 1,
        revision: 0,
        queued_at: Timestamp(0),
        cancelling: false,
        concurrency: None,
        triggered_by: None,
        state: BuildState::Queued,
        jobs: Vec::new(),
    };
    let (id, topic) = (build.id, Topic::Build(build.id));
    let announcements =
        vec![Announcement::Event(Event::BuildQueued { pipeline: build.pipeline.clone(), retry: false })];
    let created = store
        .create_build(NewBuild { build, announcements, idempotency: None, told: None, delivery: None })
        .await
        .unwrap();
    assert!(matches!(created, Created::New(_)));
    let reaches = |offset| {
        let store = Arc::clone(&store);
        move || {
            let store = Arc::clone(&store);
            async move { store.recorded(topic, 1).await.unwrap().is_some_and(|known| known.offset == Some(offset)) }
        }
    };

    let recorder = record(&store, &broker);
    relay(&store, &broker).await;
    until("the first event is recorded", reaches(0)).await;
    recorder.stop().await;

    // It stands still while the stream is trimmed beyond its place.
    says(&store, id, 4).await;
    relay(&store, &broker).await;
    broker.trim_stream(4).await.unwrap();
    let recorder = record(&store, &broker);
    until("what is left of the stream is recorded", reaches(4)).await;
    assert_eq!(store.groups().await.unwrap()[0].losses, 1);
    assert_eq!(
        store.build_events(id, None, 10).await.unwrap().iter().map(|event| event.offset).collect::<Vec<_>>(),
        [0, 4]
    );
    recorder.stop().await;

    // Its end is on the way when the stream is made anew: it is said again.
    let over = |build: &mut Build, until| {
        build.state = BuildState::Finished { outcome: Outcome::Cancelled, since: None, until };
        Ok(vec![Announcement::Event(Event::BuildFinished { outcome: Outcome::Cancelled })])
    };
    store.change_build(id, Box::new(over)).await.unwrap();
    relay(&store, &broker).await;
    shutdown.cancel();
    broker.finished().await;
    let anew = EmbeddedBroker::start(Arc::new(MemoryJournal::default()), CancellationToken::new()).await.unwrap();
    let recorder = record(&store, &anew);
    until("the loss is counted", || async { store.groups().await.unwrap()[0].losses == 2 }).await;
    until("the end is announced once more", || async { !store.outbox(0, 10).await.unwrap().is_empty() }).await;
    relay(&store, &anew).await;
    until("the end is recorded", reaches(6)).await;
    recorder.stop().await;
}
