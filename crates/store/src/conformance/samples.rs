//! Builds, events and rules that the suite is made of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use uuid::Uuid;
use wire::{
    BuildId, ClientId, Event, EventMessage, ExecutorId, Isolation, JobId, LabelSet, LogLine, Outcome, ServerId,
    Timestamp, Topic, VERSION,
    audit::{Action, AuditQuery},
    event::raw,
    pipeline::{Condition, PipelineSpec, Stderr, StepSpec},
    task::Reply,
};

use crate::{
    ChangeError, Grant, Store,
    audit::NewEntry,
    model::{
        Announcement, Build, BuildState, Claim, Claimed, Created, ExecutorRow, Job, JobPlan, JobState, NewBuild,
        RecordBatch, Recording, Registration,
    },
};

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(600);

pub(super) fn labels(text: &str) -> LabelSet {
    LabelSet::try_from(text.to_owned()).unwrap()
}

pub(super) fn job(name: &str) -> Job {
    let plan = JobPlan {
        name: name.to_owned(),
        labels: labels("linux"),
        needs: Vec::new(),
        condition: Condition::Success,
        priority: 0,
        concurrency: None,
        timeout_seconds: 60,
        attempts: 2,
        lost_attempts: 3,
        log_limit: None,
        image: None,
        network: true,
        limits: wire::Limits::default(),
        env: BTreeMap::from([("A".to_owned(), "ä".to_owned())]),
        secrets: Vec::new(),
        files: Vec::new(),
        source: None,
        steps: vec![StepSpec {
            name: "one".to_owned(),
            run: "true".to_owned(),
            env: BTreeMap::new(),
            stderr: Stderr::Merged,
        }],
        artifacts: vec!["out/*".to_owned()],
    };
    let state = JobState::Queued { since: Timestamp(0) };
    Job { id: JobId(Uuid::now_v7()), plan: Arc::new(plan), attempt: 0, failures: 0, losses: 0, lost: Vec::new(), state }
}

pub(super) fn job_of(name: &str, label_set: &str, priority: i32) -> Job {
    let mut job = job(name);
    let plan = JobPlan { labels: labels(label_set), priority, ..(*job.plan).clone() };
    job.plan = Arc::new(plan);
    job
}

/// A build of `jobs` that announces itself.
pub(super) fn build(pipeline: &str, jobs: Vec<Job>) -> NewBuild {
    let reply = Reply { server_id: ServerId::new("gw", 2).unwrap(), client_id: ClientId(Uuid::new_v4()) };
    let build = Build {
        id: BuildId(Uuid::now_v7()),
        number: 0,
        pipeline: pipeline.parse().unwrap(),
        inputs: BTreeMap::from([("branch".to_owned(), "main".to_owned())]),
        reply: Some(reply),
        epoch: 1,
        revision: 0,
        queued_at: Timestamp(0),
        cancelling: false,
        concurrency: None,
        triggered_by: Some(Box::new(wire::trigger::TriggeredBy::Token { name: "token ci".to_owned() })),
        state: BuildState::Queued,
        jobs,
    };
    let queued = Event::BuildQueued { pipeline: build.pipeline.clone(), retry: false };
    let announcements = vec![Announcement::Event(queued), Announcement::Hint(labels("linux"))];
    NewBuild { build, announcements, idempotency: None, told: None, delivery: None }
}

/// Writes a build that must be new.
pub(super) async fn create(store: &dyn Store, new: NewBuild) -> Build {
    match store.create_build(new).await.unwrap() {
        Created::New(build) => build,
        other => panic!("expected a new build, got {other:?}"),
    }
}

pub(super) fn claim(label_set: &str, lease: Duration) -> Claim {
    let (executor, incarnation) = (ExecutorId(Uuid::new_v4()), Uuid::new_v4());
    Claim { claim_id: Uuid::new_v4(), executor, incarnation, label_set: labels(label_set), lease }
}

/// Starts the build and announces the job.
pub(super) fn grant() -> Grant {
    Box::new(|build, id, now| {
        build.state = BuildState::Running { since: now };
        let attempt = build.jobs.iter().find(|job| job.id == id).unwrap().attempt;
        let executor = ExecutorId(Uuid::nil());
        Ok(vec![Announcement::Event(Event::JobStarted { job: id, attempt, executor, executor_name: "e".to_owned() })])
    })
}

/// The claim, by an executor that has registered.
pub(super) async fn registered(store: &dyn Store, claim: Claim) -> Claim {
    let row = ExecutorRow {
        id: claim.executor,
        incarnation: claim.incarnation,
        name: "e".to_owned(),
        labels: claim.label_set.clone(),
        slots: 1,
        isolation: Isolation::Plain,
        secret_sha256: None,
    };
    assert_eq!(store.put_executor(&row).await.unwrap(), Registration::Heard);
    claim
}

/// What becomes of a claim by an executor that has registered.
pub(super) async fn asked(store: &dyn Store, claim: Claim) -> Result<Option<Claimed>, ChangeError> {
    store.claim_job(registered(store, claim).await, grant()).await
}

/// A claim that must be granted.
pub(super) async fn granted(store: &dyn Store, claim: &Claim) -> Claimed {
    asked(store, claim.clone()).await.unwrap().expect("a job waits")
}

pub(super) fn find(build: &Build, job: JobId) -> &Job {
    build.jobs.iter().find(|one| one.id == job).unwrap()
}

/// Puts a job back into its queue, as the reaper does.
pub(super) async fn requeue(store: &dyn Store, build: BuildId, job: JobId) {
    let decide = move |build: &mut Build, now| {
        for one in build.jobs.iter_mut().filter(|one| one.id == job) {
            one.state = JobState::Queued { since: now };
        }
        Ok(Vec::new())
    };
    store.change_build(build, Box::new(decide)).await.unwrap();
}

pub(super) fn message(topic: Topic, epoch: u32, offset: u64, event: &Event) -> EventMessage {
    let build = BuildId(Uuid::nil());
    let at = Timestamp(1_000 + i64::try_from(offset).unwrap());
    EventMessage { version: VERSION, topic, build, epoch, offset, at, client_id: None, mac: None, event: raw(event) }
}

pub(super) fn line(n: u64, text: &str) -> LogLine {
    LogLine {
        n,
        t: Timestamp(n.cast_signed() * 7),
        text: text.to_owned(),
        open: false,
        split: false,
        err: false,
        note: false,
    }
}

pub(super) fn log(job: JobId, attempt: u32, offset: u64, lines: Vec<LogLine>) -> EventMessage {
    message(Topic::Job(job), attempt, offset, &Event::Log { step: 0, lines })
}

pub(super) fn step_started(step: u32) -> Event {
    Event::StepStarted { step, name: format!("step {step}"), command: "true".to_owned() }
}

pub(super) fn step_finished(step: u32) -> Event {
    Event::StepFinished { step, outcome: Outcome::Failed, exit_code: Some(3), reason: Some("why".to_owned()) }
}

/// Applies events for the group `recorder`.
pub(super) async fn record(store: &dyn Store, offset: u64, events: Vec<EventMessage>) -> Recording {
    let batch = RecordBatch { group: "recorder".to_owned(), incarnation: Uuid::nil(), offset, events };
    store.record(batch).await.unwrap()
}

/// A pipeline without inputs and with one job.
pub(super) fn pipeline(name: &str) -> PipelineSpec {
    let json = serde_json::json!({
        "name": name, "description": "what it is for",
        "jobs": [{"name": "check", "labels": "linux+x86", "timeout_seconds": 60, "attempts": 1, "lost_attempts": 3,
                  "steps": [{"name": "one", "run": "true"}]}],
    });
    serde_json::from_value(json).unwrap()
}

/// Asks again, every few milliseconds, until `done` says so: for tests whose subject is the database's clock.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..2_000 {
        ticks.tick().await;
        if done().await {
            return;
        }
    }
    panic!("this did not happen within 10 s: {what}");
}

/// An entry of the audit log.
pub(super) fn entry(action: Action) -> NewEntry {
    NewEntry::by_machine(action)
}

/// How many entries of an action there are.
pub(super) async fn entries(store: &dyn Store, action: Action) -> usize {
    store.entries(&AuditQuery { action: Some(action), ..AuditQuery::default() }).await.unwrap().len()
}
