//! A consumer group: how it stands, who reads for it, and what a person can do with it.

use leptos::prelude::*;
use wire::{
    authority::Role,
    group::{GroupState, GroupView},
};

use super::{ask_first::AskFirst, at_once::AtOnce, connection::grouped, deed::Deed, own::Own};
use crate::rest;

/// What it does, in words.
#[must_use]
pub fn state_text(group: &GroupView) -> String {
    match (group.state, group.progress, &group.reason) {
        (GroupState::Rebuilding, Some(progress), _) => {
            format!("rebuilding, {} of {} builds", grouped(progress.done), grouped(progress.total))
        }
        (GroupState::Failing, _, Some(reason)) => format!("failing: {reason}"),
        (state, ..) => state.as_str().to_owned(),
    }
}

/// Who reads for it, and who would if that one were gone.
#[must_use]
pub fn readers(group: &GroupView) -> String {
    let others: Vec<&str> =
        group.members.iter().map(String::as_str).filter(|name| Some(*name) != group.active.as_deref()).collect();
    match (&group.active, others.as_slice()) {
        (None, []) => "Nobody reads for it.".to_owned(),
        (None, others) => format!("Nobody reads for it now; {} may.", others.join(", ")),
        (Some(active), []) => format!("Read by {active}."),
        (Some(active), others) => format!("Read by {active}; {} may take over.", others.join(", ")),
    }
}

/// The row.
#[component]
pub fn GroupRow(
    /// The group.
    group: Memo<GroupView>,
) -> impl IntoView {
    let (name, can_rebuild) = group.with_untracked(|group| (group.name.clone(), group.can_rebuild));
    let own = Own::get();
    let deed = Deed::new();
    let run = {
        let name = name.clone();
        move |verb: &'static str| {
            let name = name.clone();
            deed.ask(async move { rest::change_group(&name, verb).await }, drop);
        }
    };
    let is_paused = Memo::new(move |_| group.with(|group| group.state == GroupState::Paused));
    let toggle = {
        let run = run.clone();
        move |_| run(if is_paused.get_untracked() { "resume" } else { "pause" })
    };
    let spoken = {
        let name = name.clone();
        move || format!("{}: {name}", if is_paused.get() { "Resume" } else { "Pause" })
    };
    let rebuild_label = format!("Rebuild: {name}");
    let rebuild = can_rebuild.then(|| {
        view! {
            <AskFirst
                label="Rebuild"
                spoken=Some(rebuild_label)
                question="Make it anew from the record? Builds that were deleted are not in it any more."
                yes="Rebuild it"
                no="Leave it"
                small=true
                busy=deed.busy
                run=Callback::new(move |()| run("rebuild"))
            />
        }
    });
    let number = move |of: fn(&GroupView) -> u64| grouped(group.with(of));
    let offset = move || group.with(|group| group.offset.map_or_else(|| "none".to_owned(), grouped));
    let losses = move || {
        let losses = group.with(|group| group.losses);
        (losses > 0).then(|| format!("lost its place {} times", grouped(losses)))
    };
    AtOnce(view! {
        <li class="group">
            <div class="who">
                <span class="name">{name}</span>
                <span class=move || format!("group-state {}", group.with(|group| group.state.as_str())) role="status">
                    {move || group.with(state_text)}
                </span>
                <span class="muted">{losses}</span>
            </div>
            <dl class="figures">
                <div><dt>"Offset"</dt><dd>{offset}</dd></div>
                <div><dt>"Behind"</dt><dd class="lag">{move || number(|group| group.lag)}</dd></div>
                <div><dt>"Events/s"</dt><dd>{move || number(|group| group.speed)}</dd></div>
            </dl>
            <p class="readers muted">{move || group.with(readers)}</p>
            <div class="decision needs-js" class:absent=move || !own.everywhere(Role::Admin)>
                <button class="small" type="button" aria-label=spoken disabled=move || deed.busy.get() on:click=toggle>
                    {move || if is_paused.get() { "Resume" } else { "Pause" }}
                </button>
                {rebuild}
                {deed.note()}
            </div>
        </li>
    })
}

#[cfg(test)]
mod tests {
    use wire::group::Progress;

    use super::*;

    #[test]
    fn a_group_is_told_in_words() {
        let mut group = GroupView { members: vec!["north".into(), "south".into()], ..GroupView::default() };
        assert_eq!(
            (state_text(&group).as_str(), readers(&group).as_str()),
            ("running", "Nobody reads for it now; north, south may.")
        );
        group.active = Some("south".into());
        (group.state, group.progress) = (GroupState::Rebuilding, Some(Progress { done: 1_200, total: 3_000 }));
        assert_eq!(state_text(&group), "rebuilding, 1,200 of 3,000 builds");
        assert_eq!(readers(&group), "Read by south; north may take over.");
        (group.state, group.reason) = (GroupState::Failing, Some("the disk is full".into()));
        assert_eq!(state_text(&group), "failing: the disk is full");
    }
}
