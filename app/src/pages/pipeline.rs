//! `/pipelines/{name}`: its builds, the form that starts one, its text.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};
use wire::{PipelineName, authority::Role, command::Query, view::PipelineView};

use super::not_found::NotFound;
use crate::{
    api::{PageError, PipelinePage, builds_of, read_pipeline},
    components::{
        anew::{Anew, anew},
        at_once::AtOnce,
        build_filter::{BuildFilter, Filter},
        build_list::BuildList,
        duration,
        estimate::Usual,
        own::Own,
        page_data::{page_data, read, typed},
        problem_note::ProblemNote,
        trigger_form::{StartButton, TriggerForm},
        yaml_editor::YamlEditor,
    },
    live::keep_live,
    parts::pipeline_admin,
};

/// The route.
#[component]
pub fn PipelineRoute() -> impl IntoView {
    let (params, query) = (use_params_map(), use_query_map());
    let name =
        Memo::new(move |_| params.with(|params| params.get("name")).and_then(|name| name.parse::<PipelineName>().ok()));
    let filter = Memo::new(move |_| Filter::of(query.with(|query| query.get("state")).as_deref()));
    let data = read(name.into(), move |name| {
        // Other builds of the same pipeline are asked for in place: what was written into its text stays.
        let state = filter.get_untracked().as_str().to_owned();
        Box::pin(async move {
            match name {
                Some(name) => read_pipeline(name, state).await,
                None => Err(PageError(wire::Problem::new(404, "not found", "This is not the name of a pipeline."))),
            }
        })
    });
    let page = move |page| match page {
        Some(page) => AtOnce(view! { <Pipeline page filter/> }).into_any(),
        None => AtOnce(view! { <NotFound/> }).into_any(),
    };
    page_data(data, Arc::new(move |data| typed(data, page)))
}

#[component]
fn Pipeline(page: PipelinePage, filter: Memo<Filter>) -> impl IntoView {
    let PipelinePage { pipeline, etag, builds, usual, statistics } = page;
    let name = pipeline.name.clone();
    let builds = RwSignal::new(builds);
    let asked = builds_of(name.clone());
    keep_live(Signal::derive(move || Query::Builds(filter.get().narrow(asked.clone()))), builds);
    // Until the answer to another question is there, the former one is shown as far as it fits.
    let shown = Memo::new(move |_| {
        let filter = filter.get();
        builds.with(|builds| builds.iter().filter(|build| filter.leaves(build)).cloned().collect::<Vec<_>>())
    });
    let nothing = move || shown.with(Vec::is_empty).then(|| filter.get().nothing());
    let as_usual = usual.map(|usual| format!("usually {}", duration::text(usual, false)));
    let usual: Usual = usual.map(|usual| (name.clone(), usual)).into_iter().collect();
    let usual = StoredValue::new(usual);
    let usual = Signal::derive(move || usual.get_value());
    let yaml = pipeline.yaml.clone();
    // What a saved text says of it is read anew; the text stays with who writes it.
    let said = RwSignal::new(pipeline);
    let put = move |data| {
        // None: it is gone, which what is typed here survives.
        if let Ok(Some(page)) = serde_json::from_value::<Option<PipelinePage>>(data) {
            said.set(page.pipeline);
        }
    };
    let reads = name.clone();
    let Anew { again, problem } =
        anew(move || Box::pin(read_pipeline(reads.clone(), filter.get_untracked().as_str().to_owned())), put);
    let read_anew = Callback::new(move |_: String| again.run(()));
    let own = Own::get();
    let (builds_it, changes_it) = {
        let (one, other) = (name.clone(), name.clone());
        let builds_it = Memo::new(move |_| own.in_pipeline(Role::Builder, &one));
        (builds_it, Memo::new(move |_| own.in_pipeline(Role::Admin, &other)))
    };
    // Read and drawn in the browser alone: all of it is done by scripts.
    let in_browser = RwSignal::new(false);
    Effect::new(move |_| in_browser.set(true));
    let is_admin = Memo::new(move |_| in_browser.get() && changes_it.get());
    let admin = {
        let name = name.clone();
        move || {
            let name = name.clone();
            is_admin.get().then(|| Suspend::new(pipeline_admin(name)))
        }
    };
    let inputs = Memo::new(move |_| said.with(|said: &PipelineView| said.inputs.clone()));
    let start = {
        let name = name.clone();
        move || {
            let name = name.clone();
            (builds_it.get() && inputs.with(Vec::is_empty)).then(|| {
                view! {
                    <div id="build" class="start">
                        <StartButton name primary=true/>
                    </div>
                }
            })
        }
    };
    let form = {
        let name = name.clone();
        move || {
            let name = name.clone();
            Some(inputs.get()).filter(|inputs| builds_it.get() && !inputs.is_empty()).map(|inputs| {
                view! {
                    <section id="build" class="start-panel needs-js">
                        <h2>"Start a build"</h2>
                        <TriggerForm name inputs/>
                    </section>
                }
            })
        }
    };
    view! {
        <Title text=name.to_string()/>
        <nav class="crumbs" aria-label="Breadcrumb">
            <a href="/">"Pipelines"</a>
        </nav>
        <div class="heading">
            <h1>{name.to_string()}</h1>
            <span class="space"></span>
            {start}
            <span class="note">{move || (!builds_it.get()).then_some("To build it you need the role builder.")}</span>
        </div>
        <p class="about">{move || said.with(|said| said.description.clone())}</p>
        {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
        <div class="columns">
            {form}
            <section aria-labelledby="its-builds">
                <div class="list-heading">
                    <h2 id="its-builds">"Builds"</h2>
                    <span class="count as-usual">{as_usual}</span>
                    <BuildFilter pipeline=name.clone() chosen=filter/>
                </div>
                <BuildList builds=shown usual/>
                <p class="note quiet">{nothing}</p>
            </section>
        </div>
        <section aria-labelledby="statistics">
            <h2 id="statistics">"Statistics"</h2>
            // Written by the server, every name in it escaped.
            <div class="statistics" inner_html=statistics></div>
        </section>
        <section>
            <h2>"Pipeline file"</h2>
            <YamlEditor yaml name=name.to_string() etag on_saved=read_anew may=changes_it not="To change it you need the role admin."/>
        </section>
        {admin}
    }
}
