//! The line above every page.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use wire::authority::Role;

use super::{
    connection::ConnectionPill, health::Health, own::Own, own_menu::OwnMenu, shortcuts::Shortcuts, theme::ThemeSwitch,
};
use crate::{DEAD_LETTERS, SEARCH, has_session};

/// Where one looks at the installation itself, and whether that is for who is viewer everywhere.
const PLACES: [(&str, &str, bool); 3] =
    [("Search", SEARCH, false), ("Executors", "/executors", true), ("Gateways", "/gateways", true)];

/// Name, places, connection, theme, keys, who is signed in.
#[component]
pub fn Header() -> impl IntoView {
    let path = use_location().pathname;
    let health = Health::get();
    let own = Own::get();
    let open = move || health.known().map_or(0, |health| health.dead_letters);
    let is_here = move || (path.get() == DEAD_LETTERS).then_some("page");
    // A place to go to while something waits there for a person.
    let class = move || if open() > 0 || is_here().is_some() { "dead" } else { "dead absent" };
    // A text in any case: until the socket has told, the browser takes over the one that the server wrote.
    let number = move || match open() {
        0 => String::new(),
        open @ 1..100 => open.to_string(),
        _ => "99+".to_owned(),
    };
    let number_class = move || if open() > 0 { "number" } else { "number absent" };
    view! {
        <header class="top">
            <a class="brand" href="/" aria-label="Stepcast">
                <svg viewBox="0 0 16 16" aria-hidden="true">
                    <path d="M1 11h4v4H1zM6 6h4v9H6zM11 1h4v14h-4z"></path>
                </svg>
                <span class="brand-name">"Stepcast"</span>
            </a>
            <nav class="places" aria-label="Installation">{PLACES.map(|(name, url, of_all)| {
                let is_here = move || (path.get() == url).then_some("page");
                let class = move || if of_all && !own.everywhere(Role::Viewer) { "absent" } else { "" };
                view! { <a href=url class=class aria-current=is_here>{name}</a> }
            }).to_vec()}
                <a class=class href=DEAD_LETTERS aria-current=is_here>"Dead letters " <span class=number_class>{number}</span></a>
            </nav>
            <span class="space"></span>
            {move || has_session(&path.get()).then(|| view! { <ConnectionPill/> })}
            <ThemeSwitch/>
            <Shortcuts/>
            {move || (has_session(&path.get()) && own.is_somebody()).then(|| view! { <OwnMenu/> })}
            <noscript>"JavaScript is off: this page shows how things stood when it was loaded."</noscript>
        </header>
    }
}
