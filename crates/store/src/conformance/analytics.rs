//! Statistics: what is counted is what the record holds, however often and in what pieces the events come.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;
use wire::{
    BuildId, Event, EventMessage, JobId, Outcome, PipelineName, Timestamp, Topic, VERSION,
    event::raw,
    statistics::{Ends, Spread, StatsView, bucket},
    view::State,
};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, job_of, record, registered},
};
use crate::{
    Store, StoreError,
    analytics::{CountBatch, GROUP},
    model::{Announcement, Build, BuildState, Claimed, JobState, Outbound},
};

/// Everything that is said while some builds run: real ones, as the store announces them, and their jobs' own events.
struct Told {
    builds: Vec<BuildId>,
    events: Vec<EventMessage>,
    /// The last offset of each attempt.
    offsets: BTreeMap<(JobId, u32), u64>,
}

impl Told {
    /// What the builds themselves have said since the last call.
    async fn hear(&mut self, store: &dyn Store) {
        for row in store.outbox(0, 1_000).await.unwrap() {
            if let Outbound::Event { message, .. } = row.outbound {
                self.events.push(*message);
            }
            store.outbox_done(&[row.id]).await.unwrap();
        }
    }

    fn job(&mut self, build: BuildId, attempt: (JobId, u32), at: Timestamp, event: &Event) {
        let offset = self.offsets.get(&attempt).map_or(0, |last| last + 1);
        self.offsets.insert(attempt, offset);
        let (job, epoch) = attempt;
        self.events.push(EventMessage {
            version: VERSION,
            topic: Topic::Job(job),
            build,
            epoch,
            offset,
            at,
            client_id: None,
            mac: None,
            event: raw(event),
        });
    }

    /// A claim, and a step that takes `millis`.
    async fn runs(&mut self, store: &dyn Store, label: &str, millis: i64) -> Claimed {
        let granted = store
            .claim_job(registered(store, claim(label, LONG)).await, granted())
            .await
            .unwrap()
            .expect("a job waits");
        self.hear(store).await;
        let attempt = (granted.job, granted.build.jobs.iter().find(|job| job.id == granted.job).unwrap().attempt);
        let begun = store.now().await.unwrap();
        let (id, name) = (granted.build.id, format!("step of {label}"));
        self.job(id, attempt, begun, &Event::StepStarted { step: 0, name, command: "true".to_owned() });
        let finished = Event::StepFinished { step: 0, outcome: Outcome::Succeeded, exit_code: Some(0), reason: None };
        self.job(id, attempt, begun.plus_micros(millis * 1_000), &finished);
        granted
    }

    async fn change(
        &mut self,
        store: &dyn Store,
        id: BuildId,
        decide: impl Fn(&mut Build, Timestamp) -> Vec<Announcement> + Send + Sync + 'static,
    ) {
        store.change_build(id, Box::new(move |build, now| Ok(decide(build, now)))).await.unwrap();
        self.hear(store).await;
    }

    /// The attempt ends as its holder says; one that failed is queued again while `again`.
    async fn ends(&mut self, store: &dyn Store, granted: &Claimed, outcome: Outcome, again: bool) {
        let (id, job) = (granted.build.id, granted.job);
        let attempt = find(&granted.build, job).attempt;
        let last_offset = self.offsets.get(&(job, attempt)).copied();
        self.change(store, id, move |build, now| {
            let one = build.jobs.iter_mut().find(|one| one.id == job).unwrap();
            one.failures += u32::from(outcome == Outcome::Failed);
            let ended = Event::JobFinished { job, attempt, outcome, last_offset, reason: None };
            let mut said = vec![Announcement::Event(ended)];
            one.state = if again {
                said.push(Announcement::Event(Event::JobQueued { job, attempt: attempt + 1 }));
                JobState::Queued { since: now }
            } else {
                JobState::Finished { outcome, executor: None, since: Some(now), until: now, reason: None, last_offset }
            };
            said.extend(end_of(build, now));
            said
        })
        .await;
    }

    /// The executor is lost, and the job queued again.
    async fn lost(&mut self, store: &dyn Store, granted: &Claimed) {
        let (id, job, attempt) = (granted.build.id, granted.job, find(&granted.build, granted.job).attempt);
        self.change(store, id, move |build, now| {
            let one = build.jobs.iter_mut().find(|one| one.id == job).unwrap();
            one.losses += 1;
            one.state = JobState::Queued { since: now };
            let (executor, executor_name, reason) = (wire::ExecutorId(Uuid::nil()), "e".to_owned(), "why".to_owned());
            vec![
                Announcement::Event(Event::JobLost { job, attempt, executor, executor_name, reason }),
                Announcement::Event(Event::AttemptClosed { job, attempt }),
                Announcement::Event(Event::JobQueued { job, attempt: attempt + 1 }),
            ]
        })
        .await;
    }

    /// A person retries what failed.
    async fn retried(&mut self, store: &dyn Store, id: BuildId) {
        self.change(store, id, |build, now| {
            build.state = BuildState::Queued;
            for job in &mut build.jobs {
                if matches!(job.state, JobState::Finished { outcome: Outcome::Failed, .. }) {
                    (job.state, job.failures, job.losses) = (JobState::Queued { since: now }, 0, 0);
                }
            }
            vec![Announcement::Event(Event::BuildQueued { pipeline: build.pipeline.clone(), retry: true })]
        })
        .await;
    }
}

fn find(build: &Build, job: JobId) -> &crate::model::Job {
    build.jobs.iter().find(|one| one.id == job).unwrap()
}

/// As control grants: the build begins with its first job.
fn granted() -> crate::Grant {
    Box::new(|build, id, now| {
        let attempt = find(build, id).attempt;
        let (executor, executor_name) = (wire::ExecutorId(Uuid::nil()), "e".to_owned());
        let mut said = vec![Announcement::Event(Event::JobStarted { job: id, attempt, executor, executor_name })];
        if build.state == BuildState::Queued {
            build.state = BuildState::Running { since: now };
            said.insert(0, Announcement::Event(Event::BuildStarted {}));
        }
        Ok(said)
    })
}

/// The end of a build whose jobs are all over.
fn end_of(build: &mut Build, now: Timestamp) -> Option<Announcement> {
    let outcomes: Option<Vec<Outcome>> = build
        .jobs
        .iter()
        .map(|job| match &job.state {
            JobState::Finished { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect();
    let outcomes = outcomes?;
    let has_failed = outcomes.contains(&Outcome::Failed);
    let outcome = if has_failed { Outcome::Failed } else { Outcome::Succeeded };
    let since = match build.state {
        BuildState::Running { since } => Some(since),
        _ => None,
    };
    build.state = BuildState::Finished { outcome, since, until: now };
    Some(Announcement::Event(Event::BuildFinished { outcome }))
}

/// Three builds: one with a flaky job, one that lost an executor and failed, one that failed and was retried.
async fn told(store: &dyn Store) -> Told {
    let mut told = Told { builds: Vec::new(), events: Vec::new(), offsets: BTreeMap::new() };
    for (pipeline, labels) in [("one", vec!["a", "b"]), ("one", vec!["c"]), ("two", vec!["d"])] {
        let jobs = labels.into_iter().map(|label| job_of(label, label, 0)).collect();
        told.builds.push(create(store, build(pipeline, jobs)).await.id);
    }
    told.hear(store).await;
    let flaky = told.runs(store, "a", 1_000).await;
    let other = told.runs(store, "b", 20_000).await;
    told.ends(store, &flaky, Outcome::Failed, true).await;
    told.ends(store, &other, Outcome::Succeeded, false).await;
    let again = told.runs(store, "a", 3_000).await;
    told.ends(store, &again, Outcome::Succeeded, false).await;
    let lost = told.runs(store, "c", 5).await;
    told.lost(store, &lost).await;
    let failed = told.runs(store, "c", 7_000).await;
    told.ends(store, &failed, Outcome::Failed, false).await;
    let first = told.runs(store, "d", 400).await;
    told.ends(store, &first, Outcome::Failed, false).await;
    let retried = told.builds[2];
    told.retried(store, retried).await;
    let second = told.runs(store, "d", 500).await;
    told.ends(store, &second, Outcome::Succeeded, false).await;
    told
}

/// What the builds and jobs themselves, and their recorded steps, add up to.
async fn recount(store: &dyn Store, builds: &[BuildId]) -> (Ends, Spread, u64, BTreeMap<String, Spread>) {
    let (mut ends, mut durations, mut attempts) = (Ends::default(), BTreeMap::<u32, u64>::new(), 0);
    for id in builds {
        let view = store.build_view(*id).await.unwrap().unwrap();
        attempts += view.jobs.iter().map(|job| u64::from(job.attempt)).sum::<u64>();
        if view.summary.state != State::Finished {
            continue;
        }
        *ends.of(view.summary.outcome.unwrap()) += 1;
        let (from, until) = (view.summary.started_at.unwrap(), view.summary.finished_at.unwrap());
        *durations.entry(bucket(until.since(from))).or_default() += 1;
    }
    // Every attempt of the same job has the same step.
    let mut steps = BTreeMap::<String, BTreeMap<u32, u64>>::new();
    for (job, millis) in [("a", 1_000), ("a", 3_000), ("b", 20_000), ("c", 5), ("c", 7_000), ("d", 400), ("d", 500)] {
        *steps.entry(job.to_owned()).or_default().entry(bucket(millis * 1_000)).or_default() += 1;
    }
    let spread = |counts: BTreeMap<u32, u64>| Spread::of(&counts.into_iter().collect::<Vec<_>>());
    let steps = steps.into_iter().map(|(job, counts)| (job, spread(counts))).collect();
    (ends, spread(durations), attempts, steps)
}

/// The counters say what the record holds.
async fn is_right(store: &dyn Store, builds: &[BuildId]) -> StatsView {
    let view = store.statistics(None, 2).await.unwrap();
    let (ends, durations, attempts, steps) = recount(store, builds).await;
    assert_eq!((view.builds, view.duration_micros), (ends, durations));
    assert_eq!(view.queue_micros.count, attempts);
    let counted: BTreeMap<String, Spread> =
        view.slowest_steps.iter().map(|step| (step.job.clone(), step.duration_micros)).collect();
    assert_eq!(counted, steps);
    let means: Vec<(&str, u64)> =
        view.slowest_steps.iter().map(|step| (step.job.as_str(), step.mean_micros / 1_000)).collect();
    assert_eq!(means, [("b", 20_000), ("c", 3_502), ("a", 2_000), ("d", 450)], "the slowest first");
    let flaky: Vec<_> = view
        .flaky_jobs
        .iter()
        .map(|job| (job.job.as_str(), job.succeeded, job.flaky, job.failed_attempts, job.lost_attempts))
        .collect();
    assert_eq!(flaky, [("a", 1, 1, 1, 0), ("c", 0, 0, 1, 1)]);
    view
}

fn batch(first: u64, events: &[EventMessage]) -> CountBatch {
    let offset = first + (events.len() as u64).saturating_sub(1);
    CountBatch { incarnation: Uuid::nil(), first, offset, events: events.to_vec() }
}

/// The record has what was told so far, up to this offset of the stream.
async fn recorded(store: &dyn Store, events: &[EventMessage], offset: u64) {
    let refused = record(store, offset, events.to_vec()).await.refused;
    assert_eq!(refused, []);
}

async fn rebuilt(store: &dyn Store, at_once: u32) {
    store.begin_rebuild(GROUP).await.unwrap();
    while store.forget_counts().await.unwrap() {}
    let mut after = None;
    while let Some((last, _)) = store.recount(after, at_once, false).await.unwrap() {
        after = Some(last);
    }
    store.end_rebuild(GROUP).await.unwrap();
}

/// Whatever is cut, killed, delivered again or applied by two at once, each event counts once.
pub async fn p5_statistics_are_those_of_the_record_however_the_events_come(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let told = told(&*store).await;
    let (events, builds) = (&told.events, &told.builds);
    recorded(&*store, events, events.len() as u64 - 1).await;
    let mut first = 0;
    for (n, piece) in events.chunks(5).enumerate() {
        store.count(batch(first, piece)).await.unwrap();
        // The place is on the disk with the effect: what another one read before is refused as a whole.
        let again = store.count(batch(first, piece)).await;
        assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
        first += piece.len() as u64;
        // Its writer was killed before the confirm, and says it all again.
        if n % 3 == 1 {
            store.count(batch(first, piece)).await.unwrap();
            first += piece.len() as u64;
        }
    }
    is_right(&*store, builds).await;
    let store = fixture.after_kill().await;
    assert_eq!(store.group_place(GROUP).await.unwrap(), Some((Uuid::nil(), first - 1)));
    // Two members that both think it is their turn.
    let (one, other) = tokio::join!(store.count(batch(first, events)), store.count(batch(first, events)));
    assert_eq!([&one, &other].iter().filter(|done| done.is_ok()).count(), 1, "{one:?} {other:?}");
    let view = is_right(&*store, builds).await;
    assert_eq!(view.builds, Ends { succeeded: 2, failed: 1, ..Ends::default() }, "a retried build ends once");
    let one: PipelineName = "one".parse().unwrap();
    let of_one = store.statistics(Some(&one), 1).await.unwrap();
    assert_eq!((of_one.builds, of_one.days.len()), (Ends { succeeded: 1, failed: 1, ..Ends::default() }, 1));
    assert_eq!(of_one.days[0].builds, of_one.builds);
    let other = store.statistics(Some(&"other".parse().unwrap()), 400).await.unwrap();
    assert_eq!((other.builds.total(), other.days.len(), other.slowest_steps.len()), (0, 400, 0));
    // A hole: what comes behind it is not the next one.
    let far = EventMessage { offset: 999, ..events[0].clone() };
    store.count(batch(first + 1_000, &[far])).await.unwrap();
    is_right(&*store, builds).await;
}

/// Made anew from the record at any moment, the counters go on with the stream from there.
pub async fn p5_a_rebuild_counts_what_the_record_has_and_the_stream_adds_the_rest(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let told = told(&*store).await;
    let (events, builds) = (&told.events, &told.builds);
    let pieces: Vec<&[EventMessage]> = events.chunks(7).collect();
    let mut offset = 0;
    for piece in &pieces {
        // The record is at this place when the rebuild begins, and one piece further when it ends.
        recorded(&*store, piece, offset + piece.len() as u64 - 1).await;
        rebuilt(&*store, 1).await;
        let (_, place) = store.group_place(GROUP).await.unwrap().unwrap();
        assert_eq!(place, offset + piece.len() as u64 - 1);
        offset += piece.len() as u64;
    }
    is_right(&*store, builds).await;
    store.count(batch(offset, events)).await.unwrap();
    is_right(&*store, builds).await;
    // From the middle of the record: what it had is a repeat, what follows counts.
    let late = create(&*store, build("one", vec![job_of("d", "z", 0)])).await;
    let mut more = Told { builds: vec![late.id], events: Vec::new(), offsets: BTreeMap::new() };
    more.hear(&*store).await;
    let runs = more.runs(&*store, "z", 450).await;
    recorded(&*store, &more.events, 500).await;
    rebuilt(&*store, 100).await;
    more.ends(&*store, &runs, Outcome::Succeeded, false).await;
    store.count(batch(501, &more.events)).await.unwrap();
    let view = store.statistics(None, 2).await.unwrap();
    assert_eq!(view.builds, Ends { succeeded: 3, failed: 1, ..Ends::default() });
    // A deleted build stays counted.
    let store = fixture.after_kill().await;
    store.delete_build(builds[0], None).await.unwrap();
    assert_eq!(store.statistics(None, 2).await.unwrap().builds, view.builds);
}

/// What is over is forgotten after a day of control's time, and counts no second time when it comes again.
pub async fn p5_a_topic_that_was_forgotten_counts_no_second_time(fixture: &dyn Fixture) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let store = fixture.open().await;
    let told = told(&*store).await;
    let events = &told.events;
    store.count(batch(0, events)).await.unwrap();
    let before = store.statistics(None, 2).await.unwrap();
    let later = i64::try_from((DAY * 2).as_micros()).unwrap();
    let other = BuildId(Uuid::now_v7());
    let queued = |offset| EventMessage {
        topic: Topic::Build(other),
        build: other,
        offset,
        at: events[0].at.plus_micros(later),
        event: raw(&Event::BuildQueued { pipeline: "one".parse().unwrap(), retry: false }),
        ..events[0].clone()
    };
    store.count(batch(1_000, &[queued(0)])).await.unwrap();
    store.count(batch(2_000, events)).await.unwrap();
    assert_eq!(store.statistics(None, 2).await.unwrap(), before);
    // A build that was forgotten is retried: its former end is taken back, and the new one counts.
    let failed = told.builds[1];
    let mut more = Told { builds: Vec::new(), events: Vec::new(), offsets: BTreeMap::new() };
    more.retried(&*store, failed).await;
    let runs = more.runs(&*store, "c", 1).await;
    more.ends(&*store, &runs, Outcome::Succeeded, false).await;
    for event in &mut more.events {
        event.at = event.at.plus_micros(later);
    }
    store.count(batch(3_000, &more.events)).await.unwrap();
    let after = store.statistics(None, 2).await.unwrap().builds;
    assert_eq!((before.builds.failed, after.failed, after.succeeded), (1, 0, before.builds.succeeded + 1));
}
