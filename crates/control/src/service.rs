//! What runs: one loop that takes executors' requests, one that looks after leases and hints (`reaper`), one that
//! keeps callbacks ([`crate::callbacks`]), one that keeps dead letters ([`crate::dead_letters`]), one that writes receipts down ([`crate::receipts`]).
//!
//! # Who waits for whom
//!
//! A request is settled once it was handled, whether or not that worked: whoever asked asks again when no answer comes, so
//! nothing is gained by the broker delivering it twice. Requests are taken as they come and wait here, not in the queue,
//! because their age counts from when they were taken: a claim whose requester has given up must not be granted. All are
//! handled side by side, at most `REQUESTS_MAX` at a time, but for one thing: registrations of one executor are handled in
//! the order in which they came, and before its claims that came behind them. Were two starts of one executor handled the
//! other way round, the older one would take the younger one's jobs away.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{
    Broker, ConsumeOptions, Consumer, Delivery, rpc,
    topology::{self, Queue},
};
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::{
    ExecutorId,
    mac::InstallationKey,
    task::{ControlRequest, from_bytes, to_bytes},
};

use crate::{
    ControlError, callbacks,
    claims::{Arrival, Desk},
    dead_letters, gateways, reaper, receipts,
    secrets::SecretKeys,
};

/// How long a lease lasts unless configured: long enough for a short stall, short enough that a person still waits.
pub const LEASE: Duration = Duration::from_secs(15);

/// What control must be told.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// How long a lease lasts. Executors renew within a third of it; the reaper looks every quarter.
    pub lease: Duration,
    /// Base of the URL for uploads, as executors reach it: `http://127.0.0.1:3000`.
    pub upload_url: String,
    /// What keys and tokens of attempts are derived from.
    pub key: InstallationKey,
    /// What secrets are encrypted with.
    pub secret_keys: SecretKeys,
    /// Stops claims from being granted, and holds back what runs.
    pub brake: Brake,
}

/// While it is drawn no claim is granted, and executors read no more of what their steps print: what comes would be more
/// than can be kept. Clones are the same brake.
#[derive(Clone, Debug, Default)]
pub struct Brake(Arc<[AtomicBool; 2]>);

/// Who draws a [`Brake`]. It is released when neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrakedBy {
    /// The recorder is so far behind that the stream could lose what was not read yet.
    Lag,
    /// The disk has too little room.
    Disk,
}

impl Brake {
    /// Draws (`true`) or releases the brake, as far as `by` goes.
    pub fn set(&self, by: BrakedBy, drawn: bool) {
        self.0[by as usize].store(drawn, Ordering::Relaxed);
    }

    /// Whether it is drawn.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.0.iter().any(|drawn| drawn.load(Ordering::Relaxed))
    }
}

/// Requests that are handled at the same time. Beyond it they wait in the broker's queue, where their age is not seen, so it
/// is far above what executors ask in the time that one of them waits for an answer.
const REQUESTS_MAX: u16 = 4096;
/// After the broker refused to let a queue be consumed, and after it went away.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Runs control until `shutdown`. What it has begun by then is brought to its end.
///
/// # Errors
/// When the queues of control cannot be had at the start. Later failures are logged and tried again.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    config: ControlConfig,
    shutdown: CancellationToken,
) -> Result<(), ControlError> {
    for queue in [topology::control(), topology::unrouted(), topology::dead(), topology::receipts()] {
        broker.declare(&queue).await?;
    }
    let desk = Arc::new(Desk::new(Arc::clone(&broker), Arc::clone(&store), config.clone()));
    tokio::join!(
        take_requests(&*broker, &desk, &shutdown),
        reaper::run(&*broker, &*store, &config, &shutdown),
        gateways::run(&*broker, &*store, &config, &shutdown),
        callbacks::run(&*broker, &*store, &shutdown),
        dead_letters::run(&*broker, &*store, &shutdown),
        receipts::run(&*broker, &*store, &shutdown),
    );
    Ok(())
}

async fn take_requests(broker: &dyn Broker, desk: &Arc<Desk>, shutdown: &CancellationToken) {
    let mut running = JoinSet::new();
    let mut turns = Turns::default();
    while let Some((mut consumer, mut backlog)) = begin(broker, shutdown).await {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => break,
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            while running.try_join_next().is_some() {}
            let age_is_known = backlog == 0 && !delivery.message.redelivered;
            backlog = backlog.saturating_sub(1);
            let arrival = Arrival { at: Instant::now(), age_is_known };
            match from_bytes::<ControlRequest>(&delivery.message.body) {
                Err(error) => {
                    tracing::warn!(%error, "a request to control cannot be read and goes to the dead letters");
                    delivery.reject(error.to_string());
                }
                Ok(request) => {
                    let desk = Arc::clone(desk);
                    let turn = turns.of(&request);
                    running.spawn(async move {
                        let _ends = turn.begun().await;
                        handle(&desk, delivery, request, arrival).await;
                    });
                }
            }
        }
        if shutdown.is_cancelled() {
            break;
        }
        tracing::warn!("the broker closed the queue of requests: consuming it anew");
    }
    while running.join_next().await.is_some() {}
}

/// The last registration of each executor that has any under way.
#[derive(Default)]
struct Turns(HashMap<ExecutorId, CancellationToken>);

/// When a request may be handled, and who waits for it.
struct Turn {
    behind: Option<CancellationToken>,
    ends: Option<DropGuard>,
}

impl Turns {
    fn of(&mut self, request: &ControlRequest) -> Turn {
        match request {
            ControlRequest::Register { executor, .. } | ControlRequest::Deregister { executor, .. } => {
                self.0.retain(|_, last| !last.is_cancelled());
                let ended = CancellationToken::new();
                let behind = self.0.insert(*executor, ended.clone());
                Turn { behind, ends: Some(ended.drop_guard()) }
            }
            ControlRequest::Claim { executor, .. } => Turn { behind: self.0.get(executor).cloned(), ends: None },
            // The database refuses these by incarnation and term, whoever has registered meanwhile.
            ControlRequest::Renew { .. } | ControlRequest::Finish { .. } => Turn { behind: None, ends: None },
        }
    }
}

impl Turn {
    /// Waits for what came before. Who is behind this one may go on when the answer is dropped, however that happens.
    async fn begun(self) -> Option<DropGuard> {
        if let Some(behind) = self.behind {
            behind.cancelled().await;
        }
        self.ends
    }
}

/// A consumer of the queue of requests and how many waited in it when it began: their age is not known. None at shutdown.
async fn begin(broker: &dyn Broker, shutdown: &CancellationToken) -> Option<(Consumer, u64)> {
    let mut has_failed = false;
    loop {
        if shutdown.is_cancelled() {
            return None;
        }
        let begun = async {
            broker.declare(&topology::control()).await?;
            let backlog = broker.queue_length(topology::CONTROL).await?.unwrap_or(0);
            let options = ConsumeOptions { prefetch: REQUESTS_MAX, exclusive: false };
            Ok::<_, broker::BrokerError>((broker.consume(topology::CONTROL, options).await?, backlog))
        };
        match begun.await {
            Ok(begun) => return Some(begun),
            Err(error) if !has_failed => {
                tracing::warn!(%error, "the queue of requests cannot be consumed: trying until it can");
                has_failed = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
        }
    }
}

/// Consumers of a queue, one after the other.
pub(crate) struct Consumers<'a> {
    broker: &'a dyn Broker,
    queue: Queue,
    prefetch: u16,
    shutdown: &'a CancellationToken,
    has_begun: bool,
}

impl<'a> Consumers<'a> {
    pub(crate) fn of(broker: &'a dyn Broker, queue: Queue, prefetch: u16, shutdown: &'a CancellationToken) -> Self {
        Self { broker, queue, prefetch, shutdown, has_begun: false }
    }

    /// The first one, or another one, after a pause, for one that was given up. None at shutdown.
    pub(crate) async fn next(&mut self) -> Option<Consumer> {
        let mut has_failed = false;
        loop {
            if std::mem::replace(&mut self.has_begun, true) {
                tokio::select! {
                    () = self.shutdown.cancelled() => return None,
                    () = tokio::time::sleep(RECONNECT_PAUSE) => {}
                }
            }
            let begun = async {
                self.broker.declare(&self.queue).await?;
                let options = ConsumeOptions { prefetch: self.prefetch, exclusive: false };
                self.broker.consume(&self.queue.name, options).await
            };
            match begun.await {
                Ok(consumer) => return Some(consumer),
                Err(error) if !has_failed => {
                    tracing::warn!(%error, queue = self.queue.name, "a queue cannot be consumed: trying until it can");
                    has_failed = true;
                }
                Err(_) => {}
            }
        }
    }
}

async fn handle(desk: &Desk, delivery: Delivery, request: ControlRequest, arrival: Arrival) {
    match desk.handle(request, arrival).await {
        Ok(Some(reply)) => rpc::answer(&*desk.broker, &delivery.message, to_bytes(reply)),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "a request to control could not be handled: it will be asked again"),
    }
    delivery.ack();
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;
    use wire::LabelSet;

    use super::*;

    #[test]
    fn registrations_of_one_executor_and_its_claims_behind_them_keep_their_order() {
        let [one, other] = [(); 2].map(|()| ExecutorId(Uuid::new_v4()));
        let register = |executor| ControlRequest::Register {
            executor,
            incarnation: Uuid::new_v4(),
            name: "one".to_owned(),
            labels: LabelSet::default(),
            slots: 1,
            isolation: wire::Isolation::Plain,
            secret: None,
        };
        let claim = |executor| ControlRequest::Claim {
            claim_id: Uuid::new_v4(),
            executor,
            incarnation: Uuid::new_v4(),
            label_set: LabelSet::default(),
            patience_ms: 1,
            secrets_key: None,
        };
        let renew = ControlRequest::Renew { executor: one, incarnation: Uuid::new_v4(), leases: Vec::new() };
        let mut turns = Turns::default();
        let early = turns.of(&claim(one));
        let [first, second, claimed] =
            [register(one), register(one), claim(one)].map(|request| Box::pin(turns.of(&request).begun()));
        for free in [early, turns.of(&register(other)), turns.of(&claim(other)), turns.of(&renew)] {
            assert!(free.begun().now_or_never().is_some());
        }
        let (mut second, mut claimed) = (second, claimed);
        let ends = first.now_or_never().expect("nothing is before the first");
        assert!((&mut second).now_or_never().is_none(), "the first is still handled");
        drop(ends);
        assert!((&mut claimed).now_or_never().is_none(), "the second has not begun");
        let ends = second.now_or_never().expect("the first has ended");
        assert!((&mut claimed).now_or_never().is_none(), "the second is still handled");
        drop(ends);
        assert!(claimed.now_or_never().is_some());
        assert!(turns.of(&claim(one)).begun().now_or_never().is_some(), "and who comes later waits for nobody");
    }
}
