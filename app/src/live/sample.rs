//! A build and frames for the tests of this module. No product code.

use wire::{
    BuildId, Event, JobId, LogLine, Position, Timestamp, Topic,
    frame::EventFrame,
    view::{BuildSummary, BuildView, JobView, State, StepView},
};

/// A queued build with `jobs` jobs of two steps each.
pub(crate) fn build(jobs: u32) -> BuildView {
    let step = |step: u32| StepView {
        step,
        name: format!("step {step}"),
        command: "true".into(),
        state: State::Queued,
        outcome: None,
        exit_code: None,
        reason: None,
        started_at: None,
        finished_at: None,
        first_line: None,
    };
    let job = |n: u32| JobView {
        id: JobId(uuid::Uuid::from_u128(u128::from(n) + 10)),
        name: format!("job {n}"),
        needs: Vec::new(),
        condition: wire::pipeline::Condition::Success,
        labels: wire::LabelSet::default(),
        state: State::Queued,
        outcome: None,
        attempt: 0,
        attempts: 1,
        priority: 0,
        lost_attempts: 3,
        lost: Vec::new(),
        waiting_for: None,
        reason: None,
        executor: None,
        isolation: None,
        image: None,
        queued_at: None,
        started_at: None,
        finished_at: None,
        position: None,
        lines: 0,
        sealed: false,
        unrecorded: 0,
        steps: vec![step(0), step(1)],
        artifacts: Vec::new(),
    };
    BuildView {
        summary: BuildSummary {
            id: BuildId(uuid::Uuid::from_u128(1)),
            number: 1,
            pipeline: "site".parse().unwrap(),
            state: State::Queued,
            outcome: None,
            queued_at: Timestamp(1),
            started_at: None,
            finished_at: None,
            jobs_finished: 0,
            jobs_total: jobs,
            triggered_by: None,
        },
        inputs: std::collections::BTreeMap::new(),
        cancelling: false,
        position: Position { epoch: 1, offset: 0 },
        jobs: (0..jobs).map(job).collect(),
        trigger: None,
        reply: None,
    }
}

pub(crate) fn frame_of_build(epoch: u32, offset: u64, event: Event) -> EventFrame {
    EventFrame { topic: Topic::Build(BuildId(uuid::Uuid::from_u128(1))), epoch, offset, at: Timestamp(5), event }
}

pub(crate) fn frame_of_job(job: JobId, epoch: u32, offset: u64, event: Event) -> EventFrame {
    EventFrame { topic: Topic::Job(job), epoch, offset, at: Timestamp(6), event }
}

pub(crate) fn line(n: u64, text: &str) -> LogLine {
    LogLine { n, t: Timestamp(7), text: text.into(), open: false, split: false, err: false, note: false }
}
