//! Data that a page waits for: rendered whole by the server, read by the browser when a person goes from page to page.
//! Whatever page it is, this is one piece of code: each data type of its own would be another one in the browser package.

use std::{pin::Pin, sync::Arc};

use leptos::{either::Either, prelude::*};
use serde::{Deserialize, Serialize};
use wire::{PipelineName, view::InstallationView};

use super::{at_once::AtOnce, clock::Clock, problem_note::ProblemNote};
use crate::{
    api::{BuildPage, HomePage, PageError, PipelinePage, Stamped},
    json::Json,
    pages::not_found::NotFound,
};

/// What the pages read.
#[allow(clippy::large_enum_variant, reason = "one at a time, taken apart at once")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PageData {
    /// The home page.
    Home(HomePage),
    /// The page of a pipeline; none if there is none of that name.
    Pipeline(Option<PipelinePage>),
    /// The page of a build; none if there is none of that id.
    Build(Option<BuildPage>),
    /// The pages of executors and of gateways.
    Installation(InstallationView),
}

/// What a page's reading answers.
pub type Answer = Result<Stamped<PageData>, PageError>;

/// A reading under way.
pub type Reading = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Begins to read. `name` is the pipeline's, where another one is to be read in place of the former.
pub fn read(
    name: Signal<Option<PipelineName>>,
    read: impl Fn(Option<PipelineName>) -> Reading + Send + Sync + 'static,
) -> Resource<Answer, Json> {
    start(name, Box::new(read))
}

/// Reads as a page does that is always the same.
pub fn read_once(reading: impl Fn() -> Reading + Send + Sync + 'static) -> Resource<Answer, Json> {
    read(Signal::stored(None), move |_| reading())
}

fn start(
    name: Signal<Option<PipelineName>>,
    read: Box<dyn Fn(Option<PipelineName>) -> Reading + Send + Sync>,
) -> Resource<Answer, Json> {
    Resource::new_with_options(move || name.get(), read, false)
}

/// The reading of one page.
pub fn reading<T: 'static>(
    answer: impl Future<Output = Result<Stamped<T>, PageError>> + Send + 'static,
    page: fn(T) -> PageData,
) -> Reading {
    Box::pin(async move { answer.await.map(|Stamped { now, data }| Stamped { now, data: page(data) }) })
}

/// Shows `view` of the data once it is there, or the problem in its place. The clock is set by the server's time first.
pub fn page_data(data: Resource<Answer, Json>, view: Arc<dyn Fn(PageData) -> AnyView + Send + Sync>) -> impl IntoView {
    let clock = Clock::get();
    view! {
        <Suspense fallback=|| view! { <p class="loading" aria-busy="true">"Loading"</p> }>
            {move || {
                let view = Arc::clone(&view);
                Suspend::new(async move {
                    match data.await {
                        Ok(Stamped { now, data }) => {
                            clock.set(now);
                            Either::Left(view(data))
                        }
                        Err(PageError(problem)) if problem.status == 404 => {
                            Either::Left(AtOnce(view! { <NotFound/> }).into_any())
                        }
                        Err(PageError(problem)) => Either::Right(view! { <ProblemNote problem/> }),
                    }
                })
            }}
        </Suspense>
    }
}
