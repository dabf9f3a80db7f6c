//! The group `analytics`: counts builds, jobs and steps as their events come ([`store::analytics`] says what), so that
//! statistics are read without a look at any build. Nobody waits for it: it lets events gather.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{Broker, StreamEntry};
use store::{
    Store, StoreError,
    analytics::{CountBatch, GROUP},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use wire::mac::InstallationKey;

use crate::{
    group::{self, Effect},
    recorder::genuine,
};

/// Batches begin so far apart: a few transactions a second at most.
const PACE: Duration = Duration::from_millis(250);
/// Builds of the record that are counted in one transaction.
const RECOUNTED: u32 = 16;

/// Runs the group until `shutdown`. `member` is the name of this process.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
    member: String,
    shutdown: CancellationToken,
) {
    let effect = Analytics { store: Arc::clone(&store), key, has_lost: AtomicBool::new(false) };
    group::run(broker, store, effect, member, shutdown).await;
}

struct Analytics {
    store: Arc<dyn Store>,
    key: InstallationKey,
    /// The stream has lost events since the last rebuild.
    has_lost: AtomicBool,
}

impl Effect for Analytics {
    fn name(&self) -> &str {
        GROUP
    }

    async fn lost_place(&self) -> Result<(), StoreError> {
        self.store.count_loss(GROUP).await?;
        self.has_lost.store(true, Ordering::Relaxed);
        warn!("statistics are counted anew from the record");
        Ok(())
    }

    async fn apply(&self, incarnation: Uuid, offset: u64, entries: Vec<StreamEntry>) -> Result<(), StoreError> {
        let first = entries.first().map_or(offset, |entry| entry.offset);
        // What is not genuine the recorder tells of.
        let events = entries.iter().filter_map(|entry| genuine(&self.key, &entry.body).ok()).collect();
        self.store.count(CountBatch { incarnation, first, offset, events }).await
    }

    fn pace(&self) -> Duration {
        PACE
    }

    fn can_rebuild(&self) -> bool {
        true
    }

    async fn rebuild(&self, done: &AtomicU64) -> Result<(), StoreError> {
        let may_skip = self.has_lost.load(Ordering::Relaxed);
        while self.store.forget_counts().await? {}
        let mut after = None;
        while let Some((last, builds)) = self.store.recount(after, RECOUNTED, may_skip).await? {
            done.fetch_add(builds, Ordering::Relaxed);
            after = Some(last);
        }
        self.has_lost.store(false, Ordering::Relaxed);
        Ok(())
    }
}
