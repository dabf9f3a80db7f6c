//! A line of text in a form, with its label above it and what is said of it below.

use leptos::prelude::*;
use wire::Problem;

use super::problem_note::ProblemNote;

/// The field.
#[component]
pub fn TextField(
    /// Its id in the document.
    id: &'static str,
    /// What it is for.
    label: &'static str,
    /// What is written in it.
    value: RwSignal<String>,
    /// `password` where it is not shown.
    #[prop(default = "text")]
    kind: &'static str,
    /// What the browser may fill in.
    #[prop(default = "off")]
    autocomplete: &'static str,
    /// Characters at most.
    #[prop(default = "10000")]
    maxlength: &'static str,
    /// It must not be empty.
    #[prop(optional)]
    required: bool,
    /// What is said of it.
    #[prop(optional, into)]
    about: String,
    /// What is wrong with what is written.
    #[prop(optional, into)]
    wrong: Option<Signal<Option<Problem>>>,
) -> impl IntoView {
    let wrong = move || wrong.and_then(|wrong| wrong.get()).map(|problem| view! { <ProblemNote problem/> });
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                id=id
                type=kind
                autocomplete=autocomplete
                spellcheck="false"
                maxlength=maxlength
                required=required
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            />
            <p class="about">{about}</p>
            {wrong}
        </div>
    }
}
