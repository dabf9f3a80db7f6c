//! What waits for gateways that are gone: their workers' queues are emptied and deleted, and callbacks in them go to where
//! their clients are now, or are kept. A queue's own expiry would not do: what is in a queue when it expires is lost.

use std::time::Duration;

use broker::{Broker, BrokerError, ConsumeOptions, topology};
use store::Store;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use wire::ServerId;

use crate::{ControlError, callbacks, reaper::LOOKS_PER_LEASE, service::ControlConfig};

/// A gateway instance that was not heard for so long is gone.
pub const SILENT: Duration = Duration::from_secs(15);
/// Messages that are taken at once.
const PREFETCH: u16 = 64;
/// A queue that gives nothing for so long is empty.
const EMPTY_AFTER: Duration = Duration::from_millis(200);

/// A gateway that was not heard for so long does not live without the store either.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// Looks until `shutdown`. Apart from the reaper: a queue whose node is down is long in answering. A failure is logged when it
/// begins and tried again with the next look.
pub(crate) async fn run(broker: &dyn Broker, store: &dyn Store, config: &ControlConfig, shutdown: &CancellationToken) {
    let mut has_failed = false;
    let mut ticks = tokio::time::interval(config.lease / LOOKS_PER_LEASE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // What is not settled then comes again, and is kept once.
        let swept = tokio::select! {
            () = shutdown.cancelled() => return,
            swept = sweep(broker, store) => swept,
        };
        if let Err(error) = &swept
            && !has_failed
        {
            tracing::warn!(%error, "what waits for a gateway that is gone cannot be taken care of: trying again until it can");
        }
        has_failed = swept.is_err();
    }
}

/// Looks for instances that are gone, and takes care of what waits for them: what can be had, and then tells what could not.
async fn sweep(broker: &dyn Broker, store: &dyn Store) -> Result<(), ControlError> {
    let mut failure = None;
    for gone in store.gateways(SILENT).await?.into_iter().filter(|gateway| !gateway.alive) {
        let is_given_up = Duration::from_micros(store.now().await?.since(gone.heard_at)) >= GIVEN_UP;
        let mut is_done = true;
        for worker in &gone.workers {
            match empty(broker, store, &worker.server_id, is_given_up).await {
                // It was heard of elsewhere than in the store: it lives.
                Err(ControlError::Broker(BrokerError::InUse(_))) => {}
                Ok(is_empty) => is_done &= is_empty,
                Err(error) => {
                    is_done = false;
                    failure.get_or_insert(error);
                }
            }
        }
        if !is_done {
            continue;
        }
        tracing::info!(instance = gone.instance, "a gateway is gone: what waited for it was taken care of");
        store.forget_gateway(&gone.instance).await?;
    }
    failure.map_or(Ok(()), Err)
}

/// Takes everything out of a worker's queue, and deletes it. Whatever comes for the worker later finds no queue, and so
/// reaches [`callbacks`]. False when the store cannot keep what is in it now: then the queue stays for the next look.
///
/// A queue that cannot be looked at, because its node is down, is unbound where the broker lets us: it would have the broker
/// refuse what comes for the worker, or take it in where nobody is.
async fn empty(
    broker: &dyn Broker,
    store: &dyn Store,
    server_id: &ServerId,
    is_given_up: bool,
) -> Result<bool, ControlError> {
    let queue = topology::gateway(server_id, SILENT).name;
    match broker.queue_length(&queue).await {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(true),
        Err(error) => {
            if is_given_up {
                let _ = broker.unbind(&queue, server_id.as_str()).await; // The queue is what the failure tells of.
            }
            return Err(error.into());
        }
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
