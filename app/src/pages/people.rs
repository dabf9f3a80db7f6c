//! `/people`: who has an account and what they may do; inviting others.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use leptos_meta::Title;
use wire::{
    Problem,
    account::{AccountView, InvitationView, OwnView},
};

use crate::{
    api::{
        PageError,
        people::{PeoplePage, read_people},
    },
    components::{
        account_row::AccountRow,
        at_once::AtOnce,
        grants_field::in_words,
        invitations::{InvitationRow, InviteForm},
        own::Own,
        page_data::{page_data, read_once, typed},
        problem_note::ProblemNote,
    },
};

/// The route.
#[component]
pub fn PeopleRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_people()));
    let page = |page: PeoplePage| AtOnce(view! { <People page/> }).into_any();
    view! {
        <Title text="People"/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

/// What shows an account: a row is made anew when any of it has changed, and stays as it is else.
fn key(account: &AccountView) -> (String, String, bool, Option<i64>) {
    let seen = account.signed_in_at.map(|at| at.0);
    (account.name.clone(), in_words(&account.grants), account.disabled, seen)
}

#[component]
fn People(page: PeoplePage) -> impl IntoView {
    let own = Own::get();
    let own_id = move || serde_json::from_value::<OwnView>(own.whole()).ok().and_then(|own| own.account);
    let pipelines = StoredValue::new(page.pipelines.clone());
    let now = RwSignal::new(page);
    let problem = RwSignal::new(None::<Problem>);
    let on_done = Callback::new(move |()| {
        spawn_local(async move {
            let refused = match read_people().await {
                Ok(answer) => {
                    if let Ok(fresh) = serde_json::from_value(answer.data) {
                        // The person may have left the page meanwhile.
                        let _ = now.try_set(fresh);
                    }
                    None
                }
                Err(PageError(refused)) => Some(refused),
            };
            let _ = problem.try_set(refused);
        });
    });
    let accounts = Memo::new(move |_| now.with(|now| now.accounts.clone()));
    let invitations = Memo::new(move |_| now.with(|now| now.invitations.clone()));
    let row = move |account: AccountView| {
        let is_own = untrack(own_id) == Some(account.id);
        view! { <AccountRow account is_own pipelines=pipelines.get_value() on_done/> }
    };
    let open = move |invitation: InvitationView| view! { <InvitationRow invitation on_done/> };
    let class = move || if invitations.with(Vec::is_empty) { "absent" } else { "" };
    view! {
        <div class="heading">
            <h1>"People"</h1>
            <span class="count">{move || accounts.with(Vec::len)}</span>
        </div>
        {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
        <ul class="people" aria-label="People">
            <For each=move || accounts.get() key=key children=row/>
        </ul>
        <div class="columns even">
            <section aria-labelledby="invite">
                <h2 id="invite">"Invite somebody"</h2>
                <InviteForm pipelines=pipelines.get_value() on_done/>
            </section>
            <section class=class aria-labelledby="invitations">
                <h2 id="invitations">"Links that nobody has used yet"</h2>
                <ul class="people" aria-labelledby="invitations">
                    <For each=move || invitations.get() key=|invitation| invitation.id.clone() children=open/>
                </ul>
            </section>
        </div>
    }
}
