//! One consumer group: read the stream, apply, save the place with the effect. What the effect is stands elsewhere.
//!
//! The group's place is (incarnation, offset) in the store, written in the transaction of the effect. So a group that is
//! killed anywhere reads again what it had not committed, and the effect drops what it has (last + 1 of each topic).
//! A place that was trimmed, or that belongs to a stream made anew, is told in the log and counted; the effect makes good
//! what it can, and the group goes on from the oldest event that is kept. A group that dies in between finds its place
//! lost once more.

use std::{future::Future, sync::Arc, time::Duration};

use broker::{Broker, StreamEntry, StreamError, StreamFrom, StreamReader};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

/// At most so many events are applied in one transaction: enough to be quick, few enough to stay below 10 ms.
const BATCH_EVENTS_MAX: usize = 256;
/// The first wait after a failure; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a group does with a batch.
pub trait Effect: Send + Sync + 'static {
    /// The group's name, under which its place is kept.
    fn name(&self) -> &str;
    /// What lies between the group's place and the oldest event of the stream is lost. Called before that is read; again, if
    /// it fails or the process dies before the first batch.
    fn lost_place(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Applies the entries and keeps the place `offset` of `incarnation`, in one transaction.
    fn apply(
        &self,
        incarnation: Uuid,
        offset: u64,
        entries: Vec<StreamEntry>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Runs a group until `shutdown`.
pub async fn run(broker: Arc<dyn Broker>, store: Arc<dyn Store>, effect: impl Effect, shutdown: CancellationToken) {
    let mut wait = RETRY_FIRST;
    loop {
        let failure = tokio::select! {
            () = shutdown.cancelled() => return,
            failure = follow(&*broker, &*store, &effect, &mut wait) => failure,
        };
        error!(group = effect.name(), %failure, wait_ms = wait.as_millis(), "a consumer group stands still and tries again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Follows the stream until something fails.
async fn follow(broker: &dyn Broker, store: &dyn Store, effect: &impl Effect, wait: &mut Duration) -> String {
    let mut reader = match open(broker, store, effect).await {
        Ok(reader) => reader,
        Err(failure) => return failure,
    };
    loop {
        let entries = match reader.next_batch(BATCH_EVENTS_MAX).await {
            Ok(entries) => entries,
            Err(failure) => return failure.to_string(),
        };
        let Some(offset) = entries.last().map(|entry| entry.offset) else { continue };
        if let Err(failure) = effect.apply(reader.incarnation, offset, entries).await {
            return failure.to_string();
        }
        *wait = RETRY_FIRST;
    }
}

/// Opens the stream at the group's place.
async fn open(broker: &dyn Broker, store: &dyn Store, effect: &impl Effect) -> Result<StreamReader, String> {
    let group = effect.name();
    let from = match store.group_place(group).await.map_err(|failure| failure.to_string())? {
        Some((incarnation, offset)) => StreamFrom::After { incarnation, offset },
        None => StreamFrom::First,
    };
    match broker.read_stream(from).await {
        Ok(reader) => {
            info!(group, ?from, "a consumer group reads the stream");
            Ok(reader)
        }
        Err(StreamError::Broker(failure)) => Err(failure.to_string()),
        Err(gone @ (StreamError::Trimmed { .. } | StreamError::Anew { .. })) => {
            warn!(group, %gone, "a consumer group has lost its place and begins at the oldest event");
            effect.lost_place().await.map_err(|failure| failure.to_string())?;
            broker.read_stream(StreamFrom::First).await.map_err(|failure| failure.to_string())
        }
    }
}
