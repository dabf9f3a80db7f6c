//! An executor: what it offers, what it runs, and what it says itself when it is asked.

use leptos::prelude::*;
use wire::{
    task::{ExecutorNow, LeaseRef},
    view::{ExecutorView, RunningJob},
};

use super::{
    at_once::AtOnce,
    duration::Duration,
    installation::{Answers, presence},
};

/// The row.
pub fn executor_row(executor: &ExecutorView, answers: Answers) -> AnyView {
    let answer = answers.of(executor.id);
    let asking = answer == Some(None);
    let (used, slots) = (executor.running.len(), executor.slots);
    let marks = format!("--slots:{};--used:{}", slots.max(1), used.min(slots as usize));
    let labels = executor.labels.labels().iter().map(|label| AtOnce(view! { <li>{label.clone()}</li> }).into_any());
    let idle = (executor.alive && used == 0).then_some("Nothing runs.");
    let name = executor.name.clone();
    let label = format!("Ask it now: {name}");
    let asked = executor.clone();
    let row = view! {
        <li class="executor">
            <div class="who"><span class="name">{name}</span> {presence(executor.alive, executor.heard_at)}</div>
            <ul class="labels" aria-label="Labels">{labels.collect_view()}</ul>
            <span class="slots">
                <span class="slot-marks" style=marks aria-hidden="true"></span>
                {format!("{used} of {slots} in use")}
            </span>
            <button
                class="small ask needs-js"
                type="button"
                aria-label=label
                title="Ask the executor itself what it runs"
                disabled=asking
                on:click=move |_| answers.ask(asked.clone())
            >
                {if asking { "Asking" } else { "Ask it now" }}
            </button>
            <p class="idle">{idle}</p>
            <ul class="runs" aria-label="Runs">{executor.jobs.iter().map(running).collect_view()}</ul>
            <p class="said" role="status">{answer.flatten()}</p>
        </li>
    };
    AtOnce(row).into_any()
}

fn running(job: &RunningJob) -> AnyView {
    let attempt = (job.attempt > 1).then(|| format!("attempt {}", job.attempt));
    let row = view! {
        <li>
            <a href=format!("/builds/{}?job={}", job.build, job.id)>{title(job)}</a>
            <span class="muted">{attempt}</span>
            <Duration from=Some(job.started_at) until=None/>
        </li>
    };
    AtOnce(row).into_any()
}

fn title(job: &RunningJob) -> String {
    format!("{} #{} · {}", job.pipeline, job.number, job.name)
}

/// An executor's own word in one sentence. What it runs is named where the record names it.
#[must_use]
pub fn said(now: &ExecutorNow, known: &[RunningJob]) -> String {
    let slots = now.slots;
    let name = |lease: &LeaseRef| {
        let job = known.iter().find(|job| job.id == lease.job);
        job.map_or_else(|| format!("job {} (attempt {})", lease.job, lease.attempt), title)
    };
    if now.running.is_empty() {
        return format!("It answers: nothing runs, {slots} {} free.", if slots == 1 { "slot is" } else { "slots are" });
    }
    let names = now.running.iter().map(name).collect::<Vec<_>>();
    format!("It answers: {} of {slots} in use, by {}.", names.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wire::{BuildId, ExecutorId, JobId, Timestamp};

    use super::*;

    #[test]
    fn what_an_executor_says_is_told_by_the_names_that_a_person_knows() {
        let id = JobId(Uuid::nil());
        let job = RunningJob {
            id,
            name: "unit".into(),
            attempt: 1,
            started_at: Timestamp(0),
            build: BuildId(Uuid::nil()),
            pipeline: "site".parse().unwrap(),
            number: 7,
        };
        let mut now = ExecutorNow { executor: ExecutorId(Uuid::nil()), slots: 2, running: Vec::new() };
        assert_eq!(said(&now, std::slice::from_ref(&job)), "It answers: nothing runs, 2 slots are free.");
        now.running.push(LeaseRef { job: id, attempt: 1 });
        assert_eq!(said(&now, &[job]), "It answers: 1 of 2 in use, by site #7 · unit.");
        assert_eq!(said(&now, &[]), format!("It answers: 1 of 2 in use, by job {id} (attempt 1)."));
    }
}
