//! Who is signed in, with what belongs to them: a menu that works without scripts, too.

use leptos::{html, prelude::*};
use wire::authority::Role;

use super::own::Own;
use crate::live::Live;

/// What stands in the menu. It is the same for everybody, so that it needs no code in the part that everybody loads.
const MENU: &str = r#"<nav aria-label="Yours"><a href="/account">Account</a><a href="/tokens">Tokens</a><a href="/people" class="of-admins">People</a><a href="/secrets" class="of-admins">Secrets</a><a href="/audit" class="of-admins">Audit log</a></nav><form class="sign-out" method="post" action="/sign-out"><button type="submit">Sign out</button></form>"#;

/// The button in the header, and the menu below it.
#[component]
pub fn OwnMenu() -> impl IntoView {
    let own = Own::get();
    let live = use_context::<Live>();
    let menu = NodeRef::<html::Div>::new();
    let close = move |_| {
        if let Some(menu) = menu.get_untracked() {
            // Refused only where it is closed already.
            let _ = menu.hide_popover();
        }
    };
    let leave = move |_| {
        if let Some(live) = live {
            live.leaves();
        }
    };
    let initial = move || own.name().chars().next().map(String::from);
    let class = move || if own.everywhere(Role::Admin) { "" } else { "no-admin" };
    view! {
        <button class="own" type="button" popovertarget="own" aria-label=move || format!("Signed in as {}", own.name())>
            <span class="initial" aria-hidden="true">{initial}</span>
            <span class="own-name">{move || own.name()}</span>
        </button>
        <div id="own" popover="auto" class=class node_ref=menu on:click=close on:submit=leave inner_html=MENU></div>
    }
}
