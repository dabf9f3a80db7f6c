//! Something that is asked of the server by a button: one at a time, and why it was refused.

use leptos::{prelude::*, task::spawn_local};
use wire::Problem;

use super::{at_once::AtOnce, problem_note::ProblemNote};

/// How it stands.
#[derive(Clone, Copy)]
pub struct Deed {
    /// It is under way.
    pub busy: RwSignal<bool>,
    /// Why the last one was refused.
    pub problem: RwSignal<Option<Problem>>,
}

impl Deed {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self { busy: RwSignal::new(false), problem: RwSignal::new(None) }
    }

    /// Asks, unless the former one is under way; `done` gets the answer if it was not refused and its place is still there.
    pub fn ask<T: 'static>(
        self,
        asked: impl Future<Output = Result<T, Problem>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.problem.set(None);
        spawn_local(async move {
            let answer = asked.await;
            // The person may have left the page meanwhile.
            if self.busy.try_set(false).is_some() {
                return;
            }
            match answer {
                Ok(answer) => done(answer),
                Err(refused) => self.problem.set(Some(refused)),
            }
        });
    }

    /// Asks, and tells the list that shows it: also when its row has gone before the answer came, by what the socket told.
    pub fn then<T: 'static>(self, asked: impl Future<Output = Result<T, Problem>> + 'static, on_done: Callback<()>) {
        let told = async move {
            let answer = asked.await;
            if answer.is_ok() {
                let _ = on_done.try_run(());
            }
            answer
        };
        self.ask(told, drop);
    }

    /// Why it was refused, where that is to be read.
    pub fn note(self) -> impl Fn() -> Option<AnyView> + Copy {
        move || self.problem.get().map(|problem| AtOnce(view! { <ProblemNote problem/> }).into_any())
    }
}

impl Default for Deed {
    fn default() -> Self {
        Self::new()
    }
}
