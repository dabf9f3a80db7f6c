//! Any other URL, and things that are not there.

use leptos::prelude::*;
use leptos_meta::Title;

/// Says so.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <Title text="Not found"/>
        <section class="plain">
            <h1>"There is nothing here"</h1>
            <p>"No page, pipeline or build has this address. " <a href="/">"See all pipelines"</a> "."</p>
        </section>
    }
}
