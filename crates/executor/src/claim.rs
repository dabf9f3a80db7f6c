//! From a hint to a running job: a hint comes and a slot is free, the executor claims, control names the job, the hint is
//! acknowledged. A hint is only a hint: one that is stale, doubled or lost does no harm.

use std::{sync::Arc, time::Duration};

use broker::{ConsumeOptions, Delivery, topology};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    LabelSet,
    task::{ControlReply, ControlRequest, Grant},
};

use crate::{clock::boot_millis, job, lease::Lease, runner::Executor};

/// How long a claim's answer is awaited. The repeats must end well before the trust in a lease that was granted by
/// the first of them.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// How often a claim is sent, under one id, before its hint goes back to the queue.
const CLAIM_TRIES: u32 = 3;
/// The pause before a claim that failed is repeated; it grows with each.
const CLAIM_BACK_OFF: Duration = Duration::from_millis(500);
/// How long a hint may wait here for a slot. Then it goes back, for executors that have one.
const HINT_HOLD: Duration = Duration::from_millis(250);
/// The pause before a queue that could not be consumed is tried again.
const CONSUME_BACK_OFF: Duration = Duration::from_millis(500);
/// At most so many hints of one queue are here at once.
const PREFETCH_MAX: u32 = 64;

/// Takes the hints of one label set until `stop`.
pub(crate) async fn take_hints(executor: Arc<Executor>, label_set: LabelSet, stop: CancellationToken) {
    let work = async {
        loop {
            consume(&executor, &label_set).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Consumes while there are slots, and returns when there are none or the queue is gone.
async fn consume(executor: &Arc<Executor>, label_set: &LabelSet) {
    let Ok(_) = executor.slots.acquire().await else { return };
    let queue = topology::tasks(label_set);
    let prefetch = u16::try_from(executor.config.slots.clamp(1, PREFETCH_MAX)).unwrap_or(1);
    let consumer = match executor.broker.declare(&queue).await {
        Ok(()) => executor.broker.consume(&queue.name, ConsumeOptions { prefetch, exclusive: false }).await,
        Err(error) => Err(error),
    };
    let mut consumer = match consumer {
        Ok(consumer) => consumer,
        Err(error) => {
            tracing::warn!(queue = queue.name, %error, "the queue cannot be consumed; it is tried again");
            return tokio::time::sleep(CONSUME_BACK_OFF).await;
        }
    };
    while let Some(hint) = consumer.next().await {
        let slot = Arc::clone(&executor.slots).acquire_owned();
        let Ok(Ok(slot)) = tokio::time::timeout(HINT_HOLD, slot).await else {
            return; // The hint goes back with the consumer.
        };
        executor.tasks.spawn(claim(Arc::clone(executor), label_set.clone(), hint, slot));
    }
    tokio::time::sleep(CONSUME_BACK_OFF).await;
}

/// Claims, and runs what is granted. The slot is free when this returns.
async fn claim(executor: Arc<Executor>, label_set: LabelSet, hint: Delivery, slot: OwnedSemaphorePermit) {
    // Control may grant the first request and its answer be lost: trust counts from before the first one was sent.
    let sent_at = boot_millis();
    let granted = tokio::select! {
        granted = ask(&executor, label_set) => granted,
        () = executor.shutdown.cancelled() => return,
    };
    match granted {
        Ok(None) => hint.ack(),
        Ok(Some(grant)) => {
            hint.ack();
            let lease = Lease::new(grant.lease, sent_at, grant.lease_ms);
            if executor.remember(&lease) {
                job::run(executor, Arc::new(*grant), lease).await;
            }
        }
        Err(reason) => {
            tracing::warn!(reason, "control did not answer a claim; its hint goes back to the queue");
            hint.requeue();
        }
    }
    drop(slot);
}

/// A grant, or none where no work waits.
async fn ask(executor: &Executor, label_set: LabelSet) -> Result<Option<Box<Grant>>, String> {
    let request = ControlRequest::Claim {
        claim_id: Uuid::new_v4(),
        executor: executor.config.id,
        incarnation: executor.incarnation,
        label_set,
        patience_ms: u64::try_from(CLAIM_PATIENCE.as_millis()).unwrap_or(u64::MAX),
    };
    let mut reason = String::new();
    for tries in 0..CLAIM_TRIES {
        if tries > 0 {
            tokio::time::sleep(CLAIM_BACK_OFF * tries).await;
        }
        match executor.ask(&request, CLAIM_PATIENCE).await {
            Ok(ControlReply::Granted(grant)) => return Ok(Some(grant)),
            Ok(ControlReply::Nothing {}) => return Ok(None),
            Ok(ControlReply::Refused { reason }) => {
                tracing::warn!(reason, "control refused a claim");
                return Ok(None);
            }
            Ok(other) => reason = format!("control answered a claim with {other:?}"),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}
