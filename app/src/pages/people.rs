//! `/people`: who has an account and what they may do; inviting others.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use wire::{
    AccountId,
    account::{AccountView, InvitationView},
    authority::Grants,
};

use crate::{
    api::people::{PeoplePage, read_people},
    components::{
        account_row::AccountRow,
        anew::{Anew, anew},
        at_once::AtOnce,
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

/// What a row shows of an account: it is made anew when any of it has changed, and stays as it is else.
fn key(account: &AccountView) -> (AccountId, String, Grants, bool, Option<i64>) {
    let seen = account.signed_in_at.map(|at| at.0);
    (account.id, account.name.clone(), account.grants.clone(), account.disabled, seen)
}

#[component]
fn People(page: PeoplePage) -> impl IntoView {
    let own = Own::get();
    let own_id = move || own.view().and_then(|own| own.account);
    let pipelines = StoredValue::new(page.pipelines.clone());
    let now = RwSignal::new(page);
    let put = move |data| {
        if let Ok(fresh) = serde_json::from_value(data) {
            now.set(fresh);
        }
    };
    let Anew { again: on_done, problem } = anew(|| Box::pin(read_people()), put);
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
