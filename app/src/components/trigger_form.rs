//! Starting a build: a button where nothing needs to be asked, else a form made from the pipeline's inputs.

use std::collections::BTreeMap;

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_navigate;
use wire::{
    PipelineName, Problem,
    command::Trigger,
    pipeline::{InputKind, InputSpec},
};

use super::{file_field::FileField, problem_note::ProblemNote};
use crate::{live::Live, rest};

/// Starts builds of one pipeline and goes to them.
#[derive(Clone, Copy)]
pub struct Start {
    /// A build is being asked for.
    pub busy: RwSignal<bool>,
    /// Why it was refused.
    pub problem: RwSignal<Option<Problem>>,
    /// Made anew after each success, so that a second press of the button on a bad line starts no second build.
    key: StoredValue<String>,
    /// Looked up where the component is made: what an event handler spawns has no context.
    live: Option<Live>,
}

impl Start {
    /// Ready to start.
    #[must_use]
    pub fn new() -> Self {
        let key = StoredValue::new(String::new());
        Self { busy: RwSignal::new(false), problem: RwSignal::new(None), key, live: use_context() }
    }

    /// Asks for a build, and goes to its page.
    pub fn start(self, name: PipelineName, inputs: BTreeMap<String, String>, go: impl Fn(&str) + 'static) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.problem.set(None);
        if self.key.with_value(String::is_empty) {
            self.key.set_value(uuid::Uuid::new_v4().to_string());
        }
        let live = self.live;
        let trigger = Trigger { inputs, socket: live.and_then(Live::meta), ..Trigger::default() };
        spawn_local(async move {
            let key = self.key.get_value();
            let answer = rest::trigger(&name, &trigger, &key).await;
            if self.busy.try_set(false).is_some() {
                return;
            }
            match answer {
                Ok(build) => {
                    self.key.set_value(String::new());
                    if let (Some(live), Some(socket)) = (live, &trigger.socket) {
                        live.asked_for(build, socket.clone());
                    }
                    go(&format!("/builds/{build}"));
                }
                Err(problem) => {
                    // What was refused was not begun: the corrected form is another request.
                    if problem.status < 500 {
                        self.key.set_value(String::new());
                    }
                    self.problem.set(Some(problem));
                }
            }
        });
    }
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

/// The button of a pipeline that needs no inputs.
#[component]
pub fn StartButton(
    /// The pipeline.
    name: PipelineName,
    /// Whether it is what the page is for.
    #[prop(optional)]
    primary: bool,
) -> impl IntoView {
    let start = Start::new();
    let navigate = use_navigate();
    let label = format!("Build {name}");
    let press = move |_| {
        let navigate = navigate.clone();
        start.start(name.clone(), BTreeMap::new(), move |url| navigate(url, Default::default()));
    };
    view! {
        <button class="needs-js" class:primary=primary type="button" on:click=press disabled=move || start.busy.get() aria-label=label>
            "Build"
        </button>
        {move || start.problem.get().map(|problem| view! { <ProblemNote problem/> })}
    }
}

/// The form of a pipeline's inputs.
#[component]
pub fn TriggerForm(
    /// The pipeline.
    name: PipelineName,
    /// Its inputs.
    inputs: Vec<InputSpec>,
) -> impl IntoView {
    let start = Start::new();
    let navigate = use_navigate();
    let values = StoredValue::new(
        inputs
            .iter()
            .map(|input| (input.name.clone(), input.default.clone().unwrap_or_default()))
            .collect::<BTreeMap<_, _>>(),
    );
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let navigate = navigate.clone();
        start.start(name.clone(), values.get_value(), move |url| navigate(url, Default::default()));
    };
    let sending = RwSignal::new(0_u32);
    let field = move |input: InputSpec| {
        if input.kind == InputKind::File {
            let key = input.name.clone();
            let value = Callback::new(move |check: String| {
                // The page may be gone when a file has been sent.
                let _ = values.try_update_value(|values| values.insert(key.clone(), check));
            });
            return view! { <FileField input busy=sending value/> }.into_any();
        }
        let (name, required) = (input.name.clone(), input.default.is_none());
        let (id, described) = (format!("input-{name}"), format!("input-{name}-about"));
        let key = input.name.clone();
        view! {
            <div class="field">
                <label for=id.clone()>
                    {name}
                    {required.then(|| view! { <span class="required">"required"</span> })}
                </label>
                <input
                    id=id
                    type="text"
                    name=input.name
                    value=input.default.unwrap_or_default()
                    required=required
                    autocomplete="off"
                    spellcheck="false"
                    aria-describedby=described.clone()
                    on:input=move |event| {
                        let value = event_target_value(&event);
                        values.update_value(|values| {
                            values.insert(key.clone(), value);
                        });
                    }
                />
                <p id=described class="about">{input.description}</p>
            </div>
        }
        .into_any()
    };
    view! {
        <form class="trigger needs-js" on:submit=submit>
            {inputs.into_iter().map(field).collect_view()}
            <button class="primary" type="submit" disabled=move || start.busy.get() || sending.get() != 0>
                "Build"
            </button>
            {move || start.problem.get().map(|problem| view! { <ProblemNote problem/> })}
        </form>
    }
}
