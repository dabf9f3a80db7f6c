//! One consumer group: read the stream, apply, save the place with the effect. What the effect is stands elsewhere.
//!
//! The group's place is (incarnation, offset) in the store, written in the transaction of the effect. So a group that is
//! killed anywhere reads again what it had not committed, and the effect drops what it has (last + 1 of each topic).
//! A place that was trimmed, or that belongs to a stream made anew, is told in the log and counted; the effect makes good
//! what it can, and the group goes on from the oldest event that is kept. A group that dies in between finds its place
//! lost once more. One whose effect can be rebuilt is made anew from the record instead.
//!
//! What a person wishes of the group (pause, rebuild) stands in the store, where its member that reads looks every second;
//! there it tells what it does, too, when that has changed ([`told`]). No group waits for another one.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{Broker, StreamEntry, StreamError, StreamFrom, StreamReader};
use store::{Store, StoreError, groups::Wish};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;
use wire::group::{GroupState, Progress};

use told::Teller;

pub mod told;

/// At most so many events are applied in one transaction: enough to be quick, few enough to stay below 10 ms.
const BATCH_EVENTS_MAX: usize = 256;
/// The first wait after a failure; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait after failures.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Wishes are looked at, and changes told, this often.
const LOOK: Duration = Duration::from_secs(1);

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
    /// The wait between two batches: events gather meanwhile, so that a group which nobody waits for costs few transactions.
    fn pace(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether what it keeps can be made anew from the record: then [`Effect::rebuild`] is called when a person wants it, when
    /// the group has no place yet, and when it has lost it.
    fn can_rebuild(&self) -> bool {
        false
    }
    /// Makes it anew, between [`store::Groups::begin_rebuild`] and [`store::Groups::end_rebuild`], in short steps; adds the builds
    /// that it has read to `done`. It begins from the start each time that it is called.
    fn rebuild(&self, done: &AtomicU64) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = done;
        async { Ok(()) }
    }
}

/// Runs a group until `shutdown`. `member` is the name of this process.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    effect: impl Effect,
    member: String,
    shutdown: CancellationToken,
) {
    let mut reading = Reading { teller: Teller::new(&*store, effect.name(), member), wait: RETRY_FIRST };
    loop {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = reading.until_it_ends(&*broker, &*store, &effect) => ended,
        };
        let Err(failure) = ended else { continue };
        let wait = reading.wait;
        error!(group = effect.name(), %failure, wait_ms = wait.as_millis(), "a consumer group stands still and tries again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = reading.after(failure, &*store, effect.name()) => {}
        }
        reading.wait = (wait * 2).min(RETRY_MAX);
    }
}

/// What lasts from one reader to the next.
struct Reading<'a> {
    teller: Teller<'a>,
    wait: Duration,
}

impl Reading<'_> {
    /// Does what is wished until something fails or the wish changes.
    async fn until_it_ends(
        &mut self,
        broker: &dyn Broker,
        store: &dyn Store,
        effect: &impl Effect,
    ) -> Result<(), String> {
        let group = effect.name();
        let wish = wished(store, group).await?;
        if wish.paused {
            info!(group, "a consumer group is paused");
            self.teller.tell(GroupState::Paused, None, None).await;
            while wished(store, group).await?.paused {
                sleep(LOOK).await;
                self.teller.look().await;
            }
            return Ok(());
        }
        if effect.can_rebuild() {
            let is_new = place(store, group).await?.is_none();
            if (wish.rebuild || is_new) && !self.rebuild(store, effect).await? {
                return Ok(());
            }
        }
        let Some(reader) = self.open(broker, store, effect).await? else { return Ok(()) };
        self.follow(reader, store, effect).await
    }

    /// Tells of a failure and waits; no longer, if a person changes their mind.
    async fn after(&mut self, failure: String, store: &dyn Store, group: &str) {
        self.teller.tell(GroupState::Failing, Some(failure), None).await;
        let (until, wish) = (Instant::now() + self.wait, store.group_wish(group).await.ok());
        while Instant::now() < until && store.group_wish(group).await.ok() == wish {
            sleep(LOOK.min(until - Instant::now())).await;
        }
    }

    /// Makes anew what the group keeps; false if it was paused meanwhile: it begins again when it is resumed.
    async fn rebuild(&mut self, store: &dyn Store, effect: &impl Effect) -> Result<bool, String> {
        let group = effect.name();
        let total = store.begin_rebuild(group).await.map_err(|failure| failure.to_string())?;
        info!(group, builds = total, "a consumer group makes anew what it keeps, from the record");
        let done = AtomicU64::new(0);
        let progress = || {
            let done = done.load(Ordering::Relaxed);
            // Builds may come while it runs.
            Some(Progress { done, total: total.max(done) })
        };
        self.teller.tell(GroupState::Rebuilding, None, progress()).await;
        let mut rebuilding = std::pin::pin!(effect.rebuild(&done));
        let mut ticks = ticks();
        loop {
            tokio::select! {
                ended = &mut rebuilding => {
                    ended.map_err(|failure| failure.to_string())?;
                    break;
                }
                _ = ticks.tick() => {
                    self.teller.tell(GroupState::Rebuilding, None, progress()).await;
                    if wished(store, group).await?.paused {
                        return Ok(false);
                    }
                }
            }
        }
        store.end_rebuild(group).await.map_err(|failure| failure.to_string())?;
        info!(group, builds = done.load(Ordering::Relaxed), "what the group keeps is made anew");
        Ok(true)
    }

    /// Opens the stream at the group's place; none if the wish has changed meanwhile.
    async fn open(
        &mut self,
        broker: &dyn Broker,
        store: &dyn Store,
        effect: &impl Effect,
    ) -> Result<Option<StreamReader>, String> {
        let group = effect.name();
        let from = from(place(store, group).await?);
        let gone = match broker.read_stream(from).await {
            Ok(reader) => {
                info!(group, ?from, "a consumer group reads the stream");
                return Ok(Some(reader));
            }
            Err(StreamError::Broker(failure)) => return Err(failure.to_string()),
            Err(gone @ (StreamError::Trimmed { .. } | StreamError::Anew { .. })) => gone,
        };
        warn!(group, %gone, "a consumer group has lost its place");
        effect.lost_place().await.map_err(|failure| failure.to_string())?;
        if effect.can_rebuild() {
            if !self.rebuild(store, effect).await? {
                return Ok(None);
            }
            // Where the recorder stands now; if that is lost too, the oldest event: what comes twice counts once.
            if let Ok(reader) = broker.read_stream(self::from(place(store, group).await?)).await {
                return Ok(Some(reader));
            }
        }
        info!(group, "it begins at the oldest event");
        broker.read_stream(StreamFrom::First).await.map(Some).map_err(|failure| failure.to_string())
    }

    /// Follows the stream until something fails or the wish changes.
    async fn follow(
        &mut self,
        mut reader: StreamReader,
        store: &dyn Store,
        effect: &impl Effect,
    ) -> Result<(), String> {
        let mut ticks = ticks();
        loop {
            let entries = tokio::select! {
                _ = ticks.tick() => {
                    // All that was given is applied, and what was passed over was not for the group.
                    self.teller.passed(reader.incarnation, reader.passed());
                    // Not before: what fails at its first batch is not running.
                    self.teller.runs();
                    self.teller.look().await;
                    let wish = wished(store, effect.name()).await?;
                    if wish.paused || (wish.rebuild && effect.can_rebuild()) {
                        return Ok(());
                    }
                    continue;
                }
                entries = reader.next_batch(BATCH_EVENTS_MAX) => entries.map_err(|failure| failure.to_string())?,
            };
            let Some(offset) = entries.last().map(|entry| entry.offset) else { continue };
            let count = entries.len() as u64;
            effect.apply(reader.incarnation, offset, entries).await.map_err(|failure| failure.to_string())?;
            self.teller.applied(count);
            self.wait = RETRY_FIRST;
            sleep(effect.pace()).await;
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + LOOK, LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn wished(store: &dyn Store, group: &str) -> Result<Wish, String> {
    store.group_wish(group).await.map_err(|failure| failure.to_string())
}

async fn place(store: &dyn Store, group: &str) -> Result<Option<(Uuid, u64)>, String> {
    store.group_place(group).await.map_err(|failure| failure.to_string())
}

fn from(place: Option<(Uuid, u64)>) -> StreamFrom {
    place.map_or(StreamFrom::First, |(incarnation, offset)| StreamFrom::After { incarnation, offset })
}
