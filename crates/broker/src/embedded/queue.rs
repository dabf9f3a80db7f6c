//! One queue: what waits in it, who consumes it, what each consumer holds. It neither routes nor writes: what becomes of
//! a message that leaves it is decided in [`super::state`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::message::Message;
use crate::{
    ConsumeOptions,
    topology::{self, QueueKind},
};

/// Where a message stands in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journalled {
    pub(super) sequence: u64,
    /// See [`super::backlog::Backlog`].
    pub(super) place: u64,
}

/// A message in a queue.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: Arc<Message>,
    /// None: it lives in memory alone.
    pub(super) journalled: Option<Journalled>,
    pub(super) deliveries: u32,
    /// How often a consumer gave it back.
    pub(super) refusals: u32,
    pub(super) dies_at: Option<Instant>,
}

#[derive(Debug)]
struct Consuming {
    prefetch: usize,
    next_tag: u64,
    unsettled: BTreeMap<u64, Kept>,
}

/// What a consumer finds.
pub(super) enum Taken {
    /// A message, with the tag that settles it.
    Message(u64, Arc<Message>, bool, Option<Journalled>),
    /// None, or the consumer holds as many as it may.
    Nothing,
    /// The consumer is not one of this queue's any more.
    Gone,
}

/// How much a queue may hold.
#[derive(Clone, Copy, Debug)]
struct Bound {
    messages: usize,
    /// Of bodies.
    bytes: usize,
}

impl Bound {
    fn of(name: &str, kind: &QueueKind) -> Self {
        match (kind, name) {
            (QueueKind::Private, _) => {
                Self { messages: topology::PRIVATE_LENGTH_MAX, bytes: topology::PRIVATE_BYTES_MAX }
            }
            (QueueKind::Gateway { .. }, _) => Self {
                messages: usize::try_from(topology::GATEWAY_LENGTH_MAX).unwrap_or(usize::MAX),
                bytes: topology::GATEWAY_BYTES_MAX,
            },
            (QueueKind::Work, topology::DEAD) => {
                Self { messages: topology::DEAD_LENGTH_MAX, bytes: topology::DEAD_BYTES_MAX }
            }
            (QueueKind::Work, topology::UNROUTED) => {
                Self { messages: topology::UNROUTED_LENGTH_MAX, bytes: topology::UNROUTED_BYTES_MAX }
            }
            (QueueKind::Work, _) => Self { messages: topology::WORK_LENGTH_MAX, bytes: usize::MAX },
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) kind: QueueKind,
    /// Its keys on `tasks`.
    pub(super) task_keys: Vec<String>,
    pub(super) ready: VecDeque<Kept>,
    /// Of the bodies of all that it holds, delivered or not.
    bytes: usize,
    bound: Bound,
    consumers: BTreeMap<u64, Consuming>,
    exclusive: bool,
    /// When its last consumer went, or it was last declared.
    unused_since: Instant,
    /// Wakes every waiting consumer: one that was woken may have no room or may be dropped before it looks, so waking
    /// one alone could leave a message lying there. Queues have few consumers.
    pub(super) arrived: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(name: Arc<str>, kind: QueueKind, task_keys: Vec<String>, now: Instant) -> Self {
        Self {
            bound: Bound::of(&name, &kind),
            name,
            kind,
            task_keys,
            ready: VecDeque::new(),
            bytes: 0,
            consumers: BTreeMap::new(),
            exclusive: false,
            unused_since: now,
            arrived: Arc::default(),
        }
    }

    /// Adds a message behind all others; gives those that have to leave for it, oldest first.
    pub(super) fn push(&mut self, mut kept: Kept, now: Instant) -> Vec<Kept> {
        kept.dies_at = self.message_ttl().map(|ttl| now + ttl);
        self.bytes += kept.message.body.len();
        self.ready.push_back(kept);
        self.arrived.notify_waiters();
        let mut leaving = Vec::new();
        let lets_go = self.is_grave() || matches!(self.kind, QueueKind::Gateway { .. });
        while lets_go
            && self.ready.len() > 1
            && (self.ready.len() > self.bound.messages || self.bytes > self.bound.bytes)
            && let Some(oldest) = self.ready.pop_front()
        {
            self.bytes -= oldest.message.body.len();
            leaving.push(oldest);
        }
        leaving
    }

    /// Whether a publisher of a body of so many bytes has to be refused.
    pub(super) fn is_full(&self, body: usize) -> bool {
        self.kind == QueueKind::Work
            && (self.ready.len() >= self.bound.messages
                || (!self.ready.is_empty() && self.bytes.saturating_add(body) > self.bound.bytes))
    }

    /// Whether its consumer is so far behind that the queue has to end: a private queue's messages stand nowhere else,
    /// and an owner that missed some of them must know that it did.
    pub(super) fn is_overdrawn(&self) -> bool {
        let unsettled = || self.consumers.values().map(|consumer| consumer.unsettled.len()).sum::<usize>();
        let has_too_much = |held: usize| held > self.bound.messages || (held > 1 && self.bytes > self.bound.bytes);
        self.kind == QueueKind::Private && has_too_much(self.ready.len() + unsettled())
    }

    /// Whether dead letters are put here. What leaves it goes nowhere.
    pub(super) fn is_grave(&self) -> bool {
        matches!(&*self.name, topology::DEAD | topology::UNROUTED)
    }

    /// Adds a consumer; false if an exclusive one is in the way, or this one wants to be it and is not alone.
    pub(super) fn consume(&mut self, id: u64, options: ConsumeOptions) -> bool {
        if self.exclusive || (options.exclusive && !self.consumers.is_empty()) {
            return false;
        }
        self.exclusive = options.exclusive;
        let prefetch = usize::from(options.prefetch.max(1));
        self.consumers.insert(id, Consuming { prefetch, next_tag: 0, unsettled: BTreeMap::new() });
        true
    }

    /// Gives the first message to a consumer.
    pub(super) fn take(&mut self, id: u64) -> Taken {
        let Some(consumer) = self.consumers.get_mut(&id) else { return Taken::Gone };
        if consumer.unsettled.len() >= consumer.prefetch {
            return Taken::Nothing;
        }
        let Some(mut kept) = self.ready.pop_front() else { return Taken::Nothing };
        let tag = consumer.next_tag;
        consumer.next_tag += 1;
        let taken = Taken::Message(tag, Arc::clone(&kept.message), kept.deliveries > 0, kept.journalled);
        kept.deliveries = kept.deliveries.saturating_add(1);
        consumer.unsettled.insert(tag, kept);
        taken
    }

    /// Takes a delivery back from a consumer; none if the consumer went before.
    pub(super) fn settle(&mut self, id: u64, tag: u64) -> Option<Kept> {
        let consumer = self.consumers.get_mut(&id)?;
        let was_full = consumer.unsettled.len() >= consumer.prefetch;
        let kept = consumer.unsettled.remove(&tag)?;
        self.bytes -= kept.message.body.len();
        if was_full && !self.ready.is_empty() {
            self.arrived.notify_waiters();
        }
        Some(kept)
    }

    /// Removes a consumer and gives what it held, in the order of delivery; none if it was not one of this queue's.
    pub(super) fn release(&mut self, id: u64, now: Instant) -> Option<Vec<Kept>> {
        let consumer = self.consumers.remove(&id)?;
        if self.consumers.is_empty() {
            self.exclusive = false;
            self.unused_since = now;
        }
        let held: Vec<Kept> = consumer.unsettled.into_values().collect();
        self.bytes -= bytes(&held);
        Some(held)
    }

    /// Puts messages back before all others, in their order; gives those that came back too often.
    pub(super) fn give_back(&mut self, returned: Vec<Kept>) -> Vec<Kept> {
        let limited = self.kind == QueueKind::Work;
        let is_dead =
            |kept: &Kept| kept.refusals >= topology::DELIVERY_LIMIT || kept.deliveries >= topology::ABANDONED_LIMIT;
        let (dead, alive): (Vec<Kept>, Vec<Kept>) = returned.into_iter().partition(|kept| limited && is_dead(kept));
        self.bytes += bytes(&alive);
        for kept in alive.into_iter().rev() {
            self.ready.push_front(kept);
        }
        self.arrived.notify_waiters();
        dead
    }

    /// Lets go of all that lives in memory alone, and ends its consumers: whoever missed some of it must know that they did, and
    /// what is left would tell them nothing that they do not read elsewhere then.
    pub(super) fn break_off(&mut self, now: Instant) {
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            let held = self.release(id, now).unwrap_or_default();
            self.give_back(held);
        }
        self.ready.retain(|kept| kept.journalled.is_some());
        self.bytes = self.ready.iter().map(|kept| kept.message.body.len()).sum();
        self.arrived.notify_waiters();
    }

    /// All that it holds, delivered or not; its consumers are gone.
    pub(super) fn drain(&mut self) -> Vec<Kept> {
        let consumers = std::mem::take(&mut self.consumers);
        self.bytes = 0;
        self.arrived.notify_waiters();
        let held = consumers.into_values().flat_map(|consumer| consumer.unsettled.into_values());
        held.chain(self.ready.drain(..)).collect()
    }

    pub(super) fn is_consumed(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Declaring a queue is a use of it.
    pub(super) fn touch(&mut self, now: Instant) {
        self.unused_since = now;
    }

    /// Those whose time is over, oldest first.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Kept> {
        let count = self.ready.iter().take_while(|kept| kept.dies_at.is_some_and(|at| at <= now)).count();
        let expired: Vec<Kept> = self.ready.drain(..count).collect();
        self.bytes -= bytes(&expired);
        expired
    }

    /// When the queue itself goes, if nobody uses it until then.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        match self.kind {
            QueueKind::Gateway { expires, .. } if !self.is_consumed() => Some(self.unused_since + expires),
            _ => None,
        }
    }

    /// When time changes something here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let head = self.ready.front().and_then(|kept| kept.dies_at);
        [head, self.ends_at()].into_iter().flatten().min()
    }

    pub(super) fn message_ttl(&self) -> Option<Duration> {
        match self.kind {
            QueueKind::Gateway { message_ttl, .. } => Some(message_ttl),
            QueueKind::Work | QueueKind::Private => None,
        }
    }
}

fn bytes(kept: &[Kept]) -> usize {
    kept.iter().map(|kept| kept.message.body.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outgoing, topology::Exchange};

    const MIB: usize = 1 << 20;

    fn message(bytes: usize) -> Arc<Message> {
        Arc::new(Outgoing::new(Exchange::Direct, "q", vec![b' '; bytes]).into())
    }

    fn queue(name: &str, kind: QueueKind) -> Queue {
        Queue::new(name.into(), kind, Vec::new(), Instant::now())
    }

    fn kept(message: &Arc<Message>) -> Kept {
        Kept { message: Arc::clone(message), journalled: None, deliveries: 0, refusals: 0, dies_at: None }
    }

    #[test]
    fn a_full_gateway_queue_lets_its_oldest_go_and_a_full_work_queue_lets_nothing_in() {
        let hour = Duration::from_secs(3600);
        let now = Instant::now();
        let mut gateway = queue("q", QueueKind::Gateway { expires: hour * 2, message_ttl: hour });
        let (oldest, other) = (message(0), message(0));
        assert!(gateway.push(kept(&oldest), now).is_empty());
        for _ in 1..topology::GATEWAY_LENGTH_MAX {
            assert!(gateway.push(kept(&other), now).is_empty());
        }
        let gone = gateway.push(kept(&other), now);
        assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0].message, &oldest));

        let mut large = queue("q", QueueKind::Gateway { expires: hour * 2, message_ttl: hour });
        let mib = message(MIB);
        for _ in 0..topology::GATEWAY_BYTES_MAX / MIB {
            assert!(large.push(kept(&mib), now).is_empty());
        }
        assert_eq!(large.push(kept(&mib), now).len(), 1);

        let mut work = queue("q", QueueKind::Work);
        while !work.is_full(0) {
            assert!(work.push(kept(&other), now).is_empty());
        }
        assert_eq!(work.ready.len(), topology::WORK_LENGTH_MAX);
    }

    #[test]
    fn graves_are_bounded_in_number_and_in_bytes_and_the_oldest_dead_letter_goes_first() {
        let now = Instant::now();
        let bounds = [
            (topology::DEAD, topology::DEAD_LENGTH_MAX, topology::DEAD_BYTES_MAX),
            (topology::UNROUTED, topology::UNROUTED_LENGTH_MAX, topology::UNROUTED_BYTES_MAX),
        ];
        for (name, messages, bytes) in bounds {
            let mut grave = queue(name, QueueKind::Work);
            let (oldest, small, large) = (message(0), message(0), message(MIB));
            assert!(grave.push(kept(&oldest), now).is_empty());
            for _ in 1..messages {
                assert!(!grave.is_full(0) && grave.push(kept(&small), now).is_empty());
            }
            assert!(grave.is_full(0));
            let gone = grave.push(kept(&small), now);
            assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0].message, &oldest));

            let mut grave = queue(name, QueueKind::Work);
            let mut gone = Vec::new();
            for _ in 0..=bytes / MIB {
                assert!(gone.is_empty());
                gone = grave.push(kept(&large), now);
            }
            assert_eq!((gone.len(), grave.ready.len(), grave.bytes), (1, bytes / MIB, bytes));
            assert!(grave.is_full(1) && !grave.is_full(0));
            let too_large = message(bytes + 1);
            assert_eq!(grave.push(kept(&too_large), now).len(), bytes / MIB, "one alone is kept whatever its size");
        }
    }

    #[test]
    fn p6_a_private_queue_counts_what_its_consumer_holds_and_forgets_what_it_settled() {
        let now = Instant::now();
        let mut private = queue("q", QueueKind::Private);
        assert!(private.consume(1, ConsumeOptions { prefetch: 1000, exclusive: true }));
        let (limit, large) = (topology::PRIVATE_BYTES_MAX / MIB, message(MIB));
        for _ in 0..limit {
            private.push(kept(&large), now);
            assert!(matches!(private.take(1), Taken::Message(..)));
        }
        assert!(!private.is_overdrawn());
        assert!(private.settle(1, 0).is_some());
        private.push(kept(&large), now);
        assert!(!private.is_overdrawn());
        private.push(kept(&large), now);
        assert!(private.is_overdrawn());
        let given_back = private.release(1, now).unwrap();
        assert!(private.give_back(given_back).is_empty() && private.is_overdrawn());
        assert_eq!((private.drain().len(), private.bytes), (limit + 1, 0));

        private.push(kept(&message(topology::PRIVATE_BYTES_MAX + 1)), now);
        assert!(!private.is_overdrawn(), "one alone is kept whatever its size");
        private.push(kept(&message(0)), now);
        assert!(private.is_overdrawn());
        private.drain();
        let empty = message(0);
        for _ in 0..topology::PRIVATE_LENGTH_MAX {
            private.push(kept(&empty), now);
        }
        assert!(!private.is_overdrawn());
        private.push(kept(&empty), now);
        assert!(private.is_overdrawn());
    }
}
