//! Changes of builds and pipelines for those who wait in this process: `Prefer: wait`, live queries. One private queue
//! bound to their keys, read once, told to all.

use std::{sync::Arc, time::Duration};

use broker::{Broker, BrokerError, ConsumeOptions, Consumer, Incoming, topology};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::{BuildId, Event, EventMessage, Topic};

/// Events that a waiter may be behind before it is told to look at the store instead.
const BEHIND_MAX: usize = 4096;

/// Tells what happens to builds.
pub(crate) struct Hub {
    finished: broadcast::Sender<Finished>,
    changes: watch::Sender<u64>,
}

/// What those who wait for a build are told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finished {
    /// This build has finished.
    Build(BuildId),
    /// Events may have been missed: the store knows.
    LookAgain,
}

/// The wait before a queue that went away is declared anew.
const RETRY: Duration = Duration::from_millis(500);

/// How long the queue of a former process of this name may take to be free: its broker must notice that it is gone.
const FORMER_PATIENCE: Duration = Duration::from_secs(5);

impl Hub {
    /// A hub that nobody speaks to yet, and the queue that it will read. Everything published after the answer is told.
    pub(crate) async fn start(broker: &dyn Broker, instance: &str) -> Result<(Arc<Self>, Consumer), BrokerError> {
        let hub = Arc::new(Self { finished: broadcast::channel(BEHIND_MAX).0, changes: watch::channel(0).0 });
        let patience = tokio::time::Instant::now() + FORMER_PATIENCE;
        loop {
            match consume(broker, instance).await {
                Err(BrokerError::InUse(_)) if tokio::time::Instant::now() < patience => tokio::time::sleep(RETRY).await,
                consumed => return Ok((hub, consumed?)),
            }
        }
    }

    /// Tells until `shutdown`. A queue that went away is declared anew, and everybody looks at the store.
    pub(crate) async fn run(
        &self,
        broker: &dyn Broker,
        instance: &str,
        mut consumer: Consumer,
        shutdown: CancellationToken,
    ) {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => return,
                delivery = consumer.next() => delivery,
            };
            if let Some(delivery) = delivery {
                self.tell(&delivery.message);
                delivery.ack();
                continue;
            }
            consumer = loop {
                match consume(broker, instance).await {
                    Ok(consumer) => break consumer,
                    Err(failure) => {
                        warn!(%failure, "the watch queue went away and cannot be had again; it is tried again")
                    }
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            };
            let _ = self.finished.send(Finished::LookAgain); // Fails when nobody waits.
            self.changed();
        }
    }

    fn tell(&self, message: &Incoming) {
        if message.key == topology::PIPELINES {
            return self.changed();
        }
        // `recorded` hints come by the same key: no events, no change of a list.
        let Ok(message) = EventMessage::decode(&message.body) else { return };
        let Topic::Build(build) = message.topic else { return };
        if matches!(message.parse(), Ok(Event::BuildFinished { .. })) {
            let _ = self.finished.send(Finished::Build(build)); // Fails when nobody waits.
        }
        self.changed();
    }

    /// Something that lists show has changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever a build or a pipeline does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Builds as they finish.
    pub(crate) fn finished(&self) -> broadcast::Receiver<Finished> {
        self.finished.subscribe()
    }
}

async fn consume(broker: &dyn Broker, instance: &str) -> Result<Consumer, BrokerError> {
    let queue = topology::watch(instance);
    broker.declare(&queue).await?;
    broker.consume(&queue.name, ConsumeOptions { prefetch: 1000, exclusive: true }).await
}
