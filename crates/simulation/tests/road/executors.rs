//! Executors: they claim, speak for their attempts while they trust the lease, renew, finish, and die. What they say is
//! written as `executor` writes it (offsets counted from 0, signed, published again from the first one that is not
//! confirmed); the rule of trust is the executor's own ([`executor::trusted_until`]).

use std::collections::VecDeque;

use broker::Outgoing;
use executor::trusted_until;
use store::model::Build;
use uuid::Uuid;
use wire::{
    BuildId, Event, EventMessage, ExecutorId, JobId, LogLine, Outcome, Position, Timestamp, Topic, VERSION,
    event::raw,
    mac::{EventKey, InstallationKey},
    task::{LeaseRef, Reply},
};

use crate::{builds::LEASE, bus::Bus, dice::Dice};

const LEASE_MS: u64 = LEASE as u64 / 1000;

/// One attempt at its executor.
pub(crate) struct Attempt {
    pub(crate) lease: LeaseRef,
    build: BuildId,
    /// On the boot clock, in milliseconds.
    pub(crate) until: u64,
    script: VecDeque<Event>,
    pub(crate) outcome: Outcome,
    offset: u64,
    /// Not confirmed yet, with the tag that a confirm will have.
    window: VecDeque<(u64, Outgoing)>,
    broken: bool,
    /// Composed while the lease was trusted, not handed over yet: the process was stopped in between.
    stuck: Option<Outgoing>,
    publisher: u64,
    key: EventKey,
    reply: Option<Reply>,
}

/// An executor.
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) incarnation: Uuid,
    pub(crate) up: bool,
    /// A claim that is not answered: its id, and when its first request was sent.
    pub(crate) claim: Option<(Uuid, u64)>,
    pub(crate) held: Vec<Attempt>,
}

/// From an executor to control. Any of them may be lost, late, or twice there.
#[derive(Clone)]
pub(crate) enum Request {
    Register { who: (ExecutorId, Uuid) },
    Claim { who: (ExecutorId, Uuid), claim: Uuid, sent_at: u64 },
    Renew { who: (ExecutorId, Uuid), leases: Vec<LeaseRef>, sent_at: u64 },
    Finish { who: (ExecutorId, Uuid), lease: LeaseRef, outcome: Outcome, last: Option<u64> },
}

/// The answer.
#[derive(Clone)]
pub(crate) enum Answer {
    Granted {
        who: (ExecutorId, Uuid),
        claim: Uuid,
        build: Box<Build>,
        lease: LeaseRef,
    },
    Nothing {
        who: (ExecutorId, Uuid),
        claim: Uuid,
    },
    Renewed {
        who: (ExecutorId, Uuid),
        asked: Vec<LeaseRef>,
        held: Vec<(LeaseRef, bool)>,
        sent_at: u64,
    },
    /// Ended, or not its own any more.
    Over {
        who: (ExecutorId, Uuid),
        lease: LeaseRef,
    },
}

impl Executor {
    pub(crate) fn who(&self) -> (ExecutorId, Uuid) {
        (self.id, self.incarnation)
    }

    /// The process is killed: what it ran has ended, what it had sent may be on its way.
    pub(crate) fn kill(&mut self, bus: &mut Bus, dice: &mut Dice) {
        for attempt in self.held.drain(..) {
            bus.cut(attempt.publisher, dice);
        }
        (self.up, self.claim) = (false, None);
    }

    /// Ends what is not trusted any more, as the guard does. A stopped process may yet send what it had composed before.
    pub(crate) fn end_untrusted(&mut self, now_ms: u64) -> Vec<(u64, Outgoing)> {
        let over = self.held.extract_if(.., |attempt| now_ms >= attempt.until);
        over.filter_map(|attempt| Some((attempt.publisher, attempt.stuck?))).collect()
    }

    /// Takes a granted job up, if its lease can still be trusted.
    pub(crate) fn granted(
        &mut self,
        (claim, lease, build): (Uuid, LeaseRef, &Build),
        now_ms: u64,
        (key, bus, dice): (&InstallationKey, &mut Bus, &mut Dice),
    ) {
        let Some((_, sent_at)) = self.claim.take_if(|(known, _)| *known == claim) else { return };
        let until = trusted_until(sent_at, LEASE_MS);
        if now_ms >= until {
            return;
        }
        let steps = build.jobs.iter().find(|job| job.id == lease.job).map_or(1, |job| job.plan.steps.len());
        let (script, outcome) = script(lease, steps, dice);
        self.held.push(Attempt {
            lease,
            build: build.id,
            until,
            script,
            outcome,
            offset: 0,
            window: VecDeque::new(),
            broken: false,
            stuck: None,
            publisher: bus.publisher(),
            key: key.event_key(lease.job, lease.attempt),
            reply: build.reply.clone(),
        });
    }

    /// A renewal was answered.
    pub(crate) fn renewed(&mut self, asked: &[LeaseRef], held: &[(LeaseRef, bool)], sent_at: u64, now_ms: u64) {
        for attempt in self.held.iter_mut().filter(|attempt| now_ms < attempt.until) {
            if let Some((_, cancelled)) = held.iter().find(|(lease, _)| *lease == attempt.lease) {
                attempt.until = attempt.until.max(trusted_until(sent_at, LEASE_MS));
                if *cancelled {
                    attempt.cancel();
                }
            }
        }
        let is_lost = |lease: &LeaseRef| asked.contains(lease) && !held.iter().any(|(known, _)| known == lease);
        self.held.retain(|attempt| !is_lost(&attempt.lease));
    }
}

impl Attempt {
    /// Its end was asked for: it says what ended, and no more.
    pub(crate) fn cancel(&mut self) {
        self.outcome = Outcome::Cancelled;
        self.script.clear();
    }

    /// Composes the next event. None while another one waits, or when all is said.
    pub(crate) fn compose(&mut self, at: Timestamp) -> bool {
        if self.stuck.is_some() {
            return false;
        }
        let Some(event) = self.script.pop_front() else { return false };
        let (topic, epoch, offset) = (Topic::Job(self.lease.job), self.lease.attempt, self.offset);
        self.offset += 1;
        let event = raw(&event);
        let mac = Some(self.key.seal(topic, Position { epoch, offset }, event.get()));
        let client_id = self.reply.as_ref().map(|reply| reply.client_id);
        let (version, build) = (VERSION, self.build);
        let body = EventMessage { version, topic, build, epoch, offset, at, client_id, mac, event }.encode();
        self.stuck = Some(Outgoing::event(self.reply.as_ref().map(|reply| &reply.server_id), topic, body));
        true
    }

    /// Hands over what was composed.
    pub(crate) fn hand_over(&mut self, bus: &mut Bus) -> bool {
        let Some(message) = self.stuck.take() else { return false };
        let tag = if self.broken { 0 } else { bus.publish(self.publisher, message.clone()) };
        self.window.push_back((tag, message));
        true
    }

    /// Confirms come, in order.
    pub(crate) fn confirmed(&mut self, bus: &mut Bus, max: usize) -> bool {
        let tags = bus.confirms(self.publisher, max);
        for tag in &tags {
            let _ = self.window.pop_front_if(|(first, _)| *first == *tag);
        }
        !tags.is_empty()
    }

    pub(crate) fn cut(&mut self, bus: &mut Bus, dice: &mut Dice) {
        bus.cut(self.publisher, dice);
        self.broken = true;
    }

    /// Publishes again from the first one that is not confirmed.
    pub(crate) fn mend(&mut self, bus: &mut Bus) -> bool {
        for (tag, message) in &mut self.window {
            if self.broken {
                *tag = bus.publish(self.publisher, message.clone());
            }
        }
        std::mem::take(&mut self.broken)
    }

    /// Its last offset, once all is said and confirmed.
    pub(crate) fn ended(&self) -> Option<Option<u64>> {
        let all = self.script.is_empty() && self.stuck.is_none() && self.window.is_empty();
        all.then(|| self.offset.checked_sub(1))
    }
}

/// What an attempt will say, and how it ends.
fn script(lease: LeaseRef, steps: usize, dice: &mut Dice) -> (VecDeque<Event>, Outcome) {
    let outcome = if dice.percent(20) { Outcome::Failed } else { Outcome::Succeeded };
    let (mut script, mut n) = (VecDeque::new(), 0);
    for step in 0..u32::try_from(steps).unwrap() {
        script.push_back(Event::StepStarted { step, name: format!("step {step}"), command: "true".to_owned() });
        for _ in 0..dice.below(5) {
            let mut lines = Vec::new();
            for _ in 0..dice.between(1, 3) {
                lines.push(line(lease.job, lease.attempt, n, false));
                n += 1;
            }
            // Now and then a line is seen before it has its end.
            if dice.percent(25) {
                let open = line(lease.job, lease.attempt, n, true);
                lines.push(open);
                script.push_back(Event::Log { step, lines });
                lines = vec![line(lease.job, lease.attempt, n, false)];
                n += 1;
            }
            script.push_back(Event::Log { step, lines });
        }
        script.push_back(Event::StepFinished { step, outcome, exit_code: Some(0), reason: None });
    }
    // Some say nothing at all.
    if dice.percent(5) {
        script.clear();
    }
    (script, outcome)
}

fn line(job: JobId, attempt: u32, n: u64, open: bool) -> LogLine {
    let text = if open { "half".to_owned() } else { format!("{} {attempt} {n}", job.0.as_u128()) };
    LogLine { n, t: Timestamp(1), text, open, split: false, err: false, note: false }
}
