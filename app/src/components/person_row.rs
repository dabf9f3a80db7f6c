//! A row of something that is handed out and taken back: who or what it is, what is said of it, how it stands in time, and
//! the button that ends it. What it shows is given as data, so that it is one piece of code for all of them.

use leptos::prelude::*;
use wire::Timestamp;

use super::{ask_first::AskFirst, deed::Deed, time::Time};

/// The words of a button that asks first.
#[derive(Clone, Copy)]
pub struct Asks {
    /// What stands on it: `Revoke`.
    pub label: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// The answer that does it.
    pub yes: &'static str,
}

/// Something that is said of it in time: words, and when.
pub type When = (String, Option<Timestamp>);

/// The row.
#[component]
pub fn PersonRow(
    /// Who or what it is.
    name: String,
    /// What is said of it.
    about: String,
    /// How it stands in time.
    when: Vec<When>,
    /// How it is ended.
    ends: Asks,
    /// What the button says of it to who cannot see the row: `Revoke nightly`.
    spoken: String,
    /// What is under way, and why it was refused.
    deed: Deed,
    /// Told when it is to be ended.
    run: Callback<()>,
    /// A word beside the name.
    #[prop(optional_no_strip)]
    mark: Option<&'static str>,
    /// It has ended, or is out of use.
    #[prop(optional)]
    faded: bool,
    /// Other buttons, before the one that ends it.
    #[prop(optional)]
    more: Option<AnyView>,
    /// What opens below the row.
    #[prop(optional)]
    below: Option<AnyView>,
) -> impl IntoView {
    let Asks { label, question, yes } = ends;
    let when =
        when.into_iter().map(|(words, at)| view! { <span>{words} " " {at.map(|at| view! { <Time at/> })}</span> });
    view! {
        <li class="person" class:disabled=faded>
            <div class="who">
                <span class="name">{name}</span>
                <span class="mark">{mark}</span>
                <p class="muted">{about}</p>
            </div>
            <div class="when muted">{when.collect_view()}</div>
            <div class="decision needs-js">
                {more}
                <AskFirst label spoken=Some(spoken) question yes no="Keep it" small=true busy=deed.busy run/>
            </div>
            {below}
            {deed.note()}
        </li>
    }
}
