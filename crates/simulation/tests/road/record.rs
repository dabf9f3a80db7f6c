//! The record and a second consumer group beside it. Which events they take is the store's own rule
//! ([`store::standing`]); how SQL keeps the effect is proven elsewhere (`store`'s suite).

use std::collections::BTreeMap;

use store::{
    model::{Build, JobState},
    standing::{self, Standing, Taken},
};
use wire::{
    BuildId, Event, EventMessage, JobId, Position, Topic,
    event::Recorded,
    log::RecordedLine,
    view::{BuildView, JobView, LogPage, State, StepView},
};

use crate::builds::Control;

type Key = (Topic, u32);

/// What the recorder has written.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) standings: BTreeMap<Key, Standing>,
    /// What was taken, in the order in which it was: position and text.
    pub(crate) events: BTreeMap<Key, Vec<(u64, String)>>,
    pub(crate) lines: BTreeMap<(JobId, u32), BTreeMap<u64, RecordedLine>>,
    /// The counter beside the lines.
    pub(crate) total: BTreeMap<(JobId, u32), u64>,
    steps: BTreeMap<(JobId, u32), BTreeMap<u32, StepView>>,
    /// Entries of the stream that are applied.
    pub(crate) place: usize,
}

impl Record {
    /// Applies events and, with the last part of a batch, keeps the place: one transaction. Gives the hints.
    pub(crate) fn apply(&mut self, events: &[EventMessage], place: Option<usize>) -> Vec<Recorded> {
        let mut moved: Vec<Key> = Vec::new();
        for message in events {
            let key = (message.topic, message.epoch);
            if self.standings.entry(key).or_default().take(message.offset) != Taken::Next {
                continue;
            }
            moved.push(key);
            self.events.entry(key).or_default().push((message.offset, message.event.get().to_owned()));
            let event = message.parse().unwrap();
            if let Topic::Job(job) = message.topic {
                self.of_job((job, message.epoch), message, event);
            } else if let Some(end) = standing::end(&event) {
                let key = (Topic::Job(end.job), end.attempt);
                let standing = self.standings.entry(key).or_default();
                if standing.end(&end) && standing.sealed {
                    moved.push(key);
                }
            }
        }
        self.place = place.unwrap_or(self.place);
        moved.sort_unstable();
        moved.dedup();
        moved.into_iter().filter_map(|(topic, epoch)| self.recorded(topic, epoch)).collect()
    }

    fn of_job(&mut self, key: (JobId, u32), message: &EventMessage, event: Event) {
        let steps = self.steps.entry(key).or_default();
        match event {
            Event::StepStarted { step, name, command } => {
                let view = StepView {
                    step,
                    name,
                    command,
                    state: State::Running,
                    outcome: None,
                    exit_code: None,
                    reason: None,
                    started_at: Some(message.at),
                    finished_at: None,
                    first_line: None,
                };
                steps.insert(step, view);
            }
            Event::StepFinished { step, outcome, exit_code, reason } => {
                if let Some(step) = steps.get_mut(&step) {
                    (step.state, step.outcome, step.exit_code) = (State::Finished, Some(outcome), exit_code);
                    (step.reason, step.finished_at) = (reason, Some(message.at));
                }
            }
            Event::Log { step, lines } => {
                let log = self.lines.entry(key).or_default();
                for line in lines {
                    if let Some(view) = steps.get_mut(&step) {
                        view.first_line.get_or_insert(line.n);
                    }
                    let is_free = log.get(&line.n).is_none_or(|known| known.line.open);
                    if is_free {
                        *self.total.entry(key).or_default() += u64::from(!log.contains_key(&line.n));
                        log.insert(line.n, RecordedLine { step, line, missing: false });
                    }
                }
            }
            _ => {}
        }
    }

    pub(crate) fn recorded(&self, topic: Topic, epoch: u32) -> Option<Recorded> {
        let standing = self.standings.get(&(topic, epoch))?;
        Some(Recorded { topic, epoch, offset: standing.last, sealed: standing.sealed })
    }

    /// A page of a log, as `GET /jobs/{id}/log` gives it.
    pub(crate) fn log(&self, job: JobId, attempt: u32, from: u64) -> LogPage {
        let standing = self.standings.get(&(Topic::Job(job), attempt)).copied().unwrap_or_default();
        let lines = self.lines.get(&(job, attempt));
        LogPage {
            attempt,
            total: self.total.get(&(job, attempt)).copied().unwrap_or(0),
            position: standing.last.map(|offset| Position { epoch: attempt, offset }),
            sealed: standing.sealed,
            lines: lines.into_iter().flat_map(|lines| lines.range(from..)).map(|(_, line)| line.clone()).collect(),
        }
    }

    /// A build as `GET /builds/{id}` gives it: control's word of how it stands, the record's of what its attempts said.
    pub(crate) fn view(&self, control: &Control, id: BuildId) -> BuildView {
        let build = &control.builds[&id];
        BuildView {
            summary: control::graph::summary(build),
            inputs: build.inputs.clone(),
            cancelling: build.cancelling,
            position: Position { epoch: build.epoch, offset: build.revision.saturating_sub(1) },
            jobs: (0..build.jobs.len()).map(|place| self.job(control, build, place)).collect(),
            trigger: build.triggered_by.as_deref().cloned(),
            reply: None,
        }
    }

    fn job(&self, control: &Control, build: &Build, place: usize) -> JobView {
        let job = &build.jobs[place];
        let (state, outcome, executor, started_at, finished_at, reason) = match &job.state {
            JobState::Waiting | JobState::Queued { .. } => (State::Queued, None, None, None, None, None),
            JobState::Running { lease, since, .. } => {
                (State::Running, None, Some(lease.executor), Some(*since), None, None)
            }
            JobState::Finished { outcome, executor, since, until, reason, .. } => {
                (State::Finished, Some(*outcome), *executor, *since, Some(*until), reason.clone())
            }
        };
        let page = self.log(job.id, job.attempt, u64::MAX);
        let steps = self.steps.get(&(job.id, job.attempt));
        JobView {
            id: job.id,
            name: job.plan.name.clone(),
            needs: job.plan.needs.iter().map(|need| build.jobs[*need].plan.name.clone()).collect(),
            condition: job.plan.condition,
            labels: job.plan.labels.clone(),
            state,
            outcome,
            attempt: job.attempt,
            priority: job.plan.priority,
            attempts: job.plan.attempts,
            lost_attempts: job.plan.lost_attempts,
            lost: job.lost.clone(),
            waiting_for: None,
            reason,
            isolation: None,
            image: None,
            executor: executor.map(|_| "executor".to_owned()),
            queued_at: control.queued_at.get(&job.id).copied(),
            started_at,
            finished_at,
            position: page.position,
            lines: page.total,
            sealed: page.sealed,
            unrecorded: 0,
            steps: steps.into_iter().flat_map(BTreeMap::values).cloned().collect(),
            artifacts: Vec::new(),
        }
    }
}

/// Another group: counts the events of each topic, by the same rule, at its own pace.
#[derive(Default)]
pub(crate) struct Counter {
    standings: BTreeMap<Key, Standing>,
    pub(crate) counts: BTreeMap<Key, u64>,
    pub(crate) place: usize,
}

impl Counter {
    pub(crate) fn apply(&mut self, events: &[EventMessage], place: Option<usize>) {
        for message in events {
            let key = (message.topic, message.epoch);
            if self.standings.entry(key).or_default().take(message.offset) != Taken::Next {
                continue;
            }
            *self.counts.entry(key).or_default() += 1;
            if let Some(end) = message.parse().ok().as_ref().and_then(standing::end) {
                self.standings.entry((Topic::Job(end.job), end.attempt)).or_default().end(&end);
            }
        }
        self.place = place.unwrap_or(self.place);
    }
}
