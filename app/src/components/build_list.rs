//! Builds, one row each.

use leptos::prelude::*;
use wire::view::{BuildSummary, State};

use super::{
    derived::derived,
    duration::Duration,
    estimate::{Estimate, Usual},
    rows::rows,
    status::{Status, StatusLabel},
    time::Time,
};

/// A list of builds, newest first. Rows keep their place while what they tell changes.
#[component]
pub fn BuildList(
    /// The builds.
    #[prop(into)]
    builds: Signal<Vec<BuildSummary>>,
    /// How long builds usually take, in microseconds, by their pipeline: those that run show how far they have come.
    #[prop(into)]
    usual: Signal<Usual>,
    /// Whether rows name their pipeline.
    #[prop(optional)]
    with_pipeline: bool,
) -> impl IntoView {
    view! {
        <ul class="builds">
            {rows(
                move || builds.get(),
                |build| (build.id, build.state, build.outcome, build.started_at, build.jobs_finished),
                move |build| view! { <BuildRow summary=build usual with_pipeline/> },
            )}
        </ul>
    }
}

#[component]
fn BuildRow(summary: BuildSummary, usual: Signal<Usual>, with_pipeline: bool) -> impl IntoView {
    let build = summary;
    let status = Status::of(build.state, build.outcome);
    let (from, until) = (build.started_at, build.finished_at);
    let name =
        if with_pipeline { format!("{} #{}", build.pipeline, build.number) } else { format!("#{}", build.number) };
    let jobs =
        (build.state != State::Finished).then(|| format!("{} of {} jobs", build.jobs_finished, build.jobs_total));
    let pipeline = build.pipeline.clone();
    let estimate = (build.state == State::Running).then(|| {
        let usual = derived(move || {
            usual.with(|usual| usual.iter().find(|(name, _)| *name == pipeline).map(|(_, usual)| *usual))
        });
        view! { <Estimate from=from until=until usual=usual/> }
    });
    view! {
        <li>
            <a class="build-row" href=format!("/builds/{}", build.id)>
                <StatusLabel status/>
                <span class="name">{name} <span class="by">{build.triggered_by}</span></span>
                <span class="progress">{jobs}</span>
                <span class="expected">{estimate}</span>
                <Duration from until/>
                <Time at=build.queued_at/>
            </a>
        </li>
    }
}
