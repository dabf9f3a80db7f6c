//! The record: exactly once, in order, sealed where an attempt ended.

use uuid::Uuid;
use wire::{ArtifactId, BuildId, Event, JobId, Outcome, Position, Topic, event::Recorded, view::State};

use super::{
    Fixture,
    samples::{
        LONG, build, claim, create, granted, job, line, log, message, record, requeue, step_finished, step_started,
    },
};
use crate::model::RecordBatch;

fn recorded(topic: Topic, epoch: u32, offset: Option<u64>, sealed: bool) -> Recorded {
    Recorded { topic, epoch, offset, sealed }
}

/// A repeat is ignored, what lies behind a hole is refused, and both leave the record as it was.
pub async fn p5_only_last_plus_one_is_applied(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let job = JobId(Uuid::new_v4());
    let topic = Topic::Job(job);
    let started = || message(topic, 1, 0, &step_started(0));
    let lines = |offset| log(job, 1, offset, vec![line(offset - 1, "x")]);
    assert_eq!(store.recorded(topic, 1).await.unwrap(), None);
    let early = record(&*store, 1, vec![lines(1)]).await;
    assert_eq!((early.recorded.len(), early.refused.len()), (0, 1));
    assert_eq!(early.refused[0].position, Position { epoch: 1, offset: 1 });
    assert!(early.refused[0].reason.contains("behind a hole"), "{}", early.refused[0].reason);
    let first = record(&*store, 2, vec![started(), lines(1)]).await;
    assert_eq!((first.recorded, first.refused.len()), (vec![recorded(topic, 1, Some(1), false)], 0));
    let again = record(&*store, 3, vec![started(), lines(1), lines(1)]).await;
    assert_eq!((again.recorded.len(), again.refused.len()), (0, 0));
    let mixed = record(&*store, 4, vec![lines(1), lines(2), lines(4), lines(3)]).await;
    assert_eq!(mixed.recorded, [recorded(topic, 1, Some(3), false)]);
    assert_eq!(mixed.refused.iter().map(|one| one.position.offset).collect::<Vec<_>>(), [4]);
    assert_eq!(store.recorded(topic, 1).await.unwrap(), Some(recorded(topic, 1, Some(3), false)));
}

/// The place and the effect are there together; each group has its own, and a new stream replaces it.
pub async fn p5_a_group_keeps_its_place_with_its_effect(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.group_place("recorder").await.unwrap(), None);
    let job = JobId(Uuid::new_v4());
    let many: Vec<_> = (0..1_000).map(|offset| log(job, 1, offset, vec![line(offset, "x")])).collect();
    record(&*store, 41, many).await;
    let other = Uuid::new_v4();
    let batch = RecordBatch { group: "search".to_owned(), incarnation: other, offset: 7, events: Vec::new() };
    store.record(batch).await.unwrap();
    let store = fixture.after_kill().await;
    assert_eq!(store.group_place("recorder").await.unwrap(), Some((Uuid::nil(), 41)));
    assert_eq!(store.group_place("search").await.unwrap(), Some((other, 7)));
    assert_eq!(store.recorded(Topic::Job(job), 1).await.unwrap().unwrap().offset, Some(999));
    let groups = store.groups().await.unwrap();
    let shown: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.offset)).collect();
    assert_eq!(shown, [("recorder", Some(41)), ("search", Some(7))]);
}

/// What follows `attempt_closed` is refused and the end is told; another attempt of the job goes on beside it.
pub async fn p3_a_closed_attempt_is_sealed_and_the_next_one_lives(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (build, job) = (BuildId(Uuid::new_v4()), JobId(Uuid::new_v4()));
    let topic = Topic::Job(job);
    let closed = |offset, attempt| message(Topic::Build(build), 1, offset, &Event::AttemptClosed { job, attempt });
    let events = vec![
        log(job, 1, 0, vec![line(0, "heard")]),
        closed(0, 1),
        log(job, 1, 1, vec![line(1, "too late")]),
        log(job, 2, 0, vec![line(0, "second")]),
        closed(1, 3),
    ];
    let done = record(&*store, 5, events).await;
    let mut told = done.recorded;
    told.sort_by_key(|one| (one.topic, one.epoch));
    let expected = [
        recorded(Topic::Build(build), 1, Some(1), false),
        recorded(topic, 1, Some(0), true),
        recorded(topic, 2, Some(0), false),
        recorded(topic, 3, None, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(done.refused.iter().map(|one| one.position.offset).collect::<Vec<_>>(), [1]);
    assert_eq!(store.recorded(topic, 3).await.unwrap(), Some(recorded(topic, 3, None, true)));
    let later =
        record(&*store, 6, vec![log(job, 1, 1, vec![line(1, "late")]), log(job, 2, 1, vec![line(1, "on")])]).await;
    assert_eq!((later.recorded, later.refused.len()), (vec![recorded(topic, 2, Some(1), false)], 1));
}

/// `job_finished` seals when its last offset is reached, whichever of the two is recorded first.
pub async fn p3_a_finished_job_is_sealed_at_its_last_offset(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let build = Topic::Build(BuildId(Uuid::new_v4()));
    let [before, behind, silent] = [(); 3].map(|()| JobId(Uuid::new_v4()));
    let finished = |offset, job, last_offset| {
        let event = Event::JobFinished { job, attempt: 1, outcome: Outcome::Succeeded, last_offset, reason: None };
        message(build, 1, offset, &event)
    };
    let said = |job, offset| log(job, 1, offset, vec![line(offset, "x")]);
    let done =
        record(&*store, 1, vec![said(before, 0), finished(0, before, Some(0)), finished(1, behind, Some(1))]).await;
    assert!(done.recorded.contains(&recorded(Topic::Job(before), 1, Some(0), true)));
    assert!(done.recorded.iter().all(|one| one.topic != Topic::Job(behind)));
    let done = record(&*store, 2, vec![said(behind, 0)]).await;
    assert_eq!(done.recorded, [recorded(Topic::Job(behind), 1, Some(0), false)]);
    let done = record(&*store, 3, vec![said(behind, 1), said(behind, 2)]).await;
    assert_eq!((done.recorded, done.refused.len()), (vec![recorded(Topic::Job(behind), 1, Some(1), true)], 1));
    let done = record(&*store, 4, vec![finished(2, silent, None)]).await;
    assert!(done.recorded.contains(&recorded(Topic::Job(silent), 1, None, true)));
}

/// A job that waited for its second attempt is cancelled: `job_finished` names the first one and no offset. That seals
/// nothing before its end, refuses nothing, and tells nothing anew of what is sealed.
pub async fn p3_a_job_cancelled_between_attempts_leaves_the_last_attempt_whole(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let build = Topic::Build(BuildId(Uuid::new_v4()));
    let [sealed, lagging, lost] = [(); 3].map(|()| JobId(Uuid::new_v4()));
    let finished = |offset, job, outcome, last_offset| {
        message(build, 1, offset, &Event::JobFinished { job, attempt: 1, outcome, last_offset, reason: None })
    };
    let said = |job, offset| log(job, 1, offset, vec![line(offset, "x")]);
    let events = vec![
        said(sealed, 0),
        said(lagging, 0),
        said(lost, 0),
        finished(0, sealed, Outcome::Failed, Some(0)),
        finished(1, lagging, Outcome::Failed, Some(1)),
        message(build, 1, 2, &Event::AttemptClosed { job: lost, attempt: 1 }),
    ];
    assert!(record(&*store, 1, events).await.refused.is_empty());
    let cancelled = (3..).zip([sealed, lagging, lost]);
    let cancelled = cancelled.map(|(offset, job)| finished(offset, job, Outcome::Cancelled, None)).collect();
    let done = record(&*store, 2, cancelled).await;
    assert_eq!((done.recorded, done.refused), (vec![recorded(build, 1, Some(5), false)], vec![]));
    let done = record(&*store, 3, vec![said(lagging, 1)]).await;
    assert_eq!((done.recorded, done.refused), (vec![recorded(Topic::Job(lagging), 1, Some(1), true)], vec![]));
    for (job, last) in [(sealed, 0), (lagging, 1), (lost, 0)] {
        let expected = recorded(Topic::Job(job), 1, Some(last), true);
        assert_eq!(store.recorded(Topic::Job(job), 1).await.unwrap(), Some(expected));
    }
}

/// An event of an unknown kind, or in another's topic, is told as refused; the next one is applied.
pub async fn an_event_without_meaning_does_not_stop_its_topic(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let job = JobId(Uuid::new_v4());
    let mut unknown = message(Topic::Job(job), 1, 0, &step_started(0));
    unknown.event = serde_json::value::RawValue::from_string(r#"{"kind":"from_the_future"}"#.to_owned()).unwrap();
    let foreign = message(Topic::Job(job), 1, 1, &Event::BuildStarted {});
    let done = record(&*store, 1, vec![unknown, foreign, log(job, 1, 2, vec![line(0, "x")])]).await;
    assert_eq!(done.refused.iter().map(|one| one.position.offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(done.recorded, [recorded(Topic::Job(job), 1, Some(2), false)]);
}

/// Steps, lines, artifacts and positions of the last attempt, with the build's own position.
pub async fn a_build_is_shown_with_what_is_recorded(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut second = job("b");
    second.plan = std::sync::Arc::new(crate::model::JobPlan { needs: vec![0], ..(*second.plan).clone() });
    second.state = crate::model::JobState::Waiting;
    let made = create(&*store, build("p", vec![job("a"), second])).await;
    let id = made.jobs[0].id;
    granted(&*store, &claim("linux", LONG)).await;
    record(&*store, 1, vec![message(Topic::Job(id), 1, 0, &step_started(0))]).await;
    requeue(&*store, made.id, id).await;
    let claimed = granted(&*store, &claim("linux", LONG)).await;
    let artifact = ArtifactId(Uuid::new_v4());
    let kept = Event::Artifact { artifact, name: "out/a.txt".to_owned(), size: 5, sha256: "ab".repeat(32) };
    let open = wire::LogLine { open: true, ..line(2, "...") };
    let events = vec![
        message(Topic::Job(id), 2, 0, &step_started(0)),
        log(id, 2, 1, vec![line(0, "x"), line(1, "y")]),
        message(Topic::Job(id), 2, 2, &step_finished(0)),
        message(Topic::Job(id), 2, 3, &step_started(1)),
        message(Topic::Job(id), 2, 4, &Event::Log { step: 1, lines: vec![open] }),
        message(Topic::Job(id), 2, 5, &kept),
    ];
    record(&*store, 2, events).await;
    let view = store.build_view(made.id).await.unwrap().unwrap();
    assert_eq!(view.position, Position { epoch: 1, offset: claimed.build.revision - 1 });
    assert_eq!((view.summary.state, view.summary.number, view.summary.jobs_total), (State::Running, 1, 2));
    assert_eq!(view.inputs, made.inputs);
    let [first, second] = view.jobs.as_slice() else { panic!("two jobs: {view:?}") };
    assert_eq!((first.attempt, first.lines, first.sealed, first.state), (2, 3, false, State::Running));
    assert_eq!(first.position, Some(Position { epoch: 2, offset: 5 }));
    let steps: Vec<_> = first.steps.iter().map(|s| (s.step, s.state, s.exit_code, s.first_line)).collect();
    assert_eq!(steps, [(0, State::Finished, Some(3), Some(0)), (1, State::Running, None, Some(2))]);
    assert_eq!((first.steps[0].outcome, first.steps[0].reason.as_deref()), (Some(Outcome::Failed), Some("why")));
    assert_eq!(first.steps[0].started_at.map(|at| at.0), Some(1_000));
    assert_eq!((first.artifacts.len(), first.artifacts[0].id, first.artifacts[0].attempt), (1, artifact, 2));
    assert_eq!(store.artifact(artifact).await.unwrap().as_ref(), Some(&first.artifacts[0]));
    assert_eq!((second.state, &second.needs, second.queued_at), (State::Queued, &vec!["a".to_owned()], None));
    assert_eq!((second.position, second.lines, second.steps.len()), (None, 0, 0));
    assert_eq!(store.build_view(BuildId(Uuid::new_v4())).await.unwrap(), None);
}

/// With the bytes that their writer wrote, from behind any offset.
pub async fn build_events_are_read_back_in_order(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let sent: Vec<_> =
        (0..10).map(|offset| message(Topic::Build(made.id), 1, offset, &Event::BuildStarted {})).collect();
    record(&*store, 1, sent.clone()).await;
    let read = store.build_events(made.id, None, 100).await.unwrap();
    assert_eq!(read.iter().map(|one| one.offset).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(read.iter().zip(&sent).all(|(read, sent)| read.event.get() == sent.event.get() && read.at == sent.at));
    let some = store.build_events(made.id, Some(3), 2).await.unwrap();
    assert_eq!(some.iter().map(|one| one.offset).collect::<Vec<_>>(), [4, 5]);
}

/// Finished steps and lines that were recorded are there after a kill, and the batch may come again.
pub async fn p7_the_record_survives_a_kill(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let id = made.jobs[0].id;
    granted(&*store, &claim("linux", LONG)).await;
    let events = vec![
        message(Topic::Job(id), 1, 0, &step_started(0)),
        log(id, 1, 1, vec![line(0, "x")]),
        message(Topic::Job(id), 1, 2, &step_finished(0)),
    ];
    record(&*store, 3, events.clone()).await;
    let before = store.build_view(made.id).await.unwrap();
    let after = fixture.after_kill().await;
    assert_eq!(after.build_view(made.id).await.unwrap(), before);
    let again = record(&*after, 3, events).await;
    assert_eq!((again.recorded.len(), again.refused.len()), (0, 0));
    assert_eq!(after.build_view(made.id).await.unwrap(), before);
}
