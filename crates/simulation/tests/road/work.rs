//! What executors, control and the relay do in the world: one step at a time, over messages that may be late, lost or twice
//! there.

use uuid::Uuid;
use wire::task::LeaseRef;

use crate::{
    executors::{Answer, Request},
    world::World,
};

/// For so long control grants what was asked for, in milliseconds: beyond that nobody waits for the answer.
const CLAIM_PATIENCE: u64 = 3_000;
/// For so long an executor repeats a claim, in milliseconds.
const CLAIM_PATIENCE_ALL: u64 = 9_000;
/// Jobs at a time.
const SLOTS: usize = 2;
/// A lease that is trusted for less is to be renewed, in milliseconds.
const RENEW_BEFORE: u64 = 5_000;

impl World {
    /// An executor goes on: starts, claims, renews, speaks, finishes.
    pub(crate) fn executor(&mut self, n: usize) -> bool {
        let (ms, at) = (self.ms(), self.clock());
        if !self.executors[n].up {
            let incarnation = Uuid::from_u128(u128::from(self.id()));
            let executor = &mut self.executors[n];
            (executor.up, executor.incarnation) = (true, incarnation);
            self.requests.push(Request::Register { who: executor.who() });
            return true;
        }
        let mut any = self.ask_for_work(n);
        let (dice, executor, bus) = (&mut self.dice, &mut self.executors[n], &mut self.bus);
        let who = executor.who();
        let due: Vec<LeaseRef> =
            executor.held.iter().filter(|held| held.until < ms + RENEW_BEFORE).map(|held| held.lease).collect();
        if !due.is_empty() && dice.percent(60) {
            self.requests.push(Request::Renew { who, leases: due, sent_at: ms });
        }
        for attempt in &mut executor.held {
            if dice.percent(60) {
                any |= attempt.compose(at);
            }
            if dice.percent(70) {
                any |= attempt.hand_over(bus);
            }
            if dice.percent(70) {
                let max = dice.between(1, 4);
                any |= attempt.confirmed(bus, max);
            }
            if dice.percent(50) {
                any |= attempt.mend(bus);
            }
            if let Some(last) = attempt.ended()
                && dice.percent(50)
            {
                let (lease, outcome) = (attempt.lease, attempt.outcome);
                self.requests.push(Request::Finish { who, lease, outcome, last });
                any = true;
            }
        }
        any
    }

    fn ask_for_work(&mut self, n: usize) -> bool {
        let ms = self.ms();
        let executor = &mut self.executors[n];
        if executor.claim.is_some_and(|(_, since)| ms > since + CLAIM_PATIENCE_ALL) {
            executor.claim = None;
        }
        // A claim that is not answered is repeated, under its id.
        let asks = executor.held.len() < SLOTS && self.dice.percent(if executor.claim.is_some() { 5 } else { 70 });
        if !asks {
            return false;
        }
        let next = Uuid::from_u128(u128::from(self.id()));
        let executor = &mut self.executors[n];
        let (claim, _) = *executor.claim.get_or_insert((next, ms));
        self.requests.push(Request::Claim { who: executor.who(), claim, sent_at: ms });
        // Whether anything waits for it is not known here.
        false
    }

    pub(crate) fn kill_executor(&mut self, n: usize) {
        self.executors[n].kill(&mut self.bus, &mut self.dice);
        self.note(|| format!("executor {n} is killed"));
    }

    /// An executor loses its connections.
    pub(crate) fn cut_executor(&mut self, n: usize) {
        for attempt in &mut self.executors[n].held {
            attempt.cut(&mut self.bus, &mut self.dice);
        }
        self.note(|| format!("executor {n} loses the broker"));
    }

    /// What a stopped executor had composed is sent when it wakes, lease or not.
    pub(crate) fn send_late(&mut self) -> bool {
        let Some((publisher, message)) = self.late.pop() else { return false };
        self.bus.publish(publisher, message);
        self.note(|| "an executor that was stopped says what it had begun to say".to_owned());
        true
    }

    /// A request reaches control, and is answered.
    pub(crate) fn request(&mut self, losses: usize) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        let request = self.requests.remove(self.dice.below(self.requests.len()));
        if self.dice.percent(losses) {
            self.requests.push(request.clone());
        }
        if self.dice.percent(losses) && !matches!(request, Request::Register { .. }) {
            return true;
        }
        let (now, ms) = (self.clock(), self.ms());
        match request {
            Request::Register { who } => {
                let is_now = self.executors.iter().any(|executor| executor.up && executor.who() == who);
                // One that was repeated to control after the next start has registered is not told apart by it: see
                // `docs/reliability.md`.
                if is_now {
                    self.control.registered(who.0, who.1, now);
                }
            }
            Request::Claim { sent_at, .. } if ms > sent_at + CLAIM_PATIENCE => return false,
            Request::Claim { who, claim, .. } => {
                let Some((build, lease)) = self.control.claim(who, claim, now) else {
                    self.answers.push(Answer::Nothing { who, claim });
                    return false;
                };
                self.note(|| format!("job {} attempt {} is granted to {}", lease.job, lease.attempt, who.0));
                self.answers.push(Answer::Granted { who, claim, build: Box::new(build), lease });
            }
            Request::Renew { who, leases, sent_at } => {
                let held = self.control.renew(who, &leases, now);
                self.answers.push(Answer::Renewed { who, asked: leases, held, sent_at });
            }
            Request::Finish { who, lease, outcome, last } => {
                let ended = self.control.finish(who, lease, outcome, last, now);
                self.note(|| format!("job {} attempt {} ends: {ended}, last {last:?}", lease.job, lease.attempt));
                self.answers.push(Answer::Over { who, lease });
            }
        }
        true
    }

    /// An answer of control reaches its executor.
    pub(crate) fn answer(&mut self, losses: usize) -> Result<bool, String> {
        if self.answers.is_empty() {
            return Ok(false);
        }
        let answer = self.answers.remove(self.dice.below(self.answers.len()));
        if self.dice.percent(losses) {
            return Ok(true);
        }
        let ms = self.ms();
        let who = match &answer {
            Answer::Granted { who, .. } | Answer::Nothing { who, .. } => *who,
            Answer::Renewed { who, .. } | Answer::Over { who, .. } => *who,
        };
        let Some(n) = self.executors.iter().position(|executor| executor.up && executor.who() == who) else {
            return Ok(true);
        };
        match answer {
            Answer::Granted { claim, build, lease, .. } => {
                let (key, bus, dice) = (&self.key, &mut self.bus, &mut self.dice);
                self.executors[n].granted((claim, lease, &*build), ms, (key, bus, dice));
                self.never_overlap(lease)?;
            }
            Answer::Nothing { claim, .. } => {
                let executor = &mut self.executors[n];
                if executor.claim.is_some_and(|(known, _)| known == claim) {
                    executor.claim = None;
                }
                return Ok(false);
            }
            Answer::Renewed { asked, held, sent_at, .. } => self.executors[n].renewed(&asked, &held, sent_at, ms),
            Answer::Over { lease, .. } => self.executors[n].held.retain(|attempt| attempt.lease != lease),
        }
        Ok(true)
    }

    /// Two attempts of a job are never trusted at the same time (P2), unless the database's clock has jumped.
    fn never_overlap(&self, lease: LeaseRef) -> Result<(), String> {
        let all = self.executors.iter().flat_map(|executor| &executor.held);
        // One that has said all and waits for the answer to its end runs no more.
        let count = all.filter(|attempt| attempt.lease.job == lease.job && attempt.ended().is_none()).count();
        match count > 1 && !self.jumped {
            true => Err(format!("P2: {count} attempts of job {} run at the same time", lease.job)),
            false => Ok(()),
        }
    }

    /// A notice reaches its executor, or is lost: a renewal tells the same.
    pub(crate) fn notice(&mut self, losses: usize) -> bool {
        let Some((id, lease)) = self.control.notices.pop_front() else { return false };
        if !self.dice.percent(losses) {
            let all = self.executors.iter_mut().filter(|executor| executor.up && executor.id == id);
            all.flat_map(|executor| &mut executor.held)
                .filter(|held| held.lease == lease)
                .for_each(|held| held.cancel());
        }
        true
    }

    /// The relay and the broker go on.
    pub(crate) fn relay(&mut self) -> bool {
        let mut any = self.dice.percent(70) && self.control.relay(&mut self.bus);
        if self.dice.percent(70) {
            let max = self.dice.between(1, 4);
            any |= self.control.confirmed(&mut self.bus, max);
        }
        any
    }

    pub(crate) fn relay_anew(&mut self) {
        let is_cut = self.dice.percent(50);
        self.control.relay_anew(&mut self.bus, is_cut, &mut self.dice);
        self.note(|| format!("the relay begins anew, cut: {is_cut}"));
    }

    pub(crate) fn broker(&mut self) -> bool {
        let (routing, appending) = self.bus.busy();
        if let Some(publisher) = self.dice.pick(&routing) {
            self.bus.route(publisher);
        }
        if self.dice.percent(70)
            && let Some(publisher) = self.dice.pick(&appending)
        {
            self.bus.append(publisher);
        }
        !routing.is_empty() || !appending.is_empty()
    }
}
