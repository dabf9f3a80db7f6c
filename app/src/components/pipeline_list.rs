//! Pipelines with their last builds, one row each.

use leptos::{either::Either, prelude::*};
use wire::view::PipelineSummary;

use super::{build_list::BuildShapes, status::Status, time::Time, trigger_form::StartButton};

/// The list of the home page. A row is made anew only when its own pipeline has changed.
#[component]
pub fn PipelineList(
    /// The pipelines.
    #[prop(into)]
    pipelines: Signal<Vec<PipelineSummary>>,
) -> impl IntoView {
    view! {
        <ul class="pipelines">
            <For
                each=move || pipelines.get()
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
    let name = pipeline.name.clone();
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
    let needs_inputs = Memo::new(move |_| fresh.get().is_some_and(|pipeline| pipeline.needs_inputs));
    let start = move || {
        if needs_inputs.get() {
            let label = format!("Build {name}: asks for inputs");
            Either::Left(view! { <a class="button" href=form.clone() aria-label=label>"Build…"</a> })
        } else {
            Either::Right(view! { <StartButton name=name.clone()/> })
        }
    };
    view! {
        <li class="pipeline-row">
            <div class="what">
                <a class="name" href=url>{pipeline.name.to_string()}</a>
                <p class="about">{move || fresh.get().map(|pipeline| pipeline.description)}</p>
            </div>
            {move || view! { <BuildShapes builds=builds()/> }}
            <span class="last">{last}</span>
            <div class="start">{start}</div>
        </li>
    }
}
