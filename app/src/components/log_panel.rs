//! The log of the chosen job with its toolbar: whose it is, how far it goes, and what is said of it.

use leptos::prelude::*;
use wire::{
    Isolation, JobId,
    view::{JobView, State},
};

use super::{
    connection::grouped,
    job_list::waits_for,
    log_marks::MarkBar,
    log_search::SearchBar,
    log_view::{LogHandle, LogView},
};
use crate::live::follow::Followed;

/// Links to logs of earlier attempts, at most.
const EARLIER_MAX: usize = 20;

/// What a container is to a job's steps, in one sentence.
const IN_A_CONTAINER: &str = "The job has a container of its own, which sees of that machine its workspace alone.";

/// Who runs or ran a job, for its line, and what stands between its steps and that machine.
fn on_executor(job: &JobView) -> Option<(String, Option<&'static str>)> {
    let executor = job.executor.as_ref()?;
    if let Some(image) = &job.image {
        return Some((format!("on {executor}, in a container of {image}"), Some(IN_A_CONTAINER)));
    }
    let without = if job.isolation == Some(Isolation::Plain) { ", without a sandbox" } else { "" };
    Some((format!("on {executor}{without}"), job.isolation.map(Isolation::sentence)))
}

/// The panel.
#[component]
pub fn LogPanel(
    /// The build.
    followed: Followed,
    /// Shared with the steps, which lead to their lines.
    handle: LogHandle,
    /// Whose log it is.
    chosen: Memo<Option<JobId>>,
) -> impl IntoView {
    let view = followed.view;
    let job = Memo::new(move |_| {
        view.with(|view| {
            let job = view.jobs.iter().find(|job| Some(job.id) == chosen.get())?;
            let (name, reason) = (job.name.clone(), job.reason.clone());
            Some((job.id, name, job.attempt, job.state, reason, waits_for(view, job), on_executor(job)))
        })
    });
    let active = Signal::derive(move || job.with(|job| job.as_ref().is_some_and(|job| job.3 != State::Finished)));
    let lines = Memo::new(move |_| {
        followed.log_changes.track();
        followed.model.with_value(|model| model.log().map_or(0, crate::live::log::JobLog::total))
    });
    let empty = Signal::derive(move || {
        job.with(|job| match job {
            None => "This build has no jobs.".to_owned(),
            Some((.., Some(waits), _)) if waits.starts_with("waits") => format!("This job {waits}."),
            Some((.., Some(waits), _)) => format!("This job waits: {waits}."),
            Some((_, _, _, State::Running, ..)) => "Nothing was printed yet.".to_owned(),
            Some((_, _, 0, ..)) => "This job never ran.".to_owned(),
            Some(_) => "Nothing was printed.".to_owned(),
        })
    });
    let earlier = Memo::new(move |_| {
        view.with(|view| {
            let job = view.jobs.iter().find(|job| Some(job.id) == chosen.get());
            job.map(|job| earlier_attempts(job, view.position.epoch)).unwrap_or_default()
        })
    });
    let raw = move |attempt: u32, id: JobId| format!("/api/v1/jobs/{id}/log.txt?attempt={attempt}");
    let raw_links = move || {
        let earlier = earlier.get();
        job.with(|job| {
            let (id, attempt) = job.as_ref().map(|job| (job.0, job.2)).filter(|(_, attempt)| *attempt > 0)?;
            let is_first = earlier.is_empty();
            let earlier = earlier.into_iter().map(|n| view! { <a href=raw(n, id) rel="external" title=format!("Raw log of attempt {n}")>{format!("#{n}")}</a> });
            Some(view! {
                {(!is_first).then(|| view! { <span class="earlier">"Earlier attempts:"</span> })}
                {earlier.collect_view()}
                <a href=raw(attempt, id) rel="external" title="The whole log as text">"Raw"</a>
            })
        })
    };
    let lost = move || {
        let of = |lost: &crate::live::build::LostLines| {
            let lines = if lost.first == lost.last {
                format!("line {} was", grouped(lost.first + 1))
            } else {
                format!("lines {} to {} were", grouped(lost.first + 1), grouped(lost.last + 1))
            };
            let text = format!("Attempt {} was lost: its {lines} seen here but never recorded.", lost.attempt);
            view! { <p class="problem" role="status">{text}</p> }
        };
        followed.lost.with(|all| all.iter().filter(|lost| Some(lost.job) == chosen.get()).map(of).collect_view())
    };
    let unrecorded = move || {
        followed.view.with(|view| {
            let job = view.jobs.iter().find(|job| Some(job.id) == chosen.get() && job.unrecorded > 0)?;
            let events = if job.unrecorded == 1 { "One event".to_owned() } else { format!("{} events", grouped(job.unrecorded)) };
            let text = format!("{events} of this log will never be recorded: the event stream was trimmed or made anew before the record had read them.");
            Some(view! { <p class="problem" role="status">{text}</p> })
        })
    };
    let following = handle.following;
    let reason = move || {
        job.with(|job| {
            let (.., reason, waits, _) = job.as_ref()?;
            // Whom it waits for is seen there.
            let waits = waits.as_ref().is_some_and(|waits| waits.contains("executor"));
            let executors = waits.then(|| view! { <a href="/executors">"All executors"</a> });
            (waits || reason.is_some()).then(|| view! { <p class="why">{reason.clone()} " " {executors}</p> })
        })
    };
    let losses = Memo::new(move |_| {
        followed.view.with(|view| {
            let job = view.jobs.iter().find(|job| Some(job.id) == chosen.get());
            job.map(lost_attempts).unwrap_or_default()
        })
    });
    let losses = move || {
        let of =
            |(sentence, reason): (String, String)| view! { <p class="why lost-attempt" title=reason>{sentence}</p> };
        losses.get().into_iter().map(of).collect_view()
    };
    let about = move || {
        job.with(|job| {
            let (_, name, attempt, .., executor) = job.as_ref()?;
            let attempt = (*attempt > 1).then(|| format!("attempt {attempt}"));
            let (executor, isolation) = executor.clone().unzip();
            Some(view! {
                <span class="name">{name.clone()}</span>
                <span class="muted">{attempt}</span>
                <span class="muted executor" title=isolation.flatten()>{executor}</span>
            })
        })
    };
    let count = move || match lines.get() {
        1 => "1 line".to_owned(),
        lines => format!("{} lines", grouped(lines)),
    };
    view! {
        <section class="log-panel">
            <div class="log-bar">
                {about}
                <span class="count">{count}</span>
                <span class="space"></span>
                <span class="raw">{raw_links}</span>
                <button class="needs-js small" type="button" title="Search the whole log: / or Ctrl+F" on:click=move |_| handle.search.open()>
                    "Search"
                </button>
                <button
                    class="needs-js small"
                    type="button"
                    aria-pressed=move || handle.timed.get().to_string()
                    title="Show when each line was printed"
                    on:click=move |_| handle.turn_times()
                >
                    "Times"
                </button>
                <button
                    class="needs-js small"
                    type="button"
                    aria-pressed=move || handle.wrapped.get().to_string()
                    title="Break long lines at the edge"
                    on:click=move |_| handle.turn_wrapping()
                >
                    "Wrap"
                </button>
                <button class="needs-js small" type="button" on:click=move |_| handle.show_line(0)>"Top"</button>
                <button class="needs-js small" type="button" on:click=move |_| handle.show_end()>"End"</button>
                <button
                    class="needs-js small follow"
                    type="button"
                    aria-pressed=move || (active.get() && following.get()).to_string()
                    disabled=move || !active.get()
                    title="Keep the newest line in view"
                    on:click=move |_| {
                        if following.get_untracked() { handle.let_go() } else { handle.show_end() }
                    }
                >
                    "Follow"
                </button>
            </div>
            <SearchBar handle/>
            <MarkBar handle/>
            {lost}
            {unrecorded}
            {losses}
            {reason}
            <LogView handle job=chosen active empty/>
        </section>
    }
}

/// Attempts before the one that is shown, the last [`EARLIER_MAX`] of them. The numbers of a build go on from its epoch
/// after a restore, with none between: of those before it the lost ones are known.
fn earlier_attempts(job: &JobView, epoch: u32) -> Vec<u32> {
    let before = job.lost.iter().map(|lost| lost.attempt).filter(|attempt| *attempt < epoch);
    let since = (epoch.max(1)..job.attempt).rev().take(EARLIER_MAX);
    let mut all: Vec<u32> = before.chain(since).filter(|attempt| *attempt < job.attempt).collect();
    all.sort_unstable();
    all.split_off(all.len().saturating_sub(EARLIER_MAX))
}

/// Of each attempt that was lost: who ran it and what follows, and how that was noticed.
fn lost_attempts(job: &JobView) -> Vec<(String, String)> {
    let of = job.lost_attempts.max(1);
    let sentence = |(lost, n): (&wire::view::LostAttempt, u32)| {
        let then = if n <= of { format!("attempt {n} of {of}") } else { format!("none of {of} attempts is left") };
        (format!("Executor {} was lost; {then}.", lost.executor), lost.reason.clone())
    };
    job.lost.iter().zip(2..).map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use wire::view::LostAttempt;

    use super::*;

    #[test]
    fn earlier_attempts_are_those_that_were_never_beyond_a_restore() {
        let job = &mut crate::live::sample::build(1).jobs.remove(0);
        job.attempt = 3;
        assert_eq!(earlier_attempts(job, 1), [1, 2]);
        job.attempt = 28_000_001;
        job.lost = vec![LostAttempt { attempt: 1, executor: "ex-1".to_owned(), reason: "gone".to_owned() }];
        assert_eq!(earlier_attempts(job, 28_000_000), [1, 28_000_000]);
        assert_eq!(earlier_attempts(job, 1).len(), EARLIER_MAX);
    }

    #[test]
    fn a_job_tells_where_it_runs_and_when_nothing_keeps_its_steps_in() {
        let mut job = crate::live::sample::build(1).jobs.remove(0);
        assert_eq!(on_executor(&job), None);
        job.executor = Some("ex-1".to_owned());
        assert_eq!(on_executor(&job), Some(("on ex-1".to_owned(), None)));
        job.isolation = Some(Isolation::Plain);
        let (line, sentence) = on_executor(&job).unwrap();
        assert_eq!(line, "on ex-1, without a sandbox");
        assert!(sentence.unwrap().contains("can read what the executor's user can read"));
        job.image = Some("rust:1.95".parse().unwrap());
        let (line, sentence) = on_executor(&job).unwrap();
        assert_eq!(line, "on ex-1, in a container of rust:1.95");
        assert!(sentence.unwrap().contains("a container of its own"));
    }

    #[test]
    fn each_lost_attempt_is_told_with_what_follows() {
        let mut job = crate::live::sample::build(1).jobs.remove(0);
        let lost = |attempt| LostAttempt { attempt, executor: format!("ex-{attempt}"), reason: "gone".to_owned() };
        job.lost = vec![lost(1), lost(2), lost(3)];
        let told: Vec<String> = lost_attempts(&job).into_iter().map(|(sentence, _)| sentence).collect();
        assert_eq!(
            told,
            [
                "Executor ex-1 was lost; attempt 2 of 3.",
                "Executor ex-2 was lost; attempt 3 of 3.",
                "Executor ex-3 was lost; none of 3 attempts is left."
            ]
        );
    }
}
