//! A secret that was just made. It is shown this once: nobody can read it later.

use leptos::prelude::*;

use super::copy_button::CopyButton;

/// The secret with what is said of it.
#[component]
pub fn ShownOnce(
    /// The secret.
    secret: String,
    /// What its button does: `Copy the link`.
    label: &'static str,
    /// What it belongs to, which is entered beside it.
    #[prop(optional, into)]
    address: Option<String>,
    /// What it is, and that it is not shown again.
    children: Children,
) -> impl IntoView {
    view! {
        <div class="shown-once" role="status">
            <p>{children()}</p>
            {address.map(|address| view! {
                <div class="secret">
                    <code tabindex="0">{address.clone()}</code>
                    <CopyButton text=address label="Copy the address"/>
                </div>
            })}
            <div class="secret">
                <code tabindex="0">{secret.clone()}</code>
                <CopyButton text=secret label/>
            </div>
        </div>
    }
}
