//! That the disk is full, on every page, while it is so.

use leptos::prelude::*;

use super::health::Health;

/// The server's sentence, which is seen only while there is too little room. It comes with the page, and then over the socket.
#[component]
pub fn DiskNote() -> impl IntoView {
    let health = Health::get();
    let sentence = move || health.known().and_then(|health| health.disk);
    let class = move || if sentence().is_some() { "disk-note" } else { "disk-note absent" };
    view! { <p class=class role="status">{move || sentence().unwrap_or_default()}</p> }
}
