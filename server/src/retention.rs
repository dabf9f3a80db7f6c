//! Lets go of what has outlived its time: builds by age, number and size, artifacts by age, payloads that
//! nobody refers to, and what deleted builds have left.
//! One process with the artifacts at hand does it at a time. The rows go before the files: whoever is killed in between
//! leaves files that nobody knows, and those are collected too ([`orphans`]). What the rules say of a build is asked of the
//! store ([`store::Kept`]); here is only how they are put together, and when.

mod orphans;

use std::{sync::Arc, time::Duration};

use broker::{
    Broker, Outgoing,
    topology::{self, Exchange},
};
use object_store::{ObjectStore as _, path::Path as ObjectPath};
use store::{
    Store, StoreError,
    model::retention::{Deletion, Outlived, PipelineRetention},
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::{
    ArtifactId, JobId, PipelineName, Timestamp,
    pipeline::RetentionSpec,
    task::{PipelineChanged, to_bytes},
};

use crate::{objects::Objects, payloads};

/// Microseconds of a day.
const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;
/// Builds looked for at once; each is deleted in a transaction of its own.
const BATCH: u32 = 64;
/// Builds that are looked up at once: each look ranks all of a pipeline.
const LOOK_BUILDS: u32 = 4096;
/// Entries of the audit log that are forgotten in one transaction.
const ENTRIES: u32 = 500;
/// Files without rows are looked for this often, and at the start.
const ORPHANS_EVERY: Duration = Duration::from_secs(3600);

/// What it works with.
#[derive(Clone)]
pub(crate) struct Keeper {
    /// The rows.
    pub(crate) store: Arc<dyn Store>,
    /// The files.
    pub(crate) objects: Objects,
    /// So long a payload is kept that nobody refers to.
    pub(crate) payload_keep: Duration,
    /// Tells lists that builds are gone.
    pub(crate) broker: Arc<dyn Broker>,
    /// What counts for pipelines that say nothing.
    pub(crate) rules: RetentionSpec,
    /// Days that entries of the audit log are kept.
    pub(crate) audit_days: u32,
    /// Between two looks.
    pub(crate) look: Duration,
    /// A person has deleted a build.
    pub(crate) deleted: Arc<Notify>,
}

impl Keeper {
    /// Looks until `shutdown`. A failure is logged when it begins and tried again with the next look.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut timer = tokio::time::interval(self.look);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut has_failed, mut orphans_next) = (false, Instant::now());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = timer.tick() => {}
                () = self.deleted.notified() => {}
            }
            let looked = async {
                self.look_once().await?;
                if Instant::now() >= orphans_next {
                    orphans::collect(&*self.store, &self.objects).await?;
                    orphans_next = Instant::now() + ORPHANS_EVERY;
                }
                Ok::<(), StoreError>(())
            };
            // Every step of it is a whole transaction: it may end between any two.
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = looked => looked,
            };
            match looked {
                Ok(()) => has_failed = false,
                Err(failure) => {
                    if !has_failed {
                        warn!(%failure, "what has outlived its time cannot be deleted: it is tried until it can");
                    }
                    has_failed = true;
                }
            }
        }
    }

    async fn look_once(&self) -> Result<(), StoreError> {
        // What was left by deletions of a former process as well.
        self.sweep().await?;
        for PipelineRetention { pipeline, spec } in self.store.retentions().await? {
            let rules = spec.or(self.rules);
            if rules.size_bytes.is_some_and(|size| size > 0) {
                while self.store.count_bytes(BATCH).await? > 0 {}
            }
            let now = self.store.now().await?;
            self.delete_builds(&pipeline, &rules, now).await?;
            self.delete_artifacts(&pipeline, &rules, now).await?;
        }
        self.delete_payloads().await?;
        let before = self.store.now().await?.plus_micros(-i64::from(self.audit_days) * DAY_MICROS);
        while self.store.forget_entries(before, ENTRIES).await? == u64::from(ENTRIES) {}
        Ok(())
    }

    /// Payloads that nobody refers to.
    async fn delete_payloads(&self) -> Result<(), StoreError> {
        let keep = i64::try_from(self.payload_keep.as_micros()).unwrap_or(i64::MAX);
        let before = self.store.now().await?.plus_micros(-keep);
        loop {
            let unused = self.store.forget_unused_payloads(before, BATCH).await?;
            if unused.is_empty() {
                return Ok(());
            }
            for id in unused {
                self.remove_object(&payloads::object_path(id)).await;
            }
        }
    }

    async fn delete_builds(
        &self,
        name: &PipelineName,
        rules: &RetentionSpec,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rule = Outlived {
            before: days_before(rules.days, now),
            builds: rules.builds.filter(|builds| *builds > 0).map(u64::from),
            bytes: rules.size_bytes.filter(|size| *size > 0),
            // So long a trigger with the same key is answered with the same build.
            keys_before: now.plus_micros(-DAY_MICROS),
        };
        if (rule.before, rule.builds, rule.bytes) == (None, None, None) {
            return Ok(());
        }
        let mut deleted = 0_u64;
        loop {
            let outlived = self.store.outlived(name, rule, LOOK_BUILDS).await?;
            let before = deleted;
            for build in outlived {
                if self.store.delete_build(build, None).await? == Deletion::Done {
                    deleted += 1;
                    if deleted.is_multiple_of(u64::from(BATCH)) {
                        self.sweep().await?;
                    }
                }
            }
            // The others have just finished: they go at a later look.
            if deleted == before {
                break;
            }
            self.sweep().await?;
        }
        if deleted > 0 {
            info!(pipeline = %name, builds = deleted, "builds that have outlived their time were deleted");
            tell(&*self.broker, name);
        }
        Ok(())
    }

    async fn delete_artifacts(
        &self,
        name: &PipelineName,
        rules: &RetentionSpec,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(before) = days_before(rules.artifacts_days, now) else { return Ok(()) };
        loop {
            let outlived = self.store.outlived_artifacts(name, before, BATCH).await?;
            if outlived.is_empty() {
                return Ok(());
            }
            let ids: Vec<ArtifactId> = outlived.iter().map(|(_, id)| *id).collect();
            self.store.forget_artifacts(&ids).await?;
            self.remove(outlived).await;
        }
    }

    /// What deleted builds have left.
    async fn sweep(&self) -> Result<(), StoreError> {
        loop {
            let swept = self.store.sweep().await?;
            self.remove(swept.artifacts).await;
            if !swept.more {
                return Ok(());
            }
        }
    }

    /// Files whose rows are gone. One that cannot be removed now is an orphan, and is collected later.
    async fn remove(&self, files: Vec<(JobId, ArtifactId)>) {
        for (job, id) in files {
            self.remove_object(&ObjectPath::from(format!("{job}/{id}"))).await;
        }
    }

    async fn remove_object(&self, path: &ObjectPath) {
        match self.objects.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(failure) => warn!(%failure, %path, "an object that is not needed any more cannot be removed now"),
        }
    }
}

/// Lists show that something of the pipeline has changed. A hint: who does not get it looks again by itself.
pub(crate) fn tell(broker: &dyn Broker, pipeline: &PipelineName) {
    let hint = to_bytes(PipelineChanged { pipeline: pipeline.clone() });
    drop(broker.publish(Outgoing::new(Exchange::Utils, topology::PIPELINES, hint)));
}

fn days_before(days: Option<u32>, now: Timestamp) -> Option<Timestamp> {
    let days = days.filter(|days| *days > 0)?;
    Some(now.plus_micros(-i64::from(days).saturating_mul(DAY_MICROS)))
}
