//! `/search`: what is found in all logs and builds. A form that the server answers, with and without scripts.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use wire::search::{Found, SearchHit, SearchPage};

use crate::{
    api::{Searched, read_search},
    components::{
        at_once::AtOnce,
        connection::grouped,
        page_data::{page_data, typed},
        problem_note::ProblemNote,
    },
};

/// An index that is less behind than this has only not heard the last words yet.
const BEHIND_MIN: u64 = 100;

/// The route.
#[component]
pub fn SearchRoute() -> impl IntoView {
    let query = use_query_map();
    // A form writes a space as a plus sign, which is no letter of any word.
    let asked = move || {
        query.with(|query| {
            let of = |name: &str| query.get(name).unwrap_or_default().replace('+', " ");
            (of("q"), of("pipeline"), of("before"))
        })
    };
    let read = |(q, pipeline, before)| read_search(q, pipeline, before);
    let data = Resource::new_with_options(asked, read, false);
    view! {
        <Title text="Search"/>
        {page_data(data, Arc::new(move |data| typed(data, show)))}
    }
}

fn show(searched: Searched) -> AnyView {
    let Searched { q, pipeline, pipelines, found, problem, older } = searched;
    let options = pipelines.into_iter().map(|name| {
        let is_chosen = name == pipeline;
        view! { <option value=name.clone() selected=is_chosen>{name.clone()}</option> }
    });
    let (shown, autofocus) = (q.clone(), q.is_empty());
    let nothing_asked = found.is_none() && problem.is_none();
    AtOnce(view! {
        <div class="heading">
            <h1>"Search"</h1>
        </div>
        <form class="search" method="get" action="/search" role="search">
            <label for="q">"Words in logs and builds"</label>
            <input id="q" type="search" name="q" value=q.clone() prop:value=q maxlength="200" autofocus=autofocus autocomplete="off" spellcheck="false"/>
            <select name="pipeline" aria-label="Of which pipeline">
                <option value="">"All pipelines"</option>
                {options.collect_view()}
            </select>
            <button class="primary" type="submit">"Search"</button>
        </form>
        {problem.map(|problem| view! { <ProblemNote problem/> })}
        {nothing_asked.then(|| view! {
            <p class="about">
                "All words must stand in one line. Whole words are found, whatever their case, and the parts of names: "
                <code>"timeout"</code>" finds "<code>"SocketTimeoutException"</code>". A "<code>"\"phrase in quotes\""</code>
                " and a path stand in a row; "<code>"conn*"</code>" finds all words that begin so."
            </p>
        })}
        {found.map(|found| results(&shown, found, older))}
    })
    .into_any()
}

fn results(q: &str, found: SearchPage, older: Option<String>) -> AnyView {
    let behind = match found.behind {
        _ if found.building => {
            Some("The index is being made of what was recorded: not everything is found yet.".to_owned())
        }
        behind if behind >= BEHIND_MIN => {
            Some(format!("The index is {} events behind: what was printed last is not found yet.", grouped(behind)))
        }
        _ => None,
    };
    let none = (found.hits.is_empty() && !found.stopped).then(|| format!("Nothing is found for {}.", q.trim()));
    let stopped = found.stopped.then_some("This search has looked at as much as one may. There may be older hits.");
    let builds = found.hits.chunk_by(|one, next| one.build == next.build).map(build).collect_view();
    AtOnce(view! {
        <p class="note" role="status">{behind}</p>
        <ol class="found" aria-label="Builds">{builds}</ol>
        <p class="note quiet">{none}</p>
        <p class="note">{stopped}</p>
        {older.map(|older| view! { <a class="button" href=older>"Older hits"</a> })}
    })
    .into_any()
}

fn build(hits: &[SearchHit]) -> AnyView {
    let first = hits.first().map(|hit| (format!("/builds/{}", hit.build), format!("{} #{}", hit.pipeline, hit.number)));
    let (address, name) = first.unwrap_or_default();
    AtOnce(view! {
        <li>
            <h2><a href=address>{name}</a></h2>
            <ul>{hits.iter().map(hit).collect_view()}</ul>
        </li>
    })
    .into_any()
}

fn hit(hit: &SearchHit) -> AnyView {
    let (place, is_raw) = match &hit.found {
        Found::Log { job_name, attempt, earlier: true, n, .. } => {
            (format!("{job_name}, attempt {attempt}, line {} of the raw log", grouped(n + 1)), true)
        }
        Found::Log { job_name, n, .. } => (format!("{job_name}, line {}", grouped(n + 1)), false),
        Found::Build { field } => (field.clone(), false),
    };
    let pieces = hit.pieces().into_iter().map(|(is_found, text)| match is_found {
        true => view! { <mark>{text}</mark> }.into_any(),
        false => text.into_any(),
    });
    AtOnce(view! {
        <li>
            <a href=hit.url.clone() rel=is_raw.then_some("external")>{place}</a>
            <span class="line">{pieces.collect_view()}</span>
        </li>
    })
    .into_any()
}
