//! Builds, their announcements, and what an answer promises.

use wire::{
    Event, Outcome, Timestamp, Topic,
    command::BuildsQuery,
    view::{LostAttempt, State},
};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, granted, job, labels},
};
use crate::{
    ChangeError, Store,
    model::{Announcement, BuildState, Created, Idempotency, JobState, Outbound, Refusal},
};

/// From 1, each pipeline for itself, also when many ask at once.
pub async fn builds_are_numbered_within_their_pipeline(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let asked = (0..20).map(|_| create(&*store, build("p", vec![job("a")])));
    let mut numbers: Vec<u64> = futures_util::future::join_all(asked).await.iter().map(|one| one.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let other = create(&*store, build("q", vec![job("a")])).await;
    assert_eq!(other.number, 1);
    let now = store.now().await.unwrap();
    assert!(other.queued_at <= now && now.since(other.queued_at) < 600_000_000, "by the database's clock");
    assert_eq!(other.jobs[0].state, JobState::Queued { since: other.queued_at });
}

/// The same body gets the build that was made; another body is refused; another pipeline's key is another key.
pub async fn an_idempotency_key_makes_one_build(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let asked = |pipeline: &str, digest: &str| {
        let mut new = build(pipeline, vec![job("a")]);
        new.idempotency = Some(Idempotency { key: "k".to_owned(), digest: digest.to_owned() });
        new
    };
    let first = create(&*store, asked("p", "d1")).await;
    let outbox = store.outbox(0, 100).await.unwrap().len();
    assert_eq!(store.create_build(asked("p", "d1")).await.unwrap(), Created::Before(first.id));
    assert_eq!(store.create_build(asked("p", "d2")).await.unwrap(), Created::OtherBody);
    assert_eq!(store.outbox(0, 100).await.unwrap().len(), outbox, "nothing was written");
    assert_eq!(create(&*store, build("p", vec![job("a")])).await.number, 2, "nor a number used up");
    assert_eq!(create(&*store, asked("q", "d2")).await.number, 1);
}

/// Offsets of the events of one build in the outbox.
async fn offsets(store: &dyn Store, build: wire::BuildId) -> Vec<u64> {
    let rows = store.outbox(0, 1_000).await.unwrap();
    let of_build = |row: &crate::model::OutboxRow| match &row.outbound {
        Outbound::Event { message, .. } if message.topic == Topic::Build(build) => Some(message.offset),
        _ => None,
    };
    rows.iter().filter_map(of_build).collect()
}

/// The first event has offset 0, the address of the one who asked, and stands before the hint.
pub async fn p1_a_build_stands_with_its_announcements(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    assert_eq!(made.revision, 1);
    assert_eq!(store.load_build(made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.build_of(made.jobs[0].id).await.unwrap(), Some(made.id));
    let rows = store.outbox(0, 10).await.unwrap();
    assert_eq!(rows.len(), 2);
    let Outbound::Event { server_id, message } = &rows[0].outbound else { panic!("no event: {rows:?}") };
    let reply = made.reply.as_ref().unwrap();
    assert_eq!((server_id.as_ref(), message.client_id), (Some(&reply.server_id), Some(reply.client_id)));
    assert_eq!((message.topic, message.build, message.epoch, message.offset), (Topic::Build(made.id), made.id, 1, 0));
    assert_eq!(message.at, made.queued_at);
    assert_eq!(message.parse().unwrap(), Event::BuildQueued { pipeline: made.pipeline.clone(), retry: false });
    assert!(matches!(&rows[1].outbound, Outbound::Hint { label_set } if *label_set == labels("linux")));
}

/// The revision rises by one for each event and for nothing else; no offset is left out or given twice.
pub async fn p1_a_change_stands_with_its_announcements(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let changes = (0..10).map(|_| {
        let event = || Announcement::Event(Event::BuildStarted {});
        let decide = move |_: &mut _, _| Ok(vec![event(), Announcement::Hint(labels("linux")), event()]);
        store.change_build(made.id, Box::new(decide))
    });
    for changed in futures_util::future::join_all(changes).await {
        changed.unwrap();
    }
    assert_eq!(store.load_build(made.id).await.unwrap().unwrap().revision, 21);
    assert_eq!(offsets(&*store, made.id).await, (0..21).collect::<Vec<_>>());
}

/// Builds, changes and outbox rows that were answered are there after a kill.
pub async fn p1_what_was_answered_survives_a_kill(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let claimed = granted(&*store, &claim("linux", LONG)).await;
    let rows = store.outbox(0, 100).await.unwrap();
    let after = fixture.after_kill().await;
    assert_eq!(after.load_build(made.id).await.unwrap(), Some(claimed.build));
    let same = after.outbox(0, 100).await.unwrap();
    assert_eq!(same.iter().map(|row| row.id).collect::<Vec<_>>(), rows.iter().map(|row| row.id).collect::<Vec<_>>());
    assert_eq!(offsets(&*after, made.id).await, [0, 1]);
    assert_eq!(create(&*after, build("p", vec![job("c")])).await.number, 2);
}

/// Neither the build nor the outbox moves, and an unknown build is told.
pub async fn a_refused_change_leaves_everything_as_it_was(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let refused = store
        .change_build(
            made.id,
            Box::new(|build, _| {
                build.cancelling = true;
                Err(Refusal::State("no".to_owned()))
            }),
        )
        .await;
    assert_eq!(refused, Err(ChangeError::Refused(Refusal::State("no".to_owned()))));
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(offsets(&*store, made.id).await, [0]);
    let unknown = wire::BuildId(uuid::Uuid::new_v4());
    let missing = store.change_build(unknown, Box::new(|_, _| Ok(Vec::new()))).await;
    assert_eq!(missing, Err(ChangeError::NoBuild(unknown)));
    assert_eq!(store.load_build(unknown).await.unwrap(), None);
}

/// Jobs and builds in each of their states are read as they were left by the rule.
pub async fn every_state_comes_back_as_it_was_written(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b"), job("c")])).await;
    let claimed = granted(&*store, &claim("linux", LONG)).await;
    assert!(matches!(claimed.build.state, BuildState::Running { .. }));
    let finish = |build: &mut crate::model::Build, now: Timestamp| {
        let JobState::Running { lease, since, .. } = build.jobs[0].state.clone() else { panic!("job a runs") };
        let finished = |executor, since, reason, last_offset| JobState::Finished {
            outcome: Outcome::TimedOut,
            executor,
            since,
            until: now,
            reason,
            last_offset,
        };
        build.jobs[0].state = finished(Some(lease.executor), Some(since), Some("late".to_owned()), Some(9));
        (build.jobs[0].failures, build.jobs[0].losses) = (2, 1);
        let lost = LostAttempt { attempt: 1, executor: "ex-3".to_owned(), reason: "it was not heard".to_owned() };
        build.jobs[0].lost.push(lost);
        build.jobs[1].state = JobState::Waiting;
        build.jobs[2].state = finished(None, None, None, None);
        Ok(Vec::new())
    };
    let changed = store.change_build(made.id, Box::new(finish)).await.unwrap();
    assert_eq!(changed.jobs[0].failures, 2);
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(changed.clone()));
    let view = store.build_view(made.id).await.unwrap().unwrap();
    assert_eq!((view.summary.jobs_finished, view.summary.jobs_total), (2, 3));
    assert_eq!(view.trigger.as_ref(), made.triggered_by.as_deref());
    assert_eq!(view.summary.triggered_by.as_deref(), Some("token ci"));
    assert_eq!(view.jobs[1].state, State::Queued);
    assert_eq!((view.jobs[0].queued_at, view.jobs[1].queued_at), (Some(made.queued_at), None));
    let end = |build: &mut crate::model::Build, now| {
        let BuildState::Running { since } = build.state else { panic!("it runs") };
        build.state = BuildState::Finished { outcome: Outcome::Failed, since: Some(since), until: now };
        build.cancelling = true;
        Ok(Vec::new())
    };
    let ended = store.change_build(made.id, Box::new(end)).await.unwrap();
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(ended.clone()));
    let again = |build: &mut crate::model::Build, now| {
        build.state = BuildState::Queued;
        build.jobs[0].state = JobState::Queued { since: now };
        Ok(Vec::new())
    };
    let queued = store.change_build(made.id, Box::new(again)).await.unwrap();
    assert_eq!(store.load_build(made.id).await.unwrap(), Some(queued));
}

/// More at once than wait in one queue: each gets its own answer, and all are on the disk.
pub async fn many_writers_at_once_are_all_answered(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let asked = (0..1_500).map(|n| create(&*store, build(&format!("p{}", n % 7), vec![job("a")])));
    let made = futures_util::future::join_all(asked).await;
    let after = fixture.after_kill().await;
    for one in &made {
        assert_eq!(after.load_build(one.id).await.unwrap().as_ref(), Some(one));
    }
}

/// Filtered by pipeline and state, cut by limit, and continued behind the last one seen.
pub async fn builds_are_listed_newest_first(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(create(&*store, build(if n % 2 == 0 { "even" } else { "odd" }, vec![job("a")])).await.id);
    }
    made.reverse();
    let listed = async |query: BuildsQuery| {
        let found =
            store.builds(&query, &wire::authority::Grants::everywhere(wire::authority::Role::Viewer)).await.unwrap();
        found.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(BuildsQuery::default()).await, made);
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = listed(BuildsQuery { before, limit: Some(3), ..BuildsQuery::default() }).await;
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = Some(*last);
        pages.extend(page);
    }
    assert_eq!(pages, made);
    let odd = BuildsQuery { pipeline: Some("odd".parse().unwrap()), ..BuildsQuery::default() };
    assert_eq!(listed(odd).await, [made[1], made[3], made[5]]);
    let number = |pipeline: &str, number| BuildsQuery {
        pipeline: Some(pipeline.parse().unwrap()),
        number: Some(number),
        ..BuildsQuery::default()
    };
    assert_eq!(listed(number("odd", 2)).await, [made[3]], "the second of its pipeline");
    assert!(listed(number("odd", 4)).await.is_empty() && listed(number("odd", u64::MAX)).await.is_empty());
    granted(&*store, &claim("linux", LONG)).await;
    let running = BuildsQuery { state: Some(State::Running), ..BuildsQuery::default() };
    assert_eq!(listed(running).await, [made[6]], "the oldest was claimed first");
    let both = BuildsQuery {
        pipeline: Some("even".parse().unwrap()),
        state: Some(State::Queued),
        before: Some(made[0]),
        limit: Some(2),
        ..BuildsQuery::default()
    };
    assert_eq!(listed(both).await, [made[2], made[4]]);
    let next = BuildsQuery { after: Some(made[5]), limit: Some(2), ..BuildsQuery::default() };
    assert_eq!(listed(next).await, [made[3], made[4]], "the next ones, not the newest");
    let failed = BuildsQuery { outcome: Some(Outcome::Failed), ..BuildsQuery::default() };
    assert!(listed(failed.clone()).await.is_empty(), "none has ended");
    let end = |build: &mut crate::model::Build, until: Timestamp| {
        let JobState::Running { lease, since, .. } = build.jobs[0].state.clone() else { panic!("job a runs") };
        let (outcome, executor, since) = (Outcome::TimedOut, Some(lease.executor), Some(since));
        build.jobs[0].state =
            JobState::Finished { outcome, executor, since, until, reason: None, last_offset: Some(9) };
        build.state = BuildState::Finished { outcome, since, until };
        Ok(Vec::new())
    };
    store.change_build(made[6], Box::new(end)).await.unwrap();
    assert_eq!(listed(failed).await, [made[6]], "its time was up");
    let succeeded = BuildsQuery { outcome: Some(Outcome::Succeeded), ..BuildsQuery::default() };
    assert!(listed(succeeded).await.is_empty());
}

/// The signal comes with the commit; rows are given in order from where one asks, until they are confirmed.
pub async fn the_outbox_tells_of_new_rows_and_forgets_confirmed_ones(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut changed = store.outbox_changed();
    changed.mark_unchanged();
    create(&*store, build("p", vec![job("a")])).await;
    tokio::time::timeout(LONG, changed.changed()).await.unwrap().unwrap();
    create(&*store, build("p", vec![job("a")])).await;
    let all: Vec<i64> = store.outbox(0, 100).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted());
    let some: Vec<i64> = store.outbox(all[0], 2).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(some, all[1..3]);
    store.outbox_done(&[all[0], all[2]]).await.unwrap();
    let left: Vec<i64> = store.outbox(0, 100).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(left, [all[1], all[3]]);
    store.outbox_done(&left).await.unwrap();
    create(&*store, build("p", vec![job("a")])).await;
    let new = store.outbox(0, 100).await.unwrap();
    assert!(new[0].id > all[3], "an id is never used again");
}
