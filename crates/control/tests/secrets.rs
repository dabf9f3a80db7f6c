//! Secrets in the conversation with executors: who gets them, and who does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod world;

use control::waiting::waiting_for;
use store::{
    Builds, Executors, Secrets,
    audit::NewEntry,
    model::{JobState, secret::NewSecret},
};
use uuid::Uuid;
use vault::{ClaimKey, Keyring, Scope, SecretValue};
use wire::{Outcome, audit::Action, task::ControlReply};
use world::{Executor, KEY, LONG, World, labels};

const JOBS: &str = "{build: {labels: [linux], secrets: {MINE: TOKEN}, steps: [{run: make}]}}";

async fn set(world: &World, value: &str) {
    let scope = Scope { pipeline: None, name: "TOKEN".parse().unwrap() };
    let sealed = Keyring::parse(KEY).unwrap().seal(&scope, &SecretValue::new(value.to_owned()).unwrap()).unwrap();
    let new = NewSecret {
        pipeline: None,
        name: scope.name,
        key_id: sealed.key_id,
        sealed: sealed.bytes,
        allowed: None,
        set_by: "ada".to_owned(),
    };
    world.store.put_secret(new, NewEntry::by_machine(Action::SecretSet)).await.unwrap();
}

#[tokio::test]
async fn secrets_come_with_the_grant_for_who_claimed_it_and_again_with_a_repeat() {
    let world = World::start(LONG).await;
    set(&world, "s3cret").await;
    let set = labels(&["linux", "masks-secrets"]);
    let mut executor = Executor::start(&world, &["linux", "masks-secrets"]).await;
    world.build(JOBS).await;
    executor.hint(&set).await;
    let claim_id = Uuid::new_v4();
    for key in [ClaimKey::new().unwrap(), ClaimKey::new().unwrap()] {
        let public = Some(key.public().to_owned());
        let ControlReply::Granted(grant) = executor.claim_with(claim_id, &set, public).await else { panic!() };
        assert!(!format!("{grant:?}").contains("s3cret") && !grant.env.contains_key("MINE"));
        let opened = key.open(grant.lease, grant.secrets.as_ref().unwrap()).unwrap();
        assert_eq!(opened["MINE"].reveal(), "s3cret");
    }
}

#[tokio::test]
async fn an_executor_that_does_not_mask_is_not_even_hinted_at_a_job_with_secrets() {
    let world = World::start(LONG).await;
    set(&world, "s3cret").await;
    let linux = labels(&["linux"]);
    let executor = Executor::start(&world, &["linux"]).await;
    let build = world.build(JOBS).await;
    assert!(!executor.label_sets.contains(&labels(&["linux", "masks-secrets"])));
    assert_eq!(executor.claim_as(Uuid::new_v4(), &linux).await, ControlReply::Nothing {});
    let mut view = world.store.build_view(build.id).await.unwrap().unwrap();
    waiting_for(&mut view, &world.store.executors(LONG).await.unwrap(), &[], |_| true);
    let sentence = view.jobs[0].waiting_for.clone().unwrap();
    assert_eq!(sentence, "no executor that offers linux masks secrets: update one to this version of Stepcast");
}

#[tokio::test]
async fn a_job_whose_executor_only_says_that_it_masks_fails_without_its_secrets() {
    let world = World::start(LONG).await;
    set(&world, "s3cret").await;
    let set = labels(&["linux", "masks-secrets"]);
    let mut executor = Executor::start(&world, &["linux", "masks-secrets"]).await;
    let build = world.build(JOBS).await;
    executor.hint(&set).await;
    assert_eq!(executor.claim_as(Uuid::new_v4(), &set).await, ControlReply::Nothing {});
    let build = world.load(&build).await;
    let JobState::Finished { outcome, reason, .. } = &build.jobs[0].state else { panic!("{build:?}") };
    assert_eq!(*outcome, Outcome::Failed);
    assert!(reason.as_ref().unwrap().contains("did not say that it masks them"), "{reason:?}");
}
