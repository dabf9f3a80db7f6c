//! That the message broker is away, on every page, while it is.

use leptos::prelude::*;
use wire::{command::Query, view::HealthView};

use crate::live::Live;

const AWAY: &str = "broker-note";
const THERE: &str = "broker-note absent";

/// The sentence, which is seen only while the broker is away. The server says so with the page, and then over the socket.
#[component]
pub fn BrokerNote() -> impl IntoView {
    let health = RwSignal::new(None::<bool>);
    Effect::new(move |_| {
        let Some(live) = use_context::<Live>() else { return };
        let arrive = move |body: serde_json::Value| health.set(body["broker"].as_bool());
        live.query(Query::Health {}, Box::new(arrive));
    });
    // Until the socket has told, what the server wrote stays as it is.
    let class = move || match health.get() {
        None => use_context::<HealthView>().map_or("", |health| if health.broker { THERE } else { AWAY }),
        Some(true) => THERE,
        Some(false) => AWAY,
    };
    view! { <p class=class role="status">"The message broker is away: builds wait, nothing is lost."</p> }
}
