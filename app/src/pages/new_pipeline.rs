//! `/pipelines/new`: a pipeline from a template.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_navigate;
use wire::authority::Role;

use crate::components::{own::Own, yaml_editor::YamlEditor};

const TEMPLATE: &str = include_str!("new_pipeline/template.yaml");

/// The route.
#[component]
pub fn NewPipelineRoute() -> impl IntoView {
    let navigate = use_navigate();
    let own = Own::get();
    let may = Signal::derive(move || own.everywhere(Role::Admin));
    let go = Callback::new(move |name: String| navigate(&format!("/pipelines/{name}"), Default::default()));
    view! {
        <Title text="New pipeline"/>
        <nav class="crumbs" aria-label="Breadcrumb">
            <a href="/">"Pipelines"</a>
        </nav>
        <div class="heading">
            <h1>"New pipeline"</h1>
        </div>
        <p class="about">"It is saved under the name that its text gives."</p>
        <YamlEditor yaml=TEMPLATE.to_owned() on_saved=go may not="To make a pipeline you need the role admin everywhere."/>
    }
}
