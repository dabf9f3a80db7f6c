//! One press copies a text. The button keeps its size while it says that it did.

use leptos::{prelude::*, task::spawn_local};

use crate::browser;

/// The button.
#[component]
pub fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What it is, for screen readers and on hover: `Copy the command`.
    label: &'static str,
) -> impl IntoView {
    let said = RwSignal::new("Copy");
    let copy = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            let done = browser::copy(&text).await;
            // The button may be gone by now.
            let _ = said.try_set(if done { "Copied" } else { "No" });
        });
    };
    view! {
        <button class="copy needs-js" type="button" aria-label=label title=label on:click=copy>
            {move || said.get()}
        </button>
        // Beside the button: what stands in a button is not announced.
        <span class="unseen" role="status">{move || (said.get() != "Copy").then(|| said.get())}</span>
    }
}
