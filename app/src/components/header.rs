//! The line above every page.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::{connection::ConnectionPill, shortcuts::Shortcuts, theme::ThemeSwitch};
use crate::SIGN_IN;

/// Where one looks at the installation itself.
const PLACES: [(&str, &str); 2] = [("Executors", "/executors"), ("Gateways", "/gateways")];

/// Name, places, connection, theme, keys, the way out.
#[component]
pub fn Header() -> impl IntoView {
    let path = use_location().pathname;
    view! {
        <header class="top">
            <a class="brand" href="/" aria-label="Stepcast">
                <svg viewBox="0 0 16 16" aria-hidden="true">
                    <path d="M1 11h4v4H1zM6 6h4v9H6zM11 1h4v14h-4z"></path>
                </svg>
                <span class="brand-name">"Stepcast"</span>
            </a>
            <nav class="places" aria-label="Installation">{PLACES.map(|(name, url)| {
                let is_here = move || (path.get() == url).then_some("page");
                view! { <a href=url aria-current=is_here>{name}</a> }
            }).to_vec()}</nav>
            <span class="space"></span>
            {move || (path.get() != SIGN_IN).then(|| view! { <ConnectionPill/> })}
            <ThemeSwitch/>
            <Shortcuts/>
            {move || (path.get() != SIGN_IN).then(|| view! {
                <form class="sign-out" method="post" action="/sign-out"><button type="submit">"Sign out"</button></form>
            })}
            <noscript>"JavaScript is off: this page shows how things stood when it was loaded."</noscript>
        </header>
    }
}
