//! A row of something that an admin hands out and takes back: who or what it is, what is said of it, how it stands in time,
//! and the button that ends it.

use leptos::prelude::*;

use super::{ask_first::AskFirst, deed::Deed};

/// The words of the button that ends it.
#[derive(Clone, Copy)]
pub struct Ends {
    /// What stands on it: `Revoke`.
    pub label: &'static str,
    /// What it asks first.
    pub question: &'static str,
    /// The answer that does it.
    pub yes: &'static str,
}

/// The row.
#[component]
pub fn PersonRow(
    /// Who or what it is.
    name: String,
    /// What is said of it.
    about: String,
    /// How it stands in time.
    #[prop(into)]
    when: ViewFn,
    /// How it is ended.
    ends: Ends,
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
    #[prop(optional, into)]
    more: ViewFn,
    /// What opens below the row.
    #[prop(optional, into)]
    below: ViewFn,
) -> impl IntoView {
    let Ends { label, question, yes } = ends;
    view! {
        <li class="person" class:disabled=faded>
            <div class="who">
                <span class="name">{name}</span>
                <span class="mark">{mark}</span>
                <p class="muted">{about}</p>
            </div>
            <span class="when muted">{when.run()}</span>
            <div class="decision needs-js">
                {more.run()}
                <AskFirst label spoken=Some(spoken) question yes no="Keep it" small=true busy=deed.busy run/>
            </div>
            {below.run()}
            {deed.note()}
        </li>
    }
}
