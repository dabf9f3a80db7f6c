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

/// Messages that wait in a private queue; the oldest goes first. They are answers and notices whose loss its owner
/// survives by asking again, and an owner that is this far behind has to.
pub(super) const PRIVATE_LENGTH_MAX: usize = 100_000;
/// Messages that wait in a work queue before publishers are refused.
pub(super) const WORK_LENGTH_MAX: usize = 1_000_000;

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

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) kind: QueueKind,
    /// Its keys on `tasks`.
    pub(super) task_keys: Vec<String>,
    pub(super) ready: VecDeque<Kept>,
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
            name,
            kind,
            task_keys,
            ready: VecDeque::new(),
            consumers: BTreeMap::new(),
            exclusive: false,
            unused_since: now,
            arrived: Arc::default(),
        }
    }

    /// Adds a message behind all others; gives the one that has to leave for it.
    pub(super) fn push(&mut self, mut kept: Kept, now: Instant) -> Option<Kept> {
        kept.dies_at = self.message_ttl().map(|ttl| now + ttl);
        self.ready.push_back(kept);
        self.arrived.notify_waiters();
        let too_many = self.length_max().is_some_and(|max| self.ready.len() > max);
        if too_many { self.ready.pop_front() } else { None }
    }

    /// Whether a publisher has to be refused.
    pub(super) fn is_full(&self) -> bool {
        self.kind == QueueKind::Work && self.ready.len() >= WORK_LENGTH_MAX
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
        if was_full && !self.ready.is_empty() {
            self.arrived.notify_waiters();
        }
        Some(kept)
    }

    /// Removes a consumer and gives what it held, in the order of delivery.
    pub(super) fn release(&mut self, id: u64, now: Instant) -> Vec<Kept> {
        let Some(consumer) = self.consumers.remove(&id) else { return Vec::new() };
        if self.consumers.is_empty() {
            self.exclusive = false;
            self.unused_since = now;
        }
        consumer.unsettled.into_values().collect()
    }

    /// Puts messages back before all others, in their order; gives those that were delivered too often.
    pub(super) fn give_back(&mut self, returned: Vec<Kept>) -> Vec<Kept> {
        let limited = self.kind == QueueKind::Work;
        let (dead, alive): (Vec<Kept>, Vec<Kept>) =
            returned.into_iter().partition(|kept| limited && kept.deliveries >= topology::DELIVERY_LIMIT);
        for kept in alive.into_iter().rev() {
            self.ready.push_front(kept);
        }
        self.arrived.notify_waiters();
        dead
    }

    /// All that it holds, delivered or not; its consumers are gone.
    pub(super) fn drain(&mut self) -> Vec<Kept> {
        let consumers = std::mem::take(&mut self.consumers);
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
        self.ready.drain(..count).collect()
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

    fn length_max(&self) -> Option<usize> {
        match self.kind {
            QueueKind::Gateway { .. } => usize::try_from(topology::GATEWAY_LENGTH_MAX).ok(),
            QueueKind::Private => Some(PRIVATE_LENGTH_MAX),
            QueueKind::Work => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outgoing, topology::Exchange};

    fn message() -> Arc<Message> {
        Arc::new(Outgoing::new(Exchange::Direct, "q", Vec::new()).into())
    }

    fn queue(kind: QueueKind) -> Queue {
        Queue::new("q".into(), kind, Vec::new(), Instant::now())
    }

    fn kept(message: &Arc<Message>) -> Kept {
        Kept { message: Arc::clone(message), journalled: None, deliveries: 0, dies_at: None }
    }

    #[test]
    fn a_full_gateway_queue_lets_its_oldest_go_and_a_full_work_queue_lets_nothing_in() {
        let hour = Duration::from_secs(3600);
        let now = Instant::now();
        let mut gateway = queue(QueueKind::Gateway { expires: hour * 2, message_ttl: hour });
        let (oldest, other) = (message(), message());
        assert!(gateway.push(kept(&oldest), now).is_none());
        for _ in 1..topology::GATEWAY_LENGTH_MAX {
            assert!(gateway.push(kept(&other), now).is_none());
        }
        let gone = gateway.push(kept(&other), now).unwrap();
        assert!(Arc::ptr_eq(&gone.message, &oldest));

        let mut work = queue(QueueKind::Work);
        while !work.is_full() {
            assert!(work.push(kept(&other), now).is_none());
        }
        assert_eq!(work.ready.len(), WORK_LENGTH_MAX);
    }
}
