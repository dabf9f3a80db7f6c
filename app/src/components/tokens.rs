//! Tokens for programs: the form that makes one, and those that there are.

use leptos::prelude::*;
use wire::{
    account::{MadeToken, NewToken, TokenView},
    authority::{Grants, Role},
};

use super::{
    clock::Clock,
    deed::Deed,
    grants_field::{GrantsField, in_words},
    person_row::{Asks, PersonRow},
    shown_once::ShownOnce,
    text_field::TextField,
};
use crate::rest::people;

/// Characters of a token's name.
const NAME_CHARS_MAX: &str = "100";
/// For how many days a token may be good, as it is offered; none for ever.
const DAYS: [(&str, &str); 5] =
    [("7", "a week"), ("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until it is revoked")];
/// Unless another is chosen.
const DAYS_AT_FIRST: &str = "90";

/// What a new token may do unless something else is chosen: to build is what programs want, where their maker may.
fn at_first(within: &Grants) -> Grants {
    match within.everywhere {
        Some(role) => Grants::everywhere(role.min(Role::Builder)),
        None => {
            let few = within.pipelines.iter().map(|(name, role)| (name.clone(), (*role).min(Role::Builder)));
            Grants { everywhere: None, pipelines: few.collect() }
        }
    }
}

/// The form. It may be made anew under what it made, which stays to be read.
#[component]
pub fn TokenForm(
    /// What who makes it may do: it does no more.
    within: Grants,
    /// Pipelines in which one can have a role.
    pipelines: Vec<String>,
    /// The token that was just made.
    made: RwSignal<Option<MadeToken>>,
    /// Told when one was made.
    on_done: Callback<()>,
) -> impl IntoView {
    let deed = Deed::new();
    let name = RwSignal::new(String::new());
    let days = RwSignal::new(DAYS_AT_FIRST.to_owned());
    let grants = RwSignal::new(at_first(&within));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let expires_in = days.get_untracked().parse::<u64>().ok().map(|days| days * 24 * 3600);
        let wanted = NewToken { name: name.get_untracked(), grants: grants.get_untracked(), expires_in };
        deed.ask(people::create_token(wanted), move |token| {
            made.set(Some(token));
            name.set(String::new());
            let _ = on_done.try_run(());
        });
    };
    let options = DAYS.map(|(days, text)| view! { <option value=days selected=days == DAYS_AT_FIRST>{text}</option> });
    view! {
        <form class="trigger needs-js" on:submit=submit>
            <TextField id="token-name" label="What it is for" value=name maxlength=NAME_CHARS_MAX required=true/>
            <GrantsField grants pipelines within/>
            <div class="field">
                <label for="token-days">"Good for"</label>
                <select id="token-days" on:change=move |event| days.set(event_target_value(&event))>
                    {options.to_vec()}
                </select>
            </div>
            {deed.note()}
            <button class="primary" type="submit" disabled=move || deed.busy.get()>"Make a token"</button>
        </form>
    }
}

/// The token that was just made, to be kept by who made it.
#[component]
pub fn TokenMade(
    /// The token.
    made: RwSignal<Option<MadeToken>>,
) -> impl IntoView {
    move || {
        made.get().map(|MadeToken { secret, token }| {
            view! {
                <ShownOnce secret label="Copy the token">
                    "The token " <b>{token.name}</b> " (" {in_words(&token.grants)} "). Keep it where its program finds it: it is not shown again."
                </ShownOnce>
            }
        })
    }
}

/// One that there is.
#[component]
pub fn TokenRow(
    /// The token.
    token: TokenView,
    /// Told when it was taken back.
    on_done: Callback<()>,
) -> impl IntoView {
    let TokenView { id, name, grants, created_by, expires_at, used_at, .. } = token;
    let now = untrack(|| Clock::get().now());
    let deed = Deed::new();
    let run = Callback::new(move |()| deed.then(people::revoke_token(id.clone()), on_done));
    let has_ended = expires_at.is_some_and(|at| at <= now);
    let used = if used_at.is_some() { "last used" } else { "never used" };
    let until = match (expires_at, has_ended) {
        (None, _) => "does not end",
        (_, true) => "ended",
        (_, false) => "ends",
    };
    let when = vec![(used.to_owned(), used_at), (until.to_owned(), expires_at)];
    let by = created_by.map_or_else(|| "made without an account".to_owned(), |by| format!("made by {by}"));
    let (about, spoken) = (format!("{}, {by}", in_words(&grants)), format!("Revoke {name}"));
    let ends = Asks { label: "Revoke", question: "Revoke it? What uses it is shut out at once.", yes: "Revoke it" };
    view! { <PersonRow name about when ends spoken deed run faded=has_ended/> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_builds_where_its_maker_may_and_no_more() {
        assert_eq!(at_first(&Grants::everywhere(Role::Admin)), Grants::everywhere(Role::Builder));
        assert_eq!(at_first(&Grants::everywhere(Role::Viewer)), Grants::everywhere(Role::Viewer));
        let site = |role| Grants::in_pipelines(role, ["site".parse().unwrap()]);
        assert_eq!(at_first(&site(Role::Admin)), site(Role::Builder));
        assert!(at_first(&site(Role::Viewer)).within(&site(Role::Viewer)));
    }
}
