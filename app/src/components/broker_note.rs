//! That the message broker cannot be used, and why, on every page, while it is so.

use leptos::prelude::*;

use super::health::Health;

const AWAY: &str = "broker-note";
const THERE: &str = "broker-note absent";

/// The sentence, which is seen only while the broker cannot be used. The server says so with the page, and then over the socket.
#[component]
pub fn BrokerNote() -> impl IntoView {
    let health = Health::get();
    let known = move || health.known();
    let class = move || known().map_or(THERE, |health| if health.broker { THERE } else { AWAY });
    let reason = move || known().and_then(|health| health.reason).unwrap_or_default();
    view! {
        <p class=class role="status">
            "The message broker cannot be used now: builds wait, nothing is lost. Reason: " <span>{reason}</span> "."
        </p>
    }
}
