//! A button for what cannot be undone: it asks first, in place.

use leptos::{html::Button, prelude::*};

use crate::browser;

/// The button; pressed, it makes room for the question with its two answers.
#[component]
pub fn AskFirst(
    /// What stands on it.
    label: &'static str,
    /// What is said of it instead, where the label alone does not tell what it is about.
    #[prop(optional_no_strip)]
    spoken: Option<String>,
    /// What is asked.
    question: &'static str,
    /// The answer that does it.
    yes: &'static str,
    /// The answer that does not.
    no: &'static str,
    /// Smaller buttons, for rows.
    #[prop(optional)]
    small: bool,
    /// Something is under way.
    #[prop(into)]
    busy: Signal<bool>,
    /// Told when it is to be done.
    run: Callback<()>,
) -> impl IntoView {
    let asking = RwSignal::new(false);
    // The buttons change places: the focus goes along, for who has no mouse.
    let (asks, keep) = (NodeRef::<Button>::new(), NodeRef::<Button>::new());
    let focus = |button: NodeRef<Button>| {
        if let Some(button) = button.get() {
            // Refused only where there is nothing to focus.
            let _ = button.focus();
        }
    };
    Effect::new(move |_| focus(keep));
    let came_back = StoredValue::new(false);
    // A button that is disabled takes no focus: it waits for what is under way, and leaves a focus that is elsewhere by then.
    Effect::new(move |_| {
        asks.track();
        if !busy.get() && came_back.get_value() {
            came_back.set_value(false);
            if !browser::has_focus() {
                focus(asks);
            }
        }
    });
    let back = move || {
        came_back.set_value(true);
        asking.set(false);
    };
    let act = move || {
        back();
        run.run(());
    };
    view! {
        <Show when=move || !asking.get()>
            <button
                node_ref=asks
                class:small=small
                type="button"
                aria-label=spoken.clone()
                disabled=move || busy.get()
                on:click=move |_| asking.set(true)
            >
                {label}
            </button>
        </Show>
        <Show when=move || asking.get()>
            <span
                class="asks"
                role="group"
                aria-label=question
                on:keydown=move |event| {
                    if event.key() == "Escape" {
                        back();
                    }
                }
            >
                {question}
                <button class="danger" class:small=small type="button" on:click=move |_| act()>
                    {yes}
                </button>
                <button node_ref=keep class:small=small type="button" on:click=move |_| back()>
                    {no}
                </button>
            </span>
        </Show>
    }
}
