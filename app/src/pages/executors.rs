//! `/executors`: who runs jobs, what each of them runs, and how to start one.

use leptos::prelude::*;
use wire::view::{ExecutorView, InstallationView};

use crate::components::{
    at_once::AtOnce,
    executor_row::executor_row,
    installation::{Answers, installation_page},
};

/// So many of those that are gone are shown, those that were heard last.
const GONE_MAX: usize = 10;
/// How an executor is started on another machine.
const START: &str = "stepcast serve --roles executor --broker amqp://user:password@host --labels linux,gpu";

/// The route.
#[component]
pub fn ExecutorsRoute() -> impl IntoView {
    installation_page("Executors", show)
}

/// Those that are alive, and the others, the one that was heard last first.
fn parted(executors: &[ExecutorView]) -> (Vec<&ExecutorView>, Vec<&ExecutorView>) {
    let (alive, mut gone): (Vec<_>, Vec<_>) = executors.iter().partition(|executor| executor.alive);
    gone.sort_unstable_by_key(|executor| std::cmp::Reverse((executor.heard_at, executor.id)));
    (alive, gone)
}

fn show(now: &InstallationView, answers: Answers) -> AnyView {
    let (alive, gone) = parted(&now.executors);
    let used: usize = alive.iter().map(|executor| executor.running.len()).sum();
    let slots: u64 = alive.iter().map(|executor| u64::from(executor.slots)).sum();
    let count = (!alive.is_empty()).then(|| format!("{used} of {slots} slots in use"));
    let nobody = alive.is_empty().then_some("No executor is running: builds are accepted, and wait until one is.");
    let more = gone.len().saturating_sub(GONE_MAX);
    let more = (more > 0).then(|| format!("And {more} more that were heard before."));
    let rows = |executors: &[&ExecutorView], at_most: usize| {
        let rows: Vec<_> = executors.iter().take(at_most).map(|executor| executor_row(executor, answers)).collect();
        view! { <ul class="executors">{rows}</ul> }
    };
    AtOnce(view! {
        <div class="heading">
            <h1>"Executors"</h1>
            <span class="count">{count}</span>
        </div>
        {rows(&alive, usize::MAX)}
        <p class="note quiet">{nobody}</p>
        <section class=if gone.is_empty() { "gone absent" } else { "gone" } aria-labelledby="gone">
            <h2 id="gone">"Not heard any more"</h2>
            {rows(&gone, GONE_MAX)}
            <p class="note">{more}</p>
        </section>
        <section aria-labelledby="start-one">
            <h2 id="start-one">"Start one"</h2>
            <p class="about">
                <code>"stepcast serve"</code>
                " brings its own. Where it uses RabbitMQ, others join from any machine that reaches the broker:"
            </p>
            <pre class="code" tabindex="0">{START}</pre>
        </section>
    })
    .into_any()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wire::{ExecutorId, LabelSet, Timestamp};

    use super::*;

    #[test]
    fn of_those_that_are_gone_the_one_that_was_heard_last_comes_first() {
        let executor = |n: u64| ExecutorView {
            id: ExecutorId(Uuid::from_u64_pair(0, n)),
            name: format!("ex-{n}"),
            labels: LabelSet::default(),
            slots: 1,
            isolation: wire::Isolation::Plain,
            heard_at: Timestamp(n as i64),
            alive: n == 3,
            running: Vec::new(),
            jobs: Vec::new(),
        };
        let all: Vec<_> = (0..6).map(executor).collect();
        let (alive, gone) = parted(&all);
        assert_eq!(alive, [&all[3]]);
        assert_eq!(gone, [&all[5], &all[4], &all[2], &all[1], &all[0]]);
    }
}
