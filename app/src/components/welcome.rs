//! What an empty installation shows: a pipeline to look at, and one button that runs it.

use std::collections::BTreeMap;

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_navigate;
use wire::{PipelineName, Problem, authority::Role};

use super::{own::Own, problem_note::ProblemNote, trigger_form::Start};
use crate::rest;

/// A pipeline that anyone can run anywhere.
pub const SAMPLE: &str = include_str!("welcome/sample.yaml");
const SAMPLE_NAME: &str = "sample";

/// The sample pipeline and its button.
#[component]
pub fn Welcome(
    /// Set while the button's work is under way: the welcome is to stay until then.
    starting: RwSignal<bool>,
) -> impl IntoView {
    let start = Start::new();
    let navigate = use_navigate();
    let refused = RwSignal::new(None::<Problem>);
    let press = move |_| {
        let Ok(name) = SAMPLE_NAME.parse::<PipelineName>() else { return };
        let navigate = navigate.clone();
        starting.set(true);
        refused.set(None);
        spawn_local(async move {
            let saved = rest::put_pipeline(SAMPLE_NAME, SAMPLE.to_owned(), None).await;
            // The person may have left the page meanwhile.
            if starting.try_get_untracked().is_none() {
                return;
            }
            match saved {
                Ok(_) => start.start(name, BTreeMap::new(), move |url| navigate(url, Default::default())),
                Err(problem) => {
                    refused.set(Some(problem));
                    starting.set(false);
                }
            }
        });
    };
    // Pressed again, it saves the same text and asks with the same key.
    let busy = move || start.busy.get() || (starting.get() && start.problem.with(Option::is_none));
    let own = Own::get();
    let may = Memo::new(move |_| own.everywhere(Role::Admin));
    let sample = move || {
        view! {
            <p>
                "A pipeline is one file: jobs, their steps, and which job needs which. This one only prints, on this machine, and takes about fifteen seconds. Run it and watch its lines as they come, or "
                <a href="/pipelines/new">"write your own"</a> "."
            </p>
            <p>
                <button class="primary large needs-js" type="button" on:click=press.clone() disabled=busy>
                    "Run the sample pipeline"
                </button>
            </p>
            {move || refused.get().or_else(|| start.problem.get()).map(|problem| view! { <ProblemNote problem/> })}
            <pre class="code" tabindex="0">{SAMPLE}</pre>
        }
    };
    view! {
        <section class="welcome">
            <h1>"No pipelines yet"</h1>
            <Show
                when=move || may.get()
                fallback=|| view! { <p>"There is none that you may see. An admin makes them, and says who sees which."</p> }
            >
                {sample.clone()}
            </Show>
        </section>
    }
}
