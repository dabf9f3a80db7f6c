//! `/audit`: who did what, and when. A form that the server answers, with and without scripts.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use wire::audit::{Action, AuditEntry};

use crate::{
    api::people::{AuditPage, read_audit},
    components::{
        at_once::AtOnce,
        page_data::{page_data, typed},
        problem_note::ProblemNote,
        time::Time,
    },
};

/// The route.
#[component]
pub fn AuditRoute() -> impl IntoView {
    let query = use_query_map();
    let asked = move || {
        query.with(|query| {
            let of = |name: &str| query.get(name).unwrap_or_default();
            (of("name"), of("action"), of("pipeline"), of("before"))
        })
    };
    let read = |(name, action, pipeline, before)| read_audit(name, action, pipeline, before);
    let data = Resource::new_with_options(asked, read, false);
    view! {
        <Title text="Audit log"/>
        {page_data(data, Arc::new(move |data| typed(data, show)))}
    }
}

/// An action as people read it.
fn words(action: Action) -> String {
    action.as_str().replace('_', " ")
}

fn show(page: AuditPage) -> AnyView {
    let AuditPage { name, action, pipeline, entries, older, download, pipelines, problem } = page;
    let actions = Action::ALL.iter().map(|known| {
        view! { <option value=known.as_str() selected=known.as_str() == action>{words(*known)}</option> }
    });
    let pipelines = pipelines.into_iter().map(|known| {
        let is_chosen = known == pipeline;
        view! { <option value=known.clone() selected=is_chosen>{known.clone()}</option> }
    });
    let none = (entries.is_empty() && problem.is_none()).then_some("There are no entries of that kind.");
    let rows = entries.into_iter().map(row).collect_view();
    AtOnce(view! {
        <div class="heading">
            <h1>"Audit log"</h1>
            <span class="space"></span>
            <a class="button" href=download rel="external" download="audit.ndjson" title="The newest 1,000 of these, an entry a line">
                "Download as JSON lines"
            </a>
        </div>
        <form class="entries" method="get" action="/audit" aria-label="Which entries">
            <input type="text" name="name" value=name.clone() prop:value=name placeholder="Name" aria-label="By whom" autocomplete="off" spellcheck="false"/>
            <select name="action" aria-label="What was done">
                <option value="">"All that was done"</option>
                {actions.collect_view()}
            </select>
            <select name="pipeline" aria-label="About which pipeline">
                <option value="">"All pipelines"</option>
                {pipelines.collect_view()}
            </select>
            <button class="primary" type="submit">"Show"</button>
        </form>
        {problem.map(|problem| view! { <ProblemNote problem/> })}
        <ol class="audit" aria-label="Entries, the newest first">{rows}</ol>
        <p class="note quiet">{none}</p>
        {older.map(|older| view! { <p class="older"><a href=older>"Older entries"</a></p> })}
    })
    .into_any()
}

fn row(entry: AuditEntry) -> impl IntoView {
    let AuditEntry { at, action, name, address, pipeline, build, detail, .. } = entry;
    let address = address.map(|address| format!("from {address}"));
    let pipeline = pipeline.map(|name| view! { <a href=format!("/pipelines/{name}")>{name.to_string()}</a> });
    let build = build.map(|id| view! { <a href=format!("/builds/{id}")>"build"</a> });
    view! {
        <li>
            <Time at/>
            <span class="by">{name}</span>
            <span class="what"><b>{words(action)}</b> " " {pipeline} " " {build} " " <span class="muted">{detail}</span></span>
            <span class="muted from">{address}</span>
        </li>
    }
}
