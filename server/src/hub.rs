//! Changes of builds and pipelines for those who wait in this process: `Prefer: wait`, live queries. One private queue
//! bound to their keys, read once. Who waits for one build is told of that build alone: ten thousand requests may wait, and
//! an event costs the look-up of its build.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::{Broker, BrokerError, ConsumeOptions, Consumer, Incoming, topology};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::{
    BuildId, Event, EventMessage, Topic,
    task::{AccessChanged, from_bytes},
};

/// Tells what happens to builds.
pub(crate) struct Hub {
    // A std mutex: held for a map operation, never across an await. None once the hub tells nothing any more.
    builds: Mutex<Option<HashMap<BuildId, watch::Sender<News>>>>,
    changes: watch::Sender<u64>,
    /// Changes of access; none where any may have been missed.
    access: mpsc::Sender<Option<AccessChanged>>,
}

/// What was heard of a build since somebody waits for it. Where events may have been missed both rise: the store knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    /// Events.
    pub(crate) changes: u64,
    /// Of these, ends.
    pub(crate) ends: u64,
}

/// News of one build.
pub(crate) struct Waiter {
    hub: Arc<Hub>,
    build: BuildId,
    news: watch::Receiver<News>,
    /// Ends that were told before.
    ends: u64,
}

impl Waiter {
    /// Waits for an end that was told since the last call, or since this was made. False when the hub tells nothing any more.
    pub(crate) async fn end(&mut self) -> bool {
        let Ok(told) = self.news.wait_for(|news| news.ends != self.ends).await.map(|news| news.ends) else {
            return false;
        };
        self.ends = told;
        true
    }

    /// Waits for anything new. False as above.
    pub(crate) async fn change(&mut self) -> bool {
        self.news.changed().await.is_ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(builds) = &mut *self.hub.builds()
            && builds.get(&self.build).is_some_and(|news| news.receiver_count() <= 1)
        {
            builds.remove(&self.build);
        }
    }
}

/// The wait before a queue that went away is declared anew.
const RETRY: Duration = Duration::from_millis(500);

/// How long the queue of a former process of this name may take to be free: its broker must notice that it is gone.
const FORMER_PATIENCE: Duration = Duration::from_secs(5);

impl Hub {
    /// A hub that nobody speaks to yet, and the queue that it will read. Everything published after the answer is told.
    pub(crate) async fn start(
        broker: &dyn Broker,
        instance: &str,
        access: mpsc::Sender<Option<AccessChanged>>,
    ) -> Result<(Arc<Self>, Consumer), BrokerError> {
        let builds = Mutex::new(Some(HashMap::new()));
        let hub = Arc::new(Self { builds, changes: watch::channel(0).0, access });
        let patience = tokio::time::Instant::now() + FORMER_PATIENCE;
        loop {
            match consume(broker, instance).await {
                Err(BrokerError::InUse(_)) if tokio::time::Instant::now() < patience => tokio::time::sleep(RETRY).await,
                consumed => return Ok((hub, consumed?)),
            }
        }
    }

    /// Tells until `shutdown`; then nobody waits any more. A queue that went away is declared anew, and everybody looks at the
    /// store.
    pub(crate) async fn run(
        &self,
        broker: &dyn Broker,
        instance: &str,
        consumer: Consumer,
        shutdown: CancellationToken,
    ) {
        self.read(broker, instance, consumer, &shutdown).await;
        *self.builds() = None;
    }

    async fn read(&self, broker: &dyn Broker, instance: &str, mut consumer: Consumer, shutdown: &CancellationToken) {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => return,
                delivery = consumer.next() => delivery,
            };
            if let Some(delivery) = delivery {
                self.tell(&delivery.message);
                delivery.ack();
                continue;
            }
            consumer = loop {
                match consume(broker, instance).await {
                    Ok(consumer) => break consumer,
                    Err(failure) => {
                        warn!(%failure, "the watch queue went away and cannot be had again; it is tried again")
                    }
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            };
            for news in self.builds().iter().flat_map(HashMap::values) {
                news.send_modify(|news| (news.changes, news.ends) = (news.changes + 1, news.ends + 1));
            }
            self.changed();
            self.tell_access(None);
        }
    }

    /// Where there is no room everything is looked at by itself soon.
    fn tell_access(&self, changed: Option<AccessChanged>) {
        if self.access.try_send(changed).is_err() {
            warn!("too many changes of access wait: they are found by themselves");
        }
    }

    fn tell(&self, message: &Incoming) {
        if message.key == topology::PIPELINES {
            return self.changed();
        }
        if message.key == topology::ACCESS {
            return match from_bytes(&message.body) {
                Ok(changed) => self.tell_access(Some(changed)),
                Err(failure) => {
                    warn!(%failure, "a change of access cannot be read: all access is looked at");
                    self.tell_access(None);
                }
            };
        }
        // `recorded` hints come by the same key: no events, no change of a list.
        let Ok(message) = EventMessage::decode(&message.body) else { return };
        let Topic::Build(build) = message.topic else { return };
        if let Some(news) = self.builds().as_ref().and_then(|builds| builds.get(&build)) {
            let end = u64::from(matches!(message.parse(), Ok(Event::BuildFinished { .. })));
            news.send_modify(|news| (news.changes, news.ends) = (news.changes + 1, news.ends + end));
        }
        self.changed();
    }

    /// Something that lists show has changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever a build or a pipeline does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// News of a build, from now on: who looks at the store after this misses nothing.
    pub(crate) fn build(self: &Arc<Self>, build: BuildId) -> Waiter {
        let news = match &mut *self.builds() {
            Some(builds) => builds.entry(build).or_default().subscribe(),
            None => watch::channel(News::default()).1,
        };
        let ends = news.borrow().ends;
        Waiter { hub: Arc::clone(self), build, news, ends }
    }

    /// How many wait for news of a build.
    pub(crate) fn waiters(&self) -> usize {
        self.builds().iter().flat_map(HashMap::values).map(watch::Sender::receiver_count).sum()
    }

    fn builds(&self) -> MutexGuard<'_, Option<HashMap<BuildId, watch::Sender<News>>>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn consume(broker: &dyn Broker, instance: &str) -> Result<Consumer, BrokerError> {
    let queue = topology::watch(instance);
    broker.declare(&queue).await?;
    broker.consume(&queue.name, ConsumeOptions { prefetch: 1000, exclusive: true }).await
}
