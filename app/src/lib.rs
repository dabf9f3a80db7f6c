//! The pages of Stepcast: routes and the document around them. Rendered by the server, then taken over in the browser.
//!
//! Data comes from `api` (server functions over a [`api::Backend`]), writes go by `rest`, live events by `live`.
//! This crate knows neither stores nor brokers; text from builds is only ever text nodes.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![recursion_limit = "256"]

pub mod api;
pub mod browser;
pub mod components;
pub mod json;
pub mod live;
pub mod pages;
pub mod parts;
pub mod rest;

use leptos::{nonce::use_nonce, prelude::*};
use leptos_meta::{MetaTags, Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{Route, Router, Routes},
    hooks::use_location,
    path,
};

use components::{
    at_once::AtOnce, broker_note::BrokerNote, clock::Clock, disk_note::DiskNote, header::Header, health::Health,
    own::Own,
};
use live::Live;
use pages::{home::HomeRoute, not_found::NotFound};
use parts::Page;

/// Where the browser package is: URLs with the hash of their content.
#[derive(Clone, Debug)]
pub struct Assets {
    /// The module that wasm-bindgen wrote.
    pub js: String,
    /// Its WebAssembly.
    pub wasm: String,
    /// The [`parts`] that this page needs besides.
    pub parts: Vec<String>,
    /// The style sheet.
    pub css: String,
}

/// Applies the chosen theme before the first paint, and tells the style sheet that scripts run.
const BEFORE_PAINT: &str = "document.documentElement.classList.add('js');\
    try{const t=localStorage.getItem('theme');if(t)document.documentElement.dataset.theme=t}catch{}";

/// The page that is seen without a session.
pub(crate) const SIGN_IN: &str = "/sign-in";
/// Where an account is made.
pub(crate) const WELCOME: &str = "/welcome";

/// The page that searches everything.
pub(crate) const SEARCH: &str = "/search";
/// The page of what nobody could process.
pub(crate) const DEAD_LETTERS: &str = "/dead-letters";

/// Whether a page at this path has a session: those by which one gets in have none yet.
pub(crate) fn has_session(path: &str) -> bool {
    path != SIGN_IN && path != WELCOME
}

/// The whole document. Its scripts carry the nonce that the server has put into the context: no others run.
#[must_use]
pub fn shell(assets: Assets) -> impl IntoView {
    let Assets { js, wasm, parts, css } = assets;
    let start = format!("import init,{{hydrate}} from {js:?};init({{module_or_path:{wasm:?}}}).then(()=>hydrate());");
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <script nonce=use_nonce()>{BEFORE_PAINT}</script>
                <link rel="stylesheet" href=css/>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <link rel="modulepreload" href=js nonce=use_nonce()/>
                {[wasm].into_iter().chain(parts).map(|file| view! {
                    <link rel="preload" href=file r#as="fetch" r#type="application/wasm" crossorigin=""/>
                }).collect_view()}
                <script type="module" nonce=use_nonce()>{start}</script>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}

/// What stands in the document's body.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    Live::provide();
    Health::provide();
    Own::provide();
    let clock = Clock::provide();
    Effect::new(move |_| clock.hydrated());
    view! {
        <Title formatter=|title: String| if title.is_empty() { "Stepcast".to_owned() } else { format!("{title} · Stepcast") }/>
        <Router>
            <OpenSocket/>
            <a class="skip" href="#main">"Skip to content"</a>
            <Header/>
            <BrokerNote/>
            <DiskNote/>
            <main id="main">
                <Routes fallback=|| AtOnce(NotFound())>
                    <Route path=path!("/") view=|| AtOnce(HomeRoute()) ssr=SsrMode::Async/>
                    <Route path=path!("/pipelines/new") view=Page::NewPipeline ssr=SsrMode::Async/>
                    <Route path=path!("/pipelines/:name") view=Page::Pipeline ssr=SsrMode::Async/>
                    <Route path=path!("/builds/:id") view=Page::Build ssr=SsrMode::Async/>
                    <Route path=path!("/executors") view=Page::Executors ssr=SsrMode::Async/>
                    <Route path=path!("/gateways") view=Page::Gateways ssr=SsrMode::Async/>
                    <Route path=path!("/groups") view=Page::Groups ssr=SsrMode::Async/>
                    <Route path=path!("/dead-letters") view=Page::DeadLetters ssr=SsrMode::Async/>
                    <Route path=path!("/search") view=Page::Search ssr=SsrMode::Async/>
                    <Route path=path!("/account") view=Page::Account ssr=SsrMode::Async/>
                    <Route path=path!("/people") view=Page::People ssr=SsrMode::Async/>
                    <Route path=path!("/tokens") view=Page::Tokens ssr=SsrMode::Async/>
                    <Route path=path!("/secrets") view=Page::Secrets ssr=SsrMode::Async/>
                    <Route path=path!("/audit") view=Page::Audit ssr=SsrMode::Async/>
                    <Route path=path!("/sign-in") view=Page::SignIn ssr=SsrMode::Async/>
                    <Route path=path!("/welcome") view=Page::Welcome ssr=SsrMode::Async/>
                </Routes>
            </main>
        </Router>
    }
}

/// Opens the socket at the first page that can have one: the sign-in page has no session yet.
#[component]
fn OpenSocket() -> impl IntoView {
    let path = use_location().pathname;
    Effect::new(move |_| {
        if let Some(live) = use_context::<Live>()
            && has_session(&path.get())
        {
            live.open();
        }
    });
}
