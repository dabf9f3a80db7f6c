//! Which queues of hints exist and who consumes them.
//!
//! A build whose labels are known takes no step more than its hint: the queue is there and executors consume it. For a
//! label set that nobody has asked for before, two things must happen, in any order: the relay declares the queue before
//! it publishes the hint ([`ensure_queues`]), and control tells the executors that serve it ([`Told::tell`]), when
//! the outbox says that something was written, or, where that was another process, with its next look. The hint waits in its queue meanwhile.

use std::collections::BTreeSet;

use broker::{Broker, BrokerError, Outgoing, topology};
use store::Store;
use wire::{
    ExecutorId, LabelSet,
    task::{ExecutorNotice, Hint, to_bytes},
};

use crate::{ControlError, service::ControlConfig};

/// Hints published for one label set at one look; the next look is a quarter of a lease away.
const HINTS_MAX: u64 = 1000;

/// Makes sure that the queues of these label sets exist, so that a hint published afterwards is not lost. The relay
/// calls it before the first hint of a label set that it has not seen since its start.
///
/// # Errors
/// When the broker cannot declare one.
pub async fn ensure_queues(broker: &dyn Broker, label_sets: &[LabelSet]) -> Result<(), BrokerError> {
    for set in label_sets {
        broker.declare(&topology::tasks(set)).await?;
    }
    Ok(())
}

/// Label sets that executors were told of.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeSet<LabelSet>);

impl Told {
    /// Tells executors of queues that have come into being since the last time.
    pub(crate) async fn tell(
        &mut self,
        broker: &dyn Broker,
        store: &dyn Store,
        config: &ControlConfig,
    ) -> Result<(), ControlError> {
        let all = store.label_sets().await?;
        let new: Vec<&LabelSet> = all.iter().filter(|set| !self.0.contains(*set)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for set in &new {
            broker.declare(&topology::tasks(set)).await?;
        }
        for executor in store.executors(config.lease).await?.iter().filter(|executor| executor.alive) {
            if new.iter().any(|set| set.is_served_by(&executor.labels)) {
                notify(broker, executor.id, ExecutorNotice::Queues { label_sets: served(&all, &executor.labels) });
            }
        }
        self.0 = all.into_iter().collect();
        Ok(())
    }
}

/// Those of `all` that an executor with `offered` can run.
pub(crate) fn served(all: &[LabelSet], offered: &LabelSet) -> Vec<LabelSet> {
    all.iter().filter(|set| set.is_served_by(offered)).cloned().collect()
}

/// Publishes hints until as many wait as jobs do: after a restart, after a loss of hints, after executors went away with
/// them. Too many are harmless, and as many as there are jobs are never added to.
pub(crate) async fn top_up(broker: &dyn Broker, store: &dyn Store) -> Result<(), ControlError> {
    for queued in store.queued_jobs().await? {
        let queue = topology::tasks(&queued.label_set);
        broker.declare(&queue).await?;
        let waiting = broker.queue_length(&queue.name).await?.unwrap_or(0);
        let missing = queued.count.saturating_sub(waiting).min(HINTS_MAX);
        let mut confirms = Vec::new();
        for _ in 0..missing {
            let body = to_bytes(Hint { label_set: queued.label_set.clone() });
            let key = queued.label_set.to_string();
            confirms.push(broker.publish(Outgoing::new(topology::Exchange::Tasks, key, body)));
        }
        for confirm in confirms {
            confirm.await?;
        }
    }
    Ok(())
}

/// Sends a notice to one executor. Lost notices are harmless: it registers again, and renewals tell what is cancelled.
fn notify(broker: &dyn Broker, executor: ExecutorId, notice: ExecutorNotice) {
    let key = topology::executor(executor).name;
    drop(broker.publish(Outgoing::new(topology::Exchange::Direct, key, to_bytes(notice))));
}
