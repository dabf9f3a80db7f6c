//! A broker that keeps its contract (`broker`'s promises) and nothing more: what it may delay, double or forget, it does.
//!
//! - What a publisher sends waits on its connection until it is routed; then it is in all queues at once, in the stream later.
//! - A publisher is confirmed in order, once its message is in the stream. If its connection is cut, an end of what was
//!   not confirmed is forgotten, and confirms on their way are lost.
//! - A queue gives its messages in order, and those that were not acked again when its consumer comes back.
//! - A gateway's queue forgets all its messages, its bindings too, when it expires. That it is bounded is not simulated.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use broker::{BoxFuture, Confirm, StreamFrom, StreamReader, topology};
use broker::{Broker, BrokerError, ConsumeOptions, Consumer, Delivery, Incoming, Outgoing, Settlement, StreamError};
use tokio::sync::oneshot;

use crate::dice::Dice;

/// A publisher's connection.
#[derive(Default)]
struct Line {
    next: u64,
    sent: VecDeque<(u64, Outgoing)>,
    /// Routed, and not in the stream yet.
    lane: VecDeque<(u64, Arc<[u8]>)>,
    /// Everything before this tag was sent before the connection was cut.
    valid_from: u64,
    confirms: VecDeque<u64>,
}

/// A gateway's queue.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) bindings: BTreeSet<String>,
    pub(crate) ready: VecDeque<Incoming>,
    unacked: VecDeque<(u64, Incoming)>,
    acks: Arc<Mutex<VecDeque<(u64, Settlement)>>>,
    next: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Bus {
    lines: BTreeMap<u64, Line>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) stream: Vec<Arc<[u8]>>,
    next_line: u64,
}

impl Bus {
    pub(crate) fn publisher(&mut self) -> u64 {
        self.next_line += 1;
        self.lines.insert(self.next_line, Line::default());
        self.next_line
    }

    fn line(&mut self, publisher: u64) -> &mut Line {
        self.lines.entry(publisher).or_default()
    }

    /// Hands a message over; its tag comes back as a confirm.
    pub(crate) fn publish(&mut self, publisher: u64, message: Outgoing) -> u64 {
        let line = self.line(publisher);
        line.next += 1;
        line.sent.push_back((line.next, message));
        line.next
    }

    /// Publishers of which something is to be routed, and those of which something is to be put into the stream.
    pub(crate) fn busy(&self) -> (Vec<u64>, Vec<u64>) {
        let which = |busy: fn(&Line) -> bool| self.lines.iter().filter(|(_, l)| busy(l)).map(|(id, _)| *id).collect();
        (which(|line| !line.sent.is_empty()), which(|line| !line.lane.is_empty()))
    }

    pub(crate) fn route(&mut self, publisher: u64) {
        let line = self.lines.entry(publisher).or_default();
        let Some((tag, message)) = line.sent.pop_front() else { return };
        let keys: Vec<&String> = std::iter::once(&message.key).chain(&message.cc).collect();
        for queue in self.queues.values_mut() {
            if keys.iter().any(|key| queue.bindings.contains(*key)) {
                queue.ready.push_back(incoming(&message));
            }
        }
        if message.stream {
            line.lane.push_back((tag, message.body));
        } else if tag >= line.valid_from {
            line.confirms.push_back(tag);
        }
    }

    pub(crate) fn append(&mut self, publisher: u64) {
        let line = self.lines.entry(publisher).or_default();
        let Some((tag, body)) = line.lane.pop_front() else { return };
        self.stream.push(body);
        if tag >= line.valid_from {
            line.confirms.push_back(tag);
        }
    }

    /// At most so many confirms.
    pub(crate) fn confirms(&mut self, publisher: u64, max: usize) -> Vec<u64> {
        let confirms = &mut self.line(publisher).confirms;
        confirms.drain(..max.min(confirms.len())).collect()
    }

    pub(crate) fn cut(&mut self, publisher: u64, dice: &mut Dice) {
        let line = self.line(publisher);
        line.sent.truncate(dice.below(line.sent.len() + 1));
        if line.sent.is_empty() {
            line.lane.truncate(dice.below(line.lane.len() + 1));
        }
        line.confirms.clear();
        line.valid_from = line.next + 1;
    }

    /// Some of what waits.
    pub(crate) fn take(&mut self, queue: &str, max: usize) -> Vec<Delivery> {
        let Some(queue) = self.queues.get_mut(queue) else { return Vec::new() };
        let count = max.min(queue.ready.len());
        let taken: Vec<Incoming> = queue.ready.drain(..count).collect();
        let mut deliveries = Vec::new();
        for message in taken {
            queue.next += 1;
            let (tag, acks) = (queue.next, Arc::clone(&queue.acks));
            queue.unacked.push_back((tag, message.clone()));
            let settle = move |settlement: Settlement, _: Incoming| acks.lock().unwrap().push_back((tag, settlement));
            deliveries.push(Delivery::new(message, settle));
        }
        deliveries
    }

    /// Acks reach the broker. A message that was refused is told.
    pub(crate) fn settle(&mut self, queue: &str) -> Result<(), String> {
        let Some(queue) = self.queues.get_mut(queue) else { return Ok(()) };
        for (tag, settlement) in queue.acks.lock().unwrap().drain(..) {
            queue.unacked.retain(|(known, _)| *known != tag);
            if let Settlement::Dead(reason) = settlement {
                return Err(format!("a worker refused a message: {reason}"));
            }
        }
        Ok(())
    }

    /// The consumer has gone: what it has not acked, or whose ack was lost, comes again.
    pub(crate) fn requeue(&mut self, queue: &str) {
        let Some(queue) = self.queues.get_mut(queue) else { return };
        // Acks of a former consumer say nothing any more.
        queue.acks = Arc::default();
        while let Some((_, mut message)) = queue.unacked.pop_back() {
            message.redelivered = true;
            queue.ready.push_front(message);
        }
    }

    /// What a worker has asked for is done.
    pub(crate) fn perform(&mut self, op: Op) {
        let Some(queue) = self.queues.get_mut(&op.queue) else {
            let _ = op.answer.send(Err(BrokerError::NoQueue(op.queue)));
            return;
        };
        match op.what {
            What::Bind(key) => {
                queue.bindings.insert(key);
            }
            What::Unbind(key) => {
                queue.bindings.remove(&key);
            }
            What::Publish(message) => queue.ready.push_back(incoming(&message)),
        }
        let _ = op.answer.send(Ok(()));
    }
}

fn incoming(message: &Outgoing) -> Incoming {
    Incoming {
        key: message.key.clone(),
        message_id: message.message_id,
        correlation_id: message.correlation_id.clone(),
        reply_to: message.reply_to.clone(),
        redelivered: false,
        death: None,
        origin: None,
        body: Arc::clone(&message.body),
    }
}

/// What a worker asks the broker for.
pub(crate) struct Op {
    queue: String,
    what: What,
    answer: oneshot::Sender<Result<(), BrokerError>>,
}

enum What {
    Bind(String),
    Unbind(String),
    Publish(Outgoing),
}

impl Op {
    /// Ops that were asked for in one breath have no order of their own: this is one.
    pub(crate) fn rank(&self) -> (u8, String) {
        match &self.what {
            What::Bind(key) => (0, key.clone()),
            What::Unbind(key) => (1, key.clone()),
            What::Publish(_) => (2, String::new()),
        }
    }
}

/// A worker's connection: what it asks for waits here until the schedule says that it is done.
#[derive(Clone, Default)]
pub(crate) struct Hand(Arc<Mutex<Vec<Op>>>);

impl Hand {
    pub(crate) fn take(&self) -> Vec<Op> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn ask(&self, queue: &str, what: What) -> oneshot::Receiver<Result<(), BrokerError>> {
        let (answer, receiver) = oneshot::channel();
        self.0.lock().unwrap().push(Op { queue: queue.to_owned(), what, answer });
        receiver
    }
}

fn not_here<T: Send + 'static>() -> BoxFuture<'static, Result<T, BrokerError>> {
    Box::pin(async { Err(BrokerError::Unavailable("the simulation does this by itself".to_owned())) })
}

fn answered(answer: oneshot::Receiver<Result<(), BrokerError>>) -> BoxFuture<'static, Result<(), BrokerError>> {
    let lost = || Err(BrokerError::Unavailable("the connection was cut".to_owned()));
    Box::pin(async move { answer.await.unwrap_or_else(|_| lost()) })
}

impl Broker for Hand {
    fn declare<'a>(&'a self, _: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        not_here()
    }
    fn delete<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        not_here()
    }
    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        answered(self.ask(queue, What::Bind(key.to_owned())))
    }
    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        answered(self.ask(queue, What::Unbind(key.to_owned())))
    }
    fn publish(&self, message: Outgoing) -> Confirm {
        let (settled, confirm) = Confirm::new();
        let op = Op { queue: message.key.clone(), what: What::Publish(message), answer: settled };
        self.0.lock().unwrap().push(op);
        confirm
    }
    fn consume<'a>(&'a self, _: &'a str, _: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        not_here()
    }
    fn read_stream(&self, _: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        Box::pin(async { Err(BrokerError::Unavailable("the recorder reads it by itself".to_owned()).into()) })
    }
    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        not_here()
    }
    fn queue_length<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        not_here()
    }
    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        not_here()
    }
}
