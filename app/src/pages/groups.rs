//! `/groups`: who reads the stream of events, each at its own pace: how far, how fast, and in which process.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use wire::{command::Query, group::GroupView};

use crate::{
    api::read_groups,
    components::{
        at_once::AtOnce,
        group_row::GroupRow,
        own::not_admin,
        page_data::{page_data, read_once, typed},
    },
    live::keep_live,
};

/// The route.
#[component]
pub fn GroupsRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_groups()));
    let page = |first: Vec<GroupView>| {
        let now = RwSignal::new(first);
        keep_live(Query::Groups {}, now);
        AtOnce(show(now)).into_any()
    };
    view! {
        <Title text="Consumer groups"/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

fn show(now: RwSignal<Vec<GroupView>>) -> impl IntoView {
    let names = Memo::new(move |_| now.with(|now| now.iter().map(|group| group.name.clone()).collect::<Vec<_>>()));
    // A row stays while its numbers change: what is asked in it stays open.
    let row = move |name: String| {
        let group = Memo::new(move |_| {
            now.with(|now| now.iter().find(|group| group.name == name).cloned().unwrap_or_default())
        });
        view! { <GroupRow group/> }
    };
    view! {
        <div class="heading">
            <h1>"Consumer groups"</h1>
        </div>
        <p class="about">
            "Each reads the stream of events by itself: the recorder writes what builds show, analytics counts it, search finds it. One that stands still holds up no other. See also "
            <a href="/gateways">"gateways"</a> " and " <a href="/executors">"executors"</a> "." {not_admin(" To pause or rebuild one you need the role admin everywhere.")}
        </p>
        <ul class="executors groups" aria-label="Consumer groups">
            <For each=move || names.get() key=Clone::clone children=row/>
        </ul>
    }
}
