//! What of the browser package is loaded only when a page asks for it. The first page (home) is in the main
//! part; each [`Part`] is a file of its own, which `cargo xtask browser` cuts out at the functions marked here. On the
//! server they are functions like any other.

use leptos::{
    prelude::*,
    wasm_split::{SplitLoaderError, wasm_split},
};
use leptos_router::ChooseView;
use wire::PipelineName;

use crate::{
    components::{at_once::AtOnce, pipeline_admin::PipelineAdmin},
    pages::{
        account::AccountRoute, audit::AuditRoute, build::BuildRoute, dead_letters::DeadLettersRoute,
        executors::ExecutorsRoute, gateways::GatewaysRoute, groups::GroupsRoute, new_pipeline::NewPipelineRoute,
        people::PeopleRoute, pipeline::PipelineRoute, search::SearchRoute, secrets::SecretsRoute, sign_in::SignInRoute,
        tokens::TokensRoute, welcome::WelcomeRoute,
    },
};

/// A part of the package beside the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A build with its log.
    Build,
    /// A pipeline, and making one.
    Pipeline,
    /// What is known of the installation's processes, and of what they could not process; searching everything.
    Processes,
    /// Signing in; people, what they may do, and what they did.
    People,
}

impl Part {
    /// All of them, those that are likely to be wanted first.
    pub const ALL: [Part; 4] = [Part::Build, Part::Pipeline, Part::Processes, Part::People];

    /// The part that shows the page at this path; none where the main part does.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Part> {
        match path.split('/').nth(1)? {
            "builds" => Some(Part::Build),
            "pipelines" => Some(Part::Pipeline),
            "executors" | "gateways" | "groups" | "dead-letters" | "search" => Some(Part::Processes),
            "account" | "people" | "tokens" | "secrets" | "audit" | "sign-in" | "welcome" => Some(Part::People),
            _ => None,
        }
    }

    /// The name that its files carry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Build => "build",
            Part::Pipeline => "pipeline",
            Part::Processes => "processes",
            Part::People => "people",
        }
    }

    /// Loads it, at once if it is there already.
    pub async fn load(self) -> Result<(), SplitLoaderError> {
        match self {
            Part::Build => load_build().await,
            Part::Pipeline => load_pipeline().await,
            Part::Processes => load_processes().await,
            Part::People => load_people().await,
        }
    }
}

/// A page that is in a [`Part`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    Build,
    Pipeline,
    NewPipeline,
    Executors,
    Gateways,
    Groups,
    DeadLetters,
    Search,
    Account,
    People,
    Tokens,
    Secrets,
    Audit,
    SignIn,
    Welcome,
}

impl Page {
    fn part(self) -> Part {
        match self {
            Page::Build => Part::Build,
            Page::Pipeline | Page::NewPipeline => Part::Pipeline,
            Page::Executors | Page::Gateways | Page::Groups | Page::DeadLetters | Page::Search => Part::Processes,
            Page::Account
            | Page::People
            | Page::Tokens
            | Page::Secrets
            | Page::Audit
            | Page::SignIn
            | Page::Welcome => Part::People,
        }
    }
}

impl ChooseView for Page {
    async fn choose(self) -> AnyView {
        let shown = match self.part() {
            Part::Build => build().await,
            Part::Pipeline => pipeline(self).await,
            Part::Processes => processes(self).await,
            Part::People => people(OfPeople::Page(self)).await,
        };
        shown.unwrap_or_else(|_| AtOnce(NotLoaded()).into_any())
    }

    async fn preload(&self) {
        // Whoever chooses it learns of the failure, after another try.
        let _ = self.part().load().await;
    }
}

/// What the part of people shows: a page, or what only admins see of a pipeline.
enum OfPeople {
    Page(Page),
    PipelineAdmin(PipelineName),
}

/// The secrets and hooks of a pipeline, below its page.
pub(crate) async fn pipeline_admin(name: PipelineName) -> AnyView {
    people(OfPeople::PipelineAdmin(name)).await.unwrap_or_else(|_| AtOnce(NotLoaded()).into_any())
}

// One function for each part: what has been loaded is known to the function that it was loaded for.

#[wasm_split(build, wasm_split_path = leptos::wasm_split, preload(load_build), fallible)]
fn build() -> Result<AnyView, SplitLoaderError> {
    Ok(AtOnce(BuildRoute()).into_any())
}

#[wasm_split(pipeline, wasm_split_path = leptos::wasm_split, preload(load_pipeline), fallible)]
fn pipeline(page: Page) -> Result<AnyView, SplitLoaderError> {
    Ok(match page {
        Page::NewPipeline => AtOnce(NewPipelineRoute()).into_any(),
        _ => AtOnce(PipelineRoute()).into_any(),
    })
}

#[wasm_split(processes, wasm_split_path = leptos::wasm_split, preload(load_processes), fallible)]
fn processes(page: Page) -> Result<AnyView, SplitLoaderError> {
    Ok(match page {
        Page::Executors => AtOnce(ExecutorsRoute()).into_any(),
        Page::DeadLetters => AtOnce(DeadLettersRoute()).into_any(),
        Page::Search => AtOnce(SearchRoute()).into_any(),
        Page::Groups => AtOnce(GroupsRoute()).into_any(),
        _ => AtOnce(GatewaysRoute()).into_any(),
    })
}

#[wasm_split(people, wasm_split_path = leptos::wasm_split, preload(load_people), fallible)]
fn people(shown: OfPeople) -> Result<AnyView, SplitLoaderError> {
    let page = match shown {
        OfPeople::Page(page) => page,
        OfPeople::PipelineAdmin(name) => return Ok(AtOnce(view! { <PipelineAdmin name/> }).into_any()),
    };
    Ok(match page {
        Page::SignIn => AtOnce(SignInRoute()).into_any(),
        Page::Welcome => AtOnce(WelcomeRoute()).into_any(),
        Page::People => AtOnce(PeopleRoute()).into_any(),
        Page::Tokens => AtOnce(TokensRoute()).into_any(),
        Page::Secrets => AtOnce(SecretsRoute()).into_any(),
        Page::Audit => AtOnce(AuditRoute()).into_any(),
        _ => AtOnce(AccountRoute()).into_any(),
    })
}

/// The server has another version by now, or cannot be reached. The address is right, and a document from the server
/// needs no part that is not there.
#[component]
fn NotLoaded() -> impl IntoView {
    view! {
        <section class="plain">
            <h1>"This page could not be loaded"</h1>
            <p>"The server cannot be reached, or has been updated meanwhile. " <a href="" rel="external">"Load it again"</a> "."</p>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_follows_from_the_path() {
        assert_eq!(Part::of_path("/builds/0190"), Some(Part::Build));
        assert_eq!(Part::of_path("/pipelines/new"), Some(Part::Pipeline));
        assert_eq!(Part::of_path("/gateways"), Some(Part::Processes));
        assert_eq!(Part::of_path("/search"), Some(Part::Processes));
        assert_eq!(Part::of_path("/sign-in"), Some(Part::People));
        for main in ["", "/", "/nothing", "builds/0190"] {
            assert_eq!(Part::of_path(main), None, "{main}");
        }
    }
}
