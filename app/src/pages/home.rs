//! `/`: pipelines with their last builds, and what runs now.

use std::sync::Arc;

use leptos::{either::Either, prelude::*};
use leptos_meta::Title;
use wire::command::Query;

use crate::{
    api::{HomePage, read_home, running_builds},
    components::{
        at_once::AtOnce,
        build_list::BuildList,
        estimate,
        page_data::{page_data, read_once, typed},
        pipeline_list::PipelineList,
        result_strip::ResultStrip,
        welcome::Welcome,
    },
    live::keep_live,
};

/// The route.
#[component]
pub fn HomeRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_home()));
    let page = |page| AtOnce(view! { <Home page/> }).into_any();
    view! {
        <Title text=""/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

#[component]
fn Home(page: HomePage) -> impl IntoView {
    let pipelines = RwSignal::new(page.pipelines);
    let running = RwSignal::new(page.running);
    let results = page.results;
    keep_live(Query::Pipelines {}, pipelines);
    keep_live(Query::Builds(running_builds()), running);
    // The sample pipeline is there before its build is: what starts it must not go away in between.
    let starting = RwSignal::new(false);
    let is_empty = Memo::new(move |_| starting.get() || pipelines.with(Vec::is_empty));
    let usual = Memo::new(move |_| pipelines.with(|all| estimate::usual_of(all)));
    let is_quiet = Memo::new(move |_| running.with(Vec::is_empty));
    move || {
        if is_empty.get() {
            return Either::Left(view! { <Welcome starting/> });
        }
        Either::Right(view! {
            <h1 class="unseen">"Builds and pipelines"</h1>
            <ResultStrip results=results.clone()/>
            <section class="running" aria-labelledby="running-now">
                <h2 id="running-now">"Running now"</h2>
                <BuildList builds=running usual with_pipeline=true/>
                <p class="note quiet">{move || is_quiet.get().then_some("Nothing runs at the moment.")}</p>
            </section>
            <section aria-labelledby="all-pipelines">
                <PipelineList pipelines/>
            </section>
        })
    }
}
