//! A line of text in a form, with its label above it and what is said of it below.

use leptos::prelude::*;

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
    #[prop(optional, into)]
    maxlength: Option<String>,
    /// It must not be empty.
    #[prop(optional)]
    required: bool,
    /// What stands below it.
    #[prop(optional, into)]
    below: ViewFn,
) -> impl IntoView {
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
            {below.run()}
        </div>
    }
}
