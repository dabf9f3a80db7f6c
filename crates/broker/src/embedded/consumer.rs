//! A consumer of the embedded broker: it takes messages out of its queue when it is asked for one, so what it was not
//! asked for stays for others.

use std::{pin::pin, sync::Arc};

use tokio::sync::Notify;

use super::{Core, queue::Taken};
use crate::{BoxFuture, ConsumerSource, Delivery};

/// See the module.
pub(super) struct QueueConsumer {
    pub(super) core: Arc<Core>,
    pub(super) queue: Arc<str>,
    pub(super) id: u64,
    pub(super) arrived: Arc<Notify>,
}

/// What [`QueueConsumer::take`] finds.
enum Found {
    Delivery(Delivery),
    Nothing,
    Gone,
}

impl QueueConsumer {
    fn take(&self) -> Found {
        let (tag, message, redelivered) = match self.core.lock().take(&self.queue, self.id) {
            Taken::Message(tag, message, redelivered, _) => (tag, message, redelivered),
            Taken::Nothing => return Found::Nothing,
            Taken::Gone => return Found::Gone,
        };
        let (core, queue, id) = (Arc::clone(&self.core), Arc::clone(&self.queue), self.id);
        Found::Delivery(Delivery::new(message.incoming(redelivered), move |settlement, _| {
            core.lock().settle(&queue, id, tag, settlement);
        }))
    }
}

impl ConsumerSource for QueueConsumer {
    fn next(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        Box::pin(async move {
            // A queue that is never empty must not keep its reader's task from giving way.
            tokio::task::consume_budget().await;
            loop {
                let mut arrived = pin!(self.arrived.notified());
                arrived.as_mut().enable();
                match self.take() {
                    Found::Delivery(delivery) => return Some(delivery),
                    Found::Gone => return None,
                    Found::Nothing => arrived.await,
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Delivery> {
        match self.take() {
            Found::Delivery(delivery) => Some(delivery),
            Found::Nothing | Found::Gone => None,
        }
    }
}

impl Drop for QueueConsumer {
    fn drop(&mut self) {
        self.core.lock().release(&self.queue, self.id);
    }
}
