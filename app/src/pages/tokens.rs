//! `/tokens`: what programs sign in by. One's own; all of them for an admin.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use leptos_meta::Title;
use wire::{
    Problem,
    account::{OwnView, TokenView},
    authority::Role,
};

use crate::{
    api::{
        PageError,
        people::{TokensPage, read_tokens},
    },
    components::{
        at_once::AtOnce,
        own::Own,
        page_data::{page_data, read_once, typed},
        problem_note::ProblemNote,
        tokens::{TokenForm, TokenRow},
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
    let problem = RwSignal::new(None::<Problem>);
    let on_done = Callback::new(move |()| {
        spawn_local(async move {
            let refused = match read_tokens().await {
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
    let form = move || {
        let may = own.is_person() || own.everywhere(Role::Admin);
        let view = serde_json::from_value::<OwnView>(own.whole()).ok().filter(|own| may && !own.grants.is_empty());
        view.map(|own| {
            view! {
                <section aria-labelledby="make">
                    <h2 id="make">"Make one"</h2>
                    <TokenForm within=own.grants pipelines=pipelines.get_value() on_done/>
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
    }
}
