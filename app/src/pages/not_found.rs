//! Any other URL, and things that are not there.

#[cfg(feature = "ssr")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use leptos::prelude::*;
use leptos_meta::Title;

/// Tells the server, which provides it as a context, that the page it rendered says so: the status is 404 then.
#[cfg(feature = "ssr")]
#[derive(Clone, Debug, Default)]
pub struct Missing(Arc<AtomicBool>);

#[cfg(feature = "ssr")]
impl Missing {
    /// Whether the page is this one.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Says so.
#[component]
pub fn NotFound() -> impl IntoView {
    #[cfg(feature = "ssr")]
    if let Some(Missing(told)) = use_context() {
        told.store(true, Ordering::Release);
    }
    view! {
        <Title text="Not found"/>
        <section class="plain">
            <h1>"There is nothing here"</h1>
            <p>"No page, pipeline or build has this address. " <a href="/">"See all pipelines"</a> "."</p>
        </section>
    }
}
