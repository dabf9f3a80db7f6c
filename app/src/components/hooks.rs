//! Hooks: doors through which GitHub, Gitea and Forgejo say that something was pushed. The list, the form that makes one, and
//! what is to be entered at the provider.

use leptos::prelude::*;
use wire::{
    PipelineName,
    hook::{HookView, Provider, ShownHook},
    pipeline::OnSpec,
};

use super::{
    ask_first::AskFirst,
    at_once::AtOnce,
    copy_button::CopyButton,
    deed::Deed,
    person_row::{Asks, PersonRow},
    shown_once::ShownOnce,
};
use crate::rest::admin;

/// As people write it.
#[must_use]
pub fn called(provider: Provider) -> &'static str {
    match provider {
        Provider::Github => "GitHub",
        Provider::Gitea => "Gitea",
        Provider::Forgejo => "Forgejo",
    }
}

/// What is to be done at the provider.
fn steps(provider: Provider) -> String {
    let form = match provider {
        Provider::Github => "Payload URL and Secret; the content type is application/json",
        Provider::Gitea | Provider::Forgejo => "Target URL and Secret; POST and application/json stay as they are",
    };
    format!(
        "Open the repository at {}: Settings, Webhooks, Add webhook. Enter both below as {form}. Choose the events that the \
         pipeline file names under `on`: pushes, pull requests, or both. The secret is not shown again.",
        called(provider)
    )
}

/// What of the deliveries is built, in words.
fn built(on: Option<&OnSpec>) -> String {
    let Some(on) = on else {
        return "The pipeline file does not say what a hook builds: nothing is, until it has an `on`, such as \
                `on: {push: {branches: [main]}}`."
            .to_owned();
    };
    let mut parts = Vec::new();
    if let Some(push) = &on.push {
        if push.branches.is_empty() && push.tags.is_empty() {
            parts.push("pushes to any branch or tag".to_owned());
        }
        if !push.branches.is_empty() {
            parts.push(format!("pushes to {}", push.branches.join(", ")));
        }
        if !push.tags.is_empty() {
            parts.push(format!("tags {}", push.tags.join(", ")));
        }
    }
    if let Some(request) = &on.pull_request {
        let into = if request.branches.is_empty() { "any branch".to_owned() } else { request.branches.join(", ") };
        parts.push(format!("pull requests into {into}"));
    }
    if parts.is_empty() {
        return "The `on` of the pipeline file names nothing: no hook builds it.".to_owned();
    }
    format!("By the pipeline file they build {}.", parts.join("; "))
}

/// The hooks of a pipeline.
#[component]
pub fn Hooks(
    /// Whose.
    pipeline: PipelineName,
    /// As they were last read.
    #[prop(into)]
    hooks: Signal<Vec<HookView>>,
    /// What of their deliveries is built.
    #[prop(into)]
    on: Signal<Option<OnSpec>>,
    /// Told when one was changed.
    on_done: Callback<()>,
) -> impl IntoView {
    let deed = Deed::new();
    let provider = RwSignal::new(Provider::Github);
    // What was made or rotated last: its secret is shown this once, whatever becomes of the list.
    let made = RwSignal::new(None::<ShownHook>);
    let of = pipeline.clone();
    let row = move |hook: HookView| view! { <HookRow pipeline=of.clone() hook made on_done/> };
    let key = |hook: &HookView| (hook.id, hook.generation, hook.last_built_at.map(|at| at.0));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        deed.ask(admin::make_hook(pipeline.clone(), provider.get_untracked()), move |hook| {
            made.set(Some(hook));
            let _ = on_done.try_run(());
        });
    };
    let options = Provider::ALL.map(|known| view! { <option value=known.as_str()>{called(known)}</option> });
    let choose = move |event| {
        if let Ok(chosen) = event_target_value(&event).parse() {
            provider.set(chosen);
        }
    };
    let shown = move || {
        made.get().map(|ShownHook { hook, secret }| {
            view! {
                <ShownOnce secret label="Copy the secret" address=hook.url>
                    {steps(hook.provider)}
                </ShownOnce>
            }
        })
    };
    view! {
        <p class="about">{move || on.with(|on| built(on.as_ref()))}</p>
        <ul class="people" aria-label="Hooks">
            <For each=move || hooks.get() key=key children=row/>
        </ul>
        <p class="note quiet">{move || hooks.with(Vec::is_empty).then_some("There is none yet.")}</p>
        <form class="trigger needs-js" on:submit=submit>
            <div class="field">
                <label for="hook-provider">"Called by"</label>
                <select id="hook-provider" on:change=choose>{options.to_vec()}</select>
            </div>
            {deed.note()}
            <button class="primary" type="submit" disabled=move || deed.busy.get()>"Make a hook"</button>
        </form>
        {shown}
    }
}

/// One that there is.
#[component]
fn HookRow(
    pipeline: PipelineName,
    hook: HookView,
    made: RwSignal<Option<ShownHook>>,
    on_done: Callback<()>,
) -> impl IntoView {
    let HookView { id, provider, url, created_at, created_by, last_built_at, .. } = hook;
    let deed = Deed::new();
    let name = called(provider).to_owned();
    let run = {
        let pipeline = pipeline.clone();
        Callback::new(move |()| deed.then(admin::remove_hook(pipeline.clone(), id), on_done))
    };
    let rotate = Callback::new(move |()| {
        let rotated = admin::rotate_hook(pipeline.clone(), id);
        // The secret is told once: it is shown also when the row has gone, or was read anew, before the answer came.
        let told = async move { rotated.await.map(|hook| made.try_set(Some(hook))) };
        deed.then(told, on_done);
    });
    let spoken_rotate = format!("New secret for the hook of {name}");
    let more = AtOnce(view! {
        <CopyButton text=url.clone() label="Copy the address" small=true/>
        <AskFirst
            label="New secret"
            spoken=Some(spoken_rotate)
            question="Make another? The former one is good no more."
            yes="Make another"
            no="Keep the former"
            small=true
            busy=deed.busy
            run=rotate
        />
    });
    let built = if last_built_at.is_some() { "last built" } else { "has built nothing in 90 days" };
    let when = vec![(format!("made by {created_by}"), Some(created_at)), (built.to_owned(), last_built_at)];
    let ends = Asks { label: "Remove", question: "Remove it? What calls it is refused.", yes: "Remove it" };
    let spoken = format!("Remove the hook of {name}");
    view! { <PersonRow name about=url when ends spoken deed run more=more.into_any()/> }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_built_is_told_in_words() {
        let of = |on| built(Some(&serde_json::from_value::<OnSpec>(on).unwrap()));
        assert!(built(None).contains("`on: {push: {branches: [main]}}`"));
        assert_eq!(of(json!({"push": {}})), "By the pipeline file they build pushes to any branch or tag.");
        assert_eq!(
            of(json!({"push": {"branches": ["main", "release/*"], "tags": ["v*"]}, "pull_request": {}})),
            "By the pipeline file they build pushes to main, release/*; tags v*; pull requests into any branch."
        );
        assert!(of(json!({})).contains("names nothing"));
    }

    #[test]
    fn who_makes_a_hook_is_told_what_its_form_asks_for() {
        assert!(steps(Provider::Github).contains("Payload URL"));
        assert!(steps(Provider::Forgejo).contains("at Forgejo") && steps(Provider::Forgejo).contains("Target URL"));
    }
}
