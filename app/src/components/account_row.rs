//! An account: who, what it may do, when it was last seen, and what an admin does with it.

use leptos::prelude::*;
use wire::{
    account::{AccountView, ChangeAccount},
    authority::{Grants, Role},
};

use super::{
    at_once::AtOnce,
    deed::Deed,
    grants_field::{GrantsField, in_words},
    own::Own,
    person_row::{Asks, PersonRow},
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
    let provider = Own::get().provider().unwrap_or_else(|| "a provider".to_owned());
    let by = match (signs_in.provider, signs_in.password) {
        (true, true) => format!(", by password or {provider}"),
        (true, false) => format!(", by {provider}"),
        (false, _) => String::new(),
    };
    let deed = Deed::new();
    let changing = RwSignal::new(false);
    let wanted = RwSignal::new(grants.clone());
    let was = StoredValue::new(grants.clone());
    // What was chosen and left is not there when the form opens again.
    let turn = move |open: bool| {
        wanted.set(was.get_value());
        changing.set(open);
    };
    let change = move |change: ChangeAccount| {
        deed.ask(people::change_account(id, change), move |()| {
            changing.set(false);
            let _ = on_done.try_run(());
        });
    };
    let remove = Callback::new(move |()| deed.then(people::remove_account(id), on_done));
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        change(ChangeAccount { grants: Some(wanted.get_untracked()), was: Some(was.get_value()), disabled: None });
    };
    let toggle = move |_| change(ChangeAccount { disabled: Some(!disabled), ..ChangeAccount::default() });
    let seen = if signed_in_at.is_some() { "last signed in" } else { "never signed in" };
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
                        <button class="small" type="button" on:click=move |_| turn(false)>"Leave it"</button>
                    </div>
                </form>
            }
        })
    };
    let does = if disabled { "Enable" } else { "Disable" };
    let (spoken_change, spoken_does) = (format!("Change the role of {name}"), format!("{does} {name}"));
    let more = AtOnce(view! {
        <button
            class="small"
            type="button"
            aria-label=spoken_change
            aria-expanded=move || changing.get().to_string()
            on:click=move |_| turn(!changing.get_untracked())
        >
            "Change"
        </button>
        <button class="small" type="button" aria-label=spoken_does disabled=move || deed.busy.get() on:click=toggle>
            {does}
        </button>
    });
    let (more, below) = (more.into_any(), AtOnce(form).into_any());
    let when = vec![(seen.to_owned(), signed_in_at)];
    let ends = Asks { label: "Remove", question: "Remove the account and its tokens?", yes: "Remove it" };
    let (about, spoken) = (in_words(&grants) + &by, format!("Remove {name}"));
    view! { <PersonRow name about when ends spoken deed run=remove mark faded=disabled more below/> }
}
