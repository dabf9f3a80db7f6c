//! Claims and leases: one attempt at a time, and a stale one that says nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::{collections::HashSet, fs::File, time::Duration};

use broker::{ConsumeOptions, rpc::Requester, topology};
use stage::{PATIENCE, Stage, config, gone, job, runs, texts};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    Event, ExecutorId, LabelSet, Outcome,
    task::{ExecutorNotice, ExecutorNow, from_bytes, to_bytes},
};

const CHATTER: &str = "echo $$; while :; do echo still; sleep 0.02; done";

async fn now(stage: &Stage) -> ExecutorNow {
    let requester = Requester::start(stage.broker.clone()).await.unwrap();
    let queue = topology::executor(stage.id).name;
    from_bytes(&requester.request(&queue, to_bytes(ExecutorNotice::Now { lines: 20 }), PATIENCE).await.unwrap().body)
        .unwrap()
}

/// How many claims were made; one that is repeated counts once.
fn claimed(stage: &Stage) -> usize {
    stage.script.lock().unwrap().claims.iter().collect::<HashSet<_>>().len()
}

/// Waits until nothing runs, and reads until nothing comes any more; no step may have ended.
async fn falls_silent(stage: &mut Stage) {
    until(async || now(stage).await.running.is_empty()).await;
    while let Some(event) = stage.event_within(Duration::from_millis(300)).await {
        assert!(matches!(event, Event::Log { .. }), "{event:?} was said under a lost lease");
    }
    assert!(stage.finished.try_recv().is_err(), "a finish under a lost lease");
}

#[tokio::test]
async fn p2_a_lost_lease_ends_the_steps_and_the_speech() {
    // The next regular renewal is twenty seconds away: the notice has it asked at once.
    let mut stage = Stage::with_lease(60_000).await;
    let grant = job(&[CHATTER]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    let pid = stage.line(|_| true).await.text;
    assert_eq!(now(&stage).await.running, [lease]);
    stage.script.lock().unwrap().lost.push(lease);
    stage.notify(ExecutorNotice::Cancel { lease }).await;
    gone(&pid).await;
    falls_silent(&mut stage).await;
}

#[tokio::test]
async fn p2_a_lease_that_nobody_renews_ends_the_steps_before_it_runs_out() {
    let mut stage = Stage::with_lease(6_000).await;
    stage.trigger(job(&[CHATTER])).await;
    let pid = stage.line(|_| true).await.text;
    stage.script.lock().unwrap().silent = true;
    gone(&pid).await;
    falls_silent(&mut stage).await;
}

#[tokio::test]
async fn p2_renewals_carry_a_job_beyond_its_first_lease() {
    let mut stage = Stage::with_lease(4_500).await;
    let go = stage.dir.path().join("go");
    let wait = format!("echo waits; until [ -e {} ]; do sleep 0.01; done", go.display());
    stage.trigger(job(&[&wait])).await;
    stage.line(|_| true).await;
    // One each 1.5 s: the fourth comes when the first lease is over.
    stage.renewed(4).await;
    std::fs::write(go, "").unwrap();
    let (_, finished) = stage.rest().await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert!(stage.script.lock().unwrap().renewals >= 3);
}

/// Waits until a condition holds that nothing signals.
async fn until(holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it comes about in time");
}

/// A guard says that its tree has ended only when the file `go` is there, or the whole stage is gone.
const HOLD: &str = "touch held; until [ -e go ] || ! [ -e \"$PWD\" ]; do sleep 0.01; done";

#[tokio::test]
async fn p2_the_next_attempt_waits_until_the_former_one_has_ended_here() {
    let mut stage = Stage::with_guards_that(60_000, HOLD).await;
    let (first, mut second) = (job(&[CHATTER]), job(&["echo second"]));
    stage.trigger(first.clone()).await;
    stage.line(|line| line.text == "still").await;
    second.lease.job = first.lease.job;
    second.lease.attempt = 2;
    second.event_key = stage::KEY.event_key(second.lease.job, 2);
    stage.trigger(second.clone()).await;
    // The younger grant alone ends the former attempt.
    until(async || stage.dir.path().join("held").exists()).await;
    while let Some(event) = stage.event_within(Duration::from_millis(300)).await {
        let Event::Log { lines, .. } = event else {
            panic!("{event:?} was said while the former attempt had not ended")
        };
        assert!(lines.iter().all(|line| line.text != "second"));
    }
    assert_eq!(now(&stage).await.running, [first.lease]);
    std::fs::write(stage.dir.path().join("go"), "").unwrap();
    let (events, finished) = stage.rest().await;
    assert_eq!((finished.lease, finished.outcome), (second.lease, Outcome::Succeeded));
    assert_eq!(texts(&events), ["second"]);
}

#[tokio::test]
async fn p2_a_lease_that_is_lost_here_is_not_renewed_while_its_steps_end() {
    let mut stage = Stage::with_guards_that(6_000, HOLD).await;
    let grant = job(&[CHATTER]);
    let lease = grant.lease;
    stage.trigger(grant).await;
    stage.line(|_| true).await;
    stage.script.lock().unwrap().lost.push(lease);
    stage.notify(ExecutorNotice::Cancel { lease }).await; // It asks at once.
    until(async || stage.dir.path().join("held").exists()).await;
    stage.registered_again().await;
    stage.script.lock().unwrap().renewed.clear();
    stage.registered_again().await;
    assert_eq!(now(&stage).await.running, [lease], "it has not ended yet");
    assert_eq!(stage.script.lock().unwrap().renewed, []);
    std::fs::write(stage.dir.path().join("go"), "").unwrap();
    until(async || now(&stage).await.running.is_empty()).await;
}

#[tokio::test]
async fn p2_a_lease_that_was_granted_late_is_renewed_at_once() {
    // Renewal is due each 6 s. The third try claims after 7.5 s; half of the trust of 14.4 s is over then.
    let mut stage = Stage::with_lease(18_000).await;
    stage.script.lock().unwrap().unanswered_claims = 2;
    let (_, finished) = stage.run(job(&["sleep 1"])).await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert_eq!(stage.script.lock().unwrap().renewed, [finished.lease]);
}

#[tokio::test]
async fn p2_an_attempt_whose_task_panics_is_given_up_and_frees_its_slot() {
    // The steps' second event is the first line; whoever publishes it is the job's own task.
    let mut stage = Stage::with(6_000, |event| {
        assert!(event != 1, "this panic is part of the test");
        false
    })
    .await;
    let pid_file = stage.dir.path().join("pid");
    let chatter = format!("echo $$ > {}; {CHATTER}", pid_file.display());
    stage.trigger(job(&[&chatter])).await;
    until(async || pid_file.exists()).await;
    until(async || now(&stage).await.running.is_empty()).await;
    assert!(!runs(&std::fs::read_to_string(pid_file).unwrap()), "its place was free before its steps had ended");
    stage.script.lock().unwrap().renewed.clear();
    stage.registered_again().await;
    assert_eq!(stage.script.lock().unwrap().renewed, []);
    assert!(matches!(stage.event().await.1, Event::StepStarted { .. }));
    let there =
        |n: u32| format!("touch {}/{n}; until [ -e {0}/{} ]; do sleep 0.01; done", stage.dir.path().display(), 3 - n);
    let (one, two) = (there(1), there(2));
    stage.trigger(job(&[&one])).await;
    stage.trigger(job(&[&two])).await;
    assert_eq!([stage.end().await.outcome, stage.end().await.outcome], [Outcome::Succeeded; 2], "both slots are free");
}

#[tokio::test]
async fn an_older_answer_to_a_registration_takes_no_queue_away_that_a_notice_gave() {
    let mut stage = Stage::with_lease(3_000).await;
    let gpu = LabelSet::new(["gpu".to_owned()]).unwrap();
    stage.registered_again().await;
    stage.notify(ExecutorNotice::Queues { label_sets: vec![LabelSet::default(), gpu.clone()] }).await;
    now(&stage).await; // Notices are heard in their order.
    stage.registered_again().await;
    stage.trigger_on(gpu.clone(), job(&["true"])).await;
    assert_eq!(stage.end().await.outcome, Outcome::Succeeded);
    // A notice does take away.
    stage.notify(ExecutorNotice::Queues { label_sets: vec![LabelSet::default()] }).await;
    now(&stage).await;
    stage.registered_again().await;
    let queue = topology::tasks(&gpu).name;
    stage.trigger_on(gpu, job(&["true"])).await;
    let mut other = stage.broker.consume(&queue, ConsumeOptions { prefetch: 1, exclusive: false }).await.unwrap();
    tokio::time::timeout(PATIENCE, other.next()).await.expect("the hint is left to others").unwrap().ack();
    assert_eq!(claimed(&stage), 1);
}

#[tokio::test]
async fn a_hint_that_no_slot_is_free_for_is_left_to_others_untouched() {
    let mut stage = Stage::start().await;
    let go = stage.dir.path().join("go");
    let wait = format!("echo waits; until [ -e {} ]; do sleep 0.01; done", go.display());
    for _ in 0..2 {
        stage.trigger(job(&[&wait])).await;
        stage.line(|_| true).await;
    }
    stage.trigger(job(&["true"])).await;
    let queue = topology::tasks(&LabelSet::default()).name;
    let options = ConsumeOptions { prefetch: 1, exclusive: false };
    let mut other = stage.broker.consume(&queue, options).await.unwrap();
    let hint = tokio::time::timeout(PATIENCE, other.next()).await.expect("the hint waits in its queue").unwrap();
    assert!(!hint.message.redelivered, "an executor without a free slot took the hint");
    hint.requeue();
    drop(other);
    std::fs::write(go, "").unwrap();
    for _ in 0..3 {
        assert_eq!(stage.end().await.outcome, Outcome::Succeeded);
    }
    assert_eq!(claimed(&stage), 3);
}

#[tokio::test]
async fn a_claim_without_an_answer_is_repeated_under_the_same_id() {
    let mut stage = Stage::start().await;
    stage.script.lock().unwrap().unanswered_claims = 1;
    let (_, finished) = stage.run(job(&["true"])).await;
    assert_eq!(finished.outcome, Outcome::Succeeded);
    let claims = stage.script.lock().unwrap().claims.clone();
    assert!(claims.len() >= 2 && claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
}

#[tokio::test]
async fn a_stale_hint_is_taken_and_forgotten() {
    let mut stage = Stage::start().await;
    assert_eq!(stage.run(job(&["true"])).await.1.outcome, Outcome::Succeeded);
    stage.hint(LabelSet::default()).await;
    until(async || claimed(&stage) == 2).await;
    assert_eq!(stage.run(job(&["true"])).await.1.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn p2_an_executor_registers_only_when_every_former_guard_has_ended() {
    let mut stage = Stage::start().await;
    let own = stage.registered.recv().await.unwrap();
    let work_dir = stage.dir.path().join("other");
    std::fs::create_dir(&work_dir).unwrap();
    let lock = File::create(work_dir.join("guards.lock")).unwrap();
    lock.lock_shared().unwrap();
    let (id, shutdown) = (ExecutorId(Uuid::new_v4()), CancellationToken::new());
    let other = tokio::spawn(executor::run(stage.broker.clone(), config(id, work_dir), shutdown.clone()));
    // The stage's own executor registers again meanwhile.
    let mut another = async || while stage.registered.recv().await.unwrap() == own {};
    let early = tokio::time::timeout(Duration::from_millis(300), another()).await;
    assert!(early.is_err(), "registered while a guard still held its lock");
    drop(lock);
    tokio::time::timeout(PATIENCE, another()).await.expect("it registers");
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
