//! Concurrency groups in conversation: who waits is not granted, who is free is hinted at once, who was superseded ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod world;

use std::{collections::BTreeMap, time::Duration};

use control::waiting::waiting_for;
use store::{
    Builds, Executors,
    concurrency::Concurrency,
    model::{Build, BuildState, JobState},
};
use tokio::time::timeout;
use uuid::Uuid;
use wire::{
    LabelSet, Outcome,
    command::Trigger,
    task::{ControlReply, ExecutorNotice, LeaseRef},
};
use world::{Executor, LONG, PATIENCE, World};

fn site(when_full: &str) -> String {
    format!(
        "{{name: site, inputs: {{env: {{default: prod}}}}, \
         concurrency: {{group: 'deploy-${{{{ inputs.env }}}}', when_full: {when_full}}}, \
         jobs: {{deploy: {{steps: [{{run: make}}]}}}}}}"
    )
}

async fn build(world: &World, when_full: &str) -> Build {
    world.build_of(&site(when_full), &Trigger::default()).await
}

/// Waits until a build is finished.
async fn finished(world: &World, build: &Build) -> Build {
    let found = timeout(PATIENCE, async {
        loop {
            let found = world.load(build).await;
            if matches!(found.state, BuildState::Finished { .. }) {
                break found;
            }
            tokio::task::yield_now().await;
        }
    });
    found.await.expect("the build does not end")
}

/// What it is told next to end.
async fn cancelled(executor: &mut Executor) -> LeaseRef {
    loop {
        if let ExecutorNotice::Cancel { lease } = executor.notice().await {
            return lease;
        }
    }
}

fn reason(build: &Build) -> (Outcome, Option<&str>) {
    match &build.jobs[0].state {
        JobState::Finished { outcome, reason, .. } => (*outcome, reason.as_deref()),
        other => panic!("{other:?}"),
    }
}

/// Leases are long, so nothing here is topped up: what is hinted was announced with the change.
#[tokio::test]
async fn a_group_that_becomes_free_is_hinted_at_once() {
    let world = World::start(LONG).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &["linux"]).await;
    let (first, second) = (build(&world, "queue").await, build(&world, "queue").await);
    let stage = Trigger { inputs: BTreeMap::from([("env".to_owned(), "stage".to_owned())]), ..Trigger::default() };
    let other = world.build_of(&site("queue"), &stage).await;
    let one = executor.work(&any).await;
    assert_eq!(one.build, first.id);
    assert_eq!(executor.work(&any).await.build, other.id, "another environment is another group");
    assert_eq!(executor.claim_as(Uuid::new_v4(), &any).await, ControlReply::Nothing {});
    let mut view = world.store.build_view(second.id).await.unwrap().unwrap();
    let held_up = world.store.held_up(second.id).await.unwrap();
    waiting_for(&mut view, &world.store.executors(LONG).await.unwrap(), &held_up, |_| true);
    let sentence = "waits for concurrency group deploy-prod, held by build #1 of site";
    assert_eq!(view.jobs[0].waiting_for.as_deref(), Some(sentence));
    executor.finish(one.lease, Outcome::Failed).await;
    assert_eq!(executor.work(&any).await.build, second.id);
}

/// Who waits for its turn, and would find no executor then, is told both.
#[tokio::test]
async fn a_held_job_that_nobody_could_take_says_so_as_well() {
    let world = World::start(LONG).await;
    let _executor = Executor::start(&world, &["linux"]).await;
    let text = "{name: site, concurrency: deploy, jobs: {deploy: {labels: [gpu], steps: [{run: make}]}}}";
    let mut sentences = Vec::new();
    for _ in 0..2 {
        let build = world.build_of(text, &Trigger::default()).await;
        let mut view = world.store.build_view(build.id).await.unwrap().unwrap();
        let held_up = world.store.held_up(build.id).await.unwrap();
        waiting_for(&mut view, &world.store.executors(LONG).await.unwrap(), &held_up, |_| true);
        sentences.extend(view.jobs[0].waiting_for.clone());
    }
    let nobody = "no executor offers the label gpu: start one with `--labels gpu`";
    let held = format!("waits for concurrency group deploy, held by build #1 of site; {nobody}");
    assert_eq!(sentences, [nobody, &held]);
}

/// Its executor restarts, or nobody renews its lease: the job keeps the group until it has ended, then the next one has it.
#[tokio::test]
async fn a_lost_job_runs_again_in_its_place() {
    let world = World::start(Duration::from_millis(300)).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &["linux"]).await;
    let (first, second) = (build(&world, "queue").await, build(&world, "queue").await);
    for attempt in 1..=3 {
        let grant = executor.work(&any).await;
        assert_eq!((grant.build, grant.lease.attempt), (first.id, attempt));
    }
    // The third loss is the last one that is allowed.
    assert_eq!(finished(&world, &first).await.jobs[0].losses, 3);
    assert_eq!(executor.work(&any).await.build, second.id);
}

#[tokio::test]
async fn the_newest_build_supersedes_those_that_wait() {
    let world = World::start(LONG).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &["linux"]).await;
    let first = build(&world, "newest_wins").await;
    let running = executor.work(&any).await;
    let (second, third) = (build(&world, "newest_wins").await, build(&world, "newest_wins").await);
    let superseded = finished(&world, &second).await;
    assert_eq!(reason(&superseded), (Outcome::Cancelled, Some("superseded by build #3 of site")));
    assert!(matches!(world.load(&first).await.state, BuildState::Running { .. }));
    executor.finish(running.lease, Outcome::Succeeded).await;
    assert_eq!(executor.work(&any).await.build, third.id);
}

#[tokio::test]
async fn a_running_build_is_asked_once_to_end_for_a_newer_one() {
    let world = World::start(LONG).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &["linux"]).await;
    let first = build(&world, "cancel_running").await;
    let running = executor.work(&any).await;
    let second = build(&world, "cancel_running").await;
    assert_eq!(cancelled(&mut executor).await, running.lease);
    assert_eq!(executor.claim_as(Uuid::new_v4(), &any).await, ControlReply::Nothing {}, "it has not ended yet");
    executor.finish(running.lease, Outcome::Cancelled).await;
    assert_eq!(executor.work(&any).await.build, second.id);
    let BuildState::Finished { outcome, .. } = finished(&world, &first).await.state else { panic!("it is finished") };
    assert_eq!(outcome, Outcome::Cancelled);
    // A second notice would stand before this one.
    let third = build(&world, "cancel_running").await;
    assert_eq!(cancelled(&mut executor).await.job, second.jobs[0].id);
    assert_eq!(world.store.held_up(third.id).await.unwrap().len(), 1);
}

/// A job of a matrix in a group of one: the next combination follows in the same build. What a newer build supersedes is
/// the older build's waiting job alone.
#[tokio::test]
async fn jobs_of_one_build_take_turns_and_are_superseded_alone() {
    let world = World::start(LONG).await;
    let any = LabelSet::default();
    let mut executor = Executor::start(&world, &["linux"]).await;
    let text = "{name: site, jobs: {test: {steps: [{run: x}]}, \
                deploy: {concurrency: {group: prod, when_full: newest_wins}, steps: [{run: make}]}}}";
    let [first, second, third] = [
        world.build_of(text, &Trigger::default()).await,
        world.build_of(text, &Trigger::default()).await,
        world.build_of(text, &Trigger::default()).await,
    ];
    let superseded = timeout(PATIENCE, async {
        loop {
            let found = world.load(&second).await;
            if let JobState::Finished { outcome, reason, .. } = &found.jobs[1].state {
                break (*outcome, reason.clone());
            }
            tokio::task::yield_now().await;
        }
    });
    let (outcome, reason) = superseded.await.expect("the job does not end");
    assert_eq!((outcome, reason.as_deref()), (Outcome::Cancelled, Some("superseded by build #3 of site")));
    let mut granted = Vec::new();
    for _ in 0..4 {
        let grant = executor.work(&any).await;
        granted.push((grant.number, grant.job_name));
    }
    granted.sort();
    let expected = [(1, "deploy"), (1, "test"), (2, "test"), (3, "test")].map(|(n, job)| (n, job.to_owned()));
    assert_eq!(granted, expected);
    assert!(matches!(world.load(&first).await.jobs[1].state, JobState::Running { .. }));
    assert!(matches!(world.load(&third).await.jobs[1].state, JobState::Queued { .. }));
}
