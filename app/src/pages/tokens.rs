//! `/tokens`: what programs sign in by. One's own; all of them for an admin.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use wire::{account::TokenView, authority::Role};

use crate::{
    api::people::{TokensPage, read_tokens},
    components::{
        anew::{Anew, anew},
        at_once::AtOnce,
        own::Own,
        page_data::{page_data, read_once, typed},
        problem_note::ProblemNote,
        tokens::{TokenForm, TokenMade, TokenRow},
    },
};

/// The route.
#[component]
pub fn TokensRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_tokens()));
    let page = |page: TokensPage| AtOnce(view! { <Tokens page/> }).into_any();
    view! {
        <Title text="Tokens"/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

#[component]
fn Tokens(page: TokensPage) -> impl IntoView {
    let own = Own::get();
    let pipelines = StoredValue::new(page.pipelines.clone());
    let now = RwSignal::new(page);
    let put = move |data| {
        if let Ok(fresh) = serde_json::from_value(data) {
            now.set(fresh);
        }
    };
    let Anew { again: on_done, problem } = anew(|| Box::pin(read_tokens()), put);
    let tokens = Memo::new(move |_| now.with(|now| now.tokens.clone()));
    let row = move |token: TokenView| view! { <TokenRow token on_done/> };
    let key = |token: &TokenView| (token.id.clone(), token.used_at.map(|at| at.0));
    let about = move || {
        if own.everywhere(Role::Admin) {
            "Programs sign in by them. These are the tokens of everybody; one that a person made does no more than that person may do now."
        } else {
            "Programs sign in by them. Yours do no more than you may do yourself at that moment, and end with your account."
        }
    };
    let none = move || tokens.with(Vec::is_empty).then_some("There is none yet.");
    // People make them, and programs that are admin everywhere.
    let within = Memo::new(move |_| {
        let may = own.is_person() || own.everywhere(Role::Admin);
        own.view().map(|own| own.grants).filter(|grants| may && !grants.is_empty())
    });
    // What was made stays on the page whatever becomes of the form: it is not shown again.
    let made = RwSignal::new(None);
    let form = move || {
        within.get().map(|within| {
            view! {
                <section aria-labelledby="make">
                    <h2 id="make">"Make one"</h2>
                    <TokenForm within pipelines=pipelines.get_value() made on_done/>
                </section>
            }
        })
    };
    view! {
        <div class="heading">
            <h1>"Tokens"</h1>
        </div>
        <p class="about">{about}</p>
        {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
        <ul class="people" aria-label="Tokens">
            <For each=move || tokens.get() key=key children=row/>
        </ul>
        <p class="note quiet">{none}</p>
        {form}
        <TokenMade made/>
    }
}
