//! `/builds/{id}`: how it stands, its jobs and steps, the log of the chosen job (`?job=<id>`).

use std::sync::Arc;

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use wire::{
    BuildId, JobId,
    authority::Role,
    command::Query,
    view::{BuildSummary, BuildView, State},
};

use super::not_found::NotFound;
use crate::{
    api::{BuildPage, PageError, build_after, read_build_page},
    browser,
    components::{
        artifact_list::ArtifactList,
        at_once::AtOnce,
        build_actions::BuildActions,
        copy_button::CopyButton,
        duration::Duration,
        estimate::Estimate,
        job_graph::JobGraph,
        job_list::JobList,
        log_panel::LogPanel,
        log_view::LogHandle,
        neighbours::Neighbours,
        own::Own,
        page_data::{page_data, read_once, typed},
        reply_line::ReplyLine,
        shown_job::shown_job,
        status::{Status, StatusLabel},
        step_list::StepList,
        time::Time,
        triggered,
    },
    live::{Live, follow::Followed, keep_live},
};

/// How many jobs are over, as long as some are not.
fn progress(build: &BuildView) -> Option<String> {
    let over = build.jobs.iter().filter(|job| job.state == State::Finished).count();
    (over < build.jobs.len()).then(|| format!("{over} of {} finished", build.jobs.len()))
}

/// The route.
#[component]
pub fn BuildRoute() -> impl IntoView {
    let (params, query) = (use_params_map(), use_query_map());
    let id = Memo::new(move |_| params.with(|params| params.get("id")).and_then(|id| id.parse::<BuildId>().ok()));
    let asked = Memo::new(move |_| query.with(|query| query.get("job")).and_then(|job| job.parse::<JobId>().ok()));
    // Another build is another page: nothing of the one before is taken over.
    view! { <For each=move || [id.get()] key=|id| *id children=move |id| view! { <BuildOf id asked/> }/> }
}

#[component]
fn BuildOf(id: Option<BuildId>, asked: Memo<Option<JobId>>) -> impl IntoView {
    let data = read_once(move || {
        // Another job of the same build is followed in place, not read anew.
        let job = asked.get_untracked();
        Box::pin(async move {
            match id {
                Some(id) => read_build_page(id, job).await,
                None => Err(PageError(wire::Problem::new(404, "not found", "This is not the id of a build."))),
            }
        })
    });
    let page = move |page| match page {
        Some(page) => AtOnce(view! { <Build page asked/> }).into_any(),
        None => AtOnce(view! { <NotFound/> }).into_any(),
    };
    page_data(data, Arc::new(move |data| typed(data, page)))
}

#[component]
fn Build(page: BuildPage, asked: Memo<Option<JobId>>) -> impl IntoView {
    let live = use_context::<Live>().unwrap_or_else(Live::provide);
    let BuildPage { build, job: first, log, before, after, usual } = page;
    let next = RwSignal::new(after.into_iter().collect::<Vec<_>>());
    // It comes once, and then stays the next one.
    if next.with_untracked(Vec::is_empty) {
        keep_live(Query::Builds(build_after(&build.summary)), next);
    }
    let after = Signal::derive(move || next.with(|next| next.first().cloned()));
    let followed = Followed::new(live, build, first, log.as_ref());
    let view = followed.view;
    Effect::new(move |_| followed.start());
    let handle = LogHandle::new(followed);
    let chosen = shown_job(view, first, asked, handle);
    Effect::new(move |_| {
        if let Some(job) = chosen.get() {
            followed.choose(job);
        }
    });
    let show_line = Callback::new(move |n| handle.show_line(n));
    let artifacts = Signal::derive(move || {
        view.with(|view| {
            view.jobs
                .iter()
                .find(|job| Some(job.id) == chosen.get())
                .map(|job| job.artifacts.clone())
                .unwrap_or_default()
        })
    });
    let gone = move || {
        let told = "This build is not kept any more: what you see is all that is left of it.";
        followed.gone.get().then(|| view! { <p class="problem" role="alert">{told}</p> })
    };
    view! {
        <BuildHeader followed before after usual/>
        {gone}
        <JobGraph view chosen/>
        <div class="build">
            <div class="side">
                <div class="list-heading">
                    <h2>"Jobs"</h2>
                    <span class="count">{move || view.with(progress)}</span>
                </div>
                <JobList view chosen/>
                <h2>"Steps"</h2>
                <StepList view chosen show_line/>
                <ArtifactList artifacts/>
            </div>
            <LogPanel followed handle chosen/>
        </div>
    }
}

#[component]
fn BuildHeader(
    followed: Followed,
    before: Option<BuildSummary>,
    after: Signal<Option<BuildSummary>>,
    usual: Option<u64>,
) -> impl IntoView {
    let view = followed.view;
    let (name, number, queued_at) =
        view.with_untracked(|view| (view.summary.pipeline.to_string(), view.summary.number, view.summary.queued_at));
    let status = Signal::derive(move || view.with(|view| Status::of(view.summary.state, view.summary.outcome)));
    let started = Memo::new(move |_| view.with(|view| view.summary.started_at));
    let until = Memo::new(move |_| view.with(|view| view.summary.finished_at));
    let cancelling = Memo::new(move |_| view.with(|view| view.cancelling && view.summary.state != State::Finished));
    let (build, reply) = view.with_untracked(|view| (view.summary.id, view.reply.clone()));
    let id = build.to_string();
    let own = Own::get();
    let pipeline = view.with_untracked(|view| view.summary.pipeline.clone());
    let may = Memo::new(move |_| own.in_pipeline(Role::Builder, &pipeline));
    let inputs = view.with_untracked(|view| view.inputs.clone());
    let inputs = inputs
        .into_iter()
        .map(|(name, value)| view! { <div><dt>{name}</dt><dd class="value">{value}</dd></div> })
        .collect_view();
    let trigger = view.with_untracked(|view| view.trigger.as_ref().map(triggered::in_words));
    let trigger = trigger.map(|by| view! { <div><dt>"Triggered by"</dt><dd>{by}</dd></div> });
    let on_done = Callback::new(move |()| followed.refresh());
    let icon = Memo::new(move |_| status.get().icon);
    Effect::new(move |_| browser::set_icon(icon.get()));
    on_cleanup(|| browser::set_icon("/favicon.svg"));
    // The title of the tab tells how it stands, so that it can be seen from another tab.
    let title = {
        let what = format!("{name} #{number}");
        move || format!("{} · {what}", status.get().word)
    };
    view! {
        <Title text=title/>
        <nav class="crumbs" aria-label="Breadcrumb">
            <a href="/">"Pipelines"</a>
            <a href=format!("/pipelines/{name}")>{name.clone()}</a>
        </nav>
        <div class="heading build-heading">
            <h1>{name} " " <span class="number">{format!("#{number}")}</span></h1>
            <Neighbours before after/>
            <StatusLabel status/>
            <span class="cancelling">{move || cancelling.get().then_some("cancelling")}</span>
            <span class="space"></span>
            <BuildActions view on_done/>
        </div>
        <dl class="facts">
            <div>
                <dt>"Duration"</dt>
                <dd class="timing">
                    {move || match started.get() {
                        Some(_) => Either::Left(view! { <Duration from=started until=until/> }),
                        None => Either::Right(view! { <span class="duration">"none yet"</span> }),
                    }}
                    <Estimate from=started until=until usual=usual/>
                </dd>
            </div>
            <div>
                <dt>"Queued"</dt>
                <dd><Time at=queued_at/></dd>
            </div>
            <div>
                <dt>"Started"</dt>
                <dd>{move || match started.get() {
                    Some(at) => Either::Left(view! { <Time at/> }),
                    None => Either::Right("not yet"),
                }}</dd>
            </div>
            {trigger}
            <div>
                <dt>"Id"</dt>
                <dd class="value id">{id.clone()} " " <CopyButton text=id label="Copy the id of this build" small=true/></dd>
            </div>
            {inputs}
        </dl>
        <ReplyLine id=build may reply/>
    }
}
