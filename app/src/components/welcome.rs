//! What an empty installation shows: a pipeline to look at, and one button that runs it.

use std::collections::BTreeMap;

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_navigate;
use wire::{PipelineName, Problem};

use super::{problem_note::ProblemNote, trigger_form::Start};
use crate::rest;

/// A pipeline that anyone can run anywhere.
pub const SAMPLE: &str = include_str!("welcome/sample.yaml");
const SAMPLE_NAME: &str = "sample";

/// The sample pipeline and its button.
#[component]
pub fn Welcome() -> impl IntoView {
    let start = Start::new();
    let navigate = use_navigate();
    let refused = RwSignal::new(None::<Problem>);
    let saving = RwSignal::new(false);
    let press = move |_| {
        let Ok(name) = SAMPLE_NAME.parse::<PipelineName>() else { return };
        let navigate = navigate.clone();
        saving.set(true);
        spawn_local(async move {
            let saved = rest::put_pipeline(SAMPLE_NAME, SAMPLE.to_owned()).await;
            saving.set(false);
            match saved {
                Ok(()) => start.start(name, BTreeMap::new(), move |url| navigate(url, Default::default())),
                Err(problem) => refused.set(Some(problem)),
            }
        });
    };
    let busy = move || saving.get() || start.busy.get();
    view! {
        <section class="welcome">
            <h1>"No pipelines yet"</h1>
            <p>
                "A pipeline is one file: jobs, their steps, and which job needs which. This one only prints, on this machine, and takes about fifteen seconds. Run it and watch its lines as they come, or "
                <a href="/pipelines/new">"write your own"</a> "."
            </p>
            <p>
                <button class="primary large needs-js" type="button" on:click=press disabled=busy>
                    "Run the sample pipeline"
                </button>
            </p>
            {move || refused.get().or_else(|| start.problem.get()).map(|problem| view! { <ProblemNote problem/> })}
            <pre class="code" tabindex="0">{SAMPLE}</pre>
        </section>
    }
}
