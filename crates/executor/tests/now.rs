//! What an executor answers when it is asked what it does: lines that nobody has confirmed are known to it alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use broker::{Outgoing, rpc::Requester, topology};
use stage::{PATIENCE, Stage, job};
use wire::{
    LabelSet, Outcome,
    executor_now::ExecutorNow,
    task::{ExecutorNotice, Hint, from_bytes, to_bytes},
};

async fn now(stage: &Stage, requester: &Requester, lines: u32) -> ExecutorNow {
    let queue = topology::executor(stage.id).name;
    let answer = requester.request(&queue, to_bytes(ExecutorNotice::Now { lines }), PATIENCE).await.unwrap();
    from_bytes(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_tells_the_lines_that_the_broker_has_not_confirmed() {
    let mut stage = Stage::start().await;
    let requester = Requester::start(stage.broker.clone()).await.unwrap();
    let go = stage.dir.path().join("go");
    let print =
        format!("for n in $(seq 30); do echo \"line $n\"; done; until [ -e {} ]; do sleep 0.01; done", go.display());
    let label_set = LabelSet::default();
    stage.broker.declare(&topology::tasks(&label_set)).await.unwrap();
    let grant = job(&[&print]);
    let lease = grant.lease;
    stage.script.lock().unwrap().grants.push_back(grant);
    stage.journal.hold();
    let hint = to_bytes(Hint { label_set: label_set.clone() });
    // Its confirm is held back, too.
    drop(stage.broker.publish(Outgoing::new(topology::Exchange::Tasks, label_set.to_string(), hint)));
    stage.line(|line| line.text == "line 30").await;
    let told = now(&stage, &requester, 3).await;
    assert_eq!((told.running, told.attempts.len(), told.left_out), (vec![lease], 1, None));
    let attempt = &told.attempts[0];
    assert_eq!((attempt.job, attempt.attempt, attempt.unconfirmed_lines), (lease.job, lease.attempt, 30));
    assert!(attempt.unconfirmed_events >= 2, "its step began, and it printed: {attempt:?}");
    assert_eq!(attempt.lines, ["line 28", "line 29", "line 30"]);
    assert_eq!(attempt.step.as_ref().map(|step| step.step), Some(0));
    assert_eq!(now(&stage, &requester, 0).await.attempts[0].lines, [""; 0]);
    stage.journal.release();
    loop {
        let attempt = now(&stage, &requester, 20).await.attempts.remove(0);
        if attempt.unconfirmed_events == 0 {
            assert_eq!((attempt.unconfirmed_lines, attempt.lines.len()), (0, 0));
            break;
        }
    }
    std::fs::write(go, "").unwrap();
    assert_eq!(stage.rest().await.1.outcome, Outcome::Succeeded);
    // Its place is free a moment after its end was told.
    let free = async { while now(&stage, &requester, 20).await.free_slots != Some(told.slots) {} };
    tokio::time::timeout(PATIENCE, free).await.expect("the slot is never free");
}
