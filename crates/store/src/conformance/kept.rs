//! What is kept of builds that are over, and how it goes.

use uuid::Uuid;
use wire::{ArtifactId, BuildId, Event, JobId, Outcome, Timestamp, Topic, audit::Action};

use super::{
    Fixture,
    samples::{
        LONG, build, claim, create, entries, entry, granted, job, line, log, message, pipeline, record, step_finished,
        step_started,
    },
};
use crate::{
    Store,
    model::{
        Announcement, Build, BuildState, Idempotency, JobState, Outbound,
        retention::{Deletion, Outlived, Swept},
    },
};

/// A build of a pipeline, whose one job has run, said `lines` lines and left an artifact of `size` bytes, and its events in
/// the order of the stream.
struct Over {
    build: BuildId,
    number: u64,
    job: JobId,
    artifact: ArtifactId,
    finished_at: Timestamp,
}

async fn over(store: &dyn Store, pipeline: &str, outcome: Outcome, lines: u64, key: Option<&str>) -> Over {
    let mut new = build(pipeline, vec![job("a")]);
    new.idempotency = key.map(|key| Idempotency { key: key.to_owned(), digest: "d".to_owned() });
    let made = create(store, new).await;
    let job = granted(store, &claim("linux", LONG)).await.job;
    let end = move |build: &mut Build, now| {
        build.state = BuildState::Finished { outcome, since: None, until: now };
        let reason = Some("over".to_owned());
        build.jobs[0].state =
            JobState::Finished { outcome, executor: None, since: None, until: now, reason, last_offset: Some(3) };
        let event = Event::JobFinished { job, attempt: 1, outcome, last_offset: Some(3), reason: None };
        let given_up = Announcement::JobGivenUp { job, reason: "why".to_owned() };
        Ok(vec![Announcement::Event(event), given_up, Announcement::Event(Event::BuildFinished { outcome })])
    };
    let done = store.change_build(made.id, Box::new(end)).await.unwrap();
    let BuildState::Finished { until, .. } = done.state else { panic!("{:?}", done.state) };
    let artifact = ArtifactId(Uuid::now_v7());
    let event = Event::Artifact { artifact, name: "f".to_owned(), size: 1_000, sha256: "s".to_owned() };
    let lines = (0..lines).map(|n| line(n, "0123456789")).collect();
    let said = vec![
        message(Topic::Job(job), 1, 0, &step_started(0)),
        log(job, 1, 1, lines),
        message(Topic::Job(job), 1, 2, &event),
        message(Topic::Job(job), 1, 3, &step_finished(0)),
    ];
    record(store, made.number, said).await;
    Over { build: made.id, number: made.number, job, artifact, finished_at: until }
}

/// Records what is in the outbox, as the relay and the recorder do.
async fn relay(store: &dyn Store) {
    let rows = store.outbox(0, 10_000).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let event = |row: crate::model::OutboxRow| match row.outbound {
        Outbound::Event { message, .. } => Some(*message),
        _ => None,
    };
    record(store, 99, rows.into_iter().filter_map(event).collect()).await;
    store.outbox_done(&ids).await.unwrap();
}

async fn sweep(store: &dyn Store) -> Vec<(JobId, ArtifactId)> {
    let mut artifacts = Vec::new();
    loop {
        let Swept { artifacts: some, more } = store.sweep().await.unwrap();
        artifacts.extend(some);
        if !more {
            return artifacts;
        }
    }
}

/// Deleted for everybody at once; what it has left goes in steps, also after a kill between two of them; others stay.
pub async fn a_deleted_build_is_gone_with_all_that_refers_to_it(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut unfinished = build("p", vec![job("a")]);
    unfinished.build.jobs[0].state = JobState::Waiting;
    let unfinished = create(&*store, unfinished).await;
    let gone = over(&*store, "p", Outcome::Failed, 50_000, None).await;
    let stays = over(&*store, "p", Outcome::Succeeded, 10, None).await;
    assert_eq!(
        store.delete_build(unfinished.id, Some(entry(Action::BuildDeleted))).await.unwrap(),
        Deletion::Unfinished
    );
    assert_eq!(store.delete_build(gone.build, None).await.unwrap(), Deletion::Unrecorded);
    relay(&*store).await;
    assert_eq!(entries(&*store, Action::BuildDeleted).await, 0, "what was not done is not told");
    assert_eq!(store.delete_build(gone.build, Some(entry(Action::BuildDeleted))).await.unwrap(), Deletion::Done);
    assert_eq!(store.delete_build(gone.build, Some(entry(Action::BuildDeleted))).await.unwrap(), Deletion::NoBuild);
    assert_eq!(entries(&*store, Action::BuildDeleted).await, 1);
    assert!(store.load_build(gone.build).await.unwrap().is_none());
    assert!(store.build_view(gone.build).await.unwrap().is_none());
    assert!(store.build_of(gone.job).await.unwrap().is_none());
    assert!(store.log(gone.job, Some(1), 0, 1).await.unwrap().is_none());
    assert!(store.artifact(gone.artifact).await.unwrap().is_none());
    assert!(store.build_events(gone.build, None, 10).await.unwrap().is_empty());
    let letters = store.dead_letters(&Default::default()).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.build).collect::<Vec<_>>(), [Some(stays.build)]);
    assert!(store.sweep().await.unwrap().more);
    let store = fixture.after_kill().await;
    assert!(sweep(&*store).await.iter().all(|swept| *swept == (gone.job, gone.artifact)));
    assert_eq!(store.sweep().await.unwrap(), Swept::default());
    assert_eq!(store.recorded(Topic::Build(gone.build), 1).await.unwrap(), None);
    assert_eq!(store.recorded(Topic::Job(gone.job), 1).await.unwrap(), None);
    let left = store.artifacts_behind(None, 10).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [stays.artifact]);
    assert_eq!(store.known_artifacts(&[gone.artifact, stays.artifact]).await.unwrap(), [stays.artifact]);
    assert_eq!(store.log(stays.job, None, 0, 100).await.unwrap().unwrap().lines.len(), 10);
    // What comes late of its topics is behind a hole, and leaves nothing.
    let late = message(Topic::Job(gone.job), 1, 4, &step_started(1));
    assert_eq!(record(&*store, 100, vec![late]).await.refused.len(), 1);
    assert_eq!(store.recorded(Topic::Job(gone.job), 1).await.unwrap(), None);
    // Nor does what comes once more from its beginning.
    let again = [message(Topic::Job(gone.job), 1, 0, &step_started(0)), log(gone.job, 1, 1, vec![line(0, "x")])];
    let again = again.map(|said| wire::EventMessage { build: gone.build, ..said });
    let done = record(&*store, 101, again.to_vec()).await;
    assert_eq!((done.recorded, done.refused), (vec![], vec![]));
    assert_eq!(store.recorded(Topic::Job(gone.job), 1).await.unwrap(), None);
}

/// Also when the highest one was deleted.
pub async fn numbers_of_deleted_builds_do_not_come_again(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut last = 0;
    for _ in 0..3 {
        let over = over(&*store, "p", Outcome::Succeeded, 1, None).await;
        assert_eq!(over.number, last + 1);
        last = over.number;
        relay(&*store).await;
        assert_eq!(store.delete_build(over.build, None).await.unwrap(), Deletion::Done);
    }
    assert_eq!(create(&*store, build("p", vec![job("a")])).await.number, 4);
}

/// By age, by number and by size; never the last one, nor the last one that succeeded; one with a key not too soon.
pub async fn builds_outlive_their_time_by_the_rules(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let outcomes = [Outcome::Failed, Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled, Outcome::Failed];
    let mut all = Vec::new();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        all.push(over(&*store, "p", outcome, 1_000, (n == 2).then_some("key")).await);
    }
    let other = over(&*store, "q", Outcome::Failed, 1, None).await;
    let name = "p".parse().unwrap();
    let later = all[4].finished_at.plus_micros(1);
    let found = async |rule: Outlived, limit| {
        let found = store.outlived(&name, rule, limit).await.unwrap();
        found.iter().map(|id| all.iter().position(|over| over.build == *id).unwrap()).collect::<Vec<_>>()
    };
    let rule = Outlived { keys_before: later, ..Outlived::default() };
    assert_eq!(found(rule, 10).await, [0; 0]);
    assert_eq!(found(Outlived { before: Some(later), ..rule }, 10).await, [0, 2, 3]);
    assert_eq!(found(Outlived { before: Some(later), ..rule }, 2).await, [0, 2]);
    assert_eq!(found(Outlived { before: Some(Timestamp(1)), ..rule }, 10).await, [0; 0]);
    assert_eq!(found(Outlived { builds: Some(2), ..rule }, 10).await, [0, 2]);
    let no_keys = Outlived { keys_before: Timestamp(0), builds: Some(1), ..rule };
    assert_eq!(found(no_keys, 10).await, [0, 3]);
    // Sizes count once they are known; what has not been recorded yet is not counted.
    assert_eq!(found(Outlived { bytes: Some(1), ..rule }, 10).await, [0; 0]);
    assert_eq!(store.count_bytes(100).await.unwrap(), 0);
    relay(&*store).await;
    assert_eq!(store.count_bytes(100).await.unwrap(), 6);
    assert_eq!(store.count_bytes(100).await.unwrap(), 0);
    assert_eq!(found(Outlived { bytes: Some(1), ..rule }, 10).await, [0, 2, 3]);
    assert_eq!(found(Outlived { bytes: Some(1 << 40), ..rule }, 10).await, [0; 0]);
    // The artifacts of builds go sooner than the builds, which are then smaller.
    let artifacts = store.outlived_artifacts(&name, later, 10).await.unwrap();
    let expected: Vec<_> = [0, 2, 3, 4].map(|n: usize| (all[n].job, all[n].artifact)).into();
    assert_eq!(artifacts, expected);
    assert_eq!(store.outlived_artifacts(&name, Timestamp(1), 10).await.unwrap(), []);
    let ids: Vec<ArtifactId> = artifacts.iter().map(|(_, id)| *id).collect();
    store.forget_artifacts(&ids).await.unwrap();
    assert_eq!(store.outlived_artifacts(&name, later, 10).await.unwrap(), []);
    assert!(store.artifact(all[1].artifact).await.unwrap().is_some());
    assert!(store.artifact(other.artifact).await.unwrap().is_some());
    assert_eq!(store.count_bytes(100).await.unwrap(), 4);
}

/// Every pipeline that has builds, with or without a text that speaks of it.
pub async fn pipelines_tell_how_long_their_builds_are_kept(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut spec = pipeline("p");
    spec.retention.builds = Some(7);
    store.put_pipeline(&spec, "text", Box::new(|_| true), None).await.unwrap();
    for name in ["p", "q"] {
        create(&*store, build(name, vec![job("a")])).await;
    }
    let told = store.retentions().await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.pipeline.as_str(), one.spec.builds)).collect();
    assert_eq!(told, [("p", Some(7)), ("q", None)]);
}
