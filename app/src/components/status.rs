//! How something stands, told three ways at once: by shape, by word, by colour.

use leptos::prelude::*;
use wire::{Outcome, view::State};

/// What is shown of a state and an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// For people.
    pub word: &'static str,
    /// For the style sheet.
    pub class: &'static str,
    /// For the tab: a file of the site.
    pub icon: &'static str,
    /// The shape, filled by the even-odd rule in a box of 16 by 16.
    shape: &'static str,
}

const DISC: &str = "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14z";

macro_rules! ring {
    ($inner:literal) => {
        concat!("M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14zM8 2.6a5.4 5.4 0 1 0 0 10.8a5.4 5.4 0 1 0 0-10.8z", $inner)
    };
}

impl Status {
    /// Of a state and an outcome; a finished thing without outcome was interrupted.
    #[must_use]
    pub fn of(state: State, outcome: Option<Outcome>) -> Self {
        let (word, class, icon, shape) = match (state, outcome) {
            (State::Queued, _) => ("queued", "queued", "/state-queued.svg", ring!("")),
            (State::Running, _) => (
                "running",
                "running",
                "/state-running.svg",
                "M8 1a7 7 0 1 1-7 7h1.8A5.2 5.2 0 1 0 8 2.8zM8 5.8a2.2 2.2 0 1 1 0 4.4a2.2 2.2 0 1 1 0-4.4z",
            ),
            (_, Some(Outcome::Succeeded)) => (
                "succeeded",
                "succeeded",
                "/state-succeeded.svg",
                "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14zM7 11.3l4.9-4.9-1.2-1.2L7 8.9 5.3 7.2 4.1 8.4z",
            ),
            (_, Some(Outcome::Failed)) => (
                "failed",
                "failed",
                "/state-failed.svg",
                "M5 1h6l4 4v6l-4 4H5l-4-4V5zM5.7 4.5L4.5 5.7 6.8 8l-2.3 2.3 1.2 1.2L8 9.2l2.3 2.3 1.2-1.2L9.2 8l2.3-2.3-1.2-1.2L8 6.8z",
            ),
            (_, Some(Outcome::Cancelled)) => {
                ("cancelled", "cancelled", "/state-cancelled.svg", ring!("M4.8 3.7l7.5 7.5-1.1 1.1-7.5-7.5z"))
            }
            (_, Some(Outcome::TimedOut)) => {
                ("timed out", "timed-out", "/state-timed-out.svg", ring!("M7.2 4.2h1.6v3.5l2.3 2.3-1.1 1.1-2.8-2.8z"))
            }
            (_, Some(Outcome::Skipped)) => ("skipped", "skipped", "/state-skipped.svg", ring!("M5 7.2h6v1.6H5z")),
            (State::Finished, None) => ("interrupted", "cancelled", "/state-cancelled.svg", DISC),
        };
        Self { word, class, icon, shape }
    }
}

/// The shape alone, its word for those who cannot see it.
#[component]
pub fn Shape(
    /// What it tells.
    #[prop(into)]
    status: Signal<Status>,
) -> impl IntoView {
    view! {
        <svg
            class=move || format!("shape {}", status.get().class)
            viewBox="0 0 16 16"
            role="img"
            aria-label=move || status.get().word
        >
            <path d=move || status.get().shape></path>
        </svg>
    }
}

/// Shape and word.
#[component]
pub fn StatusLabel(
    /// What it tells.
    #[prop(into)]
    status: Signal<Status>,
) -> impl IntoView {
    view! {
        <span class=move || format!("status {}", status.get().class)>
            <svg class=move || format!("shape {}", status.get().class) viewBox="0 0 16 16" aria-hidden="true">
                <path d=move || status.get().shape></path>
            </svg>
            <span class="word">{move || status.get().word}</span>
        </span>
    }
}
