//! What waits for gateways that are gone: their workers' queues are emptied and deleted, and callbacks in them go to where
//! their clients are now, or are kept. A queue's own expiry would not do: what is in a queue when it expires is lost.

use std::time::Duration;

use broker::{Broker, BrokerError, ConsumeOptions, topology};
use store::Store;
use tokio::time::timeout;
use wire::ServerId;

use crate::{ControlError, callbacks};

/// A gateway instance that was not heard for so long is gone.
pub const SILENT: Duration = Duration::from_secs(15);
/// Messages that are taken at once.
const PREFETCH: u16 = 64;
/// A queue that gives nothing for so long is empty.
const EMPTY_AFTER: Duration = Duration::from_millis(200);

/// Looks for instances that are gone, and takes care of what waits for them.
pub(crate) async fn sweep(broker: &dyn Broker, store: &dyn Store) -> Result<(), ControlError> {
    for gone in store.gateways(SILENT).await?.into_iter().filter(|gateway| !gateway.alive) {
        let mut is_done = true;
        for worker in &gone.workers {
            match empty(broker, store, &worker.server_id).await {
                // It was heard of elsewhere than in the store: it lives.
                Err(ControlError::Broker(BrokerError::InUse(_))) => {}
                emptied => is_done &= emptied?,
            }
        }
        if !is_done {
            continue;
        }
        tracing::info!(instance = gone.instance, "a gateway is gone: what waited for it was taken care of");
        store.forget_gateway(&gone.instance).await?;
    }
    Ok(())
}

/// Takes everything out of a worker's queue, and deletes it. Whatever comes for the worker later finds no queue, and so
/// reaches [`callbacks`]. False when the store cannot keep what is in it now: then the queue stays for the next look.
async fn empty(broker: &dyn Broker, store: &dyn Store, server_id: &ServerId) -> Result<bool, ControlError> {
    let queue = topology::gateway(server_id, SILENT).name;
    if broker.queue_length(&queue).await?.is_none() {
        return Ok(true);
    }
    let mut consumer = broker.consume(&queue, ConsumeOptions { prefetch: PREFETCH, exclusive: true }).await?;
    broker.unbind(&queue, server_id.as_str()).await?;
    while let Ok(Some(delivery)) = timeout(EMPTY_AFTER, consumer.next()).await {
        if !callbacks::keep(broker, store, delivery).await {
            return Ok(false);
        }
    }
    broker.delete(&queue).await?;
    Ok(true)
}
