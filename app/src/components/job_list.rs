//! The jobs of a build.

use leptos::prelude::*;
use wire::{
    BuildId, JobId,
    view::{BuildView, JobView, State},
};

use super::{
    duration::Duration,
    status::{Shape, Status},
};
use crate::browser;

/// So many of the jobs that one waits for are named; of the others only how many they are.
const NAMES_MAX: usize = 3;

/// What a job waits for, in one sentence; none when it does not wait.
#[must_use]
pub fn waits_for(build: &BuildView, job: &JobView) -> Option<String> {
    if job.state != State::Queued {
        return None;
    }
    let open = |name: &&String| build.jobs.iter().any(|other| other.name == **name && other.state != State::Finished);
    let needs: Vec<&str> = job.needs.iter().filter(open).map(String::as_str).collect();
    if !needs.is_empty() {
        let named = needs.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = needs.len().saturating_sub(NAMES_MAX);
        return Some(if more > 0 {
            format!("waits for {named} and {more} more")
        } else {
            format!("waits for {named}")
        });
    }
    Some(job.waiting_for.clone().unwrap_or_else(|| "waits for an executor".to_owned()))
}

/// What a job needs, for those who do not see the graph; none when it needs nothing.
#[must_use]
pub fn needs_text(job: &JobView) -> Option<String> {
    (!job.needs.is_empty()).then(|| format!("needs {}", job.needs.join(", ")))
}

/// One job as the list shows it; equal when nothing of it has changed.
#[derive(Clone, PartialEq)]
struct Row {
    job: JobView,
    waits: Option<String>,
}

/// The list; each row is a link that chooses its job.
#[component]
pub fn JobList(
    /// The build.
    view: RwSignal<BuildView>,
    /// The chosen job.
    #[prop(into)]
    chosen: Signal<Option<JobId>>,
) -> impl IntoView {
    let build = view.with_untracked(|view| view.summary.id);
    let ids = Memo::new(move |_| view.with(|view| view.jobs.iter().map(|job| job.id).collect::<Vec<_>>()));
    view! {
        <ul class="jobs">
            <For each=move || ids.get() key=|id| *id children=move |id| view! { <JobRow of=build id view chosen/> }/>
        </ul>
    }
}

#[component]
fn JobRow(of: BuildId, id: JobId, view: RwSignal<BuildView>, chosen: Signal<Option<JobId>>) -> impl IntoView {
    let row = Memo::new(move |_| {
        view.with(|build| {
            let job = build.jobs.iter().find(|job| job.id == id)?;
            Some(Row { waits: waits_for(build, job), job: job.clone() })
        })
    });
    let time = move |f: fn(&JobView) -> Option<wire::Timestamp>| {
        Signal::derive(move || row.with(|row| row.as_ref().and_then(|row| f(&row.job))))
    };
    let status = Signal::derive(move || {
        row.with(|row| {
            row.as_ref().map_or(Status::of(State::Queued, None), |row| Status::of(row.job.state, row.job.outcome))
        })
    });
    let text = move |f: fn(&Row) -> Option<String>| move || row.with(|row| row.as_ref().and_then(f));
    let is_chosen = Memo::new(move |_| chosen.get() == Some(id));
    let item = NodeRef::<leptos::html::Li>::new();
    Effect::new(move |_| {
        if let (Some(item), true) = (item.get(), is_chosen.get()) {
            browser::reveal_in_list(&item);
        }
    });
    let never_ran = move || row.with(|row| row.as_ref().is_some_and(|row| row.job.started_at.is_none()));
    // What went well, runs or waits is told by its time and its sentence.
    let word = move || {
        let job_is_over = row.with(|row| {
            row.as_ref().is_some_and(|row| {
                row.job.state == State::Finished && row.job.outcome != Some(wire::Outcome::Succeeded)
            })
        });
        job_is_over.then(|| status.get().word)
    };
    // Drawn in the graph; said here, beside the name.
    let needs = format!("needs-{id}");
    let describes = needs.clone();
    view! {
        <li node_ref=item>
            <a
                class=move || if never_ran() { "job-row timeless" } else { "job-row" }
                href=format!("/builds/{of}?job={id}")
                data-noscroll
                aria-current=move || is_chosen.get().then_some("true")
                aria-describedby=describes
            >
                <Shape status/>
                <span class="name">{text(|row| Some(row.job.name.clone()))}</span>
                <span class="attempt">
                    {text(|row| (row.job.attempt > 1).then(|| format!("attempt {}", row.job.attempt)))}
                </span>
                <span class=move || format!("word {}", status.get().class)>{word}</span>
                <Duration from=time(|job| job.started_at.filter(|_| job.state != State::Queued)) until=time(|job| job.finished_at)/>
                <span class="waits">{text(|row| row.waits.clone())}</span>
            </a>
            <span id=needs class="unseen">{text(|row| needs_text(&row.job))}</span>
        </li>
    }
}
