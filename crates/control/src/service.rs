//! What runs: one loop that takes executors' requests, one that looks after leases and hints (`reaper`), one that
//! keeps callbacks ([`crate::callbacks`]).
//!
//! # Who waits for whom
//!
//! A request is settled once it was handled, whether or not that worked: whoever asked asks again when no answer comes, so
//! nothing is gained by the broker delivering it twice. Registrations are handled in the order in which they came, before
//! anything behind them is taken: were two starts of one executor handled the other way round, the older one would take
//! the younger one's jobs away. All else is handled side by side, at most `REQUESTS_MAX` at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{Broker, ConsumeOptions, Consumer, Delivery, rpc, topology};
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::{
    mac::InstallationKey,
    task::{ControlRequest, from_bytes, to_bytes},
};

use crate::{
    ControlError, callbacks,
    claims::{Arrival, Desk},
    reaper,
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
    /// Stops claims from being granted.
    pub brake: Brake,
}

/// Stops claims from being granted while it is drawn: the recorder is so far behind that the stream could lose what was
/// not read yet. Clones are the same brake.
#[derive(Clone, Debug, Default)]
pub struct Brake(Arc<AtomicBool>);

impl Brake {
    /// Draws (`true`) or releases the brake.
    pub fn set(&self, drawn: bool) {
        self.0.store(drawn, Ordering::Relaxed);
    }

    /// Whether it is drawn.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests that are handled at the same time.
const REQUESTS_MAX: u16 = 256;
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
    for queue in [topology::control(), topology::unrouted(), topology::dead()] {
        broker.declare(&queue).await?;
    }
    let desk = Arc::new(Desk::new(Arc::clone(&broker), Arc::clone(&store), config.clone()));
    tokio::join!(
        take_requests(&*broker, &desk, &shutdown),
        reaper::run(&*broker, &*store, &config, &shutdown),
        callbacks::run(&*broker, &*store, &shutdown),
    );
    Ok(())
}

async fn take_requests(broker: &dyn Broker, desk: &Arc<Desk>, shutdown: &CancellationToken) {
    let mut running = JoinSet::new();
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
                Ok(request @ (ControlRequest::Register { .. } | ControlRequest::Deregister { .. })) => {
                    handle(desk, delivery, request, arrival).await;
                }
                Ok(request) => {
                    let desk = Arc::clone(desk);
                    running.spawn(async move { handle(&desk, delivery, request, arrival).await });
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

async fn handle(desk: &Desk, delivery: Delivery, request: ControlRequest, arrival: Arrival) {
    match desk.handle(request, arrival).await {
        Ok(Some(reply)) => rpc::answer(&*desk.broker, &delivery.message, to_bytes(reply)),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "a request to control could not be handled: it will be asked again"),
    }
    delivery.ack();
}
