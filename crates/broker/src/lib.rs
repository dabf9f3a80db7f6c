//! The contract between Stepcast and a message broker, its names ([`topology`]), its default implementation
//! ([`embedded`]) and the suite that proves any implementation ([`conformance`]). It knows no store.
//!
//! # Promises
//!
//! An implementation of [`Broker`] promises, and [`conformance`] proves:
//!
//! - **Confirmed is kept.** A confirm says that the message stands in every durable queue it was routed to, and in the
//!   stream where it was routed there, and survives the death of the process (kill -9). An event that cannot be put into a
//!   watcher's queue is confirmed when the stream has it: the watcher reads what it missed.
//! - **In order.** What one publisher sends with one key arrives in a queue, and in the stream, in the order of the calls;
//!   confirms come in that order too: confirmed means that all before are confirmed.
//! - **One copy.** A message with several keys (`key` and `cc`) reaches a queue once, however many bindings match.
//! - **At least once.** A delivery that is neither acked nor rejected when its consumer goes is delivered again,
//!   `redelivered` set. Nothing is taken twice by two consumers at the same time.
//! - **Nobody's message is not lost.** What is addressed to somebody (its key is no topic's) and `utils` cannot route reaches `unrouted`; what dies in a queue with
//!   a dead-letter exchange reaches `unrouted` (gateway queues) or `dead` (work queues), with the reason and with its
//!   [`Origin`]: handed in there again, under its id, it reaches who could not process it, and nobody else.
//! - **Exclusive is exclusive.** A second exclusive consumer of a queue is refused with [`BrokerError::InUse`].
//! - **Bounded.** A consumer is given at most `prefetch` messages that are not settled. A private queue whose consumer does
//!   not keep up ([`topology::PRIVATE_BYTES_MAX`], [`topology::PRIVATE_LENGTH_MAX`]) is deleted: its consumer gets none at
//!   once and resumes from the record, instead of missing messages without a word. `dead` and `unrouted` are bounded too.
//! - **The stream has a name.** What is published to [`topology::EVENTS`] by name reaches its readers, and no watcher.
//! - **The stream keeps its offsets.** They rise, survive restarts, and belong to an incarnation; a reader that asks for
//!   what was trimmed or for another incarnation is told so, never given something else.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod conformance;
pub mod embedded;
pub mod rpc;
pub mod topology;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use uuid::Uuid;
pub use wire::dead_letter::name_of;

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a broker could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Another exclusive consumer holds the queue.
    #[error("queue {0} is held by another consumer")]
    InUse(String),
    /// There is no such queue.
    #[error("queue {0} does not exist")]
    NoQueue(String),
    /// There is such a queue, and it was declared with other properties: by another version, or another configuration.
    #[error("queue {0} exists with other properties")]
    Differs(String),
    /// A mandatory message matched no queue.
    #[error("no queue takes a message with key {0}")]
    Unroutable(String),
    /// The broker (or what it keeps its messages in) cannot be reached or cannot write now. Trying again may help.
    #[error("the broker cannot take this now: {0}")]
    Unavailable(String),
}

impl BrokerError {
    /// The bare reason, for a sentence that has named the broker already.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unavailable(reason) => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// A message broker. Cheap to clone behind an [`Arc`]; every method may be called from any task.
pub trait Broker: Send + Sync + 'static {
    /// Makes sure that a queue exists with its bindings of [`topology`]. Repeating it changes nothing.
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Deletes a queue with all its messages and bindings; nothing happens if there is none.
    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Binds a queue to `utils` with a topic key (`*` one word, `#` any number of words). Repeating it changes nothing.
    /// When the answer is there, everything published afterwards is routed by the binding.
    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Takes a binding away; nothing happens if there is none.
    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Hands a message over, at once and in the order of the calls. The confirm resolves later; it may be dropped.
    fn publish(&self, message: Outgoing) -> Confirm;

    /// Begins to consume a queue.
    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>>;

    /// Begins to read the event stream.
    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>>;

    /// The offset behind the stream's last entry, for who wants to know how far a reader is behind; it may be some entries
    /// too low. None while the stream is empty.
    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>>;

    /// How many messages wait in a queue (delivered but unsettled ones not counted); none if it does not exist.
    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>>;

    /// Whether messages are taken now; the sentence says why not.
    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub exchange: topology::Exchange,
    /// Routing key; for [`topology::Exchange::Direct`] the queue's name.
    pub key: String,
    /// Further routing keys (the `CC` header).
    pub cc: Vec<String>,
    /// The event it holds goes to the stream `events` as well.
    pub stream: bool,
    /// Names the message; kept when it is published again.
    pub message_id: Uuid,
    /// Ties an answer to its request.
    pub correlation_id: Option<String>,
    /// The queue that an answer goes to.
    pub reply_to: Option<String>,
    /// The confirm fails with [`BrokerError::Unroutable`] when no queue takes it.
    pub mandatory: bool,
    /// Why it is a dead letter: see [`Outgoing::dead`].
    pub death: Option<String>,
    /// Where the dead letter came from.
    pub origin: Option<Origin>,
    /// JSON.
    pub body: Arc<[u8]>,
}

impl Outgoing {
    /// A message without frills.
    #[must_use]
    pub fn new(exchange: topology::Exchange, key: impl Into<String>, body: Vec<u8>) -> Self {
        Self {
            exchange,
            key: key.into(),
            cc: Vec::new(),
            stream: false,
            message_id: Uuid::new_v4(),
            correlation_id: None,
            reply_to: None,
            mandatory: false,
            death: None,
            origin: None,
            body: body.into(),
        }
    }

    /// A dead letter, with one sentence that says why: for who reads what cannot be rejected (an entry of the stream, a
    /// notice in a queue of its own), and where it came from. A delivery is rejected instead: [`Delivery::reject`].
    #[must_use]
    pub fn dead(body: Arc<[u8]>, reason: impl Into<String>, origin: Origin) -> Self {
        let mut message = Self::new(topology::Exchange::Direct, topology::DEAD, Vec::new());
        (message.death, message.origin) = (Some(reason.into()), Some(origin));
        message.body = body;
        message
    }

    /// An event: to the one who asked (`key`), to the watchers of its topic, and to the stream, under one confirm.
    /// Without one who asked, the topic is the key.
    #[must_use]
    pub fn event(server_id: Option<&wire::ServerId>, topic: wire::Topic, body: Vec<u8>) -> Self {
        let topic = topic.to_string();
        let mut message = match server_id {
            Some(server_id) => Self::new(topology::Exchange::Utils, server_id.as_str(), body),
            None => Self::new(topology::Exchange::Utils, topic.clone(), body),
        };
        if server_id.is_some() {
            message.cc.push(topic);
        }
        message.stream = true;
        message
    }
}

/// Where a dead letter is handed in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where to.
    pub exchange: topology::Exchange,
    /// The routing key; for [`topology::Exchange::Direct`] the name of the queue in which it died, or of the stream.
    pub key: String,
}

impl Origin {
    /// A queue, or the stream.
    #[must_use]
    pub fn named(queue: impl Into<String>) -> Self {
        Self { exchange: topology::Exchange::Direct, key: queue.into() }
    }

    /// The exchange `utils`, under a key.
    #[must_use]
    pub fn utils(key: impl Into<String>) -> Self {
        Self { exchange: topology::Exchange::Utils, key: key.into() }
    }
}

/// What every implementation's sentence says of a message that died because its consumers got it too often.
pub const NEVER_SETTLED: &str = "never settled";

/// Resolves when the message is safe, or with the reason why it is not.
#[derive(Debug)]
pub struct Confirm(oneshot::Receiver<Result<(), BrokerError>>);

impl Confirm {
    /// A confirm and the end that settles it. Dropping that end means that the message's fate is not known.
    #[must_use]
    pub fn new() -> (oneshot::Sender<Result<(), BrokerError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Confirm {
    type Output = Result<(), BrokerError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|settled| {
            settled.unwrap_or_else(|_| Err(BrokerError::Unavailable("it went away before it confirmed".to_owned())))
        })
    }
}

/// How to consume.
#[derive(Clone, Copy, Debug)]
pub struct ConsumeOptions {
    /// At most so many deliveries that are not settled.
    pub prefetch: u16,
    /// Nobody else may consume the queue meanwhile.
    pub exclusive: bool,
}

/// A message as it arrives.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The routing key it was published with.
    pub key: String,
    /// The message's name.
    pub message_id: Uuid,
    /// Ties an answer to its request.
    pub correlation_id: Option<String>,
    /// The queue that an answer goes to.
    pub reply_to: Option<String>,
    /// It was delivered before, to someone who did not settle it.
    pub redelivered: bool,
    /// Why it died, where it comes through a dead-letter exchange.
    pub death: Option<String>,
    /// Where it can be handed in again then, if that is known.
    pub origin: Option<Origin>,
    /// JSON.
    pub body: Arc<[u8]>,
}

/// A message that waits to be settled. Dropped unsettled, it stays with its consumer until that goes.
#[must_use = "a delivery is settled by ack or reject"]
pub struct Delivery {
    /// The message.
    pub message: Incoming,
    settle: Box<dyn FnOnce(Settlement, Incoming) + Send>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Delivery").field(&self.message).finish()
    }
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done: the queue forgets it.
    Ack,
    /// Back to the queue; past [`topology::DELIVERY_LIMIT`] it becomes a dead letter.
    Requeue,
    /// A dead letter, with the reason.
    Dead(String),
}

impl Delivery {
    /// For implementations: `settle` is called once, with the message, or never.
    pub fn new(message: Incoming, settle: impl FnOnce(Settlement, Incoming) + Send + 'static) -> Self {
        Self { message, settle: Box::new(settle) }
    }

    /// Done.
    pub fn ack(self) {
        (self.settle)(Settlement::Ack, self.message);
    }

    /// Back to the queue.
    pub fn requeue(self) {
        (self.settle)(Settlement::Requeue, self.message);
    }

    /// To the dead letters, with one sentence that says why.
    pub fn reject(self, reason: impl Into<String>) {
        (self.settle)(Settlement::Dead(reason.into()), self.message);
    }
}

/// A stream of deliveries. Dropping it gives back what is not settled.
pub struct Consumer {
    inner: Box<dyn ConsumerSource>,
}

/// What implementations give.
pub trait ConsumerSource: Send {
    /// The next delivery; none when the queue was deleted (a private one that nobody reads included) or the broker went
    /// away. Safe to cancel.
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>>;
    /// A delivery that is here already.
    fn try_next(&mut self) -> Option<Delivery>;
}

impl Consumer {
    /// For implementations.
    #[must_use]
    pub fn new(inner: impl ConsumerSource + 'static) -> Self {
        Self { inner: Box::new(inner) }
    }

    /// The next delivery; none when the queue was deleted or the broker went away: then declare and consume anew. A private
    /// queue is deleted when its consumer reads too slowly: what was in it is lost, so look into the record first.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.inner.next().await
    }

    /// A delivery that is here already, for readers that take batches.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.inner.try_next()
    }
}

/// Where to begin in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFrom {
    /// The oldest event that is kept.
    First,
    /// What is published from now on.
    Next,
    /// The first event behind `offset` in that incarnation.
    After {
        /// As [`StreamReader::incarnation`] told it.
        incarnation: Uuid,
        /// The last offset applied.
        offset: u64,
    },
}

/// Why a place in the stream cannot be had. The reader rebuilds from the record and says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Events between the asked place and the oldest one kept are gone.
    #[error("the stream begins at {first}; what follows {asked} was trimmed")]
    Trimmed {
        /// The last offset that the reader has.
        asked: u64,
        /// The oldest that is kept.
        first: u64,
    },
    /// The stream was made anew.
    #[error("the stream was made anew: its incarnation is {now}")]
    Anew {
        /// Its incarnation now.
        now: Uuid,
    },
    /// See [`BrokerError`].
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// Rises; may skip numbers.
    pub offset: u64,
    /// An event message in JSON.
    pub body: Arc<[u8]>,
}

/// A place in the stream that moves on.
pub struct StreamReader {
    /// Which stream the offsets belong to.
    pub incarnation: Uuid,
    inner: Box<dyn StreamSource>,
}

/// What implementations give.
pub trait StreamSource: Send {
    /// At least one entry and at most `max`, in order; waits when there is none. Safe to cancel.
    fn next_batch(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<StreamEntry>, StreamError>>;
    /// Roughly how many entries are behind the last one given.
    fn lag(&self) -> u64;
    /// The last offset that was given, or passed over because it is not for readers; none before the first.
    fn passed(&self) -> Option<u64>;
}

impl StreamReader {
    /// For implementations.
    #[must_use]
    pub fn new(incarnation: Uuid, inner: impl StreamSource + 'static) -> Self {
        Self { incarnation, inner: Box::new(inner) }
    }

    /// At least one entry and at most `max`, in order; waits when there is none.
    ///
    /// # Errors
    /// When the stream cannot go on from here.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<StreamEntry>, StreamError> {
        self.inner.next_batch(max).await
    }

    /// Roughly how many entries are behind the last one given.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.inner.lag()
    }

    /// The last offset that was given, or passed over because it is not for readers; none before the first.
    #[must_use]
    pub fn passed(&self) -> Option<u64> {
        self.inner.passed()
    }
}

/// How long a requester waits for an answer unless it says otherwise.
pub const REPLY_PATIENCE: Duration = Duration::from_secs(5);
