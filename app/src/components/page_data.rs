//! Data that a page waits for: rendered whole by the server, read by the browser when a person goes from page to page.

use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::{clock::Clock, problem_note::ProblemNote};
use crate::{
    api::{PageError, Stamped},
    json::Json,
};

/// What a page's reading answers.
pub type Answer<T> = Result<Stamped<T>, PageError>;

/// Shows `view` of the data once it is there, or the problem in its place. The clock is set by the server's time first.
pub fn page_data<T, V>(
    data: Resource<Answer<T>, Json>,
    view: impl Fn(T) -> V + Copy + Send + Sync + 'static,
) -> impl IntoView
where
    T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    V: IntoView + 'static,
{
    let clock = Clock::get();
    view! {
        <Suspense fallback=|| view! { <p class="loading" aria-busy="true">"Loading"</p> }>
            {move || Suspend::new(async move {
                match data.await {
                    Ok(Stamped { now, data }) => {
                        clock.set(now);
                        Ok(view(data))
                    }
                    Err(PageError(problem)) => Err(view! { <ProblemNote problem/> }),
                }
                .map_or_else(leptos::either::Either::Right, leptos::either::Either::Left)
            })}
        </Suspense>
    }
}
