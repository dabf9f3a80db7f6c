//! `/dead-letters`: messages that nobody could process and jobs that were given up, until a person has decided.

use std::sync::Arc;

use leptos::{html::H1, prelude::*};
use leptos_meta::Title;
use wire::{
    command::Query,
    dead_letter::{DeadLetterView, DeadLettersPage},
};

use crate::{
    api::read_dead_letters,
    components::{
        at_once::AtOnce,
        connection::grouped,
        dead_letter_row::DeadLetterRow,
        own::not_admin,
        page_data::{page_data, read_once, typed},
    },
    live::keep_live,
};

/// The route.
#[component]
pub fn DeadLettersRoute() -> impl IntoView {
    let data = read_once(|| Box::pin(read_dead_letters()));
    let page = |first: DeadLettersPage| {
        let now = RwSignal::new(first);
        keep_live(Query::DeadLetters {}, now);
        AtOnce(show(now)).into_any()
    };
    view! {
        <Title text="Dead letters"/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

fn show(now: RwSignal<DeadLettersPage>) -> impl IntoView {
    let heading = NodeRef::<H1>::new();
    let open = Memo::new(move |_| now.with(|now| now.open.clone()));
    let settled = Memo::new(move |_| now.with(|now| now.settled.clone()));
    let total = Memo::new(move |_| now.with(|now| now.open_total));
    let count = move || Some(total.get()).filter(|total| *total > 0).map(|total| format!("{} open", grouped(total)));
    let none = move || {
        (total.get() == 0).then_some(
            "There are none. A message that nobody can process is put here with its reason instead of being tried for ever, \
             and so is a job whose executors were lost as often as it may be run for that.",
        )
    };
    let more = move || {
        let more = total.get().saturating_sub(open.with(|open| open.len() as u64));
        (more > 0).then(|| format!("And {} older ones: `stepcast dead-letters` lists them all.", grouped(more)))
    };
    // What was decided on leaves its place, and with it the button that had the focus.
    let on_done = Callback::new(move |()| {
        if let Some(heading) = heading.get_untracked() {
            // Refused only where there is nothing to focus.
            let _ = heading.focus();
        }
    });
    view! {
        <div class="heading">
            <h1 node_ref=heading tabindex="-1">"Dead letters"</h1>
            <span class="count" role="status">{count}</span>
        </div>
        <p class="about">"What could not be processed, and why. Nothing waits behind it, and nobody tries it again unless somebody says so." {not_admin(" To decide on it you need the role admin everywhere.")}</p>
        <ul class="letters" aria-label="Open">
            <For each=move || open.get() key=key children=move |letter| view! { <DeadLetterRow letter on_done/> }/>
        </ul>
        <p class="note quiet">{none}</p>
        <p class="note">{more}</p>
        <section
            class=move || if settled.with(Vec::is_empty) { "gone absent" } else { "gone" }
            aria-labelledby="decided"
        >
            <h2 id="decided">"Decided on"</h2>
            <ul class="letters" aria-labelledby="decided">
                <For each=move || settled.get() key=key children=move |letter| view! { <DeadLetterRow letter on_done/> }/>
            </ul>
        </section>
    }
}

/// A row stays as it is until something of it changes: a body that was opened stays open.
fn key(letter: &DeadLetterView) -> (wire::DeadLetterId, u32, wire::dead_letter::DeadLetterState) {
    (letter.id, letter.deaths, letter.state)
}
