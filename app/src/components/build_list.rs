//! Builds, one row each.

use leptos::prelude::*;
use wire::view::{BuildSummary, State};

use super::{
    duration::Duration,
    status::{Shape, Status, StatusLabel},
    time::Time,
};

/// A list of builds, newest first. Rows keep their place while what they tell changes.
#[component]
pub fn BuildList(
    /// The builds.
    #[prop(into)]
    builds: Signal<Vec<BuildSummary>>,
    /// Whether rows name their pipeline.
    #[prop(optional)]
    with_pipeline: bool,
) -> impl IntoView {
    view! {
        <ul class="builds">
            <For
                each=move || builds.get()
                key=|build| (build.id, build.state, build.outcome, build.started_at, build.jobs_finished)
                children=move |build| view! { <BuildRow summary=build with_pipeline/> }
            />
        </ul>
    }
}

#[component]
fn BuildRow(summary: BuildSummary, with_pipeline: bool) -> impl IntoView {
    let build = summary;
    let status = Status::of(build.state, build.outcome);
    let (from, until) = (build.started_at, build.finished_at);
    let name =
        if with_pipeline { format!("{} #{}", build.pipeline, build.number) } else { format!("#{}", build.number) };
    let jobs =
        (build.state != State::Finished).then(|| format!("{} of {} jobs", build.jobs_finished, build.jobs_total));
    view! {
        <li>
            <a class="build-row" href=format!("/builds/{}", build.id)>
                <StatusLabel status/>
                <span class="name">{name}</span>
                <span class="progress">{jobs}</span>
                <Duration from until/>
                <Time at=build.queued_at/>
            </a>
        </li>
    }
}

/// The last builds as a row of shapes, oldest first, as one reads.
#[component]
pub fn BuildShapes(
    /// The builds, newest first.
    builds: Vec<BuildSummary>,
) -> impl IntoView {
    let shape = |build: BuildSummary| {
        let status = Status::of(build.state, build.outcome);
        let title = format!("#{} {}", build.number, status.word);
        view! {
            <a class="shape-link" href=format!("/builds/{}", build.id) title=title.clone() aria-label=title>
                <Shape status/>
            </a>
        }
    };
    view! { <span class="shapes">{builds.into_iter().rev().map(shape).collect_view()}</span> }
}
