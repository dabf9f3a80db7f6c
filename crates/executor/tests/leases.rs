//! Claims and leases: one attempt at a time, and a stale one that says nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::{fs::File, time::Duration};

use broker::{rpc::Requester, topology};
use stage::{PATIENCE, Stage, config, gone, job, runs};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    Event, ExecutorId, Outcome,
    task::{ExecutorNotice, ExecutorNow, from_bytes, to_bytes},
};

const CHATTER: &str = "echo $$; while :; do echo still; sleep 0.02; done";

async fn now(stage: &Stage) -> ExecutorNow {
    let requester = Requester::start(stage.broker.clone()).await.unwrap();
    let queue = topology::executor(stage.id).name;
    from_bytes(&requester.request(&queue, to_bytes(ExecutorNotice::Now {}), PATIENCE).await.unwrap().body).unwrap()
}

/// Reads until nothing comes any more and nothing runs; no step may have ended.
async fn falls_silent(stage: &mut Stage) {
    while let Some(event) = stage.event_within(Duration::from_millis(300)).await {
        assert!(matches!(event, Event::Log { .. }), "{event:?} was said under a lost lease");
    }
    assert!(now(stage).await.running.is_empty());
    assert!(stage.finished.try_recv().is_err(), "a finish under a lost lease");
}

#[tokio::test]
async fn p2_a_lost_lease_ends_the_steps_and_the_speech() {
    let mut stage = Stage::with_lease(900).await;
    let grant = job(&[CHATTER]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    let pid = stage.line(|_| true).await.text;
    assert_eq!(now(&stage).await.running, [lease]);
    stage.script.lock().unwrap().lost.push(lease);
    gone(&pid).await;
    falls_silent(&mut stage).await;
}

#[tokio::test]
async fn p2_a_lease_that_nobody_renews_ends_the_steps_before_it_runs_out() {
    let mut stage = Stage::with_lease(900).await;
    stage.trigger(job(&[CHATTER])).await;
    let pid = stage.line(|_| true).await.text;
    stage.script.lock().unwrap().silent = true;
    gone(&pid).await;
    falls_silent(&mut stage).await;
}

#[tokio::test]
async fn p2_renewals_carry_a_job_beyond_its_first_lease() {
    let mut stage = Stage::with_lease(600).await;
    let (_, finished) = stage.run(job(&["sleep 1.5"])).await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert!(stage.script.lock().unwrap().renewals >= 3);
}

#[tokio::test]
async fn a_claim_without_an_answer_is_repeated_under_the_same_id() {
    let mut stage = Stage::start().await;
    stage.script.lock().unwrap().unanswered_claims = 1;
    let (_, finished) = stage.run(job(&["true"])).await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    let claims = stage.script.lock().unwrap().claims.clone();
    assert_eq!((claims.len(), claims[0]), (2, claims[1]));
}

#[tokio::test]
async fn a_stale_hint_is_taken_and_forgotten() {
    let mut stage = Stage::start().await;
    stage.trigger(job(&["true"])).await;
    assert_eq!(stage.end().await.outcome, Outcome::Succeeded);
    let grant = job(&["true"]);
    stage.trigger(grant).await;
    stage.script.lock().unwrap().grants.clear();
    assert_eq!(stage.run(job(&["true"])).await.1.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn p2_an_executor_registers_only_when_every_former_guard_has_ended() {
    let mut stage = Stage::start().await;
    stage.registered.recv().await.unwrap();
    let work_dir = stage.dir.path().join("other");
    std::fs::create_dir(&work_dir).unwrap();
    let lock = File::create(work_dir.join("guards.lock")).unwrap();
    lock.lock_shared().unwrap();
    let (id, shutdown) = (ExecutorId(Uuid::new_v4()), CancellationToken::new());
    let other = tokio::spawn(executor::run(stage.broker.clone(), config(id, work_dir), shutdown.clone()));
    let early = tokio::time::timeout(Duration::from_millis(300), stage.registered.recv()).await;
    assert!(early.is_err(), "registered while a guard still held its lock");
    drop(lock);
    tokio::time::timeout(PATIENCE, stage.registered.recv()).await.unwrap().unwrap();
    shutdown.cancel();
    other.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_what_runs_at_once_and_says_nothing_of_it() {
    let mut stage = Stage::start().await;
    stage.trigger(job(&["trap '' TERM; echo $$; while :; do sleep 1000; done"])).await;
    let pid = stage.line(|_| true).await.text;
    stage.shutdown.cancel();
    tokio::time::timeout(PATIENCE, &mut stage.executor).await.expect("the executor stops").unwrap();
    assert!(!runs(&pid), "a step outlived its executor");
    assert!(stage.event_within(Duration::ZERO).await.is_none());
    assert!(stage.finished.try_recv().is_err());
}
