//! That the message broker cannot be used, and why, on every page, while it is so.

use leptos::prelude::*;
use wire::{command::Query, view::HealthView};

use crate::live::Live;

const AWAY: &str = "broker-note";
const THERE: &str = "broker-note absent";

/// The sentence, which is seen only while the broker cannot be used. The server says so with the page, and then over the socket.
#[component]
pub fn BrokerNote() -> impl IntoView {
    let health = RwSignal::new(None::<HealthView>);
    Effect::new(move |_| {
        let Some(live) = use_context::<Live>() else { return };
        let arrive = move |body: serde_json::Value| {
            let broker = body["broker"].as_bool().unwrap_or(true);
            health.set(Some(HealthView { broker, reason: body["reason"].as_str().map(str::to_owned) }));
        };
        live.query(Query::Health {}, Box::new(arrive));
    });
    // Until the socket has told, what the server wrote stays as it is.
    let known = move || health.get().or_else(use_context::<HealthView>);
    let class = move || known().map_or(THERE, |health| if health.broker { THERE } else { AWAY });
    let reason = move || known().and_then(|health| health.reason).unwrap_or_default();
    view! {
        <p class=class role="status">
            "The message broker cannot be used now: builds wait, nothing is lost. Reason: " <span>{reason}</span> "."
        </p>
    }
}
