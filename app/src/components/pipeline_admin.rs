//! What the page of a pipeline shows to its admins besides: its secrets and its hooks.

use leptos::prelude::*;
use wire::PipelineName;

use super::{
    anew::{Anew, anew},
    hooks::Hooks,
    problem_note::ProblemNote,
    secrets::Secrets,
};
use crate::api::admin::{AdminPage, read_pipeline_admin};

/// Both sections, once they are read.
#[component]
pub fn PipelineAdmin(
    /// Of which pipeline.
    name: PipelineName,
) -> impl IntoView {
    let now = RwSignal::new(None::<AdminPage>);
    let put = move |data| {
        if let Ok(fresh) = serde_json::from_value(data) {
            now.set(Some(fresh));
        }
    };
    let reads = name.clone();
    let Anew { again: on_done, problem } = anew(move || Box::pin(read_pipeline_admin(reads.clone())), put);
    on_done.run(());
    let is_read = Memo::new(move |_| now.with(Option::is_some));
    let sections = move || {
        is_read.get().then(|| {
            let secrets = Signal::derive(move || now.get().map(|now| now.secrets).unwrap_or_default());
            let hooks = Signal::derive(move || now.get().map(|now| now.hooks).unwrap_or_default());
            let on = Signal::derive(move || now.get().and_then(|now| now.on));
            view! {
                <section aria-labelledby="secrets">
                    <h2 id="secrets">"Secrets"</h2>
                    <p class="about">"Given to the steps of jobs that name them, and masked in all that they print."</p>
                    <Secrets pipeline=Some(name.clone()) secrets on_done/>
                </section>
                <section aria-labelledby="hooks">
                    <h2 id="hooks">"Hooks"</h2>
                    <Hooks pipeline=name.clone() hooks on on_done/>
                </section>
            }
        })
    };
    view! {
        {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
        {sections}
    }
}
