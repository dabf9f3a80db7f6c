//! The default broker, inside the process: routing in memory at once; durable queues and the event stream in a
//! [`Journal`] that the store gives; the confirm after the journal's commit, batched. Enough for one machine; RabbitMQ takes over behind
//! the same contract where several processes need one broker.
//!
//! # How a message goes
//!
//! [`Broker::publish`] routes under one lock: consumers have the message before the disk does, so the live path waits for
//! nothing. What has to survive gathers in a backlog; one task writes all that has gathered in one journal call and settles the
//! confirms. A message that is settled before it was written leaves no trace on the disk.
//!
//! - Confirmed means committed for the stream, for work queues and for callbacks in a gateway's queue. A message that is in
//!   none of these is confirmed at once, before older ones that still wait for the disk.
//! - Not written: requests (by queue name, with `reply_to`; they are repeated), events in a gateway's queue (they are in
//!   the stream and in the record; the sockets that they were for die with this process), private queues.
//! - What `utils` routes to no queue goes to `unrouted`, unless it is an event for the stream: an event that nobody
//!   watches is nothing special, and it is not lost. What no queue of `tasks` and no name takes is dropped, or refused
//!   when it is mandatory.
//! - After a restart every message that was kept counts as redelivered: whether it was is not known, since deliveries alone
//!   are not written. Messages of a queue wait until it is declared; those of a gateway that does not come back within
//!   [`ORPHAN_PATIENCE`] go to `unrouted`.
//! - A consumer that goes without settling counts for [`topology::ABANDONED_LIMIT`], one that requeues for
//!   [`topology::DELIVERY_LIMIT`]. Neither count survives a restart.
//! - While the journal fails, messages still flow to consumers, confirms wait, [`Broker::health`] tells the reason; when
//!   too much waits, what would have to be written is refused with [`BrokerError::Unavailable`] and is not delivered.

mod backlog;
mod consumer;
mod flusher;
mod journal;
mod keeper;
mod memory;
mod message;
mod queue;
mod routing;
mod state;
mod stream;

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

pub use journal::{Journal, JournalEntry, KeptMessage, Loaded, StreamEntries};
pub use memory::MemoryJournal;

/// Bytes that the broker holds at most for what waits for its journal, what is being written (as it came and as it is encoded),
/// and the end of its stream. Its queues have limits of their own ([`topology`]).
pub const MEMORY_BYTES_MAX: usize =
    backlog::BACKLOG_BYTES_MAX + 4 * backlog::LOT_BYTES_MAX + 2 * stream::STREAM_TAIL_BYTES_MAX;

use crate::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom, StreamReader,
    topology,
};
use backlog::{Pending, WRITTEN};
use consumer::QueueConsumer;
use message::Message;
use queue::{Journalled, Kept};
use state::{Orphan, State};
use stream::{Reader, Stream};

/// How long kept messages wait for their gateway to declare its queue after a restart: the default affinity period.
pub const ORPHAN_PATIENCE: Duration = Duration::from_secs(300);

/// See the module. Dropping it is a shutdown; [`EmbeddedBroker::finished`] tells when what was left is written.
pub struct EmbeddedBroker {
    core: Arc<Core>,
}

/// What the broker's tasks and handles share.
struct Core {
    // A std mutex: held for a few map operations, never across an await. One lock for everything keeps the order of
    // publishing, of the journal and of the stream the same without further rules.
    state: Mutex<State>,
    journal: Arc<dyn Journal>,
    shutdown: CancellationToken,
    finished: CancellationToken,
    /// Why one of the broker's tasks ended before its time.
    failure: watch::Sender<Option<String>>,
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one of the broker's tasks. A broker without its tasks would take messages and never confirm them, so one
    /// that died ends the broker: what waits and what comes is refused. `is_flusher` says that nobody writes any more.
    async fn supervise(&self, task: JoinHandle<()>, is_flusher: bool) {
        let error = match task.await {
            Err(error) if error.is_panic() => error,
            _ => return,
        };
        let reason = format!("a task of the broker failed: {error}");
        tracing::error!(reason, "the broker failed: nothing is taken or confirmed any more");
        self.lock().close(BrokerError::Unavailable(reason.clone()));
        self.failure.send_replace(Some(reason));
        self.shutdown.cancel();
        if is_flusher {
            flusher::abandon(self);
        }
    }
}

impl EmbeddedBroker {
    /// Loads the journal and starts. The broker ends with `shutdown`: what was handed over before is still written.
    ///
    /// # Errors
    /// When the journal cannot be loaded.
    pub async fn start(
        journal: Arc<dyn Journal>,
        shutdown: CancellationToken,
    ) -> Result<Arc<EmbeddedBroker>, BrokerError> {
        let loaded = journal.load().await;
        let loaded =
            loaded.map_err(|reason| BrokerError::Unavailable(format!("the journal cannot be loaded: {reason}")))?;
        let next_sequence = loaded.messages.iter().map(|message| message.sequence + 1).max().unwrap_or(0);
        let mut state = State::new(Stream::new(&loaded), next_sequence);
        state.adopt(loaded.messages);
        for queue in [topology::control(), topology::unrouted(), topology::dead()] {
            state.declare(&queue);
        }
        let core = Arc::new(Core {
            state: Mutex::new(state),
            journal,
            shutdown: shutdown.child_token(),
            finished: CancellationToken::new(),
            failure: watch::Sender::new(None),
        });
        let flusher = tokio::spawn(flusher::run(Arc::clone(&core)));
        let keeper = tokio::spawn(keeper::run(Arc::clone(&core)));
        for (task, is_flusher) in [(flusher, true), (keeper, false)] {
            let core = Arc::clone(&core);
            tokio::spawn(async move { core.supervise(task, is_flusher).await });
        }
        Ok(Arc::new(Self { core }))
    }

    /// Resolves with the reason when the broker has died: it takes nothing any more, and only a new one helps. Never
    /// resolves otherwise, a shutdown included.
    pub async fn failed(&self) -> String {
        let mut failure = self.core.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match failed {
            Some(reason) => reason,
            // Not reached: the sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Resolves when the broker has ended and all that it will ever write is written.
    pub async fn finished(&self) {
        self.core.finished.cancelled().await;
    }

    /// Lets go of the stream's entries before `first`, as far as they are on the disk. Readers that stand there are told
    /// at once; the confirm resolves when the journal has let them go.
    pub fn trim_stream(&self, first: u64) -> Confirm {
        let (sender, confirm) = Confirm::new();
        let mut state = self.core.lock();
        if let Err(error) = state.running() {
            let _ = sender.send(Err(error)); // The receiver is right here.
            return confirm;
        }
        let first = state.stream.trim(first);
        state.backlog.push(Pending::Trim { first });
        state.backlog.confirm(sender);
        state.work.notify_one();
        state.stream.wake();
        confirm
    }

    /// The offsets that readers of the stream can have: for whoever decides what to trim.
    #[must_use]
    pub fn stream_range(&self) -> Range<u64> {
        self.core.lock().stream.range()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.core.shutdown.cancel();
    }
}

impl State {
    /// Takes over what the journal kept. A message that cannot be read becomes a dead letter: one damaged message must not
    /// keep the whole server from starting.
    fn adopt(&mut self, messages: Vec<KeptMessage>) {
        for kept in messages {
            let (queue, message, gateway) = match Message::decode(&kept.message) {
                Ok((message, gateway)) => (kept.queue, message, gateway),
                Err(reason) => {
                    tracing::error!(queue = kept.queue, reason, "a message in the journal cannot be read");
                    let mut message =
                        Message::from(Outgoing::new(topology::Exchange::Direct, kept.queue, kept.message));
                    message.death = Some(format!("it could not be read from the journal: {reason}"));
                    (topology::DEAD.to_owned(), message, false)
                }
            };
            let kept = Kept {
                message: Arc::new(message),
                journalled: Some(Journalled { sequence: kept.sequence, place: WRITTEN }),
                deliveries: kept.deliveries.max(1),
                refusals: 0,
                dies_at: None,
            };
            self.orphans.entry(queue).or_default().push(Orphan { kept, gateway });
        }
        if !self.orphans.is_empty() {
            self.orphans_until = Some(Instant::now() + ORPHAN_PATIENCE);
        }
    }
}

impl Broker for EmbeddedBroker {
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.core.lock().declare(queue);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.core.lock().delete(queue);
            Ok(())
        })
    }

    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let mut state = self.core.lock();
            let name = state.queues.get_key_value(queue).map(|(name, _)| Arc::clone(name));
            let name = name.ok_or_else(|| BrokerError::NoQueue(queue.to_owned()))?;
            state.routing.bind_utils(&name, key);
            Ok(())
        })
    }

    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            self.core.lock().routing.unbind_utils(queue, key);
            Ok(())
        })
    }

    fn publish(&self, message: Outgoing) -> Confirm {
        let (sender, confirm) = Confirm::new();
        self.core.lock().publish(message, sender);
        confirm
    }

    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        Box::pin(async move {
            let (id, queue, arrived) = self.core.lock().consume(queue, options)?;
            Ok(Consumer::new(QueueConsumer { core: Arc::clone(&self.core), queue, id, arrived }))
        })
    }

    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        let end = self.stream_range().end;
        Box::pin(async move { Ok((end > 0).then_some(end)) })
    }

    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        Box::pin(async move {
            let (incarnation, reader) = Reader::new(&self.core, from)?;
            Ok(StreamReader::new(incarnation, reader))
        })
    }

    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        Box::pin(async move { Ok(self.core.lock().queues.get(queue).map(|queue| queue.ready.len() as u64)) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let state = self.core.lock();
            state.running()?;
            match &state.trouble {
                Some(reason) => Err(BrokerError::Unavailable(format!("the journal cannot write: {reason}"))),
                None => Ok(()),
            }
        })
    }
}
