//! Events of builds for those who wait in this process: `Prefer: wait`, live queries. One private queue bound to
//! `build.*`, read once, told to all.

use std::sync::Arc;

use broker::{Broker, BrokerError, ConsumeOptions, topology};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::{BuildId, Event, EventMessage, Topic};

/// Events that a waiter may be behind before it is told to look at the store instead.
const BEHIND_MAX: usize = 4096;

/// Tells what happens to builds.
pub(crate) struct Hub {
    finished: broadcast::Sender<BuildId>,
    changes: watch::Sender<u64>,
}

impl Hub {
    /// Binds and begins to read. Everything that is published after the answer is told.
    pub(crate) async fn start(
        broker: Arc<dyn Broker>,
        instance: &str,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, BrokerError> {
        let hub = Arc::new(Self { finished: broadcast::channel(BEHIND_MAX).0, changes: watch::channel(0).0 });
        let queue = topology::watch(instance);
        broker.declare(&queue).await?;
        let mut consumer = broker.consume(&queue.name, ConsumeOptions { prefetch: 1000, exclusive: true }).await?;
        tokio::spawn({
            let hub = Arc::clone(&hub);
            async move {
                loop {
                    let delivery = tokio::select! {
                        () = shutdown.cancelled() => return,
                        delivery = consumer.next() => delivery,
                    };
                    let Some(delivery) = delivery else {
                        warn!("the watch queue went away: waiting requests look at the store instead");
                        return;
                    };
                    hub.tell(&delivery.message.body);
                    delivery.ack();
                }
            }
        });
        Ok(hub)
    }

    fn tell(&self, body: &[u8]) {
        // `recorded` hints come by the same key: no events, no change of a list.
        let Ok(message) = EventMessage::decode(body) else { return };
        let Topic::Build(build) = message.topic else { return };
        if matches!(message.parse(), Ok(Event::BuildFinished { .. })) {
            let _ = self.finished.send(build); // Fails when nobody waits.
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
    pub(crate) fn finished(&self) -> broadcast::Receiver<BuildId> {
        self.finished.subscribe()
    }
}
