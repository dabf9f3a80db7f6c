//! Secrets: what they are called, who set them and when; the form that gives one a value. No value is ever shown.

use leptos::prelude::*;
use wire::{
    PipelineName,
    secret::{SecretFrom, SecretView, SecretWanted, SecretsView},
};

use super::{
    at_once::AtOnce,
    deed::Deed,
    person_row::{Asks, PersonRow},
    text_field::TextField,
};
use crate::rest::admin;

/// Characters of a name.
const NAME_CHARS_MAX: &str = "100";

/// Names in words: `site, docs and lab`.
fn listed(names: &[PipelineName]) -> String {
    let names: Vec<&str> = names.iter().map(PipelineName::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What is said of one.
fn about(secret: &SecretView) -> String {
    let used = match (secret.pipeline.is_some(), secret.used_by.as_slice()) {
        (true, []) => "no job of the pipeline names it".to_owned(),
        (true, _) => "given to jobs that name it".to_owned(),
        (false, []) => "no job of any pipeline names it".to_owned(),
        (false, some) => format!("used by {}", listed(some)),
    };
    match secret.allowed.as_slice() {
        [] if secret.pipeline.is_none() => format!("for all pipelines, {used}"),
        [] => used,
        only => format!("for {} only, {used}", listed(only)),
    }
}

/// What jobs name that is not the pipeline's own: whose it is, or what would help.
fn wants(wanted: &SecretWanted) -> Option<String> {
    match (&wanted.problem, wanted.from) {
        (Some(problem), _) => Some(problem.clone()),
        (None, Some(SecretFrom::Installation)) => {
            Some(format!("{} is the installation's ({}).", wanted.name, wanted.jobs.join(", ")))
        }
        (None, _) => None,
    }
}

/// The secrets of a pipeline, or of the installation.
#[component]
pub fn Secrets(
    /// Whose; none for the installation.
    pipeline: Option<PipelineName>,
    /// As they were last read.
    #[prop(into)]
    secrets: Signal<SecretsView>,
    /// Told when one was changed.
    on_done: Callback<()>,
) -> impl IntoView {
    let of = pipeline.clone();
    let row = move |secret: SecretView| view! { <SecretRow pipeline=of.clone() secret on_done/> };
    let none = move || secrets.with(|secrets| secrets.secrets.is_empty()).then_some("There is none yet.");
    let wanted = move || {
        let lines = secrets.with(|secrets| secrets.wanted.iter().filter_map(wants).collect::<Vec<_>>());
        lines.into_iter().map(|line| view! { <p class="about">{line}</p> }).collect_view()
    };
    view! {
        <ul class="people" aria-label="Secrets">
            <For each=move || secrets.get().secrets key=|secret| (secret.name.clone(), secret.set_at.0) children=row/>
        </ul>
        <p class="note quiet">{none}</p>
        {wanted}
        <SecretForm pipeline on_done/>
    }
}

/// The form for one that there is not yet, or for another value of one.
#[component]
fn SecretForm(pipeline: Option<PipelineName>, on_done: Callback<()>) -> impl IntoView {
    let deed = Deed::new();
    let (name, value, allowed) =
        (RwSignal::new(String::new()), RwSignal::new(String::new()), RwSignal::new(String::new()));
    let is_done = RwSignal::new(None::<String>);
    let of_installation = pipeline.is_none();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = name.get_untracked().trim().to_owned();
        let put = admin::put_secret(pipeline.clone(), typed.clone(), value.get_untracked(), allowed.get_untracked());
        is_done.set(None);
        deed.ask(put, move |()| {
            for field in [name, value, allowed] {
                field.set(String::new());
            }
            is_done.set(Some(format!("{typed} is set. Jobs that start from now on have it.")));
            let _ = on_done.try_run(());
        });
    };
    let only = of_installation.then(|| {
        view! {
            <TextField
                id="secret-allowed"
                label="Only for"
                value=allowed
                about="Names of pipelines, separated by commas; empty: a new one is for all of them, one that there is stays as it is."
            />
        }
    });
    view! {
        <form class="trigger needs-js" on:submit=submit>
            <TextField
                id="secret-name"
                label="Name"
                value=name
                maxlength=NAME_CHARS_MAX
                required=true
                about="Capital letters, digits and _. A name that there is gets the new value."
            />
            <SecretValue id="secret-value".to_owned() value/>
            {only}
            {deed.note()}
            <button class="primary" type="submit" disabled=move || deed.busy.get()>"Set the secret"</button>
            <p class="hint" role="status">{move || is_done.get()}</p>
        </form>
    }
}

/// The field for a value: it may have several lines, and is kept nowhere.
#[component]
fn SecretValue(id: String, value: RwSignal<String>) -> impl IntoView {
    view! {
        <div class="field">
            <label for=id.clone()>"Value"</label>
            <textarea
                id=id
                rows="2"
                required
                autocomplete="off"
                autocapitalize="off"
                spellcheck="false"
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            ></textarea>
            <p class="about">"It is written only: nobody is ever shown it again."</p>
        </div>
    }
}

/// One that there is.
#[component]
fn SecretRow(pipeline: Option<PipelineName>, secret: SecretView, on_done: Callback<()>) -> impl IntoView {
    let deed = Deed::new();
    let (replacing, value) = (RwSignal::new(false), RwSignal::new(String::new()));
    let name = secret.name.to_string();
    let run = {
        let (pipeline, name) = (pipeline.clone(), name.clone());
        Callback::new(move |()| deed.then(admin::remove_secret(pipeline.clone(), name.clone()), on_done))
    };
    let id = format!("value-of-{name}");
    let kept = name.clone();
    let form = move || {
        let (pipeline, name, id) = (pipeline.clone(), kept.clone(), id.clone());
        replacing.get().then(move || {
            let save = move |event: leptos::ev::SubmitEvent| {
                event.prevent_default();
                let typed = value.get_untracked();
                let put = admin::put_secret(pipeline.clone(), name.clone(), typed, String::new());
                deed.ask(put, move |()| {
                    value.set(String::new());
                    replacing.set(false);
                    let _ = on_done.try_run(());
                });
            };
            let leave = move |_| {
                value.set(String::new());
                replacing.set(false);
            };
            view! {
                <form class="change" on:submit=save>
                    <SecretValue id value/>
                    <div class="bar">
                        <button class="primary small" type="submit" disabled=move || deed.busy.get()>"Save"</button>
                        <button class="small" type="button" on:click=leave>"Leave it"</button>
                    </div>
                </form>
            }
        })
    };
    let spoken_replace = format!("Replace {name}");
    let more = AtOnce(view! {
        <button
            class="small"
            type="button"
            aria-label=spoken_replace
            aria-expanded=move || replacing.get().to_string()
            on:click=move |_| replacing.update(|replacing| *replacing = !*replacing)
        >
            "Replace"
        </button>
    });
    let (more, below) = (more.into_any(), AtOnce(form).into_any());
    let ends = Asks { label: "Remove", question: "Remove it? Jobs that name it will fail.", yes: "Remove it" };
    let when = vec![(format!("set by {}", secret.set_by), Some(secret.set_at))];
    let (about, spoken) = (about(&secret), format!("Remove {name}"));
    view! { <PersonRow name about when ends spoken deed run more below/> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_secret_is_who_may_use_it_and_who_does() {
        let name = |name: &str| name.parse::<PipelineName>().unwrap();
        let mut secret = SecretView {
            name: "KEY".parse().unwrap(),
            pipeline: None,
            allowed: Vec::new(),
            set_at: wire::Timestamp(0),
            set_by: "Ada".to_owned(),
            used_by: Vec::new(),
        };
        assert_eq!(about(&secret), "for all pipelines, no job of any pipeline names it");
        secret.allowed = vec![name("site"), name("docs"), name("lab")];
        secret.used_by = vec![name("site")];
        assert_eq!(about(&secret), "for site, docs and lab only, used by site");
        (secret.pipeline, secret.allowed) = (Some(name("site")), Vec::new());
        assert_eq!(about(&secret), "given to jobs that name it");
    }
}
