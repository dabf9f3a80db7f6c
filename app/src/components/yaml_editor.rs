//! A pipeline's text, to edit and save. What is wrong is shown with its line, which is marked and selected.

use leptos::{prelude::*, task::spawn_local};
use wire::Problem;

use super::{clock::Clock, problem_note::ProblemNote};
use crate::{
    browser,
    rest::{self, Saved},
};

/// What is asked before the person leaves.
const NOT_SAVED: &str = "What you changed in the pipeline is not saved. Leave it?";

/// The text as a text area's child. The renderer writes it as it stands, so that on the server it must not be able to
/// end the element; in a browser it becomes a text node.
fn area_text(yaml: String) -> String {
    if cfg!(target_arch = "wasm32") { yaml } else { yaml.replace('&', "&amp;").replace('<', "&lt;") }
}

/// The editor. `name` is the pipeline's when it exists; a new one is named by its text.
#[component]
pub fn YamlEditor(
    /// The text at first.
    yaml: String,
    /// The pipeline's name, unless it is new.
    #[prop(optional)]
    name: Option<String>,
    /// Names the text at first: another one that came meanwhile is not replaced unasked.
    #[prop(optional_no_strip)]
    etag: Option<String>,
    /// What is done once it is saved, with the name.
    on_saved: Callback<String>,
    /// Whether it may be saved; else it is there to be read.
    #[prop(into)]
    may: Signal<bool>,
    /// What is said where it may not.
    not: &'static str,
) -> impl IntoView {
    // Without scripts nothing can be saved.
    let clock = Clock::get();
    let text = RwSignal::new(yaml.clone());
    let saved = RwSignal::new(yaml.clone());
    let problem = RwSignal::new(None::<Problem>);
    let busy = RwSignal::new(false);
    let told = RwSignal::new(false);
    let etag = RwSignal::new(etag);
    let area = NodeRef::<leptos::html::Textarea>::new();
    let save = move |_| {
        if busy.get_untracked() {
            return;
        }
        let yaml = text.get_untracked();
        let name = name.clone();
        busy.set(true);
        told.set(false);
        spawn_local(async move {
            let answer = match name {
                Some(name) => rest::put_pipeline(&name, yaml.clone(), etag.get_untracked()).await,
                None => rest::create_pipeline(yaml.clone()).await,
            };
            if busy.try_set(false).is_some() {
                return;
            }
            match answer {
                Ok(Saved { name, etag: its }) => {
                    etag.set(its);
                    problem.set(None);
                    saved.set(yaml);
                    told.set(true);
                    on_saved.run(name);
                }
                Err(refused) => {
                    // The person was told: to save again is to overwrite.
                    if refused.status == 412 {
                        etag.set(None);
                    }
                    if let (Some(line), Some(area)) = (refused.line, area.get_untracked()) {
                        browser::select_line(&area, line);
                    }
                    problem.set(Some(refused));
                }
            }
        });
    };
    let wrong_line = move || problem.get().and_then(|problem| problem.line);
    let numbers = Memo::new(move |_| text.with(|text| text.split('\n').count()));
    let gutter = move || (1..=numbers.get()).map(|n| format!("{n}\n")).collect::<String>();
    let changed = move || text.get() != saved.get();
    // It asks until it is dropped, with the editor.
    Effect::new(move |_| {
        let is_changed = move || untrack(|| text.try_get() != saved.try_get());
        StoredValue::new_local(browser::AskBeforeLeaving::new(NOT_SAVED, is_changed));
    });
    view! {
        <div class="editor">
            <div class="sheet">
                <pre class="gutter" aria-hidden="true">{gutter}</pre>
                {move || {
                    wrong_line().map(|line| view! { <span class="wrong" style=format!("--at:{}", line.max(1) - 1)></span> })
                }}
                <textarea
                    node_ref=area
                    aria-label="Pipeline in YAML"
                    spellcheck="false"
                    autocapitalize="off"
                    wrap="off"
                    readonly=move || !clock.is_hydrated() || !may.get()
                    rows=move || numbers.get().max(12)
                    on:input=move |event| {
                        text.set(event_target_value(&event));
                        told.set(false);
                    }
                >
                    {area_text(yaml)}
                </textarea>
            </div>
            <div class="foot">
            {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
            <div class="bar">
                // A button that is disabled, or pressed by a mouse, would take the focus from the text.
                <button
                    class="primary needs-js"
                    class:absent=move || !may.get()
                    type="button"
                    on:mousedown=|event| event.prevent_default()
                    on:click=save
                    aria-disabled=move || busy.get().to_string()
                >
                    "Save"
                </button>
                <span class="hint" role="status">
                    {move || match (told.get(), changed()) {
                        _ if !may.get() => not,
                        (true, false) => "Saved",
                        (_, true) => "Not saved yet",
                        _ => "",
                    }}
                </span>
            </div>
            </div>
        </div>
    }
}
