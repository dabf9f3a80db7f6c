//! The ways from a build to the one before it and to the next of the same pipeline.

use leptos::{either::Either, prelude::*};
use wire::view::BuildSummary;

/// Both ways; one that leads nowhere keeps its place.
#[component]
pub fn Neighbours(
    /// The build before.
    before: Option<BuildSummary>,
    /// The next one, which may come while the page is open.
    #[prop(into)]
    after: Signal<Option<BuildSummary>>,
) -> impl IntoView {
    view! {
        <nav class="neighbours" aria-label="Builds of this pipeline">
            {way(before, "before", "Build before", "[", "M10.5 2.6L5.1 8l5.4 5.4-1.2 1.2L2.7 8l6.6-6.6z")}
            {move || way(after.get(), "after", "Next build", "]", "M5.5 2.6L10.9 8l-5.4 5.4 1.2 1.2L13.3 8 6.7 1.4z")}
        </nav>
    }
}

fn way(
    to: Option<BuildSummary>,
    class: &'static str,
    what: &'static str,
    key: &'static str,
    shape: &'static str,
) -> impl IntoView {
    let arrow = view! { <svg viewBox="0 0 16 16" aria-hidden="true"><path d=shape></path></svg> };
    let class = format!("button icon {class}");
    match to {
        Some(to) => {
            let name = format!("{what}: #{}", to.number);
            let title = format!("{name} ({key})");
            Either::Left(
                view! { <a class=class href=format!("/builds/{}", to.id) title=title aria-label=name>{arrow}</a> },
            )
        }
        None => {
            let name = format!("{what}: none");
            Either::Right(
                view! { <span class=class role="link" aria-disabled="true" aria-label=name.clone() title=name>{arrow}</span> },
            )
        }
    }
}
