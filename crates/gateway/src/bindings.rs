//! Which keys a worker's queue is bound with, and what is under way. Pure: it says what to do at the broker
//! ([`Step`]), the worker does it elsewhere and reports back ([`Bindings::settled`]).
//!
//! Of one key at most one step is under way, so that a bind can never be overtaken by an unbind before it. Whoever
//! asked for a key waits ([`Waiter`]) until the broker has said that the binding stands.

use std::collections::HashMap;

use wire::{ClientId, Position, Topic};

use crate::socket::SocketId;

/// Who waits for a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A socket waits for the answer to its subscription.
    Subscribed { socket: SocketId, topic: Topic, position: Option<Position>, epoch: u32 },
    /// A client attached: what was kept for it can come now.
    Attached(ClientId),
    /// The queue was consumed anew: readers of the topic must be told to look into the record.
    Reread(Topic),
}

/// What is to be done at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) key: String,
    /// Bind, or else unbind.
    pub(crate) bind: bool,
    /// Steps for a queue that was given up are not heard any more.
    pub(crate) era: u64,
}

/// What follows a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Their binding stands.
    pub(crate) waiters: Vec<Waiter>,
    /// To be done next.
    pub(crate) step: Option<Step>,
    /// The binding is gone: nothing comes by this key any more.
    pub(crate) unbound: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Binding,
    Bound,
    Unbinding,
}

struct Key {
    phase: Phase,
    /// How many want it.
    wanted: usize,
    waiters: Vec<Waiter>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Bindings {
    keys: HashMap<String, Key>,
    era: u64,
}

impl Bindings {
    /// One more wants `key`. Either its binding stands (the waiter comes back), or the waiter is kept.
    pub(crate) fn want(&mut self, key: String, waiter: Waiter) -> (Option<Waiter>, Option<Step>) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.wanted += 1;
            if known.phase == Phase::Bound {
                return (Some(waiter), None);
            }
            known.waiters.push(waiter);
            return (None, None);
        }
        let step = self.step(&key, true);
        self.keys.insert(key, Key { phase: Phase::Binding, wanted: 1, waiters: vec![waiter] });
        (None, Some(step))
    }

    /// One that wants `key` already waits for it once more.
    pub(crate) fn wait(&mut self, key: &str, waiter: Waiter) -> Option<Waiter> {
        match self.keys.get_mut(key) {
            Some(known) if known.phase != Phase::Bound => {
                known.waiters.push(waiter);
                None
            }
            _ => Some(waiter),
        }
    }

    /// The socket has unsubscribed: who watches the topic for it later is answered once, not for what it had asked before, too.
    pub(crate) fn forget(&mut self, key: &str, socket: SocketId) {
        if let Some(known) = self.keys.get_mut(key) {
            known.waiters.retain(|waiter| !matches!(waiter, Waiter::Subscribed { socket: of, .. } if *of == socket));
        }
    }

    /// One fewer wants `key`.
    pub(crate) fn unwant(&mut self, key: &str) -> Option<Step> {
        let known = self.keys.get_mut(key)?;
        known.wanted = known.wanted.saturating_sub(1);
        if known.wanted > 0 || known.phase != Phase::Bound {
            return None;
        }
        known.phase = Phase::Unbinding;
        Some(self.step(key, false))
    }

    /// Something came by a key that nobody here wants: an earlier life of this worker left its binding.
    pub(crate) fn stray(&mut self, key: &str) -> Option<Step> {
        if self.keys.contains_key(key) {
            return None;
        }
        self.keys.insert(key.to_owned(), Key { phase: Phase::Unbinding, wanted: 0, waiters: Vec::new() });
        Some(self.step(key, false))
    }

    /// Whether somebody wants `key`.
    pub(crate) fn is_wanted(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|known| known.wanted > 0)
    }

    /// A step is done.
    pub(crate) fn settled(&mut self, step: &Step) -> Settled {
        let Some(known) = self.keys.get_mut(&step.key) else { return Settled::default() };
        if step.era != self.era {
            return Settled::default();
        }
        match (step.bind, known.wanted > 0) {
            (true, true) => {
                known.phase = Phase::Bound;
                Settled { waiters: std::mem::take(&mut known.waiters), ..Settled::default() }
            }
            (true, false) => {
                known.phase = Phase::Unbinding;
                known.waiters.clear();
                Settled { step: Some(self.step(&step.key, false)), ..Settled::default() }
            }
            (false, true) => {
                known.phase = Phase::Binding;
                Settled { step: Some(self.step(&step.key, true)), unbound: true, ..Settled::default() }
            }
            (false, false) => {
                self.keys.remove(&step.key);
                Settled { unbound: true, ..Settled::default() }
            }
        }
    }

    /// The queue is another one, or was consumed anew: every wanted key is bound again. With `reread`, readers of topics
    /// learn afterwards that something may be missing.
    pub(crate) fn bind_all(&mut self, reread: bool) -> Vec<Step> {
        self.era += 1;
        self.keys.retain(|_, known| known.wanted > 0);
        for (key, known) in &mut self.keys {
            known.phase = Phase::Binding;
            if reread && let Ok(topic) = key.parse() {
                known.waiters.push(Waiter::Reread(topic));
            }
        }
        self.keys.keys().map(|key| self.step(key, true)).collect()
    }

    fn step(&self, key: &str, bind: bool) -> Step {
        Step { key: key.to_owned(), bind, era: self.era }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn waiter(n: u128) -> Waiter {
        Waiter::Attached(ClientId(Uuid::from_u128(n)))
    }

    #[test]
    fn the_first_binds_the_last_unbinds_and_those_between_do_neither() {
        let mut bindings = Bindings::default();
        let (ready, bind) = bindings.want("k".to_owned(), waiter(1));
        let bind = bind.unwrap();
        assert!(ready.is_none() && bind.bind);
        assert_eq!(bindings.want("k".to_owned(), waiter(2)), (None, None));
        assert_eq!(bindings.settled(&bind).waiters, [waiter(1), waiter(2)]);
        assert_eq!(bindings.want("k".to_owned(), waiter(3)), (Some(waiter(3)), None));
        assert_eq!(bindings.unwant("k"), None);
        assert_eq!(bindings.unwant("k"), None);
        let unbind = bindings.unwant("k").unwrap();
        assert!(!unbind.bind);
        assert!(bindings.settled(&unbind).unbound);
        assert!(!bindings.is_wanted("k"));
    }

    #[test]
    fn p3_who_unsubscribes_and_comes_back_before_the_key_is_bound_is_answered_once() {
        let (mut bindings, topic) = (Bindings::default(), Topic::Job(wire::JobId(Uuid::from_u128(1))));
        let of = |socket, offset| Waiter::Subscribed {
            socket: SocketId(socket),
            topic,
            position: Some(Position { epoch: 1, offset }),
            epoch: 1,
        };
        let bind = bindings.want("k".to_owned(), of(1, 0)).1.unwrap();
        bindings.want("k".to_owned(), of(2, 0));
        bindings.forget("k", SocketId(1));
        assert_eq!(bindings.unwant("k"), None, "the other one still wants it");
        bindings.want("k".to_owned(), of(1, 9));
        assert_eq!(bindings.settled(&bind).waiters, [of(2, 0), of(1, 9)]);
    }

    #[test]
    fn a_key_wanted_again_while_it_is_unbound_is_bound_afterwards() {
        let mut bindings = Bindings::default();
        let bind = bindings.want("k".to_owned(), waiter(1)).1.unwrap();
        bindings.settled(&bind);
        let unbind = bindings.unwant("k").unwrap();
        assert_eq!(bindings.want("k".to_owned(), waiter(2)), (None, None));
        let settled = bindings.settled(&unbind);
        assert!(settled.unbound && settled.waiters.is_empty());
        assert_eq!(bindings.settled(&settled.step.unwrap()).waiters, [waiter(2)]);
    }

    #[test]
    fn one_that_leaves_while_the_key_is_bound_leaves_no_binding_behind() {
        let mut bindings = Bindings::default();
        let bind = bindings.want("k".to_owned(), waiter(1)).1.unwrap();
        assert_eq!(bindings.unwant("k"), None);
        let unbind = bindings.settled(&bind).step.unwrap();
        assert!(!unbind.bind);
        assert_eq!(bindings.settled(&unbind).step, None);
        assert!(bindings.keys.is_empty());
    }

    #[test]
    fn another_queue_gets_every_wanted_key_and_steps_for_the_former_one_are_not_heard() {
        let mut bindings = Bindings::default();
        let old = bindings.want("k".to_owned(), waiter(1)).1.unwrap();
        let steps = bindings.bind_all(false);
        assert_eq!(steps.len(), 1);
        assert_eq!(bindings.settled(&old), Settled::default());
        assert_eq!(bindings.settled(&steps[0]).waiters, [waiter(1)]);
    }

    #[test]
    fn a_stray_key_is_unbound_once() {
        let mut bindings = Bindings::default();
        let unbind = bindings.stray("k").unwrap();
        assert!(!unbind.bind);
        assert_eq!(bindings.stray("k"), None);
        assert!(bindings.settled(&unbind).unbound);
    }
}
