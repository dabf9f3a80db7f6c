//! The audit log: what was noted is found, newest first, and outlives what it names.

use uuid::Uuid;
use wire::{
    AccountId, Authority,
    audit::{Action, AuditEntry, AuditQuery},
    authority::{Grants, Role},
};

use super::{
    Fixture,
    samples::{build, create, job},
};
use crate::audit::{DETAIL_CHARS_MAX, NewEntry};

/// An entry comes back as it was written, by each of its marks, and by pages that new entries do not move.
pub async fn audit_entries_are_found_newest_first(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let account = AccountId(Uuid::new_v4());
    let who = Authority::new("session:1", Some(account), "Ada", Grants::everywhere(Role::Admin));
    let who = who.at(Some([192, 0, 2, 1].into()));
    let made = create(&*store, build("site", vec![job("a")])).await;
    let triggered =
        NewEntry::by(&who, Action::BuildTriggered).pipeline(&made.pipeline).build(made.id).detail("With priority 5.");
    store.note(triggered).await.unwrap();
    store.note(NewEntry::by_system(Action::HookRefused)).await.unwrap();
    let long = "ü".repeat(DETAIL_CHARS_MAX + 1);
    store.note(NewEntry::new(Action::SignInRefused, "sign-in", "Eve").detail(long)).await.unwrap();
    let of = |query: AuditQuery| {
        let store = store.clone();
        async move { store.entries(&query).await.unwrap() }
    };
    let all = of(AuditQuery::default()).await;
    let actions: Vec<Action> = all.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::SignInRefused, Action::HookRefused, Action::BuildTriggered]);
    assert_eq!(all[0].detail.as_ref().unwrap().chars().count(), DETAIL_CHARS_MAX);
    let AuditEntry { id, at, .. } = all[2].clone();
    let first = AuditEntry {
        id,
        at,
        action: Action::BuildTriggered,
        subject: "session:1".to_owned(),
        name: "Ada".to_owned(),
        account: Some(account),
        address: Some("192.0.2.1".to_owned()),
        pipeline: Some(made.pipeline.clone()),
        build: Some(made.id),
        detail: Some("With priority 5.".to_owned()),
    };
    assert!(at >= made.queued_at);
    for query in [
        AuditQuery { pipeline: Some(made.pipeline.clone()), ..AuditQuery::default() },
        AuditQuery { account: Some(account), ..AuditQuery::default() },
        AuditQuery { name: Some("Ada".to_owned()), ..AuditQuery::default() },
        AuditQuery { action: Some(Action::BuildTriggered), name: Some("Ada".to_owned()), ..AuditQuery::default() },
        AuditQuery { before: Some(all[1].id), ..AuditQuery::default() },
    ] {
        assert_eq!(of(query.clone()).await, std::slice::from_ref(&first), "{query:?}");
    }
    assert_eq!(of(AuditQuery { limit: Some(2), ..AuditQuery::default() }).await, all[..2]);
    assert!(of(AuditQuery { action: Some(Action::SecretSet), ..AuditQuery::default() }).await.is_empty());
    assert_eq!(fixture.after_kill().await.entries(&AuditQuery::default()).await.unwrap(), all);
}

/// Old entries go, the oldest first, and no younger ones.
pub async fn audit_entries_are_forgotten_by_their_age(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for _ in 0..3 {
        store.note(NewEntry::by_machine(Action::BackedUp)).await.unwrap();
    }
    let all = store.entries(&AuditQuery::default()).await.unwrap();
    assert_eq!(store.forget_entries(all[2].at, 10).await.unwrap(), 0);
    let later = store.now().await.unwrap().plus_micros(1_000_000);
    assert_eq!(store.forget_entries(later, 2).await.unwrap(), 2);
    assert_eq!(store.entries(&AuditQuery::default()).await.unwrap(), all[..1]);
    assert_eq!(store.forget_entries(later, 2).await.unwrap(), 1);
}
