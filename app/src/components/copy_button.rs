//! One press copies a text. The button keeps its size while it says that it did, and then offers it again.

use leptos::{either::Either, prelude::*, task::spawn_local};

use crate::browser;

/// For so long it says that it did, in milliseconds.
const SAID_MILLIS: u64 = 2_000;

/// Two sheets; a tick; a cross.
const SHAPES: [&str; 3] = [
    "M5 1h9v10h-3v4H2V5h3zM6.4 2.4V5H11v4.6h1.6V2.4zM3.4 6.4v7.2h6.2V6.4z",
    "M6.2 12.6L1.9 8.3l1.2-1.2 3.1 3.1 6.7-6.7 1.2 1.2z",
    "M4.2 3L8 6.8 11.8 3 13 4.2 9.2 8l3.8 3.8-1.2 1.2L8 9.2 4.2 13 3 11.8 6.8 8 3 4.2z",
];

/// The button.
#[component]
pub fn CopyButton(
    /// What is copied.
    #[prop(into)]
    text: Signal<String>,
    /// What it is, for screen readers and on hover: `Copy the command`.
    #[prop(into)]
    label: Signal<String>,
    /// Shown as a small shape instead of a word: where there is one in each row.
    #[prop(optional)]
    small: bool,
) -> impl IntoView {
    let said = RwSignal::new("Copy");
    let presses = StoredValue::new(0_u32);
    let copy = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            let done = browser::copy(&text).await;
            // The button may be gone by now.
            if said.try_set(if done { "Copied" } else { "No" }).is_some() {
                return;
            }
            presses.update_value(|presses| *presses += 1);
            let press = presses.get_value();
            browser::after(SAID_MILLIS, move || {
                if presses.try_get_value() == Some(press) {
                    said.set("Copy");
                }
            });
        });
    };
    let shape = move || match said.get() {
        "Copy" => SHAPES[0],
        "Copied" => SHAPES[1],
        _ => SHAPES[2],
    };
    let face = move || {
        if small {
            Either::Left(view! { <svg viewBox="0 0 16 16" aria-hidden="true"><path d=shape></path></svg> })
        } else {
            Either::Right(move || said.get())
        }
    };
    view! {
        <button
            class=if small { "copy icon needs-js" } else { "copy needs-js" }
            type="button"
            aria-label=move || label.get()
            title=move || label.get()
            on:click=copy
        >
            {face}
        </button>
        // Beside the button: what stands in a button is not announced.
        <span class="unseen" role="status">{move || (said.get() != "Copy").then(|| said.get())}</span>
    }
}
