//! Random graphs under random orders of events, and the cases that are named in the design.

use std::{collections::BTreeMap, sync::Arc};

use store::model::{JobLease, JobPlan};
use uuid::Uuid;
use wire::{
    BuildId, ExecutorId, LabelSet,
    pipeline::{Condition, Stderr, StepSpec},
};

use super::*;
use store::model::Job;

/// Small, seeded, good enough to choose with.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn job(n: usize, needs: &[usize], condition: Condition, attempts: u32, lost_attempts: u32) -> Job {
    let plan = JobPlan {
        name: format!("job{n}"),
        labels: LabelSet::default(),
        needs: needs.to_vec(),
        condition,
        priority: 0,
        concurrency: None,
        timeout_seconds: 60,
        attempts,
        lost_attempts,
        log_limit: None,
        image: None,
        network: true,
        limits: wire::Limits::default(),
        env: BTreeMap::new(),
        secrets: Vec::new(),
        files: Vec::new(),
        source: None,
        steps: vec![StepSpec {
            name: "x".to_owned(),
            run: "x".to_owned(),
            env: BTreeMap::new(),
            stderr: Stderr::Merged,
        }],
        artifacts: Vec::new(),
    };
    let id = JobId(Uuid::from_u128(100 + n as u128));
    Job { id, plan: Arc::new(plan), attempt: 0, failures: 0, losses: 0, lost: Vec::new(), state: JobState::Waiting }
}

fn build(jobs: Vec<Job>) -> Build {
    Build {
        id: BuildId(Uuid::from_u128(1)),
        number: 3,
        pipeline: "site".parse().unwrap(),
        inputs: BTreeMap::new(),
        reply: None,
        epoch: 1,
        revision: 0,
        queued_at: Timestamp(0),
        cancelling: false,
        concurrency: None,
        triggered_by: None,
        state: BuildState::Queued,
        jobs,
    }
}

const EXECUTOR: ExecutorId = ExecutorId(Uuid::from_u128(9));
const LEASE: i64 = 100;

/// What the store does when a claim is granted.
fn grant(build: &mut Build, n: usize, incarnation: u128, now: Timestamp) -> Vec<Announcement> {
    let job = &mut build.jobs[n];
    assert!(matches!(job.state, JobState::Queued { .. }));
    job.attempt += 1;
    let lease = JobLease {
        executor: EXECUTOR,
        incarnation: Uuid::from_u128(incarnation),
        claim_id: Uuid::nil(),
        expires_at: now.plus_micros(LEASE),
    };
    job.state = JobState::Running { lease, since: now, cancelling: false };
    let id = job.id;
    granted(build, id, "one", now).unwrap()
}

fn lease_of(build: &Build, n: usize) -> LeaseRef {
    LeaseRef { job: build.jobs[n].id, attempt: build.jobs[n].attempt }
}

fn ended(outcome: Outcome) -> Ended {
    Ended { outcome, last_offset: Some(4), reason: None }
}

fn loss(cause: LossCause) -> Loss {
    Loss { cause, executor_name: "one".to_owned(), reason: "its executor was restarted".to_owned() }
}

fn events(announcements: &[Announcement]) -> Vec<&Event> {
    let mut events = Vec::new();
    for announcement in announcements {
        if let Announcement::Event(event) = announcement {
            events.push(event);
        }
    }
    events
}

/// Ends job `n`, which must be queued.
fn run(build: &mut Build, n: usize, outcome: Outcome, now: Timestamp) -> Vec<Announcement> {
    let mut all = grant(build, n, 1, now);
    let lease = lease_of(build, n);
    all.extend(finish(build, EXECUTOR, None, lease, &ended(outcome), now).unwrap());
    all
}

fn outcome_of(build: &Build, n: usize) -> Option<Outcome> {
    match &build.jobs[n].state {
        JobState::Finished { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

/// What a reader of the build's topic knows, and what must never be said to it.
#[derive(Default)]
struct Reader {
    finished: BTreeMap<JobId, u32>,
    running: BTreeMap<JobId, u32>,
    attempts: BTreeMap<JobId, u32>,
    builds_finished: u32,
    hints: u32,
    queued: u32,
}

impl Reader {
    fn read(&mut self, announcements: &[Announcement]) {
        for announcement in announcements {
            match announcement {
                Announcement::Event(event) => self.event(event),
                Announcement::Hint(_) => self.hints += 1,
                Announcement::Notice { .. }
                | Announcement::JobGivenUp { .. }
                | Announcement::Noted(_)
                | Announcement::TakenUp { .. } => {}
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::JobQueued { job, attempt } => {
                assert!(!self.running.contains_key(job), "queued while it runs");
                assert!(*attempt == self.attempts.get(job).copied().unwrap_or(0) + 1, "a term was skipped or repeated");
                self.finished.remove(job);
                self.queued += 1;
            }
            Event::JobStarted { job, attempt, .. } => {
                assert!(self.running.insert(*job, *attempt).is_none(), "two attempts at once");
                assert!(self.attempts.insert(*job, *attempt).unwrap_or(0) < *attempt, "terms must rise");
            }
            Event::JobFinished { job, .. } => {
                self.running.remove(job);
                assert!(self.finished.insert(*job, 0).is_none(), "finished twice");
            }
            Event::JobLost { job, attempt, .. } => {
                assert_eq!(self.running.remove(job), Some(*attempt), "lost without running");
            }
            Event::BuildFinished { .. } => {
                assert!(self.running.is_empty(), "the build ended while a job ran");
                self.builds_finished += 1;
            }
            _ => {}
        }
    }
}

#[test]
fn every_graph_ends_under_every_order_of_events() {
    for seed in 0..1500 {
        let mut dice = Dice(seed * 7919 + 1);
        let count = 1 + dice.below(8);
        let jobs = (0..count).map(|n| {
            let needs: Vec<usize> = (0..n).filter(|_| dice.below(3) == 0).collect();
            let condition = dice.pick(&[Condition::Success, Condition::Success, Condition::Failure, Condition::Always]);
            let (attempts, losses) = (1 + dice.below(3), 1 + dice.below(3));
            job(n, &needs, condition, u32::try_from(attempts).unwrap(), u32::try_from(losses).unwrap())
        });
        let mut build = build(jobs.collect());
        let mut reader = Reader::default();
        let mut now = Timestamp(0);
        reader.read(&start(&mut build, now));
        let mut steps = 0;
        while !matches!(build.state, BuildState::Finished { .. }) {
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: the build is stuck in {build:?}");
            now = now.plus_micros(i64::try_from(dice.below(30)).unwrap());
            let n = dice.below(count);
            let before = build.clone();
            let lease = lease_of(&build, n);
            let done = match (&build.jobs[n].state, dice.below(12)) {
                (JobState::Queued { .. }, _) => Ok(grant(&mut build, n, 1 + steps as u128 % 2, now)),
                (_, 0) if dice.below(20) == 0 => cancel(&mut build, now),
                (_, 1 | 2) => lost(&mut build, lease, &loss(LossCause::Expired), now),
                (_, 3) => {
                    let cause = LossCause::Restarted { executor: EXECUTOR, incarnation: Uuid::from_u128(1) };
                    lost(&mut build, lease, &loss(cause), now)
                }
                (_, 4) => {
                    let stale = LeaseRef { attempt: lease.attempt.wrapping_sub(1), ..lease };
                    let refused = finish(&mut build, EXECUTOR, None, stale, &ended(Outcome::Succeeded), now);
                    assert!(refused.is_err(), "a stale term was accepted");
                    refused
                }
                _ => {
                    let outcome = dice.pick(&[Outcome::Succeeded, Outcome::Failed, Outcome::TimedOut]);
                    finish(&mut build, EXECUTOR, None, lease, &ended(outcome), now)
                }
            };
            match done {
                Ok(announcements) => reader.read(&announcements),
                Err(_) => assert_eq!(build, before, "a refusal changed something"),
            }
        }
        assert_eq!((reader.builds_finished, reader.finished.len()), (1, count), "seed {seed}");
        assert_eq!(reader.hints, reader.queued, "one hint for each job that was queued");
        let over = lease_of(&build, 0);
        assert!(finish(&mut build, EXECUTOR, None, over, &ended(Outcome::Failed), now).is_err());
    }
}

#[test]
fn p2_a_stale_holder_is_refused_by_term_by_name_and_by_time() {
    let mut build = build(vec![job(0, &[], Condition::Success, 1, 3)]);
    start(&mut build, Timestamp(0));
    grant(&mut build, 0, 1, Timestamp(0));
    let lease = lease_of(&build, 0);
    let done = ended(Outcome::Succeeded);
    let other = ExecutorId(Uuid::from_u128(8));
    assert!(matches!(finish(&mut build, other, None, lease, &done, Timestamp(1)), Err(Refusal::Stale { .. })));
    assert!(matches!(
        finish(&mut build, EXECUTOR, None, lease, &done, Timestamp(LEASE + 1)),
        Err(Refusal::Stale { .. })
    ));
    assert!(lost(&mut build, lease, &loss(LossCause::Expired), Timestamp(LEASE)).is_err());
    lost(&mut build, lease, &loss(LossCause::Expired), Timestamp(LEASE + 1)).unwrap();
    grant(&mut build, 0, 2, Timestamp(LEASE));
    assert!(matches!(finish(&mut build, EXECUTOR, None, lease, &done, Timestamp(LEASE)), Err(Refusal::Stale { .. })));
    let next = lease_of(&build, 0);
    assert_eq!(next.attempt, 2);
    finish(&mut build, EXECUTOR, None, next, &done, Timestamp(LEASE)).unwrap();
    assert!(was_finished(&build, EXECUTOR, next));
    assert!(!was_finished(&build, EXECUTOR, lease));
}

#[test]
fn p3_an_attempt_of_a_restored_build_is_closed_counts_for_nothing_and_the_next_is_of_the_new_epoch() {
    let mut build = build(vec![job(0, &[], Condition::Success, 1, 1)]);
    start(&mut build, Timestamp(0));
    grant(&mut build, 0, 1, Timestamp(0));
    build.epoch = 900;
    let lease = lease_of(&build, 0);
    let announcements = lost(&mut build, lease, &loss(LossCause::Restored), Timestamp(1)).unwrap();
    let events = events(&announcements);
    assert!(matches!(events[1], Event::AttemptClosed { attempt: 1, .. }), "{events:?}");
    assert!(matches!(events[2], Event::JobQueued { attempt: 900, .. }), "{events:?}");
    assert_eq!((build.jobs[0].losses, build.jobs[0].lost.len(), build.jobs[0].next_attempt(900)), (0, 0, 900));
}

#[test]
fn a_lost_attempt_is_closed_and_too_many_of_them_are_a_dead_letter_that_can_be_retried() {
    let mut build = build(vec![job(0, &[], Condition::Success, 1, 2)]);
    start(&mut build, Timestamp(0));
    for attempt in 1..=2 {
        grant(&mut build, 0, 1, Timestamp(0));
        let cause = LossCause::Left { executor: EXECUTOR, incarnation: Uuid::from_u128(1) };
        let lease = lease_of(&build, 0);
        let announcements = lost(&mut build, lease, &loss(cause), Timestamp(1)).unwrap();
        let events = events(&announcements);
        assert!(matches!(events[0], Event::JobLost { attempt: lost, .. } if *lost == attempt));
        assert!(matches!(events[1], Event::AttemptClosed { attempt: closed, .. } if *closed == attempt));
        let next = if attempt == 1 {
            matches!(events[2], Event::JobQueued { attempt: 2, .. })
        } else {
            matches!(events[2], Event::JobFinished { outcome: Outcome::Failed, .. })
        };
        assert!(next, "{events:?}");
        let given_up = announcements.iter().filter(|one| matches!(one, Announcement::JobGivenUp { .. })).count();
        assert_eq!(given_up, usize::from(attempt == 2));
        assert_eq!(
            build.jobs[0].lost.iter().map(|lost| lost.attempt).collect::<Vec<_>>(),
            (1..=attempt).collect::<Vec<_>>()
        );
    }
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Failed, .. }));
    retry(&mut build, true, Timestamp(2)).unwrap();
    run(&mut build, 0, Outcome::Succeeded, Timestamp(3));
    assert_eq!(build.jobs[0].attempt, 3);
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
}

#[test]
fn conditions_look_at_the_needs_and_failure_looks_all_the_way_back() {
    let mut build = build(vec![
        job(0, &[], Condition::Success, 1, 1),
        job(1, &[0], Condition::Success, 1, 1),
        job(2, &[1], Condition::Failure, 1, 1),
        job(3, &[1], Condition::Always, 1, 1),
        job(4, &[2], Condition::Success, 1, 1),
    ]);
    start(&mut build, Timestamp(0));
    run(&mut build, 0, Outcome::TimedOut, Timestamp(0));
    assert_eq!(outcome_of(&build, 1), Some(Outcome::Skipped));
    let JobState::Finished { reason: Some(reason), .. } = &build.jobs[1].state else { panic!("no reason") };
    assert_eq!(reason, "it needs job0, which timed out");
    run(&mut build, 2, Outcome::Succeeded, Timestamp(0));
    run(&mut build, 3, Outcome::Succeeded, Timestamp(0));
    run(&mut build, 4, Outcome::Succeeded, Timestamp(0));
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::TimedOut, .. }));
}

#[test]
fn retrying_what_failed_leaves_what_succeeded_and_repeats_what_needs_it() {
    let mut build = build(vec![
        job(0, &[], Condition::Success, 1, 1),
        job(1, &[0], Condition::Success, 1, 1),
        job(2, &[1], Condition::Always, 1, 1),
        job(3, &[0], Condition::Failure, 1, 1),
    ]);
    start(&mut build, Timestamp(0));
    assert!(matches!(retry(&mut build, true, Timestamp(0)), Err(Refusal::State(_))));
    run(&mut build, 0, Outcome::Succeeded, Timestamp(0));
    run(&mut build, 1, Outcome::Failed, Timestamp(0));
    run(&mut build, 2, Outcome::Succeeded, Timestamp(0));
    let announcements = retry(&mut build, true, Timestamp(1)).unwrap();
    assert!(matches!(events(&announcements)[0], Event::BuildQueued { retry: true, .. }));
    assert_eq!(outcome_of(&build, 0), Some(Outcome::Succeeded));
    run(&mut build, 1, Outcome::Succeeded, Timestamp(2));
    run(&mut build, 2, Outcome::Succeeded, Timestamp(2));
    assert_eq!(build.jobs.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 2, 2, 0]);
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Succeeded, .. }));
    let refusal = retry(&mut build, true, Timestamp(3)).unwrap_err();
    assert_eq!(refusal.to_string(), "no job of build 3 of site failed: there is nothing to retry");
    retry(&mut build, false, Timestamp(3)).unwrap();
    run(&mut build, 0, Outcome::Succeeded, Timestamp(4));
    assert_eq!(build.jobs[0].attempt, 2);
}

#[test]
fn cancelling_ends_what_waits_at_once_and_tells_the_executor_of_what_runs() {
    let mut build = build(vec![
        job(0, &[], Condition::Success, 5, 5),
        job(1, &[], Condition::Success, 1, 1),
        job(2, &[0], Condition::Always, 1, 1),
    ]);
    start(&mut build, Timestamp(0));
    grant(&mut build, 0, 1, Timestamp(0));
    for _ in 0..2 {
        let announcements = cancel(&mut build, Timestamp(1)).unwrap();
        let cancel = ExecutorNotice::Cancel { lease: lease_of(&build, 0) };
        assert!(announcements.contains(&Announcement::Notice { executor: EXECUTOR, notice: cancel }));
    }
    assert_eq!((outcome_of(&build, 1), outcome_of(&build, 2)), (Some(Outcome::Cancelled), Some(Outcome::Cancelled)));
    let lease = lease_of(&build, 0);
    finish(&mut build, EXECUTOR, None, lease, &ended(Outcome::Failed), Timestamp(2)).unwrap();
    assert!(matches!(build.state, BuildState::Finished { outcome: Outcome::Cancelled, .. }));
    let refusal = cancel(&mut build, Timestamp(3)).unwrap_err();
    assert_eq!(refusal.to_string(), "build 3 of site has been cancelled already");
}
