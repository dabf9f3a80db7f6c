//! Which job a build's page shows as long as the person has chosen none.

use std::time::Duration;

use leptos::prelude::*;
use wire::{
    JobId, Outcome,
    view::{BuildView, JobView, State},
};

use super::log_view::LogHandle;

/// For so long a job that is over stays in view before the page goes on: its last lines are seen, and of jobs that follow
/// each other faster none flickers past.
const STAYS: Duration = Duration::from_millis(400);

fn has_failed(job: &&JobView) -> bool {
    matches!(job.outcome, Some(Outcome::Failed | Outcome::TimedOut))
}

fn asks_for_attention(build: &BuildView) -> Option<JobId> {
    let runs = |job: &&JobView| job.state == State::Running;
    build.jobs.iter().find(has_failed).or_else(|| build.jobs.iter().find(runs)).map(|job| job.id)
}

/// The job that asks for attention: the first that failed, else the first that runs, else the first.
#[must_use]
pub fn first_choice(build: &BuildView) -> Option<JobId> {
    asks_for_attention(build).or_else(|| build.jobs.first().map(|job| job.id))
}

/// The job to show behind `shown`: that one while it runs or when it failed, else what asks for attention now, if anything
/// does.
#[must_use]
pub fn next_choice(build: &BuildView, shown: Option<JobId>) -> Option<JobId> {
    let stays = |job: &&JobView| job.state == State::Running || has_failed(job);
    let keeps = build.jobs.iter().find(|job| Some(job.id) == shown).filter(stays);
    keeps.map(|job| job.id).or_else(|| asks_for_attention(build)).or(shown)
}

/// The job to show: the one that the address asks for, else one after the other as they run, from `first` on, until the
/// person looks at something in a log.
pub fn shown_job(
    view: RwSignal<BuildView>,
    first: Option<JobId>,
    asked: Memo<Option<JobId>>,
    handle: LogHandle,
) -> Memo<Option<JobId>> {
    let is_known = move |id: &JobId| view.with(|view| view.jobs.iter().any(|job| job.id == *id));
    let asked = Memo::new(move |_| asked.get().filter(is_known));
    let own = RwSignal::new(first);
    let next = Memo::new(move |_| {
        let is_free = asked.get().is_none() && !handle.held.get();
        is_free.then(|| view.with(|view| next_choice(view, own.get())))
    });
    Effect::new(move |_| {
        if next.get().is_none_or(|next| next == own.get()) {
            return;
        }
        let go_on = move || {
            if let Some(next) = next.get_untracked() {
                own.set(next);
            }
        };
        if let Ok(timer) = set_timeout_with_handle(go_on, STAYS) {
            // Looked at anew when something of it changes; ends with the page.
            on_cleanup(move || timer.clear());
        }
    });
    Memo::new(move |_| asked.get().or(own.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    fn build(jobs: &[(State, Option<Outcome>)]) -> BuildView {
        let mut build = sample::build(u32::try_from(jobs.len()).unwrap());
        for (job, (state, outcome)) in build.jobs.iter_mut().zip(jobs) {
            (job.state, job.outcome) = (*state, *outcome);
        }
        build
    }

    /// Which of the jobs is shown behind the first.
    fn behind_the_first(jobs: &[(State, Option<Outcome>)]) -> usize {
        let build = build(jobs);
        let next = next_choice(&build, Some(build.jobs[0].id));
        build.jobs.iter().position(|job| Some(job.id) == next).unwrap()
    }

    const QUEUED: (State, Option<Outcome>) = (State::Queued, None);
    const RUNS: (State, Option<Outcome>) = (State::Running, None);
    const SUCCEEDED: (State, Option<Outcome>) = (State::Finished, Some(Outcome::Succeeded));
    const FAILED: (State, Option<Outcome>) = (State::Finished, Some(Outcome::Failed));

    #[test]
    fn a_job_stays_shown_while_it_runs_or_when_it_failed() {
        assert_eq!(behind_the_first(&[RUNS, RUNS, FAILED]), 0);
        assert_eq!(behind_the_first(&[FAILED, RUNS, FAILED]), 0);
    }

    #[test]
    fn behind_a_job_that_is_over_comes_what_failed_or_runs_and_nothing_else() {
        assert_eq!(behind_the_first(&[SUCCEEDED, QUEUED, RUNS]), 2);
        assert_eq!(behind_the_first(&[SUCCEEDED, RUNS, FAILED]), 2);
        assert_eq!(behind_the_first(&[QUEUED, RUNS]), 1);
        assert_eq!(behind_the_first(&[SUCCEEDED, QUEUED]), 0);
        assert_eq!(behind_the_first(&[SUCCEEDED, SUCCEEDED]), 0);
    }

    #[test]
    fn a_page_that_is_opened_later_begins_where_an_open_one_has_gone() {
        for jobs in [[SUCCEEDED, RUNS, FAILED], [SUCCEEDED, RUNS, QUEUED], [SUCCEEDED, SUCCEEDED, FAILED]] {
            let build = build(&jobs);
            assert_eq!(first_choice(&build), next_choice(&build, Some(build.jobs[0].id)));
        }
    }
}
