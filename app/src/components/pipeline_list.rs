//! Pipelines with their last builds, one row each.

use leptos::{
    either::{Either, EitherOf3},
    prelude::*,
};
use wire::{authority::Role, view::PipelineSummary};

use super::{
    build_bars::BuildBars, duration, estimate, own::Own, status::Status, time::Time, trigger_form::StartButton,
};
use crate::browser::lowercase;

/// More pipelines than these are not seen at once: a field finds one.
const SEEN_MAX: usize = 8;

/// Whether what is looked for, in small letters, stands in a pipeline's name or description.
fn is_found(pipeline: &PipelineSummary, wanted: &str) -> bool {
    [pipeline.name.as_str(), &pipeline.description].into_iter().any(|text| lowercase(text).contains(wanted))
}

/// The list of the home page with its heading. A row is made anew only when its own pipeline has changed.
#[component]
pub fn PipelineList(
    /// The pipelines.
    #[prop(into)]
    pipelines: Signal<Vec<PipelineSummary>>,
) -> impl IntoView {
    let own = Own::get();
    let wanted = RwSignal::new(String::new());
    let is_long = Memo::new(move |_| pipelines.with(|all| all.len() > SEEN_MAX));
    // What stands in a field that is not there any more hides nothing.
    let wanted_now = move || if is_long.get() { lowercase(wanted.get().trim()) } else { String::new() };
    let shown = Memo::new(move |_| {
        let wanted = wanted_now();
        pipelines.with(|all| all.iter().filter(|pipeline| is_found(pipeline, &wanted)).cloned().collect::<Vec<_>>())
    });
    let nothing = move || {
        shown
            .with(Vec::is_empty)
            .then(|| format!("No pipeline has “{}” in its name or description.", wanted.get().trim()))
    };
    view! {
        <div class="heading pipelines-heading">
            <h2 id="all-pipelines">"Pipelines"</h2>
            <Show when=move || is_long.get()>
                <input
                    class="pipelines-filter needs-js"
                    type="text"
                    aria-label="Filter pipelines"
                    placeholder="Filter"
                    autocomplete="off"
                    spellcheck="false"
                    prop:value=move || wanted.get()
                    on:input=move |event| wanted.set(event_target_value(&event))
                />
            </Show>
            <a class="button" class:absent=move || !own.everywhere(Role::Admin) href="/pipelines/new">"New pipeline"</a>
        </div>
        <p class="note quiet" role="status">{nothing}</p>
        <ul class="pipelines">
            <For
                each=move || shown.get()
                key=|pipeline| pipeline.name.clone()
                children=move |pipeline| {
                    let name = pipeline.name.clone();
                    let fresh = Memo::new(move |_| {
                        pipelines.with(|all| all.iter().find(|known| known.name == name).cloned())
                    });
                    view! { <PipelineRow pipeline fresh/> }
                }
            />
        </ul>
    }
}

#[component]
fn PipelineRow(pipeline: PipelineSummary, fresh: Memo<Option<PipelineSummary>>) -> impl IntoView {
    let (name, own) = (pipeline.name.clone(), Own::get());
    let may = {
        let name = name.clone();
        Memo::new(move |_| own.in_pipeline(Role::Builder, &name))
    };
    let url = format!("/pipelines/{name}");
    let form = format!("{url}#build");
    let builds = move || fresh.get().map(|pipeline| pipeline.builds).unwrap_or_default();
    let last = move || match builds().into_iter().next() {
        Some(build) => {
            let status = Status::of(build.state, build.outcome);
            let class = format!("word {}", status.class);
            Either::Left(view! { <span class=class>{status.word}</span> <Time at=build.queued_at/> })
        }
        None => Either::Right("never built"),
    };
    let as_usual = move || {
        let usual = estimate::usual(&builds())?;
        Some(view! { <span>"usually"</span> <span class="duration">{duration::text(usual, false)}</span> })
    };
    let needs_inputs = Memo::new(move |_| fresh.get().is_some_and(|pipeline| pipeline.needs_inputs));
    let start = move || {
        if !may.get() {
            EitherOf3::C(())
        } else if needs_inputs.get() {
            let label = format!("Build {name}: asks for inputs");
            EitherOf3::A(view! { <a class="button" href=form.clone() aria-label=label>"Build…"</a> })
        } else {
            EitherOf3::B(view! { <StartButton name=name.clone()/> })
        }
    };
    view! {
        <li class="pipeline-row">
            <div class="what">
                <a class="name" href=url>{pipeline.name.to_string()}</a>
                <p class="about">{move || fresh.get().map(|pipeline| pipeline.description)}</p>
            </div>
            {move || view! { <BuildBars builds=builds()/> }}
            <span class="usual">{as_usual}</span>
            <span class="last">{last}</span>
            <div class="start">{start}</div>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_found_by_its_name_or_description_in_any_case() {
        let (name, description) = ("Site-2".parse().unwrap(), "Build THE site".to_owned());
        let site = PipelineSummary { name, description, needs_inputs: false, builds: Vec::new() };
        assert!(is_found(&site, "site-") && is_found(&site, "the") && is_found(&site, ""));
        assert!(!is_found(&site, "docs"));
    }
}
