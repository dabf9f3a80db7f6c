//! What must happen though nobody asks: leases that have run out are taken back, hints are topped up, executors learn of
//! new queues, what was superseded ends. It looks at the start and every quarter of a lease, so a restart never leaves a job stuck.
//!
//! Every process with the control role looks. Two that see the same are harmless: the rule checks the term once more, and
//! hints may be doubled.

use std::time::Duration;

use broker::Broker;
use store::Store;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use wire::{Timestamp, view::ExecutorView};

use crate::{
    ControlError,
    claims::take_back,
    graph::{Loss, LossCause},
    groups::end_superseded,
    queues::{Told, top_up},
    service::ControlConfig,
};

/// Attempts taken back in one transaction each, between two looks at the rest.
const EXPIRED_BATCH: u32 = 100;
/// After something was written, before the next look at new labels: a burst of changes is one look.
const LABELS_PAUSE: Duration = Duration::from_millis(10);
/// Looks in each lease.
pub(crate) const LOOKS_PER_LEASE: u32 = 4;

/// Looks until `shutdown`. A failure is logged when it begins and tried again with the next look.
pub(crate) async fn run(broker: &dyn Broker, store: &dyn Store, config: &ControlConfig, shutdown: &CancellationToken) {
    let mut told = Told::default();
    let mut has_failed = false;
    let mut ticks = tokio::time::interval(config.lease / LOOKS_PER_LEASE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = store.outbox_changed();
    loop {
        let is_tick = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => true,
            () = settled(&mut written) => false,
        };
        let looked = async {
            told.tell(broker, store, config).await?;
            end_superseded(store).await?;
            if is_tick {
                take_back_expired(store, config).await?;
                store.tidy_groups().await?;
                top_up(broker, store).await?;
            }
            Ok::<(), ControlError>(())
        };
        match looked.await {
            Ok(()) => has_failed = false,
            Err(error) => {
                if !has_failed {
                    tracing::warn!(%error, "leases and hints cannot be looked after: trying again until they can");
                }
                has_failed = true;
            }
        }
    }
}

/// Something was written a moment ago, if by this process.
async fn settled(written: &mut watch::Receiver<u64>) {
    if written.changed().await.is_err() {
        std::future::pending::<()>().await; // The store is closed: only ticks are left, until the shutdown.
    }
    tokio::time::sleep(LABELS_PAUSE).await;
    written.mark_unchanged();
}

async fn take_back_expired(store: &dyn Store, config: &ControlConfig) -> Result<(), ControlError> {
    loop {
        let expired = store.expired_jobs(EXPIRED_BATCH).await?;
        if expired.is_empty() {
            return Ok(());
        }
        let now = store.now().await?;
        let executors = store.executors(config.lease).await?;
        for attempt in &expired {
            let holder = executors.iter().find(|executor| executor.running.contains(&attempt.lease.job));
            let executor_name = holder.map_or_else(|| "unknown".to_owned(), |executor| executor.name.clone());
            let loss = Loss { cause: LossCause::Expired, reason: reason(holder, now), executor_name };
            take_back(store, attempt.build, attempt.lease, loss).await?;
        }
        if expired.len() < EXPIRED_BATCH as usize {
            return Ok(());
        }
    }
}

fn reason(holder: Option<&ExecutorView>, now: Timestamp) -> String {
    match holder {
        Some(executor) if executor.alive => {
            format!("its lease ran out: executor {} did not renew it", executor.name)
        }
        Some(executor) => {
            let seconds = now.since(executor.heard_at) / 1_000_000;
            format!("its lease ran out: executor {} was not heard for {seconds} s", executor.name)
        }
        None => "its lease ran out: its executor is not known any more".to_owned(),
    }
}
