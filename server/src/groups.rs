//! Consumer groups of this process: each has its own turn, so that any process may read for any of them and none waits for
//! another one; and what is asked and wished of them.

use std::sync::{Arc, atomic::Ordering};

use broker::Broker;
use projections::{GROUPS, analytics, group::told, recorder, search};
use store::{Store, audit::NewEntry, groups::Change};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::{
    Authority, Problem,
    audit::Action,
    authority::Need,
    group::{GroupState, GroupView, NOBODY},
    mac::InstallationKey,
};

use crate::{core::Core, queries::store_problem, turn::Turns};

/// What a group is made of.
#[derive(Clone)]
pub(crate) struct GroupParts {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: InstallationKey,
    /// The name of this process.
    pub(crate) member: String,
}

/// Starts all groups, and tells that this process is a member of them.
pub(crate) fn start(
    running: &mut JoinSet<Result<(), String>>,
    turns: &Turns,
    parts: &GroupParts,
    shutdown: &CancellationToken,
) {
    let mut group = |name, run: fn(GroupParts, CancellationToken) -> broker::BoxFuture<'static, ()>| {
        let parts = parts.clone();
        running.spawn(turns.clone().run(name, shutdown.clone(), move |shutdown| {
            let ended = run(parts.clone(), shutdown);
            async move {
                ended.await;
                Ok(())
            }
        }));
    };
    group(recorder::GROUP, |parts, shutdown| {
        Box::pin(recorder::run(parts.broker, parts.store, parts.key, parts.member, shutdown))
    });
    group(store::analytics::GROUP, |parts, shutdown| {
        Box::pin(analytics::run(parts.broker, parts.store, parts.key, parts.member, shutdown))
    });
    group(search::GROUP, |parts, shutdown| Box::pin(search::run(parts.broker, parts.store, parts.member, shutdown)));
    let (store, member, shutdown) = (parts.store.clone(), parts.member.clone(), shutdown.clone());
    running.spawn(async move {
        told::announce(&*store, &GROUPS, &member, shutdown).await;
        Ok(())
    });
}

/// All groups.
pub(crate) async fn views(core: &Core, who: &Authority) -> Result<Vec<GroupView>, Problem> {
    who.need(Need::SeeAll)?;
    let end = core.stream_end.load(Ordering::Relaxed);
    let mut views = core.store.group_views(Some(end), told::SILENCE).await.map_err(store_problem)?;
    for name in GROUPS {
        if !views.iter().any(|view| view.name == name) {
            let reason = Some(NOBODY.to_owned());
            views.push(GroupView {
                name: name.to_owned(),
                state: GroupState::Failing,
                reason,
                lag: end,
                ..GroupView::default()
            });
        }
    }
    views.sort_by(|one, other| one.name.cmp(&other.name));
    for view in &mut views {
        view.can_rebuild = can_rebuild(&view.name);
    }
    Ok(views)
}

/// How many events one of them is behind.
pub(crate) async fn lag(core: &Core, group: &str) -> Result<u64, store::StoreError> {
    let end = core.stream_end.load(Ordering::Relaxed);
    let views = core.store.group_views(Some(end), told::SILENCE).await?;
    Ok(views.iter().find(|view| view.name == group).map_or(end, |view| view.lag))
}

fn can_rebuild(group: &str) -> bool {
    group != recorder::GROUP
}

/// Keeps a wish for a group: its member that reads takes it up within a second.
pub(crate) async fn change(core: &Core, who: &Authority, group: &str, change: Change) -> Result<(), Problem> {
    who.need(Need::Run)?;
    if !GROUPS.contains(&group) {
        let known = GROUPS.join(", ");
        return Err(Problem::new(404, "Not found", format!("There is no group {group:?}; there are {known}.")));
    }
    if change == Change::Rebuild && !can_rebuild(group) {
        let sentence = "The recorder cannot be rebuilt: what it keeps is the record itself, from which the other groups are rebuilt.";
        return Err(Problem::new(409, "Not possible", sentence));
    }
    let action = match change {
        Change::Pause => Action::GroupPaused,
        Change::Resume => Action::GroupResumed,
        Change::Rebuild => Action::GroupRebuilt,
    };
    let entry = NewEntry::by(who, action).detail(format!("The group {group}."));
    core.store.change_group(group, change, entry).await.map_err(store_problem)
}
