//! Every exchange, queue and stream, named once.

use std::time::Duration;

use uuid::Uuid;
use wire::{ExecutorId, LabelSet, ServerId};

/// Where a message is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// `utils`, a topic exchange: callbacks by server id, events by topic. Its alternate exchange leads to [`UNROUTED`].
    Utils,
    /// `tasks`, a direct exchange: hints by label set.
    Tasks,
    /// The default exchange: the key is the name of a queue, or of the stream [`EVENTS`].
    Direct,
}

impl Exchange {
    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Exchange::Utils, Exchange::Tasks, Exchange::Direct].into_iter().find(|exchange| exchange.name() == name)
    }

    /// Its name on the broker.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Exchange::Utils => "utils",
            Exchange::Tasks => "tasks",
            Exchange::Direct => "",
        }
    }
}

/// The stream of all events, bound to `utils` by [`EVENT_KEYS`]: whatever is said of a topic has a queue to go to, so that
/// only what is addressed to somebody can be without one.
pub const EVENTS: &str = "events";
/// The keys of what is said of a topic.
pub const EVENT_KEYS: [&str; 2] = ["build.*", "job.*"];
/// Where a broker that cannot tell one stream from the next keeps the incarnation of [`EVENTS`]: one message, its body.
pub const INCARNATION: &str = "events.incarnation";
/// Held exclusively by who makes [`EVENTS`] or looks which incarnation it has.
pub const INCARNATION_LOCK: &str = "events.incarnation.lock";
/// At most so many bytes of events are kept in [`EVENTS`] where the broker itself lets go of the oldest.
pub const EVENTS_BYTES_MAX: u64 = 20 << 30;
/// Requests of executors to control.
pub const CONTROL: &str = "control";
/// Callbacks that nobody took: control keeps them by client id.
pub const UNROUTED: &str = "unrouted";
/// Messages that cannot be processed, each with its reason.
pub const DEAD: &str = "dead";

/// A work queue's message that its consumers gave back this often becomes a dead letter: nobody can do anything with it.
pub const DELIVERY_LIMIT: u32 = 20;
/// The same for a message whose consumers went without settling it. Far more than [`DELIVERY_LIMIT`]: a consumer that
/// goes, because its slots are taken or its store is away, says nothing about the message. Only one that nobody survives
/// comes this far.
pub const ABANDONED_LIMIT: u32 = 1_000;
/// At most so many messages wait in a work queue; publishers of more are refused.
pub const WORK_LENGTH_MAX: usize = 1_000_000;
/// At most so many messages wait in a gateway's queue; the oldest goes to [`UNROUTED`] first.
pub const GATEWAY_LENGTH_MAX: u64 = 1_000_000;
/// At most so many bytes of bodies stand in a gateway's queue where the broker lives in the gateway's own memory, waiting or
/// unsettled. Events beyond it are let go, oldest first: their readers find a gap and read the record. RabbitMQ keeps its queues
/// on the disk.
pub const GATEWAY_BYTES_MAX: usize = 32 << 20;
/// At most so many messages stand in a private queue, waiting or unsettled; one more ends the queue.
pub const PRIVATE_LENGTH_MAX: usize = 100_000;
/// At most so many bytes of bodies stand in a private queue, waiting or unsettled; more ends the queue, unless it is one
/// message alone.
pub const PRIVATE_BYTES_MAX: usize = 16 << 20;
/// At most so many dead letters wait in [`DEAD`]; the oldest goes first.
pub const DEAD_LENGTH_MAX: usize = 10_000;
/// At most so many bytes of bodies wait in [`DEAD`]; the oldest dead letter goes first.
pub const DEAD_BYTES_MAX: usize = 64 << 20;
/// At most so many messages wait in [`UNROUTED`]: publishers are refused, and what dies elsewhere takes the place of the
/// oldest.
pub const UNROUTED_LENGTH_MAX: usize = 200_000;
/// The same in bytes of bodies.
pub const UNROUTED_BYTES_MAX: usize = 256 << 20;

/// Receipts for the results of builds.
pub const RECEIPTS: &str = "receipts";

/// A queue with its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: QueueKind,
    /// Keys that it is bound with from the start: to `utils` for gateway queues, to `tasks` for task queues.
    pub bindings: Vec<String>,
}

/// What a queue is for decides what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Durable and replicated, several consumers, [`DELIVERY_LIMIT`], [`ABANDONED_LIMIT`], dead letters to [`DEAD`].
    Work,
    /// One worker's queue: durable, bound to `utils`, deleted when unused for `expires`; a message dies after `message_ttl`
    /// (shorter), or when [`GATEWAY_LENGTH_MAX`] is passed, and goes to [`UNROUTED`].
    Gateway {
        /// The affinity period, or a minute where that is shorter.
        expires: Duration,
        /// Shorter, so that no message dies with its queue.
        message_ttl: Duration,
    },
    /// Answers and notices to one process: not durable, deleted with its only consumer, and ended when that reads too
    /// slowly ([`PRIVATE_LENGTH_MAX`], [`PRIVATE_BYTES_MAX`]).
    Private,
}

/// An unused queue of a worker stays at least so long, however short the affinity is: control empties the queues of a
/// gateway that is gone, and must notice first.
const GATEWAY_EXPIRES_MIN: Duration = Duration::from_secs(60);

/// The queue of one worker, bound by its server id.
#[must_use]
pub fn gateway(server_id: &ServerId, affinity: Duration) -> Queue {
    let expires = affinity.max(GATEWAY_EXPIRES_MIN);
    Queue {
        name: format!("gateway.{server_id}"),
        kind: QueueKind::Gateway { expires, message_ttl: affinity * 4 / 5 },
        bindings: vec![server_id.to_string()],
    }
}

/// The queue of hints for one label set.
#[must_use]
pub fn tasks(label_set: &LabelSet) -> Queue {
    Queue { name: format!("tasks.{label_set}"), kind: QueueKind::Work, bindings: vec![label_set.to_string()] }
}

/// The queue of requests to control.
#[must_use]
pub fn control() -> Queue {
    Queue { name: CONTROL.to_owned(), kind: QueueKind::Work, bindings: Vec::new() }
}

/// The queue of what nobody took.
#[must_use]
pub fn unrouted() -> Queue {
    Queue { name: UNROUTED.to_owned(), kind: QueueKind::Work, bindings: Vec::new() }
}

/// The queue of dead letters.
#[must_use]
pub fn dead() -> Queue {
    Queue { name: DEAD.to_owned(), kind: QueueKind::Work, bindings: Vec::new() }
}

/// The queue of receipts for the results of builds.
#[must_use]
pub fn receipts() -> Queue {
    Queue { name: RECEIPTS.to_owned(), kind: QueueKind::Work, bindings: Vec::new() }
}

/// The queue of notices to one executor.
#[must_use]
pub fn executor(id: ExecutorId) -> Queue {
    Queue { name: format!("executor.{id}"), kind: QueueKind::Private, bindings: Vec::new() }
}

/// A queue for answers to one process.
#[must_use]
pub fn reply() -> Queue {
    Queue { name: format!("reply.{}", Uuid::new_v4()), kind: QueueKind::Private, bindings: Vec::new() }
}

/// The key at `utils` under which a process tells the others that it has changed a pipeline: a hint.
pub const PIPELINES: &str = "pipelines";

/// The key at `utils` under which a process tells the others that somebody may do more or less than before: a hint.
pub const ACCESS: &str = "access";

/// A queue of one process that watches builds (`build.*`) and pipelines for those who wait for a change, and access.
#[must_use]
pub fn watch(instance: &str) -> Queue {
    Queue {
        name: format!("watch.{instance}.{}", Uuid::new_v4()),
        kind: QueueKind::Private,
        bindings: vec!["build.*".to_owned(), PIPELINES.to_owned(), ACCESS.to_owned()],
    }
}

/// The queue that is held exclusively while a work queue is consumed exclusively, where the broker itself lets others in.
#[must_use]
pub fn exclusive_lock(queue: &str) -> String {
    format!("{queue}.exclusive")
}

/// Requests of executors that reach nothing but the broker, to take a file: see [`wire::chunks`].
pub const CHUNKS: &str = "chunks";

/// The queue of those requests.
#[must_use]
pub fn chunks() -> Queue {
    Queue { name: CHUNKS.to_owned(), kind: QueueKind::Work, bindings: Vec::new() }
}

/// The queue of one stream of chunks, which goes with its reader.
#[must_use]
pub fn chunk_stream(stream_id: Uuid) -> Queue {
    Queue { name: format!("chunks.{stream_id}"), kind: QueueKind::Private, bindings: Vec::new() }
}

/// Whether a routing key is a topic's ([`EVENT_KEYS`]): an event, or a hint of the recorder.
#[must_use]
pub fn is_of_a_topic(key: &str) -> bool {
    key.starts_with("build.") || key.starts_with("job.")
}

/// The key under which a moved client is reached: `client.<id>`.
#[must_use]
pub fn client_key(client: wire::ClientId) -> String {
    format!("client.{client}")
}
