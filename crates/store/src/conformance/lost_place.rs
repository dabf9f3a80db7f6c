//! A group that has lost its place in the stream: what is gone is told, and nothing waits for it.

use uuid::Uuid;
use wire::{BuildId, Event, JobId, Outcome, Topic, event::Recorded, log::RecordedLine};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, granted, job, line, log, message, record, step_started},
};
use crate::{Store, model::BuildState};

/// What the group may lack once its place is lost.
async fn lost(store: &dyn Store) -> Vec<(BuildId, Vec<(JobId, u32)>)> {
    store.lose_place("recorder").await.unwrap().into_iter().map(|of| (of.build, of.attempts)).collect()
}

/// Events 0 and 1 of a running job, with the line 0.
async fn begun(store: &dyn Store, job: JobId) {
    record(store, 1, vec![message(Topic::Job(job), 1, 0, &step_started(0)), log(job, 1, 1, vec![line(0, "heard")])])
        .await;
}

/// The next event is taken though others are missing, once; the lines that went with them are told one by one.
pub async fn p3_what_the_stream_has_lost_is_told_and_what_follows_is_recorded(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let id = granted(&*store, &claim("linux", LONG)).await.job;
    begun(&*store, id).await;
    assert_eq!(record(&*store, 2, vec![log(id, 1, 5, vec![line(7, "x")])]).await.refused.len(), 1);
    assert_eq!(lost(&*store).await, [(made.id, vec![])], "its own events are not recorded");
    let events = vec![log(id, 1, 5, vec![line(7, "on"), line(8, "again")]), log(id, 1, 7, vec![line(10, "no")])];
    let done = record(&*store, 3, events).await;
    assert_eq!((done.recorded[0].offset, done.refused.len()), (Some(5), 1), "one hole, not two");
    let page = store.log(id, None, 0, 100).await.unwrap().unwrap();
    let shown: Vec<_> = page.lines.iter().map(|one| (one.line.n, one.missing)).collect();
    let missing = (1..7).map(|n| (n, true));
    assert_eq!(shown, [vec![(0, false)], missing.collect(), vec![(7, false), (8, false)]].concat());
    assert_eq!(page.total, 9);
    let within = store.log(id, Some(1), 3, 2).await.unwrap().unwrap().lines;
    assert_eq!(within, [RecordedLine::missing(3), RecordedLine::missing(4)]);
    let store = fixture.after_kill().await;
    assert_eq!(store.build_view(made.id).await.unwrap().unwrap().jobs[0].unrecorded, 3);
    assert_eq!(store.groups().await.unwrap()[0].losses, 1);
}

/// Where an attempt's last events are gone, the word of its end seals it; where all are, too.
pub async fn p3_an_attempt_whose_end_the_stream_has_lost_is_sealed_by_its_end_said_again(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let topic = Topic::Build(made.id);
    let (heard, unheard) = (made.jobs[0].id, made.jobs[1].id);
    for _ in 0..2 {
        granted(&*store, &claim("linux", LONG)).await;
    }
    begun(&*store, heard).await;
    assert_eq!(lost(&*store).await, [(made.id, vec![])], "nothing has ended by control's word");
    let finished = |offset, job| {
        let event =
            Event::JobFinished { job, attempt: 1, outcome: Outcome::Succeeded, last_offset: Some(9), reason: None };
        message(topic, made.epoch, offset, &event)
    };
    let done = record(&*store, 2, vec![finished(5, heard), finished(6, unheard)]).await;
    let sealed = |job, offset| Recorded { topic: Topic::Job(job), epoch: 1, offset, sealed: true };
    assert!(done.recorded.contains(&sealed(heard, Some(1))) && done.recorded.contains(&sealed(unheard, None)));
    let view = store.build_view(made.id).await.unwrap().unwrap();
    assert_eq!(view.jobs.iter().map(|job| job.unrecorded).collect::<Vec<_>>(), [8, 10]);
}

/// What is recorded to its end may not skip; a build whose end is recorded is not named.
pub async fn p5_only_what_is_not_recorded_to_its_end_may_skip(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a")])).await;
    let said = store.load_build(made.id).await.unwrap().unwrap().revision;
    let queued = |offset| {
        message(Topic::Build(made.id), made.epoch, offset, &Event::JobQueued { job: made.jobs[0].id, attempt: 1 })
    };
    record(&*store, 1, (0..said).map(queued).collect()).await;
    assert_eq!(lost(&*store).await, []);
    let done = record(&*store, 2, vec![queued(said + 1)]).await;
    assert_eq!((done.recorded.len(), done.refused.len()), (0, 1));
    let unknown = Topic::Job(JobId(Uuid::new_v4()));
    let done = record(&*store, 3, vec![message(unknown, 1, 4, &step_started(0))]).await;
    assert_eq!(done.refused.len(), 1, "one that began afterwards has lost nothing");
    let over = |build: &mut crate::model::Build, now| {
        build.state = BuildState::Finished { outcome: Outcome::Cancelled, since: None, until: now };
        Ok(vec![crate::model::Announcement::Event(Event::BuildFinished { outcome: Outcome::Cancelled })])
    };
    store.change_build(made.id, Box::new(over)).await.unwrap();
    assert_eq!(lost(&*store).await, [(made.id, vec![])], "its last event is not recorded");
    let done =
        record(&*store, 4, vec![message(Topic::Build(made.id), made.epoch, said + 1, &Event::BuildStarted {})]).await;
    assert_eq!(done.recorded.len(), 1);
    assert_eq!(lost(&*store).await, []);
}

/// What has ended and is not sealed is named, however high its attempt: a restore begins with a great one.
pub async fn p3_only_attempts_that_have_ended_unsealed_are_to_be_said_again(fixture: &dyn Fixture) {
    const LATE: u32 = 28_000_000;
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let (ended, runs) = (made.jobs[0].id, made.jobs[1].id);
    let far = move |build: &mut crate::model::Build, now| {
        build.jobs[0].attempt = LATE;
        build.jobs[0].state = crate::model::JobState::Queued { since: now };
        Ok(Vec::new())
    };
    begun(&*store, ended).await;
    store.change_build(made.id, Box::new(far)).await.unwrap();
    let running = granted(&*store, &claim("linux", LONG)).await;
    let other = granted(&*store, &claim("linux", LONG)).await;
    assert_eq!([running.job, other.job].iter().filter(|id| **id == ended || **id == runs).count(), 2);
    assert_eq!(lost(&*store).await, [(made.id, vec![(ended, 1)])], "not what runs, and none that never was");
}
