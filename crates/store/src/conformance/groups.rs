//! Consumer groups beside their effects: wishes outlive whoever was told of them, and what is told is shown.

use std::time::Duration;

use uuid::Uuid;
use wire::{
    audit::Action,
    group::{GroupState, Progress},
};

use super::{
    Fixture,
    samples::{build, create, entries, entry, job, record},
};
use crate::groups::{Change, Told, Wish};

const SILENCE: Duration = Duration::from_secs(600);

/// What a person wishes of a group is kept until another wish replaces it, for that group alone.
pub async fn a_wish_for_a_group_survives_a_kill(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.group_wish("analytics").await.unwrap(), Wish::default());
    store.change_group("analytics", Change::Pause, entry(Action::GroupPaused)).await.unwrap();
    store.change_group("analytics", Change::Rebuild, entry(Action::GroupRebuilt)).await.unwrap();
    let store = fixture.after_kill().await;
    assert_eq!((entries(&*store, Action::GroupPaused).await, entries(&*store, Action::GroupRebuilt).await), (1, 1));
    assert_eq!(store.group_wish("analytics").await.unwrap(), Wish { paused: true, rebuild: true });
    assert_eq!(store.group_wish("recorder").await.unwrap(), Wish::default());
    store.change_group("analytics", Change::Resume, entry(Action::GroupResumed)).await.unwrap();
    assert_eq!(store.group_wish("analytics").await.unwrap(), Wish { paused: false, rebuild: true });
}

/// A rebuild that was begun is wished for until it has ended, and reads on from where the recorder is.
pub async fn p5_a_rebuild_that_has_not_ended_is_to_be_made_again(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    create(&*store, build("p", vec![job("a")])).await;
    record(&*store, 41, Vec::new()).await;
    store.change_group("analytics", Change::Rebuild, entry(Action::GroupRebuilt)).await.unwrap();
    assert_eq!(store.begin_rebuild("analytics").await.unwrap(), 1);
    let store = fixture.after_kill().await;
    assert!(store.group_wish("analytics").await.unwrap().rebuild);
    assert_eq!(store.group_place("analytics").await.unwrap(), Some((Uuid::nil(), 41)));
    // A person may wish for another one meanwhile.
    store.change_group("analytics", Change::Rebuild, entry(Action::GroupRebuilt)).await.unwrap();
    store.end_rebuild("analytics").await.unwrap();
    assert!(store.group_wish("analytics").await.unwrap().rebuild);
    store.begin_rebuild("analytics").await.unwrap();
    store.end_rebuild("analytics").await.unwrap();
    assert!(!store.group_wish("analytics").await.unwrap().rebuild);
}

/// A group is shown with what its member that reads has told, and with those that may.
pub async fn groups_are_shown_as_their_members_tell(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    record(&*store, 10, Vec::new()).await;
    let shown = store.group_views(Some(14), SILENCE).await.unwrap();
    assert_eq!((shown.len(), shown[0].lag, shown[0].state), (1, 3, GroupState::Failing));
    assert!(shown[0].reason.as_ref().unwrap().contains("role projections"), "nobody reads for it");
    for member in ["south", "north"] {
        store.put_member(&["analytics", "recorder"], member).await.unwrap();
    }
    let told = Told { member: "north".to_owned(), speed: 7, passed: Some((Uuid::nil(), 12)), ..Told::default() };
    store.tell_group("recorder", &told).await.unwrap();
    let progress = Some(Progress { done: 3, total: 9 });
    let other = Told { member: "gone".to_owned(), state: GroupState::Rebuilding, progress, ..Told::default() };
    store.tell_group("analytics", &other).await.unwrap();
    let store = fixture.after_kill().await;
    let shown = store.group_views(Some(14), SILENCE).await.unwrap();
    let [analytics, recorder] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((recorder.offset, recorder.lag, recorder.speed), (Some(10), 1, 7));
    assert_eq!((recorder.state, recorder.active.as_deref()), (GroupState::Running, Some("north")));
    assert_eq!(recorder.members, ["north", "south"]);
    assert_eq!((analytics.offset, analytics.lag, analytics.progress), (None, 14, progress));
    assert_eq!(analytics.active, None, "who is not heard reads for nobody");
    // Another stream: what was passed over in the former one says nothing of this one.
    let anew = Told { passed: Some((Uuid::new_v4(), 99)), ..told };
    store.tell_group("recorder", &anew).await.unwrap();
    assert_eq!(store.group_views(Some(14), SILENCE).await.unwrap()[1].lag, 3);
    store.member_left("north").await.unwrap();
    let shown = store.group_views(None, SILENCE).await.unwrap();
    assert_eq!((shown[1].members.as_slice(), shown[1].active.as_deref()), (&["south".to_owned()][..], None));
}
