//! What a person can do to a build: cancel it while it runs, retry it when it is over.

use leptos::prelude::*;
use wire::{
    BuildId, Outcome, Problem,
    authority::Role,
    view::{BuildView, State},
};

use super::{ask_first::AskFirst, deed::Deed, own::Own};
use crate::rest;

/// Which of the commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Cancel,
    Retry { failed_only: bool },
}

async fn ask(build: BuildId, act: Act) -> Result<(), Problem> {
    match act {
        Act::Cancel => rest::cancel(build).await,
        Act::Retry { failed_only } => rest::retry(build, failed_only).await,
    }
}

/// The buttons. Cancel asks first, in place.
#[component]
pub fn BuildActions(
    /// The build.
    view: RwSignal<BuildView>,
    /// Told when a command was accepted.
    on_done: Callback<()>,
) -> impl IntoView {
    let (build, pipeline) = view.with_untracked(|view| (view.summary.id, view.summary.pipeline.clone()));
    let own = Own::get();
    let may = Memo::new(move |_| own.in_pipeline(Role::Builder, &pipeline));
    let deed = Deed::new();
    let run = move |act: Act| {
        deed.ask(ask(build, act), move |()| {
            if act == Act::Cancel {
                view.update(|view| view.cancelling = view.summary.state != State::Finished);
            }
            on_done.run(());
        });
    };
    let is_over = Memo::new(move |_| view.with(|view| view.summary.state == State::Finished));
    let may_cancel =
        Memo::new(move |_| may.get() && view.with(|view| view.summary.state != State::Finished && !view.cancelling));
    let may_retry = Memo::new(move |_| may.get() && is_over.get());
    let not = move || (!may.get()).then_some("To cancel or retry it you need the role builder.");
    let failed =
        Memo::new(move |_| view.with(|view| view.summary.outcome.is_some_and(|outcome| outcome != Outcome::Succeeded)));
    view! {
        <div class="actions needs-js">
            <Show when=move || may_cancel.get()>
                <AskFirst
                    label="Cancel"
                    question="Cancel this build?"
                    yes="Cancel it"
                    no="Let it run"
                    busy=deed.busy
                    run=Callback::new(move |()| run(Act::Cancel))
                />
            </Show>
            <Show when=move || may_retry.get() && failed.get()>
                <button
                    type="button"
                    on:click=move |_| run(Act::Retry { failed_only: true })
                    disabled=move || deed.busy.get()
                >
                    "Retry failed"
                </button>
            </Show>
            <Show when=move || may_retry.get()>
                <button
                    type="button"
                    on:click=move |_| run(Act::Retry { failed_only: false })
                    disabled=move || deed.busy.get()
                >
                    "Retry"
                </button>
            </Show>
            <span class="note">{not}</span>
            {deed.note()}
        </div>
    }
}
