//! `/secrets`: the secrets of the installation, which pipelines may use that have none of the same name.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use wire::secret::SecretsView;

use crate::{
    api::admin::read_secrets,
    components::{
        anew::{Anew, anew},
        at_once::AtOnce,
        page_data::{page_data, read_once, typed},
        problem_note::ProblemNote,
        secrets::Secrets,
    },
};

/// The route.
#[component]
pub fn SecretsRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_secrets()));
    let page = |page: SecretsView| AtOnce(view! { <Installations page/> }).into_any();
    view! {
        <Title text="Secrets"/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

#[component]
fn Installations(page: SecretsView) -> impl IntoView {
    let now = RwSignal::new(page);
    let put = move |data| {
        if let Ok(fresh) = serde_json::from_value(data) {
            now.set(fresh);
        }
    };
    let Anew { again: on_done, problem } = anew(|| Box::pin(read_secrets()), put);
    view! {
        <div class="heading">
            <h1>"Secrets"</h1>
        </div>
        <p class="about">"Of the installation: jobs of any pipeline that is allowed to may name them. A pipeline's own, which stand on its page, go before them."</p>
        {move || problem.get().map(|problem| view! { <ProblemNote problem/> })}
        <Secrets pipeline=None secrets=now on_done/>
    }
}
