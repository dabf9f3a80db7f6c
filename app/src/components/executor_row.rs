//! An executor: what it offers, what it runs, and what it says itself when it is asked.

use leptos::prelude::*;
use wire::{
    executor_now::AttemptNow,
    size,
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
            <p class="isolation">{executor.isolation.sentence()}</p>
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
        if let Some(told) = now.attempts.iter().find(|told| told.job == lease.job && told.attempt == lease.attempt) {
            return far(told);
        }
        let job = known.iter().find(|job| job.id == lease.job);
        job.map_or_else(|| format!("job {} (attempt {})", lease.job, lease.attempt), title)
    };
    let mut said = if now.running.is_empty() {
        format!("It answers: nothing runs, {slots} {} free.", if slots == 1 { "slot is" } else { "slots are" })
    } else {
        let names = now.running.iter().map(name).collect::<Vec<_>>();
        format!("It answers: {} of {slots} in use, by {}.", names.len(), names.join(", "))
    };
    said.extend(now.disk_free.map(|bytes| format!(" Disk: {} free.", size::Size(bytes))));
    said.extend(now.load.map(|load| format!(" Load: {load:.2}.")));
    said
}

/// How far an attempt is, by its executor's own word.
fn far(told: &AttemptNow) -> String {
    let step = told.step.as_ref().map(|step| format!("step {}", step.name));
    let lines = match told.unconfirmed_lines {
        0 => None,
        1 => Some("1 line not confirmed yet".to_owned()),
        lines => Some(format!("{} lines not confirmed yet", size::grouped(lines))),
    };
    let details: Vec<String> = step.into_iter().chain(lines).collect();
    let title = format!("{} #{} · {}", told.pipeline, told.number, told.name);
    if details.is_empty() { title } else { format!("{title} ({})", details.join(", ")) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wire::{BuildId, ExecutorId, JobId, Timestamp, executor_now::StepNow};

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
        let mut now = ExecutorNow {
            executor: ExecutorId(Uuid::nil()),
            slots: 2,
            running: Vec::new(),
            free_slots: None,
            attempts: Vec::new(),
            disk_free: None,
            load: None,
            left_out: None,
        };
        assert_eq!(said(&now, std::slice::from_ref(&job)), "It answers: nothing runs, 2 slots are free.");
        now.running.push(LeaseRef { job: id, attempt: 1 });
        assert_eq!(said(&now, &[job]), "It answers: 1 of 2 in use, by site #7 · unit.");
        assert_eq!(said(&now, &[]), format!("It answers: 1 of 2 in use, by job {id} (attempt 1)."));
        now.attempts.push(AttemptNow {
            job: id,
            attempt: 1,
            build: BuildId(Uuid::nil()),
            number: 7,
            pipeline: "site".parse().unwrap(),
            name: "unit".to_owned(),
            since: Timestamp(0),
            step: Some(StepNow { step: 1, name: "compile".to_owned(), since: Timestamp(0) }),
            unconfirmed_events: 3,
            unconfirmed_lines: 1_200,
            lines: Vec::new(),
        });
        (now.disk_free, now.load) = (Some(12_000_000_000), Some(0.42));
        let whole = "It answers: 1 of 2 in use, by site #7 · unit (step compile, 1,200 lines not confirmed yet). \
                     Disk: 12 GB free. Load: 0.42.";
        assert_eq!(said(&now, &[]), whole);
    }
}
