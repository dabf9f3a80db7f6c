//! What an event does to a build as the page shows it. Pure, and the only place where a page changes a build's facts
//! by itself; everything else it reads from the record.

use wire::{
    Event, JobId, Outcome, Timestamp, Topic,
    frame::EventFrame,
    view::{ArtifactView, BuildView, JobView, LostAttempt, State, StepView},
};

/// Applies the next event of a topic of this build. True when something that the page shows has changed.
pub fn apply(view: &mut BuildView, frame: &EventFrame) -> bool {
    match frame.topic {
        Topic::Build(_) => {
            view.position = wire::Position { epoch: frame.epoch, offset: frame.offset };
            of_build(view, frame.at, &frame.event)
        }
        Topic::Job(id) => {
            begin_attempt(view, id, frame.epoch, Some(frame.at));
            view.jobs.iter_mut().find(|job| job.id == id).is_some_and(|job| of_job(job, frame))
        }
    }
}

/// The job runs as a newer attempt than the view knows: its steps, log and files begin anew. False when it is not newer.
pub fn begin_attempt(view: &mut BuildView, id: JobId, attempt: u32, at: Option<Timestamp>) -> bool {
    let Some(job) = view.jobs.iter_mut().find(|job| job.id == id && attempt > job.attempt) else { return false };
    job.attempt = attempt;
    (job.state, job.outcome, job.reason, job.waiting_for) = (State::Running, None, None, None);
    (job.started_at, job.finished_at) = (at, None);
    (job.position, job.lines, job.sealed, job.unrecorded) = (None, 0, false, 0);
    job.artifacts.clear();
    for step in &mut job.steps {
        let (index, name, command) = (step.step, std::mem::take(&mut step.name), std::mem::take(&mut step.command));
        *step = waiting_step(index, name, command);
    }
    true
}

fn of_build(view: &mut BuildView, at: Timestamp, event: &Event) -> bool {
    match event {
        Event::BuildQueued { .. } => {
            // What did not succeed is queued by a person: what was lost before does not count any more.
            for job in view.jobs.iter_mut().filter(|job| job.outcome != Some(Outcome::Succeeded)) {
                job.lost.clear();
            }
            view.summary.state = State::Queued;
            (view.summary.outcome, view.summary.finished_at, view.cancelling) = (None, None, false);
        }
        Event::BuildStarted {} => {
            view.summary.state = State::Running;
            view.summary.started_at.get_or_insert(at);
        }
        Event::BuildFinished { outcome } => {
            view.summary.state = State::Finished;
            (view.summary.outcome, view.summary.finished_at) = (Some(*outcome), Some(at));
            view.cancelling = false;
        }
        // Executors are heard apart from control: an attempt may have spoken before the end of the former one is told.
        Event::JobQueued { job, attempt } => {
            if let Some(job) = view.jobs.iter_mut().find(|known| known.id == *job && known.attempt < *attempt) {
                (job.state, job.outcome, job.queued_at) = (State::Queued, None, Some(at));
                job.waiting_for = None;
            }
        }
        Event::JobStarted { job: id, attempt, executor_name, .. } => {
            begin_attempt(view, *id, *attempt, Some(at));
            if let Some(job) = view.jobs.iter_mut().find(|known| known.id == *id) {
                (job.state, job.outcome, job.waiting_for) = (State::Running, None, None);
                if job.executor.as_ref() != Some(executor_name) {
                    job.isolation = None; // The event does not tell; the next reading of the build does.
                }
                (job.executor, job.started_at) = (Some(executor_name.clone()), Some(at));
            }
        }
        Event::JobFinished { job, attempt, outcome, reason, .. } => {
            if let Some(job) = view.jobs.iter_mut().find(|known| known.id == *job && known.attempt <= *attempt) {
                (job.state, job.outcome, job.finished_at) = (State::Finished, Some(*outcome), Some(at));
                (job.reason, job.waiting_for) = (reason.clone(), None);
                if *outcome == Outcome::Skipped {
                    job.started_at = None;
                }
                for step in &mut job.steps {
                    leave_step(step, *outcome, at);
                }
            }
        }
        Event::JobLost { job: id, attempt, reason, executor_name, .. } => {
            if let Some(job) = view.jobs.iter_mut().find(|known| known.id == *id)
                && job.lost.iter().all(|known| known.attempt != *attempt)
            {
                let (executor, reason) = (executor_name.clone(), reason.clone());
                job.lost.push(LostAttempt { attempt: *attempt, executor, reason });
            }
            if let Some(job) = view.jobs.iter_mut().find(|known| known.id == *id && known.attempt <= *attempt) {
                (job.state, job.outcome, job.reason) = (State::Queued, None, Some(reason.clone()));
                for step in job.steps.iter_mut().filter(|step| step.state == State::Running) {
                    (step.state, step.finished_at, step.reason) =
                        (State::Finished, Some(at), Some("Its executor was lost.".to_owned()));
                }
            }
        }
        Event::AttemptClosed { .. } => return false,
        _ => return false,
    }
    let finished = view.jobs.iter().filter(|job| job.state == State::Finished).count();
    view.summary.jobs_finished = u32::try_from(finished).unwrap_or(u32::MAX);
    true
}

/// A job that ended before a step did says how the step ended.
fn leave_step(step: &mut StepView, outcome: Outcome, at: Timestamp) {
    match step.state {
        State::Running => {
            (step.state, step.outcome, step.finished_at) = (State::Finished, Some(outcome), Some(at));
        }
        State::Queued => (step.state, step.outcome) = (State::Finished, Some(Outcome::Skipped)),
        State::Finished => {}
    }
}

fn of_job(job: &mut JobView, frame: &EventFrame) -> bool {
    job.position = Some(wire::Position { epoch: frame.epoch, offset: frame.offset });
    match &frame.event {
        Event::StepStarted { step, name, command } => {
            let known = step_mut(job, *step);
            known.name.clone_from(name);
            known.command.clone_from(command);
            (known.state, known.started_at) = (State::Running, Some(frame.at));
            true
        }
        Event::Log { step, lines } => {
            let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return false };
            job.lines = job.lines.max(last.n + 1);
            let known = step_mut(job, *step);
            let is_first = known.first_line.is_none();
            known.first_line.get_or_insert(first.n);
            is_first
        }
        Event::StepFinished { step, outcome, exit_code, reason } => {
            let known = step_mut(job, *step);
            (known.state, known.outcome, known.finished_at) = (State::Finished, Some(*outcome), Some(frame.at));
            (known.exit_code, known.reason) = (*exit_code, reason.clone());
            true
        }
        Event::Artifact { artifact, name, size, sha256 } => {
            if job.artifacts.iter().all(|known| known.id != *artifact) {
                job.artifacts.push(ArtifactView {
                    id: *artifact,
                    job: job.id,
                    attempt: frame.epoch,
                    name: name.clone(),
                    size: *size,
                    sha256: sha256.clone(),
                });
            }
            true
        }
        _ => false,
    }
}

/// The step, made if the record did not know it yet.
fn step_mut(job: &mut JobView, step: u32) -> &mut StepView {
    let place = job.steps.iter().position(|known| known.step >= step).unwrap_or(job.steps.len());
    if job.steps.get(place).is_none_or(|known| known.step != step) {
        job.steps.insert(place, waiting_step(step, String::new(), String::new()));
    }
    &mut job.steps[place]
}

fn waiting_step(step: u32, name: String, command: String) -> StepView {
    StepView {
        step,
        name,
        command,
        state: State::Queued,
        outcome: None,
        exit_code: None,
        reason: None,
        started_at: None,
        finished_at: None,
        first_line: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::{build, frame_of_build, frame_of_job, line};
    use wire::ExecutorId;

    fn started(view: &BuildView, attempt: u32) -> Event {
        let (job, executor) = (view.jobs[0].id, ExecutorId(uuid::Uuid::nil()));
        Event::JobStarted { job, attempt, executor, executor_name: "here".into() }
    }

    #[test]
    fn a_build_runs_from_its_events_alone() {
        let mut view = build(2);
        let job = view.jobs[0].id;
        let started = started(&view, 1);
        for (offset, event) in
            [Event::BuildStarted {}, Event::JobQueued { job, attempt: 1 }, started].into_iter().enumerate()
        {
            assert!(apply(&mut view, &frame_of_build(1, offset as u64, event)));
        }
        assert_eq!((view.summary.state, view.jobs[0].state, view.jobs[0].attempt), (State::Running, State::Running, 1));
        let step = Event::StepStarted { step: 0, name: "compile".into(), command: "cargo build".into() };
        apply(&mut view, &frame_of_job(job, 1, 0, step));
        apply(&mut view, &frame_of_job(job, 1, 1, Event::Log { step: 0, lines: vec![line(0, "a"), line(1, "b")] }));
        let ended = Event::StepFinished { step: 0, outcome: Outcome::Failed, exit_code: Some(3), reason: None };
        apply(&mut view, &frame_of_job(job, 1, 2, ended));
        let step = &view.jobs[0].steps[0];
        assert_eq!(
            (step.name.as_str(), step.state, step.exit_code, step.first_line),
            ("compile", State::Finished, Some(3), Some(0))
        );
        assert_eq!(view.jobs[0].lines, 2);
        let over = Event::JobFinished { job, attempt: 1, outcome: Outcome::Failed, last_offset: Some(2), reason: None };
        apply(&mut view, &frame_of_build(1, 3, over));
        apply(&mut view, &frame_of_build(1, 4, Event::BuildFinished { outcome: Outcome::Failed }));
        assert_eq!((view.summary.outcome, view.summary.jobs_finished), (Some(Outcome::Failed), 1));
        assert_eq!(view.jobs[0].steps[1].outcome, Some(Outcome::Skipped), "a step that never ran says so");
    }

    #[test]
    fn a_new_attempt_begins_with_empty_steps_and_log() {
        let mut view = build(1);
        let job = view.jobs[0].id;
        let first = started(&view, 1);
        apply(&mut view, &frame_of_build(1, 0, first));
        apply(&mut view, &frame_of_job(job, 1, 0, Event::Log { step: 0, lines: vec![line(0, "a")] }));
        let second = started(&view, 2);
        apply(&mut view, &frame_of_build(1, 1, second));
        let job = &view.jobs[0];
        assert_eq!((job.attempt, job.lines, job.position, job.steps[0].first_line), (2, 0, None, None));
    }

    #[test]
    fn a_job_lost_waits_again_and_its_running_step_is_not_left_running() {
        let mut view = build(1);
        let job = view.jobs[0].id;
        let step = Event::StepStarted { step: 0, name: "s".into(), command: "s".into() };
        apply(&mut view, &frame_of_job(job, 1, 0, step));
        let executor = ExecutorId(uuid::Uuid::nil());
        let lost = Event::JobLost { job, attempt: 1, executor, executor_name: "here".into(), reason: "gone".into() };
        apply(&mut view, &frame_of_build(1, 0, lost));
        assert_eq!((view.jobs[0].state, view.jobs[0].steps[0].state), (State::Queued, State::Finished));
        assert_eq!(view.jobs[0].reason.as_deref(), Some("gone"));
    }

    #[test]
    fn the_end_of_a_former_attempt_that_is_told_late_does_not_touch_the_one_that_runs() {
        let mut view = build(1);
        let job = view.jobs[0].id;
        let step = Event::StepStarted { step: 0, name: "s".into(), command: "s".into() };
        apply(&mut view, &frame_of_job(job, 2, 0, step));
        let over = Event::JobFinished { job, attempt: 1, outcome: Outcome::Failed, last_offset: None, reason: None };
        apply(&mut view, &frame_of_build(1, 0, over));
        apply(&mut view, &frame_of_build(1, 1, Event::JobQueued { job, attempt: 2 }));
        assert_eq!((view.jobs[0].state, view.jobs[0].steps[0].state), (State::Running, State::Running));
    }
}
