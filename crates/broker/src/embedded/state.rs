//! What the embedded broker holds in memory and how a message moves through it. Everything here happens at once, under
//! one lock, and nothing waits: the disk comes later, in [`super::flusher`], and time in [`super::keeper`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    backlog::{Backlog, ConfirmSender, Pending},
    message::Message,
    queue::{Journalled, Kept, Queue, Taken},
    routing::Routing,
    stream::Stream,
};
use crate::{
    BrokerError, ConsumeOptions, NEVER_SETTLED, Origin, Outgoing, Settlement,
    topology::{self, Exchange, QueueKind},
};

/// See the module.
pub(super) struct State {
    pub(super) queues: HashMap<Arc<str>, Queue>,
    pub(super) routing: Routing,
    pub(super) backlog: Backlog,
    pub(super) stream: Stream,
    /// Loaded messages of queues that nobody has declared since the start.
    pub(super) orphans: BTreeMap<String, Vec<Orphan>>,
    /// When the orphans of gateways go to `unrouted`.
    pub(super) orphans_until: Option<Instant>,
    pub(super) next_sequence: u64,
    next_consumer: u64,
    /// Why the journal cannot write now.
    pub(super) trouble: Option<String>,
    /// Why nothing is taken or given any more; none while the broker runs.
    ended: Option<BrokerError>,
    /// Messages that consumers of private queues rejected since the start.
    dropped: u64,
    /// Dead letters that gave way to later ones since the start.
    lost: u64,
    /// When the keeper wakes by itself.
    pub(super) wakes_at: Option<Instant>,
    /// Wakes the flusher.
    pub(super) work: Arc<Notify>,
    /// Wakes the keeper.
    pub(super) timers: Arc<Notify>,
}

/// A message that waits for its queue.
pub(super) struct Orphan {
    pub(super) kept: Kept,
    /// Its queue was a gateway's.
    pub(super) gateway: bool,
}

impl State {
    pub(super) fn new(stream: Stream, next_sequence: u64) -> Self {
        Self {
            queues: HashMap::new(),
            routing: Routing::default(),
            backlog: Backlog::default(),
            stream,
            orphans: BTreeMap::new(),
            orphans_until: None,
            next_sequence,
            next_consumer: 0,
            trouble: None,
            ended: None,
            dropped: 0,
            lost: 0,
            wakes_at: None,
            work: Arc::default(),
            timers: Arc::default(),
        }
    }

    pub(super) fn declare(&mut self, wanted: &topology::Queue) {
        let now = Instant::now();
        if let Some(queue) = self.queues.get_mut(wanted.name.as_str()) {
            queue.touch(now);
            return;
        }
        let name: Arc<str> = wanted.name.as_str().into();
        let task_keys = if wanted.kind == QueueKind::Work { wanted.bindings.clone() } else { Vec::new() };
        for key in &wanted.bindings {
            match wanted.kind {
                QueueKind::Work => self.routing.bind_tasks(&name, key),
                QueueKind::Gateway { .. } | QueueKind::Private => self.routing.bind_utils(&name, key),
            }
        }
        let mut queue = Queue::new(Arc::clone(&name), wanted.kind.clone(), task_keys, now);
        let orphans = self.orphans.remove(wanted.name.as_str()).into_iter().flatten();
        let leaving: Vec<Kept> = orphans.flat_map(|orphan| queue.push(orphan.kept, now)).collect();
        let deadline = queue.deadline();
        self.queues.insert(Arc::clone(&name), queue);
        self.let_go(&name, leaving);
        self.note_deadline(deadline);
    }

    pub(super) fn delete(&mut self, name: &str) {
        for orphan in self.orphans.remove(name).into_iter().flatten() {
            self.forget(&orphan.kept);
        }
        let Some(mut queue) = self.queues.remove(name) else { return };
        self.routing.forget(name, &queue.task_keys);
        for kept in queue.drain() {
            self.forget(&kept);
        }
    }

    /// Routes a message to its queues and the stream, and settles `confirm` now or when the journal has it.
    pub(super) fn publish(&mut self, mut message: Outgoing, confirm: ConfirmSender) {
        message.stream |= message.exchange == Exchange::Direct && message.key == topology::EVENTS;
        match self.route(&message) {
            Ok(targets) => self.hand_over(message, &targets, confirm),
            Err(error) => {
                let _ = confirm.send(Err(error)); // Fails when nobody waits for it.
            }
        }
    }

    /// The queues that take a message, or why it is refused as a whole.
    fn route(&self, message: &Outgoing) -> Result<Vec<Arc<str>>, BrokerError> {
        self.running()?;
        let mut targets = Vec::new();
        for key in std::iter::once(&message.key).chain(&message.cc) {
            match message.exchange {
                Exchange::Utils => self.routing.utils(key, &mut targets),
                Exchange::Tasks => self.routing.tasks(key, &mut targets),
                Exchange::Direct => {
                    targets.extend(self.queues.get_key_value(key.as_str()).map(|(name, _)| Arc::clone(name)));
                }
            }
        }
        if targets.len() > 1 {
            targets.sort_unstable();
            targets.dedup();
        }
        if targets.is_empty() && !message.stream {
            match message.exchange {
                // What is said of a topic goes to those who watch it now, and to the stream.
                Exchange::Utils if topology::is_of_a_topic(&message.key) => {}
                // The alternate exchange.
                Exchange::Utils => targets.push(topology::UNROUTED.into()),
                Exchange::Tasks | Exchange::Direct if message.mandatory => {
                    return Err(BrokerError::Unroutable(message.key.clone()));
                }
                Exchange::Tasks | Exchange::Direct => {}
            }
        }
        let queues = || targets.iter().filter_map(|name| self.queues.get(name));
        if let Some(full) = queues().find(|queue| queue.is_full(message.body.len())) {
            return Err(BrokerError::Unavailable(format!("queue {} holds {} messages", full.name, full.ready.len())));
        }
        let durable = message.stream || queues().any(|queue| is_durable(&queue.kind, message));
        if durable && !self.backlog.has_room() {
            let reason = self.trouble.as_deref().unwrap_or("it writes slower than messages come");
            return Err(BrokerError::Unavailable(format!("too much waits for the journal: {reason}")));
        }
        Ok(targets)
    }

    fn hand_over(&mut self, message: Outgoing, targets: &[Arc<str>], confirm: ConfirmSender) {
        let durable: Vec<bool> = targets
            .iter()
            .map(|name| self.queues.get(name).is_some_and(|queue| is_durable(&queue.kind, &message)))
            .collect();
        let waits = message.stream || durable.contains(&true);
        if message.stream {
            let offset = self.stream.assign();
            self.backlog.push(Pending::Stream { offset, body: Arc::clone(&message.body) });
        }
        let message = Arc::new(Message::from(message));
        for (name, durable) in targets.iter().zip(durable) {
            self.enqueue(name, &message, durable);
        }
        if waits {
            self.backlog.confirm(confirm);
            self.work.notify_one();
        } else {
            let _ = confirm.send(Ok(())); // Fails when nobody waits for it.
        }
    }

    fn enqueue(&mut self, name: &str, message: &Arc<Message>, durable: bool) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let journalled = durable.then(|| {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let place = self.backlog.push(Pending::Enqueue {
                sequence,
                queue: Arc::clone(&queue.name),
                gateway: matches!(queue.kind, QueueKind::Gateway { .. }),
                deliveries: 0,
                message: Arc::clone(message),
            });
            Journalled { sequence, place }
        });
        let kept = Kept { message: Arc::clone(message), journalled, deliveries: 0, refusals: 0, dies_at: None };
        let leaving = queue.push(kept, Instant::now());
        let deadline = queue.deadline();
        if queue.is_overdrawn() {
            tracing::warn!(queue = name, "a private queue was ended: its consumer reads too slowly");
            self.delete(name);
        }
        self.let_go(name, leaving);
        self.note_deadline(deadline);
    }

    /// What had to leave a queue for others. Dead letters go nowhere from there: that is counted and told. Nor do events that
    /// waited for a gateway: they are in the stream, and in the record. Of its topic one may have been the last, so no gap
    /// would tell of it: the consumer ends, and comes back to send its readers there.
    fn let_go(&mut self, name: &str, leaving: Vec<Kept>) {
        let Some(queue) = self.queues.get(name).filter(|_| !leaving.is_empty()) else { return };
        let (kind, is_grave) = (queue.kind.clone(), queue.is_grave());
        let is_event = |kept: &Kept| matches!(kind, QueueKind::Gateway { .. }) && kept.journalled.is_none();
        if leaving.iter().any(is_event)
            && let Some(queue) = self.queues.get_mut(name)
        {
            tracing::warn!(queue = name, "a gateway's queue was broken off: its worker reads too slowly");
            queue.break_off(Instant::now());
        }
        for kept in leaving {
            if is_event(&kept) {
                continue;
            }
            if !is_grave {
                self.bury(name, &kind, kept, "its queue held more messages than it may".to_owned());
                continue;
            }
            self.lost += 1;
            // Told at 1, 2, 4, 8, ...: a queue that overflows must not flood the log as well.
            if self.lost.is_power_of_two() {
                let (key, message_id) = (&*kept.message.key, kept.message.message_id);
                tracing::error!(queue = name, key, %message_id, total = self.lost, "the oldest dead letters gave way to later ones");
            }
            self.forget(&kept);
        }
    }

    pub(super) fn consume(
        &mut self,
        name: &str,
        options: ConsumeOptions,
    ) -> Result<(u64, Arc<str>, Arc<Notify>), BrokerError> {
        self.running()?;
        let queue = self.queues.get_mut(name).ok_or_else(|| BrokerError::NoQueue(name.to_owned()))?;
        let id = self.next_consumer;
        if !queue.consume(id, options) {
            return Err(BrokerError::InUse(name.to_owned()));
        }
        self.next_consumer += 1;
        Ok((id, Arc::clone(&queue.name), Arc::clone(&queue.arrived)))
    }

    pub(super) fn take(&mut self, name: &str, consumer: u64) -> Taken {
        let Some(queue) = self.queues.get_mut(name).filter(|_| self.ended.is_none()) else { return Taken::Gone };
        let taken = queue.take(consumer);
        if let Taken::Message(_, _, _, Some(journalled)) = &taken {
            self.backlog.delivered(journalled.place);
        }
        taken
    }

    pub(super) fn settle(&mut self, name: &str, consumer: u64, tag: u64, settlement: Settlement) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let Some(mut kept) = queue.settle(consumer, tag) else { return };
        match settlement {
            Settlement::Ack => self.forget(&kept),
            Settlement::Requeue => {
                kept.refusals = kept.refusals.saturating_add(1);
                self.give_back(name, vec![kept]);
            }
            Settlement::Dead(reason) => {
                let kind = queue.kind.clone();
                self.bury(name, &kind, kept, reason);
            }
        }
    }

    /// A consumer went: what it held goes back, in order; a private queue goes with it.
    pub(super) fn release(&mut self, name: &str, consumer: u64) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        // The queue may be another one of the same name by now.
        let Some(held) = queue.release(consumer, Instant::now()) else { return };
        if queue.kind == QueueKind::Private && !queue.is_consumed() {
            self.delete(name);
        } else {
            self.give_back(name, held);
        }
    }

    fn give_back(&mut self, name: &str, returned: Vec<Kept>) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let dead = queue.give_back(returned);
        let (kind, deadline) = (queue.kind.clone(), queue.deadline());
        for kept in dead {
            let reason = format!("it was delivered {} times and {NEVER_SETTLED}", kept.deliveries);
            self.bury(name, &kind, kept, reason);
        }
        self.note_deadline(deadline);
    }

    /// Makes a dead letter of a message that left its queue. The dead letter is written before the message is removed:
    /// in between, there are two rather than none. What dies in a private queue has nowhere to go and is dropped.
    pub(super) fn bury(&mut self, name: &str, kind: &QueueKind, kept: Kept, reason: String) {
        match kind {
            QueueKind::Gateway { .. } => return self.bury_unrouted(kept, reason),
            QueueKind::Work => {
                let dead = Arc::new(kept.message.buried(reason, Origin::named(name)));
                self.enqueue(topology::DEAD, &dead, true);
            }
            QueueKind::Private => {
                self.dropped += 1;
                // Told at 1, 2, 4, 8, ...: a queue that overflows must not flood the log as well.
                if self.dropped.is_power_of_two() {
                    let key = &*kept.message.key;
                    tracing::warn!(
                        key,
                        reason,
                        total = self.dropped,
                        "messages that were rejected from private queues were dropped"
                    );
                }
            }
        }
        self.forget(&kept);
        self.work.notify_one();
    }

    /// The same for what waited for a gateway, whose queue may be gone when it is handed in again: its key leads on.
    pub(super) fn bury_unrouted(&mut self, kept: Kept, reason: String) {
        let dead = Arc::new(kept.message.buried(reason, Origin::utils(kept.message.key.clone())));
        self.enqueue(topology::UNROUTED, &dead, true);
        self.forget(&kept);
        self.work.notify_one();
    }

    /// Forgets a message: no trace is left of it if it was not written yet.
    fn forget(&mut self, kept: &Kept) {
        let Some(Journalled { sequence, place }) = kept.journalled else { return };
        if !self.backlog.cancel(place) {
            self.backlog.push(Pending::Remove { sequence });
            self.work.notify_one();
        }
    }

    /// Makes sure that the keeper looks at `deadline`.
    pub(super) fn note_deadline(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline
            && self.wakes_at.is_none_or(|wakes_at| deadline < wakes_at)
        {
            self.wakes_at = Some(deadline);
            self.timers.notify_one();
        }
    }

    /// Whether messages are taken and given; if not, the reason.
    pub(super) fn running(&self) -> Result<(), BrokerError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Nothing is taken or given any more. The first reason stands.
    pub(super) fn close(&mut self, reason: BrokerError) {
        self.ended.get_or_insert(reason);
        for queue in self.queues.values() {
            queue.arrived.notify_waiters();
        }
        self.stream.wake();
    }
}

/// Whether a queue's copy of a message goes to the journal.
///
/// - A gateway's queue keeps events in memory: when this process dies, the sockets that they were for die too, and
///   the events are in the stream and in the record, where a returning page reads them. A callback that is no
///   event stands nowhere else and is kept.
/// - A request (to a queue by name, with `reply_to`) is repeated by its requester when no answer comes; the disk would
///   only slow it down. A callback with `reply_to` (for the receipt) is not such a request: it comes over `utils`.
fn is_durable(kind: &QueueKind, message: &Outgoing) -> bool {
    let is_request = message.exchange == Exchange::Direct && message.reply_to.is_some();
    match kind {
        QueueKind::Private => false,
        QueueKind::Gateway { .. } => !message.stream && !is_request,
        QueueKind::Work => !is_request,
    }
}
