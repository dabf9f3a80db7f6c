//! What the installation is made of, for the pages that show a part of it each.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use leptos_meta::Title;
use wire::{
    ExecutorId, Timestamp,
    command::Query,
    view::{ExecutorView, InstallationView},
};

use super::{
    at_once::AtOnce,
    executor_row::said,
    page_data::{page_data, read_once, typed},
    time::Time,
};
use crate::{api::read_installation, live::keep_live, rest};

/// What executors said themselves when they were asked; nothing yet from one that is being asked.
#[derive(Clone, Copy)]
pub struct Answers(RwSignal<Vec<(ExecutorId, Option<String>)>>);

impl Answers {
    /// What this one said: nothing if it was not asked, no sentence while it is being asked. Tracked.
    #[must_use]
    pub fn of(self, id: ExecutorId) -> Option<Option<String>> {
        self.0.with(|all| all.iter().find(|(known, _)| *known == id).map(|(_, said)| said.clone()))
    }

    /// Asks an executor.
    pub fn ask(self, executor: ExecutorView) {
        let id = executor.id;
        self.put(id, None);
        spawn_local(async move {
            let told = rest::executor_now(id).await;
            self.put(id, Some(told.map_or_else(|problem| problem.detail, |now| said(&now, &executor.jobs))));
        });
    }

    fn put(self, id: ExecutorId, said: Option<String>) {
        // The person may have left the page meanwhile.
        let _ = self.0.try_update(|all| {
            all.retain(|(known, _)| *known != id);
            all.push((id, said));
        });
    }
}

/// A page of it: `show` draws its part, anew whenever something has changed; what stays the same is left as it is.
pub fn installation_page(title: &'static str, show: fn(&InstallationView, Answers) -> AnyView) -> impl IntoView {
    let data = read_once(|| Box::pin(read_installation()));
    let page = move |first: InstallationView| {
        let now = RwSignal::new(first);
        keep_live(Query::Installation {}, now);
        let answers = Answers(RwSignal::new(Vec::new()));
        AtOnce(move || now.with(|now| show(now, answers))).into_any()
    };
    view! {
        <Title text=title/>
        {page_data(data, Arc::new(move |data| typed(data, page)))}
    }
}

/// That a part of it is alive, or when it was last heard.
pub fn presence(alive: bool, heard_at: Timestamp) -> impl IntoView {
    let (class, word) = if alive { ("presence alive", "alive") } else { ("presence", "last heard ") };
    let time = (!alive).then(|| view! { <Time at=heard_at/> });
    view! { <span class=class>{word}{time}</span> }
}
