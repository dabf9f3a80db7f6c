//! Consumers. Each has a channel of its own, so that an error on it ends that consumer alone. A consumer ends with its
//! channel, its connection and its queue; whoever reads it declares and consumes anew.
//!
//! What may wait for the reader of a private queue is counted here, for RabbitMQ can drop messages of a full queue or refuse
//! them, but not end the queue: everything in it is taken off the broker at once, and beyond the limit the queue is deleted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use broker::{
    BoxFuture, ConsumerSource, Delivery, Incoming,
    topology::{PRIVATE_BYTES_MAX, PRIVATE_LENGTH_MAX},
};
use futures_util::{FutureExt, StreamExt};
use lapin::{Channel, options::QueueDeleteOptions};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{message::incoming, settler::Verdict};

/// A consumer of a queue that keeps what is not delivered.
pub(crate) struct Source {
    arriving: lapin::Consumer,
    verdicts: mpsc::UnboundedSender<Verdict>,
    has_ended: bool,
    _gone: DropGuard,
}

impl Source {
    pub(crate) fn new(arriving: lapin::Consumer, verdicts: mpsc::UnboundedSender<Verdict>, gone: DropGuard) -> Self {
        Self { arriving, verdicts, has_ended: false, _gone: gone }
    }

    fn arrived(&mut self, next: Option<lapin::Result<lapin::message::Delivery>>) -> Option<Delivery> {
        let Some(Ok(delivery)) = next else {
            self.has_ended = true;
            return None;
        };
        let tag = delivery.delivery_tag;
        Some(deliver(incoming(delivery), tag, self.verdicts.clone(), || {}))
    }
}

impl ConsumerSource for Source {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async move {
            if self.has_ended {
                return None;
            }
            let next = self.arriving.next().await;
            self.arrived(next)
        })
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.has_ended {
            return None;
        }
        let next = self.arriving.next().now_or_never()?;
        self.arrived(next)
    }
}

/// A consumer of a private queue.
pub(crate) struct PrivateSource {
    arriving: mpsc::UnboundedReceiver<(u64, Incoming)>,
    verdicts: mpsc::UnboundedSender<Verdict>,
    /// One permit for each delivery that the reader may still be given.
    room: Arc<Semaphore>,
    held: Arc<Held>,
    /// Too much waited: the queue is gone with all that was in it.
    overdrawn: CancellationToken,
    _gone: DropGuard,
}

/// What stands in a private queue, waiting or unsettled.
#[derive(Default)]
struct Held {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Held {
    /// Whether that was too much.
    fn add(&self, bytes: usize) -> bool {
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        messages > PRIVATE_LENGTH_MAX || (messages > 1 && bytes > PRIVATE_BYTES_MAX)
    }

    fn take(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl PrivateSource {
    /// Begins to take everything off the broker.
    pub(crate) fn start(
        queue: String,
        channel: Channel,
        consumer: lapin::Consumer,
        prefetch: u16,
        verdicts: mpsc::UnboundedSender<Verdict>,
        gone: CancellationToken,
    ) -> Self {
        let (sender, arriving) = mpsc::unbounded_channel();
        let (held, overdrawn) = (Arc::<Held>::default(), CancellationToken::new());
        let work = drain(consumer, sender, Arc::clone(&held));
        tokio::spawn({
            let (overdrawn, gone) = (overdrawn.clone(), gone.clone());
            async move {
                let has_too_much = tokio::select! {
                    () = gone.cancelled() => false,
                    has_too_much = work => has_too_much,
                };
                if has_too_much {
                    overdrawn.cancel();
                    tracing::warn!(queue, "a private queue is not read fast enough and ends");
                    // Fails where the connection went, and the queue with it.
                    let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
                }
            }
        });
        let room = Arc::new(Semaphore::new(usize::from(prefetch)));
        Self { arriving, verdicts, room, held, overdrawn, _gone: gone.drop_guard() }
    }

    fn arrived(&mut self, next: Option<(u64, Incoming)>) -> Option<Delivery> {
        let (tag, message) = next?;
        let (room, held, bytes) = (Arc::clone(&self.room), Arc::clone(&self.held), message.body.len());
        Some(deliver(message, tag, self.verdicts.clone(), move || {
            held.take(bytes);
            room.add_permits(1);
        }))
    }
}

impl ConsumerSource for PrivateSource {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async move {
            let room = Arc::clone(&self.room);
            let next = async {
                let permit = room.acquire().await.ok()?;
                let next = self.arriving.recv().await?;
                permit.forget(); // It comes back with the settlement.
                Some(next)
            };
            let next = tokio::select! {
                biased;
                () = self.overdrawn.cancelled() => None,
                next = next => next,
            };
            self.arrived(next)
        })
    }

    fn try_next(&mut self) -> Option<Delivery> {
        if self.overdrawn.is_cancelled() {
            return None;
        }
        let next = {
            let permit = self.room.try_acquire().ok()?;
            let next = self.arriving.try_recv().ok()?;
            permit.forget();
            next
        };
        self.arrived(Some(next))
    }
}

/// Takes what comes until the queue ends. Whether that is because too much waits.
async fn drain(mut consumer: lapin::Consumer, sender: mpsc::UnboundedSender<(u64, Incoming)>, held: Arc<Held>) -> bool {
    while let Some(Ok(delivery)) = consumer.next().await {
        if held.add(delivery.data.len()) {
            return true;
        }
        let tag = delivery.delivery_tag;
        if sender.send((tag, incoming(delivery))).is_err() {
            break; // The consumer went.
        }
    }
    false
}

/// A delivery whose settlement goes to the settler, if that still lives.
fn deliver(
    message: Incoming,
    tag: u64,
    verdicts: mpsc::UnboundedSender<Verdict>,
    settled: impl FnOnce() + Send + 'static,
) -> Delivery {
    Delivery::new(message, move |settlement, message| {
        settled();
        let _ = verdicts.send(Verdict { tag, settlement, message });
    })
}
