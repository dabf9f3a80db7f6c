//! Looks after the event stream: how far the recorder is behind, whether claims may be granted, what may go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{Broker, embedded::EmbeddedBroker, topology};
use control::service::{Brake, BrakedBy};
use projections::recorder::GROUP;
use store::Store;
use tokio_util::sync::CancellationToken;

/// Events that every group has applied are kept in the stream up to this number, then the oldest go. RabbitMQ does that by
/// size.
const STREAM_KEPT: u64 = 500;
/// For a group that is slower than the recorder so many events are kept; one that is further behind is rebuilt from the
/// record.
const WAITED_FOR: u64 = 5_000;
/// The stream is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// What an event takes in the stream at most, as a rule: a batch of lines and one long line, 64 KiB each.
const EVENT_BYTES: u64 = 128 << 10;
/// With more events than this behind the recorder no job is granted, and what runs is held back, until it has caught up, unless
/// the option says otherwise: they are at most half of what the stream keeps.
pub(crate) const LAG_MAX: u64 = topology::EVENTS_BYTES_MAX / 2 / EVENT_BYTES;

/// What it looks at.
pub(crate) struct Stream {
    /// Who holds the stream.
    pub(crate) broker: Arc<dyn Broker>,
    /// The same, where its stream is to be trimmed.
    pub(crate) embedded: Option<Arc<EmbeddedBroker>>,
    /// Where the recorder keeps its place.
    pub(crate) store: Arc<dyn Store>,
}

/// What was seen last.
pub(crate) struct Seen {
    /// The offset behind the stream's last entry.
    pub(crate) end: Arc<AtomicU64>,
    /// How many events the recorder is behind.
    pub(crate) lag: Arc<AtomicU64>,
}

/// Looks until `shutdown`. By a timer: a recorder that stands still tells nothing.
pub(crate) async fn run(stream: Stream, lag_max: u64, seen: Seen, brake: Brake, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trimmed = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = timer.tick() => {}
        }
        // The place first: what comes to the stream meanwhile counts as behind, never as ahead.
        let Ok(place) = stream.store.group_place(GROUP).await else { continue };
        let Ok(Some(end)) = stream.broker.stream_end().await else { continue };
        let next = place.map_or(0, |(_, offset)| offset + 1);
        let behind = end.saturating_sub(next);
        seen.end.store(end, Ordering::Relaxed);
        seen.lag.store(behind, Ordering::Relaxed);
        brake.set(BrakedBy::Lag, behind > lag_max);
        if stream.embedded.is_none() {
            continue;
        }
        let Ok(groups) = stream.store.groups().await else { continue };
        let slowest = groups.iter().filter_map(|group| group.offset).min().map_or(next, |offset| next.min(offset + 1));
        let keep_from = slowest.max(next.saturating_sub(WAITED_FOR)).saturating_sub(STREAM_KEPT);
        if let Some(embedded) = stream.embedded.as_ref().filter(|_| keep_from > trimmed) {
            drop(embedded.trim_stream(keep_from)); // Trimmed again the next time if it fails.
            trimmed = keep_from;
        }
    }
}
