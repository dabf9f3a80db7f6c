//! Whether what every build needs is there, and whether something waits for a person: told by the server with the page,
//! and then over the socket, on every page.

use leptos::prelude::*;
use wire::{command::Query, view::HealthView};

use crate::live::Live;

/// What was last told.
#[derive(Clone, Copy)]
pub struct Health(RwSignal<Option<HealthView>>);

impl Health {
    /// For the whole document, once.
    pub fn provide() {
        let health = RwSignal::new(None::<HealthView>);
        provide_context(Self(health));
        Effect::new(move |_| {
            let Some(live) = use_context::<Live>() else { return };
            let arrive = move |body: serde_json::Value| {
                let broker = body["broker"].as_bool().unwrap_or(true);
                let dead_letters = body["dead_letters"].as_u64().unwrap_or(0);
                health.set(Some(HealthView {
                    broker,
                    reason: body["reason"].as_str().map(str::to_owned),
                    disk: body["disk"].as_str().map(str::to_owned),
                    dead_letters,
                }));
            };
            live.query(Query::Health {}, Box::new(arrive));
        });
    }

    /// What the document has.
    #[must_use]
    pub fn get() -> Self {
        use_context().unwrap_or_else(|| Self(RwSignal::new(None)))
    }

    /// Until the socket has told, what the server wrote stays as it is. Tracked.
    #[must_use]
    pub fn known(self) -> Option<HealthView> {
        self.0.get().or_else(use_context::<HealthView>)
    }
}
