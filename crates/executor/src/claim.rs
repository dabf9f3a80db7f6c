//! From a hint to a running job. A slot is free first; then the next hint is taken, the executor claims, control names the
//! job, the hint is acknowledged. A hint is only a hint: one that is stale, doubled or lost does no harm. But each time
//! that one is given back counts as a delivery, so none is taken that cannot be used: whoever waits for hints
//! ([`Listener`]) has a slot, and holds one hint at a time. While all slots are in use nobody listens, and hints stay in
//! their queues for executors that have one.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use broker::{BrokerError, ConsumeOptions, Consumer, Delivery, topology};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use uuid::Uuid;
use vault::ClaimKey;
use wire::{
    LabelSet,
    task::{ControlReply, ControlRequest, Grant},
};

use crate::{clock::boot_millis, job, lease::Lease, runner::Executor, secrets::Secrets};

/// How long a claim's answer is awaited. The repeats must end well before the trust in a lease that was granted by
/// the first of them.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// How often a claim is sent, under one id, before its hint goes back to the queue.
const CLAIM_TRIES: u32 = 3;
/// The pause before a claim that failed is repeated; it grows with each.
const CLAIM_BACK_OFF: Duration = Duration::from_millis(500);
/// The pause before a queue that could not be consumed is tried again.
const CONSUME_BACK_OFF: Duration = Duration::from_millis(500);
/// So many free slots listen at once, each with a consumer of every queue. It is also the number of claims of one executor
/// that can be on their way.
const LISTENERS_MAX: usize = 16;

/// Takes hints for free slots until the shutdown.
pub(crate) async fn take_hints(executor: Arc<Executor>) {
    let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
    let work = async {
        while let Ok(slot) = Arc::clone(&executor.slots).acquire_owned().await
            && let Ok(listener) = Arc::clone(&listeners).acquire_owned().await
        {
            executor.tasks.spawn(use_slot(Arc::clone(&executor), slot, listener));
        }
    };
    tokio::select! {
        () = work => {}
        () = executor.config.draining.cancelled() => {}
        () = executor.shutdown.cancelled() => {}
    }
}

/// Waits for work and does it. The slot is free when this returns.
async fn use_slot(executor: Arc<Executor>, slot: OwnedSemaphorePermit, listener: OwnedSemaphorePermit) {
    let granted = tokio::select! {
        granted = Listener::new(&executor).grant() => granted,
        () = executor.shutdown.cancelled() => return,
    };
    drop(listener);
    let Some(Granted { grant, secrets, sent_at }) = granted else { return };
    let lease = Lease::new(grant.lease, sent_at, grant.lease_ms);
    let _watch = lease.watch();
    let place = tokio::select! {
        place = executor.running.begin(&lease) => place,
        () = executor.shutdown.cancelled() => return,
    };
    if let Some(place) = place {
        if lease.is_half_over() {
            executor.renew_now.notify_one(); // The next regular renewal may be too late.
        }
        job::run(Arc::clone(&executor), Arc::new(*grant), secrets, Arc::clone(&lease)).await;
        place.ended();
    }
    drop(slot);
}

/// What a claim was answered with.
struct Granted {
    grant: Box<Grant>,
    /// What came with it sealed; or why it cannot be opened, which is how the job fails.
    secrets: Result<Secrets, String>,
    /// The point of the boot clock from which trust in its lease counts.
    sent_at: u64,
}

/// One free slot that waits for a hint on every queue. Dropping it gives back what its consumers hold.
struct Listener<'a> {
    executor: &'a Executor,
    wanted: watch::Receiver<BTreeSet<LabelSet>>,
    consumers: BTreeMap<LabelSet, Consumer>,
    /// When what could not be consumed is tried again.
    retry_at: Option<Instant>,
    /// The queue that is looked at first: another one each time, so that none starves.
    first: usize,
}

impl<'a> Listener<'a> {
    fn new(executor: &'a Executor) -> Self {
        let wanted = executor.queues.subscribe();
        Self { executor, wanted, consumers: BTreeMap::new(), retry_at: None, first: 0 }
    }

    /// Claims hint by hint until control grants something; none when no more is to be taken.
    async fn grant(mut self) -> Option<Granted> {
        let draining = self.executor.config.draining.clone();
        loop {
            // A claim that was begun is brought to its end: what it was granted is run.
            let (label_set, hint) = tokio::select! {
                hint = self.hint() => hint,
                () = draining.cancelled() => return None,
            };
            // Control may grant the first request and its answer be lost: trust counts from before the first one was sent.
            let sent_at = boot_millis();
            match ask(self.executor, label_set).await {
                Ok(None) => hint.ack(),
                Ok(Some((grant, secrets))) => {
                    hint.ack();
                    return Some(Granted { grant, secrets, sent_at });
                }
                Err(reason) => {
                    tracing::warn!(reason, "control did not answer a claim; its hint goes back to the queue");
                    hint.requeue();
                }
            }
        }
    }

    /// The next hint of any queue.
    async fn hint(&mut self) -> (LabelSet, Delivery) {
        loop {
            self.open().await;
            tokio::select! {
                (label_set, delivery) = next_of(&mut self.consumers, self.first) => {
                    self.first += 1;
                    if let Some(delivery) = delivery {
                        return (label_set, delivery);
                    }
                    // The queue was deleted, or the broker went away.
                    self.consumers.remove(&label_set);
                    self.retry_at = Some(Instant::now() + CONSUME_BACK_OFF);
                }
                Ok(()) = self.wanted.changed() => {}
                () = at(self.retry_at), if self.retry_at.is_some() => self.retry_at = None,
            }
        }
    }

    /// Consumes exactly the wanted queues, as far as the broker allows it now.
    async fn open(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.consumers.retain(|label_set, _| wanted.contains(label_set));
        if self.retry_at.is_some() {
            return;
        }
        for label_set in wanted {
            if self.consumers.contains_key(&label_set) {
                continue;
            }
            match consume(self.executor, &label_set).await {
                Ok(consumer) => drop(self.consumers.insert(label_set, consumer)),
                Err(error) => {
                    tracing::warn!(queue = topology::tasks(&label_set).name, %error, "the queue cannot be consumed; it is tried again");
                    self.retry_at = Some(Instant::now() + CONSUME_BACK_OFF);
                }
            }
        }
    }
}

async fn consume(executor: &Executor, label_set: &LabelSet) -> Result<Consumer, BrokerError> {
    let queue = topology::tasks(label_set);
    executor.broker.declare(&queue).await?;
    executor.broker.consume(&queue.name, ConsumeOptions { prefetch: 1, exclusive: false }).await
}

/// The first delivery, or end, of any consumer; waits for ever where there is none. Safe to cancel.
async fn next_of(consumers: &mut BTreeMap<LabelSet, Consumer>, first: usize) -> (LabelSet, Option<Delivery>) {
    let mut nexts: Vec<_> =
        consumers.iter_mut().map(|(label_set, consumer)| (label_set, Box::pin(consumer.next()))).collect();
    let first = first.checked_rem(nexts.len()).unwrap_or(0);
    nexts.rotate_left(first);
    poll_fn(|context| {
        for (label_set, next) in &mut nexts {
            if let Poll::Ready(delivery) = next.as_mut().poll(context) {
                return Poll::Ready(((*label_set).clone(), delivery));
            }
        }
        Poll::Pending
    })
    .await
}

async fn at(point: Option<Instant>) {
    if let Some(point) = point {
        tokio::time::sleep_until(point).await;
    }
}

/// A grant, or none where no work waits.
async fn ask(
    executor: &Executor,
    label_set: LabelSet,
) -> Result<Option<(Box<Grant>, Result<Secrets, String>)>, String> {
    let key = ClaimKey::new().map_err(|error| error.to_string())?;
    let request = ControlRequest::Claim {
        claim_id: Uuid::new_v4(),
        executor: executor.config.id,
        incarnation: executor.incarnation,
        label_set,
        patience_ms: u64::try_from(CLAIM_PATIENCE.as_millis()).unwrap_or(u64::MAX),
        secrets_key: Some(key.public().to_owned()),
    };
    let mut reason = String::new();
    for tries in 0..CLAIM_TRIES {
        if tries > 0 {
            tokio::time::sleep(CLAIM_BACK_OFF * tries).await;
        }
        match executor.ask(&request, CLAIM_PATIENCE).await {
            Ok(ControlReply::Granted(grant)) => {
                let secrets = Secrets::open(key, &grant);
                return Ok(Some((grant, secrets)));
            }
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
