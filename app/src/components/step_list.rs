//! The steps of the chosen job.

use leptos::prelude::*;
use wire::{
    JobId, Timestamp,
    view::{BuildView, JobView, State, StepView},
};

use super::{
    clock::Clock,
    copy_button::CopyButton,
    derived::derived,
    duration::{self, Duration},
    status::{Shape, Status},
};

/// The list. Pressing a step shows its first line in the log.
#[component]
pub fn StepList(
    /// The build.
    view: RwSignal<BuildView>,
    /// The chosen job.
    #[prop(into)]
    chosen: Signal<Option<JobId>>,
    /// Told the number of the first line of a step that was pressed.
    show_line: Callback<u64>,
) -> impl IntoView {
    let steps = Memo::new(move |_| {
        let of = |job: &JobView| (job.id, job.steps.iter().map(|step| step.step).collect::<Vec<_>>());
        let chosen = |view: &BuildView| view.jobs.iter().find(|job| Some(job.id) == chosen.get()).map(of);
        view.with(chosen).filter(|(_, steps)| !steps.is_empty())
    });
    let keys = move || {
        let (job, steps) = steps.get()?;
        Some(steps.into_iter().map(|step| (job, step)).collect::<Vec<_>>())
    };
    view! {
        <ol class="steps">
            {move || steps.with(Option::is_some).then(|| view! { <StepAxis view chosen/> })}
            <For
                each=move || keys().unwrap_or_default()
                key=|key| *key
                children=move |(job, step)| view! { <StepRow view job step show_line/> }
            />
        </ol>
    }
}

/// The time against which the steps' bars stand: nothing, half and all of what the job took. While that counts, whole
/// seconds are enough: the bars show the rest.
#[component]
fn StepAxis(view: RwSignal<BuildView>, chosen: Signal<Option<JobId>>) -> impl IntoView {
    let clock = Clock::get();
    let marks = derived(move || {
        let time = view.with(|view| view.jobs.iter().find(|job| Some(job.id) == chosen.get()).and_then(time_of));
        time.map(|(from, until)| match until {
            Some(until) => axis(until.since(from), false),
            None => axis(clock.now().since(from), true),
        })
    });
    let mark = move |at: usize| move || marks.with(|marks| marks.as_ref().map(|marks| marks[at].clone()));
    view! {
        <li class="step-axis" aria-hidden="true">
            <span>{mark(0)}</span>
            <span>{mark(1)}</span>
            <span>{mark(2)}</span>
        </li>
    }
}

/// What is written at the start, the middle and the end of an axis of so many microseconds.
fn axis(whole: u64, counting: bool) -> [String; 3] {
    let whole = if counting { whole / 1_000_000 * 1_000_000 } else { whole };
    let (half, all) = match whole {
        0 => (String::new(), String::new()),
        1..10_000_000 if counting => (duration::text(whole / 2, true), format!("{} s", whole / 1_000_000)),
        _ => (duration::text(whole / 2, false), duration::text(whole, false)),
    };
    ["0".to_owned(), half, all]
}

/// A step whose job no longer runs does not run either, though nobody was left to say so: its executor was lost.
fn as_far_as_known(job: &JobView, step: StepView) -> StepView {
    if job.state == State::Running || step.state != State::Running {
        return step;
    }
    let started_at = step.started_at.filter(|_| job.finished_at.is_some());
    StepView { state: State::Finished, outcome: None, started_at, finished_at: job.finished_at, ..step }
}

/// From when to when the last attempt of a job ran; without an end while it runs. Of one that was lost and waits for its
/// next attempt the end is that of its last step: nothing counts meanwhile.
fn time_of(job: &JobView) -> Option<(Timestamp, Option<Timestamp>)> {
    let from = job.started_at?;
    let until = match job.state {
        State::Running => None,
        State::Finished => job.finished_at,
        State::Queued => Some(job.steps.iter().filter_map(|step| step.finished_at).max().unwrap_or(from)),
    };
    Some((from, until))
}

#[component]
fn StepRow(view: RwSignal<BuildView>, job: JobId, step: u32, show_line: Callback<u64>) -> impl IntoView {
    let row: Memo<Option<StepView>> = Memo::new(move |_| {
        view.with(|view| {
            let job = view.jobs.iter().find(|known| known.id == job)?;
            let known = job.steps.iter().find(|known| known.step == step)?;
            Some(as_far_as_known(job, known.clone()))
        })
    });
    let get = move |f: fn(&StepView) -> Option<String>| move || row.with(|row| row.as_ref().and_then(f));
    let time = move |f: fn(&StepView) -> Option<wire::Timestamp>| {
        Signal::derive(move || row.with(|row| row.as_ref().and_then(f)))
    };
    let status = Signal::derive(move || {
        row.with(|row| {
            row.as_ref().map_or(Status::of(State::Queued, None), |step| Status::of(step.state, step.outcome))
        })
    });
    let first_line = move || row.with(|row| row.as_ref().and_then(|step| step.first_line));
    let why = |step: &StepView| match (step.exit_code, &step.reason) {
        (Some(code), Some(reason)) if code != 0 => Some(format!("exit code {code}: {reason}")),
        (Some(code), None) if code != 0 => Some(format!("exit code {code}")),
        (_, reason) => reason.clone(),
    };
    // A step without a name of its own is named after its command: said once.
    let says_more = move || row.with(|row| row.as_ref().is_some_and(|step| step.name.trim() != step.command.trim()));
    let first_of_command = |step: &StepView| Some(step.command.trim().lines().next().unwrap_or_default().to_owned());
    let command = Signal::derive(move || {
        row.with(|row| row.as_ref().map(|step| step.command.trim_end().to_owned()).unwrap_or_default())
    });
    let copies = Signal::derive(move || {
        row.with(|row| row.as_ref().map(|step| format!("Copy the command of {}", step.name.trim())).unwrap_or_default())
    });
    let clock = Clock::get();
    let span = derived(move || {
        let known = view.with(|view| view.jobs.iter().find(|known| known.id == job).and_then(time_of));
        let (job_from, job_until) = known?;
        let (from, until) =
            row.with(|row| row.as_ref().map(|step| (step.started_at, step.finished_at))).unwrap_or_default();
        // The clock counts only where something has not ended.
        let job_until = job_until.unwrap_or_else(|| clock.now());
        Some(share(from?, until.unwrap_or(job_until), job_from, job_until))
    });
    let bar = move || {
        span.get().map_or_else(
            || "display:none".to_owned(),
            |(left, width)| format!("left:{}.{}%;width:{}.{}%", left / 10, left % 10, width / 10, width % 10),
        )
    };
    view! {
        <li class="step">
            <button
                type="button"
                class="step-row"
                disabled=move || first_line().is_none()
                title=move || if first_line().is_some() { "Show its first line" } else { "It has printed nothing" }
                on:click=move |_| {
                    if let Some(line) = first_line() {
                        show_line.run(line);
                    }
                }
            >
                <Shape status/>
                <span class="name">{get(|step| Some(step.name.clone()))}</span>
                <Duration from=time(|step| step.started_at) until=time(|step| step.finished_at)/>
                <span class="step-track" aria-hidden="true"><span class=move || format!("step-bar {}", status.get().class) style=bar></span></span>
            </button>
            <CopyButton text=command label=copies small=true/>
            {move || row.with(|row| row.as_ref().and_then(why)).map(|why| view! { <p class="why">{why}</p> })}
            <Show when=says_more>
                <details class="command">
                    <summary>{get(first_of_command)}</summary>
                    <pre tabindex="0">{move || command.get()}</pre>
                </details>
            </Show>
        </li>
    }
}

/// Where a step stands in its job's time: start and length in thousandths of it, within it, and never too short to be seen.
fn share(from: Timestamp, until: Timestamp, job_from: Timestamp, job_until: Timestamp) -> (u64, u64) {
    const SEEN: u64 = 10;
    let all = job_until.since(job_from).max(1);
    let left = (from.since(job_from) * 1_000 / all).min(1_000 - SEEN);
    let width = (until.since(from) * 1_000 / all).clamp(SEEN, 1_000 - left);
    (left, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_its_share_of_the_time_of_its_job() {
        let at = |from, until| share(Timestamp(from), Timestamp(until), Timestamp(1_000), Timestamp(2_000));
        assert_eq!(at(1_000, 1_250), (0, 250));
        assert_eq!(at(1_500, 2_000), (500, 500));
        assert_eq!(at(1_999, 2_000), (990, 10), "it can be seen, and stays inside");
        assert_eq!(at(1_500, 9_000), (500, 500), "clocks that disagree do not draw outside");
        assert_eq!(share(Timestamp(5), Timestamp(5), Timestamp(5), Timestamp(5)), (0, 10));
    }
    use crate::live::sample;

    #[test]
    fn an_axis_tells_half_and_all_of_a_time_and_counts_in_seconds() {
        assert_eq!(axis(850_000, false), ["0", "425 ms", "850 ms"]);
        assert_eq!(axis(64_900_000, true), ["0", "32 s", "1 m 04 s"]);
        assert_eq!(axis(3_900_000, true), ["0", "1.5 s", "3 s"]);
        assert_eq!(axis(400_000, true), ["0", "", ""], "nothing yet");
    }

    #[test]
    fn the_time_of_a_job_that_was_lost_stands_still_until_its_next_attempt() {
        let mut job = sample::build(1).jobs.remove(0);
        assert_eq!(time_of(&job), None);
        (job.state, job.started_at) = (State::Running, Some(Timestamp(1)));
        assert_eq!(time_of(&job), Some((Timestamp(1), None)));
        job.state = State::Queued;
        job.steps[0].finished_at = Some(Timestamp(4));
        assert_eq!(time_of(&job), Some((Timestamp(1), Some(Timestamp(4)))));
    }

    #[test]
    fn a_step_does_not_run_on_when_its_executor_was_lost() {
        let mut job = sample::build(1).jobs.remove(0);
        let step = StepView { state: State::Running, started_at: Some(wire::Timestamp(1)), ..job.steps[0].clone() };
        job.state = State::Running;
        assert_eq!(as_far_as_known(&job, step.clone()), step);

        job.state = State::Queued;
        let known = as_far_as_known(&job, step.clone());
        assert_eq!((known.state, known.started_at), (State::Finished, None), "nothing counts while the job waits anew");

        (job.state, job.finished_at) = (State::Finished, Some(wire::Timestamp(9)));
        let known = as_far_as_known(&job, step);
        assert_eq!((known.state, known.outcome, known.finished_at), (State::Finished, None, job.finished_at));
    }
}
