//! Hooks, and that what is delivered to them is built once.

use uuid::Uuid;
use wire::{BuildId, HookId, Timestamp, audit::Action, hook::Provider};

use super::{
    Fixture,
    samples::{build, create, job, pipeline},
};
use crate::{
    audit::NewEntry,
    hooks::{Delivery, HOOKS_MAX},
    model::{Created, NewBuild},
};

fn by() -> NewEntry {
    NewEntry::by_machine(Action::HookCreated)
}

fn id(n: u128) -> HookId {
    HookId(Uuid::from_u128(n))
}

fn delivered(generation: u32, id: &str, digest: &str) -> NewBuild {
    let (id, digest) = (id.to_owned(), digest.to_owned());
    let delivery = Delivery { hook: self::id(1), generation, id, digest };
    NewBuild { delivery: Some(delivery), ..build("p", vec![job("a")]) }
}

/// Equal ones at the same time and later get the first build, by their id or by their signature; another one gets its own.
pub async fn a_delivery_makes_one_build(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let spec = pipeline("p");
    store.put_pipeline(&spec, "x", Box::new(|_| true), None).await.unwrap();
    store.create_hook(id(1), &spec.name, Provider::Gitea, by()).await.unwrap().unwrap();
    assert_eq!(store.hooks(&spec.name).await.unwrap()[0].last_built_at, None);
    let asked = (0..10).map(|_| store.create_build(delivered(1, "one", "a")));
    let made: Vec<Created> = futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect();
    let new: Vec<BuildId> =
        made.iter().filter_map(|one| if let Created::New(build) = one { Some(build.id) } else { None }).collect();
    assert_eq!(new.len(), 1, "{made:?}");
    let first = store.load_build(new[0]).await.unwrap().unwrap();
    let last = store.hooks(&spec.name).await.unwrap()[0].last_built_at;
    assert!(last.is_some_and(|last| last > Timestamp(0) && last <= first.queued_at), "{last:?}");
    assert_eq!(made.iter().filter(|one| **one == Created::Before(new[0])).count(), 9);
    for (delivery, digest) in [("one", "b"), ("two", "a")] {
        assert_eq!(store.create_build(delivered(1, delivery, digest)).await.unwrap(), Created::Before(new[0]));
    }
    assert_eq!(create(&*store, delivered(1, "two", "b")).await.number, 2, "what was not built left no mark");
    let store = fixture.after_kill().await;
    assert_eq!(store.create_build(delivered(1, "one", "a")).await.unwrap(), Created::Before(new[0]));
}

/// With another secret, or deleted, it lets nothing through; of one pipeline there are so many at most.
pub async fn a_hook_lets_through_what_its_present_secret_signed(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (spec, other) = (pipeline("p"), pipeline("q"));
    assert_eq!(store.create_hook(id(1), &spec.name, Provider::Github, by()).await.unwrap(), None, "no pipeline");
    store.put_pipeline(&spec, "x", Box::new(|_| true), None).await.unwrap();
    let made = store.create_hook(id(1), &spec.name, Provider::Github, by()).await.unwrap().unwrap();
    assert_eq!(store.hook(id(1)).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.rotate_hook(&other.name, id(1), by()).await.unwrap(), None, "of another pipeline");
    assert_eq!(store.rotate_hook(&spec.name, id(1), by()).await.unwrap().unwrap().generation, 2);
    assert_eq!(store.create_build(delivered(1, "one", "a")).await.unwrap(), Created::NoHook);
    create(&*store, delivered(2, "one", "a")).await;
    assert!(!store.delete_hook(&other.name, id(1), by()).await.unwrap());
    assert!(store.delete_hook(&spec.name, id(1), by()).await.unwrap());
    assert_eq!(store.create_build(delivered(2, "two", "b")).await.unwrap(), Created::NoHook);
    for n in 0..HOOKS_MAX {
        assert!(store.create_hook(id(u128::from(n) + 2), &spec.name, Provider::Forgejo, by()).await.unwrap().is_some());
    }
    assert_eq!(store.create_hook(id(99), &spec.name, Provider::Forgejo, by()).await.unwrap(), None);
    assert_eq!(store.hooks(&spec.name).await.unwrap().len(), HOOKS_MAX as usize);
}
