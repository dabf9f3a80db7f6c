//! Builds that this person started and that ended while nobody was there to be told.

use leptos::{prelude::*, task::spawn_local};
use wire::{Problem, view::BuildSummary};

use super::{
    problem_note::ProblemNote,
    status::{Status, StatusLabel},
};
use crate::rest;

/// Named one by one; beyond it they are counted.
const NAMED_MAX: usize = 5;

/// The strip; nothing when everything was received.
#[component]
pub fn ResultStrip(
    /// The last one first.
    results: Vec<BuildSummary>,
) -> impl IntoView {
    let results = RwSignal::new(results);
    let busy = RwSignal::new(false);
    let problem = RwSignal::new(None::<Problem>);
    let run = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        problem.set(None);
        spawn_local(async move {
            for build in results.get_untracked() {
                match rest::acknowledge(build.id).await {
                    // One that was deleted meanwhile, or is run again, needs no word.
                    Err(refused) if !matches!(refused.status, 404 | 409) => {
                        let _ = problem.try_set(Some(refused));
                        break;
                    }
                    _ => drop(results.try_update(|all| all.retain(|other| other.id != build.id))),
                }
            }
            let _ = busy.try_set(false);
        });
    };
    let sentence = move || match results.with(Vec::len) {
        1 => "A build that you started has finished while you were away:".to_owned(),
        count => format!("{count} builds that you started have finished while you were away:"),
    };
    let named = move || {
        let all = results.get();
        let more = all.len().saturating_sub(NAMED_MAX);
        let links = all.into_iter().take(NAMED_MAX).map(|build| {
            let status = Status::of(build.state, build.outcome);
            let name = format!("{} #{}", build.pipeline, build.number);
            view! { <li><a href=format!("/builds/{}", build.id)><StatusLabel status/> " " {name}</a></li> }
        });
        let links = links.collect_view();
        view! { {links} {(more > 0).then(|| view! { <li class="muted">{format!("and {more} more")}</li> })} }
    };
    view! {
        <Show when=move || !results.with(Vec::is_empty)>
            <section class="results" aria-label="Finished while you were away">
                <p>{sentence}</p>
                <ul>{named}</ul>
                <button type="button" class="small needs-js" disabled=move || busy.get() on:click=run>"Got it"</button>
                {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
            </section>
        </Show>
    }
}
