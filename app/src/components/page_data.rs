//! Data that a page waits for: rendered whole by the server, read by the browser when a person goes from page to page.
//! Whatever page it is, this is one piece of code: each data type of its own would be another one in the browser package.

use std::{pin::Pin, sync::Arc};

use leptos::{either::Either, prelude::*};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::{PipelineName, Problem};

use super::{at_once::AtOnce, clock::Clock, problem_note::ProblemNote};
use crate::{
    api::{PageError, Stamped},
    json::Json,
    pages::not_found::NotFound,
};

/// What a page's reading answers. The types of a page are read from it by that page.
pub type Answer = Result<Stamped, PageError>;

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

/// Shows data of the page's type, or that it is not of that type.
pub fn typed<T: DeserializeOwned>(data: Value, view: impl FnOnce(T) -> AnyView) -> AnyView {
    match serde_json::from_value(data) {
        Ok(data) => view(data),
        Err(error) => {
            let detail = format!("The page's data could not be read: {error}. Load the page again.");
            AtOnce(view! { <ProblemNote problem=Problem::new(500, "unreadable", detail)/> }).into_any()
        }
    }
}

/// Shows `view` of the data once it is there, or the problem in its place. The clock is set by the server's time first.
pub fn page_data(data: Resource<Answer, Json>, view: Arc<dyn Fn(Value) -> AnyView + Send + Sync>) -> impl IntoView {
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
