//! `/pipelines/{name}`: its builds, the form that starts one, its text.

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use wire::{PipelineName, command::Query};

use super::not_found::NotFound;
use crate::{
    api::{PageError, PipelinePage, builds_of, read_pipeline},
    components::{
        build_list::BuildList,
        page_data::page_data,
        trigger_form::{StartButton, TriggerForm},
        yaml_editor::YamlEditor,
    },
    live::keep_live,
};

/// The route.
#[component]
pub fn PipelineRoute() -> impl IntoView {
    let params = use_params_map();
    let name =
        Memo::new(move |_| params.with(|params| params.get("name")).and_then(|name| name.parse::<PipelineName>().ok()));
    let data = Resource::new(
        move || name.get(),
        |name| async move {
            match name {
                Some(name) => read_pipeline(name).await,
                None => Err(PageError(wire::Problem::new(404, "not found", "This is not the name of a pipeline."))),
            }
        },
    );
    let reload = Callback::new(move |_: String| data.refetch());
    page_data(data, move |page| match page {
        Some(page) => Either::Left(view! { <Pipeline page on_saved=reload/> }),
        None => Either::Right(view! { <NotFound/> }),
    })
}

#[component]
fn Pipeline(page: PipelinePage, on_saved: Callback<String>) -> impl IntoView {
    let PipelinePage { pipeline, builds } = page;
    let name = pipeline.name.clone();
    let builds = RwSignal::new(builds);
    keep_live(Query::Builds(builds_of(name.clone())), builds);
    let is_new = Memo::new(move |_| builds.with(Vec::is_empty));
    let start = pipeline.inputs.is_empty().then(|| {
        view! {
            <div id="build" class="start">
                <StartButton name=name.clone() primary=true/>
            </div>
        }
    });
    let form = (!pipeline.inputs.is_empty()).then(|| {
        view! {
            <section id="build" class="start-panel">
                <h2>"Start a build"</h2>
                <TriggerForm name=name.clone() inputs=pipeline.inputs/>
            </section>
        }
    });
    view! {
        <Title text=name.to_string()/>
        <nav class="crumbs" aria-label="Breadcrumb">
            <a href="/">"Pipelines"</a>
        </nav>
        <div class="heading">
            <h1>{name.to_string()}</h1>
            <span class="space"></span>
            {start}
        </div>
        <p class="about">{pipeline.description}</p>
        <div class="columns">
            {form}
            <section aria-labelledby="its-builds">
                <h2 id="its-builds">"Builds"</h2>
                <BuildList builds/>
                <p class="note quiet">
                    {move || is_new.get().then_some("It has never been built. Press Build to start the first one.")}
                </p>
            </section>
        </div>
        <section>
            <h2>"Pipeline file"</h2>
            <YamlEditor yaml=pipeline.yaml name=name.to_string() on_saved/>
        </section>
    }
}
