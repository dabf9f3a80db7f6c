//! Control and its part of the store: builds under the real graph, leases by the store's rules, the outbox and its relay.
//! A transaction is one call here: that the databases keep them whole is proven by the store's own suite.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use broker::Outgoing;
use control::graph::{self, Ended, Loss, LossCause};
use store::model::{Announcement, Build, BuildState, Job, JobLease, JobPlan, JobState, Refusal};
use uuid::Uuid;
use wire::{
    BuildId, Event, EventMessage, ExecutorId, JobId, LabelSet, Outcome, Timestamp, Topic, VERSION,
    event::raw,
    pipeline::{Condition, Stderr, StepSpec},
    task::{ExecutorNotice, LeaseRef, Reply},
};

use crate::{bus::Bus, dice::Dice, world::KEY};

/// Microseconds.
pub(crate) const LEASE: i64 = 10_000_000;

/// A row on its way: published under a tag of the relay's connection.
#[derive(Default)]
pub(crate) struct Relay {
    publisher: u64,
    last: u64,
    window: VecDeque<(u64, u64)>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) builds: BTreeMap<BuildId, Build>,
    pub(crate) queued_at: BTreeMap<JobId, Timestamp>,
    outbox: VecDeque<(u64, Outgoing)>,
    next_row: u64,
    relay: Relay,
    finishes: Vec<(ExecutorId, LeaseRef)>,
    /// The start of each executor that has registered last.
    registered: BTreeMap<ExecutorId, Uuid>,
    /// Attempts whose end was asked for, for their executors.
    pub(crate) notices: VecDeque<(ExecutorId, LeaseRef)>,
    /// All that was ever announced, to be compared with the record.
    pub(crate) announced: BTreeMap<BuildId, Vec<String>>,
}

/// A build of one to three jobs.
pub(crate) fn plan(n: u128, reply: Option<Reply>, dice: &mut Dice) -> Build {
    let count = dice.between(1, 3);
    let jobs = (0..count).map(|place| job(n, place, dice)).collect();
    Build {
        id: BuildId(Uuid::from_u128(n << 8)),
        number: u64::try_from(n).unwrap(),
        pipeline: "site".parse().unwrap(),
        inputs: BTreeMap::new(),
        reply,
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

fn job(build: u128, place: usize, dice: &mut Dice) -> Job {
    let needs = (0..place).filter(|_| dice.percent(30)).collect();
    let conditions = [Condition::Success, Condition::Success, Condition::Always, Condition::Failure];
    let step = |n: usize| StepSpec {
        name: format!("step {n}"),
        run: "true".to_owned(),
        env: BTreeMap::new(),
        stderr: Stderr::Merged,
    };
    let plan = JobPlan {
        name: format!("job{place}"),
        labels: LabelSet::default(),
        needs,
        condition: dice.pick(&conditions).unwrap(),
        priority: 0,
        concurrency: None,
        timeout_seconds: 60,
        attempts: u32::try_from(dice.between(1, 2)).unwrap(),
        lost_attempts: u32::try_from(dice.between(1, 3)).unwrap(),
        log_limit: None,
        image: None,
        network: true,
        limits: wire::Limits::default(),
        env: BTreeMap::new(),
        secrets: Vec::new(),
        files: Vec::new(),
        source: None,
        steps: (0..dice.between(1, 2)).map(step).collect(),
        artifacts: Vec::new(),
    };
    let id = JobId(Uuid::from_u128((build << 8) + 1 + place as u128));
    Job { id, plan: Arc::new(plan), attempt: 0, failures: 0, losses: 0, lost: Vec::new(), state: JobState::Waiting }
}

impl Control {
    /// A trigger is accepted: the build and what announces it are there together (P1).
    pub(crate) fn create(&mut self, mut build: Build, now: Timestamp) {
        build.queued_at = now;
        let announcements = graph::start(&mut build, now);
        self.write(build, announcements, now);
    }

    fn write(&mut self, mut build: Build, announcements: Vec<Announcement>, now: Timestamp) {
        for announcement in announcements {
            match announcement {
                Announcement::Event(event) => {
                    let mut message = EventMessage {
                        version: VERSION,
                        topic: Topic::Build(build.id),
                        build: build.id,
                        epoch: build.epoch,
                        offset: build.revision,
                        at: now,
                        client_id: build.reply.as_ref().map(|reply| reply.client_id),
                        mac: None,
                        event: raw(&event),
                    };
                    message.mac = Some(KEY.control_key().sealed(&message));
                    build.revision += 1;
                    self.announced.entry(build.id).or_default().push(message.event.get().to_owned());
                    let server_id = build.reply.as_ref().map(|reply| &reply.server_id);
                    let outgoing = Outgoing::event(server_id, message.topic, message.encode());
                    self.next_row += 1;
                    self.outbox.push_back((self.next_row, outgoing));
                    if let Event::JobQueued { job, .. } = event {
                        self.queued_at.insert(job, now);
                    }
                }
                Announcement::Notice { executor, notice: ExecutorNotice::Cancel { lease } } => {
                    self.notices.push_back((executor, lease));
                }
                _ => {}
            }
        }
        self.builds.insert(build.id, build);
    }

    fn change(
        &mut self,
        id: BuildId,
        now: Timestamp,
        rule: impl FnOnce(&mut Build) -> Result<Vec<Announcement>, Refusal>,
    ) -> Result<(), Refusal> {
        let Some(mut build) = self.builds.get(&id).cloned() else {
            return Err(Refusal::State("no such build".to_owned()));
        };
        let announcements = rule(&mut build)?;
        self.write(build, announcements, now);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: BuildId, now: Timestamp) {
        let _ = self.change(id, now, |build| graph::cancel(build, now));
    }

    pub(crate) fn retry(&mut self, id: BuildId, failed_only: bool, now: Timestamp) {
        let _ = self.change(id, now, |build| graph::retry(build, failed_only, now));
    }

    fn of(&self, job: JobId) -> Option<&Build> {
        self.builds.values().find(|build| build.jobs.iter().any(|known| known.id == job))
    }

    fn running(&self) -> impl Iterator<Item = (BuildId, LeaseRef, JobLease, bool)> {
        self.builds.values().flat_map(|build| {
            build.jobs.iter().filter_map(move |job| match job.state {
                JobState::Running { lease, cancelling, .. } => {
                    Some((build.id, LeaseRef { job: job.id, attempt: job.attempt }, lease, cancelling))
                }
                _ => None,
            })
        })
    }

    /// A claim: what it was granted before and still holds, or the first job that waits.
    pub(crate) fn claim(
        &mut self,
        (executor, incarnation): (ExecutorId, Uuid),
        claim_id: Uuid,
        now: Timestamp,
    ) -> Option<(Build, LeaseRef)> {
        if self.registered.get(&executor).is_some_and(|known| *known != incarnation) {
            return None;
        }
        let again = self.running().find(|(_, _, lease, _)| {
            (lease.claim_id, lease.executor, lease.incarnation) == (claim_id, executor, incarnation)
                && lease.expires_at >= now
        });
        if let Some((build, lease, ..)) = again {
            return Some((self.builds[&build].clone(), lease));
        }
        let waits = |job: &&Job| matches!(job.state, JobState::Queued { .. });
        let mut waiting: Vec<_> = self
            .builds
            .values()
            .flat_map(|build| build.jobs.iter().filter(waits).map(move |job| (build.id, job)))
            .collect();
        waiting.sort_by_key(|(_, job)| (std::cmp::Reverse(job.losses), self.queued_at.get(&job.id), job.id));
        let (id, job) = waiting.first().map(|(id, job)| (*id, job.id))?;
        let mut build = self.builds[&id].clone();
        let chosen = build.jobs.iter_mut().find(|known| known.id == job)?;
        chosen.attempt += 1;
        let lease = LeaseRef { job, attempt: chosen.attempt };
        let expires_at = now.plus_micros(LEASE);
        let held = JobLease { executor, incarnation, claim_id, expires_at };
        chosen.state = JobState::Running { lease: held, since: now, cancelling: false };
        let announcements = graph::granted(&mut build, job, "executor", now).unwrap();
        self.write(build, announcements, now);
        Some((self.builds[&id].clone(), lease))
    }

    /// Those of `leases` that are held, and whether each is to be cancelled; they are extended.
    pub(crate) fn renew(
        &mut self,
        (executor, incarnation): (ExecutorId, Uuid),
        leases: &[LeaseRef],
        now: Timestamp,
    ) -> Vec<(LeaseRef, bool)> {
        let held: Vec<(BuildId, LeaseRef, bool)> = self
            .running()
            .filter(|(_, of, lease, _)| {
                let is_theirs = (lease.executor, lease.incarnation) == (executor, incarnation);
                leases.contains(of) && is_theirs && lease.expires_at >= now
            })
            .map(|(build, of, _, cancelling)| (build, of, cancelling))
            .collect();
        for (build, of, _) in &held {
            let job = self.builds.get_mut(build).and_then(|build| build.jobs.iter_mut().find(|job| job.id == of.job));
            if let Some(JobState::Running { lease, .. }) = job.map(|job| &mut job.state) {
                lease.expires_at = now.plus_micros(LEASE);
            }
        }
        held.into_iter().map(|(_, of, cancelling)| (of, cancelling)).collect()
    }

    /// Whether the attempt is ended now, or was by this one before.
    pub(crate) fn finish(
        &mut self,
        (executor, incarnation): (ExecutorId, Uuid),
        lease: LeaseRef,
        outcome: Outcome,
        last_offset: Option<u64>,
        now: Timestamp,
    ) -> bool {
        if self.finishes.contains(&(executor, lease)) {
            return true;
        }
        let Some(build) = self.of(lease.job).map(|build| build.id) else { return false };
        let ended = Ended { outcome, last_offset, reason: None };
        match self.change(build, now, |build| graph::finish(build, executor, Some(incarnation), lease, &ended, now)) {
            Ok(()) => {
                self.finishes.push((executor, lease));
                true
            }
            Err(_) => graph::was_finished(&self.builds[&build], executor, lease),
        }
    }

    /// Takes back what has run out. Whether there was any.
    pub(crate) fn reap(&mut self, now: Timestamp) -> bool {
        let expired: Vec<_> = self.running().filter(|(_, _, lease, _)| lease.expires_at < now).collect();
        for (build, lease, ..) in &expired {
            self.take_back(*build, *lease, LossCause::Expired, now);
        }
        !expired.is_empty()
    }

    /// An executor has started anew: what its former start held is lost.
    pub(crate) fn registered(&mut self, executor: ExecutorId, incarnation: Uuid, now: Timestamp) {
        if self.registered.insert(executor, incarnation) == Some(incarnation) {
            return;
        }
        let orphans: Vec<_> = self
            .running()
            .filter(|(_, _, lease, _)| lease.executor == executor && lease.incarnation != incarnation)
            .collect();
        for (build, lease, ..) in orphans {
            self.take_back(build, lease, LossCause::Restarted { executor, incarnation }, now);
        }
    }

    fn take_back(&mut self, build: BuildId, lease: LeaseRef, cause: LossCause, now: Timestamp) {
        let loss = Loss { cause, executor_name: "executor".to_owned(), reason: "it is gone".to_owned() };
        let _ = self.change(build, now, |build| graph::lost(build, lease, &loss, now));
    }

    /// The relay publishes the next row. Whether there was one.
    pub(crate) fn relay(&mut self, bus: &mut Bus) -> bool {
        if self.relay.publisher == 0 {
            self.relay.publisher = bus.publisher();
        }
        let Some((row, message)) = self.outbox.iter().find(|(row, _)| *row > self.relay.last) else { return false };
        let tag = bus.publish(self.relay.publisher, message.clone());
        self.relay.window.push_back((tag, *row));
        self.relay.last = *row;
        true
    }

    /// The relay forgets rows that were confirmed. Whether there were any.
    pub(crate) fn confirmed(&mut self, bus: &mut Bus, max: usize) -> bool {
        let tags = bus.confirms(self.relay.publisher, max);
        for tag in &tags {
            if let Some((_, row)) = self.relay.window.pop_front_if(|(first, _)| *first <= *tag) {
                self.outbox.retain(|(known, _)| *known != row);
            }
        }
        !tags.is_empty()
    }

    /// The relay is another process's from now on, or has lost its connection: it begins at the first row that is there.
    pub(crate) fn relay_anew(&mut self, bus: &mut Bus, is_cut: bool, dice: &mut Dice) {
        if is_cut {
            bus.cut(self.relay.publisher, dice);
        }
        // What a process that was stopped has published may still be under way on its own connection.
        self.relay = Relay { publisher: bus.publisher(), ..Relay::default() };
    }

    pub(crate) fn all_finished(&self) -> bool {
        self.builds.values().all(|build| matches!(build.state, BuildState::Finished { .. }))
    }
}
