//! An account: who, what it may do, when it was last seen, and what an admin does with it.

use leptos::{either::Either, prelude::*};
use wire::{
    account::{AccountView, ChangeAccount},
    authority::{Grants, Role},
};

use super::{
    ask_first::AskFirst,
    deed::Deed,
    grants_field::{GrantsField, in_words},
    own::Own,
    problem_note::ProblemNote,
    time::Time,
};
use crate::rest::people;

/// The row.
#[component]
pub fn AccountRow(
    /// The account.
    account: AccountView,
    /// Whether it is that of who looks.
    is_own: bool,
    /// Pipelines in which one can have a role.
    pipelines: Vec<String>,
    /// Told when something was done.
    on_done: Callback<()>,
) -> impl IntoView {
    let AccountView { id, name, grants, disabled, signed_in_at, signs_in, .. } = account;
    let own = Own::get();
    let by = move || {
        signs_in.provider.then(|| {
            let provider = own.provider().unwrap_or_else(|| "a provider".to_owned());
            if signs_in.password { format!(", by password or {provider}") } else { format!(", by {provider}") }
        })
    };
    let deed = Deed::new();
    let changing = RwSignal::new(false);
    let wanted = RwSignal::new(grants.clone());
    let change = move |change: ChangeAccount| {
        deed.ask(people::change_account(id, change), move |()| {
            let _ = on_done.try_run(());
        });
    };
    let remove = Callback::new(move |()| {
        deed.ask(people::remove_account(id), move |()| {
            let _ = on_done.try_run(());
        });
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        change(ChangeAccount { grants: Some(wanted.get_untracked()), disabled: None });
    };
    let toggle = move |_| change(ChangeAccount { grants: None, disabled: Some(!disabled) });
    let seen = match signed_in_at {
        Some(at) => Either::Left(view! { "last signed in " <Time at/> }),
        None => Either::Right("never signed in"),
    };
    let mark = match (is_own, disabled) {
        (_, true) => Some("disabled"),
        (true, false) => Some("you"),
        (false, false) => None,
    };
    let form = move || {
        changing.get().then(|| {
            view! {
                <form class="change" on:submit=save>
                    <GrantsField grants=wanted pipelines=pipelines.clone() within=Grants::everywhere(Role::Admin)/>
                    <div class="bar">
                        <button class="primary small" type="submit" disabled=move || deed.busy.get()>"Save"</button>
                        <button class="small" type="button" on:click=move |_| changing.set(false)>"Leave it"</button>
                    </div>
                </form>
            }
        })
    };
    let (spoken_change, spoken_able) =
        (format!("Change the role of {name}"), format!("{} {name}", if disabled { "Enable" } else { "Disable" }));
    let spoken_remove = format!("Remove {name}");
    view! {
        <li class="person" class:disabled=disabled>
            <div class="who">
                <span class="name">{name}</span>
                <span class="mark">{mark}</span>
                <p class="muted">{in_words(&grants)} {by}</p>
            </div>
            <span class="when muted">{seen}</span>
            <div class="decision needs-js">
                <button
                    class="small"
                    type="button"
                    aria-label=spoken_change
                    aria-expanded=move || changing.get().to_string()
                    on:click=move |_| changing.update(|changing| *changing = !*changing)
                >
                    "Change"
                </button>
                <button class="small" type="button" aria-label=spoken_able disabled=move || deed.busy.get() on:click=toggle>
                    {if disabled { "Enable" } else { "Disable" }}
                </button>
                <AskFirst
                    label="Remove"
                    spoken=Some(spoken_remove)
                    question="Remove the account and its tokens?"
                    yes="Remove it"
                    no="Keep it"
                    small=true
                    busy=deed.busy
                    run=remove
                />
            </div>
            {form}
            {move || deed.problem.get().map(|problem| view! { <ProblemNote problem/> })}
        </li>
    }
}
