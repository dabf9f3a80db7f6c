//! The gateway instance: its workers, and the way of a socket to one of them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{Broker, BrokerError};
use futures_util::{Sink, SinkExt, Stream};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;
use wire::{Authority, CloseCode, ServerId, view::WorkerView};

use crate::{
    Desk, GatewayConfig, SocketIn, SocketOut,
    intake::QueueState,
    place::rendezvous,
    socket::{self, SocketId},
    supervisor::{Life, Slot},
    worker::{Context, Event},
};

/// How long a start waits for a queue that another process holds: a process that was killed just now lets go of it.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The instance's name is not one.
    #[error("the gateway cannot start: {0}")]
    Instance(String),
    /// It would hold no socket.
    #[error("the gateway cannot start with 0 workers: at least 1 is needed")]
    NoWorkers,
    /// Another process runs under the same name.
    #[error("queue {queue} is held by another process: give each gateway an instance name of its own")]
    Taken {
        /// The worker's queue.
        queue: String,
    },
}

/// Between two groups of sockets that are told to go.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// A running gateway instance. It ends with the token that it was started with.
pub struct Gateway {
    slots: Vec<Slot>,
    config: GatewayConfig,
    sockets_opened: AtomicU64,
    draining: AtomicBool,
    /// No socket is taken any more.
    closed: AtomicBool,
    supervisors: TaskTracker,
}

impl Gateway {
    /// Starts every worker and waits until each has its queue, or knows that the broker cannot give it now (then the
    /// worker goes on trying, and its sockets are served without messages meanwhile).
    ///
    /// # Errors
    /// When the configuration is not valid or another process has the same instance name.
    pub async fn start(
        broker: Arc<dyn Broker>,
        desk: Arc<dyn Desk>,
        config: GatewayConfig,
        shutdown: CancellationToken,
    ) -> Result<Arc<Gateway>, GatewayError> {
        if config.workers == 0 {
            return Err(GatewayError::NoWorkers);
        }
        let slot = |n| {
            Ok(Slot::new(Arc::new(Context {
                server_id: ServerId::new(&config.instance, n).map_err(GatewayError::Instance)?,
                broker: Arc::clone(&broker),
                desk: Arc::clone(&desk),
                config: config.clone(),
                queue: watch::Sender::new(QueueState::Starting),
                topics: AtomicU64::new(0),
                in_hand: Mutex::new(None),
            })))
        };
        let slots = (0..config.workers).map(slot).collect::<Result<Vec<Slot>, GatewayError>>()?;
        let supervisors = TaskTracker::new();
        let gateway = Arc::new(Gateway {
            slots,
            config,
            sockets_opened: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            supervisors,
        });
        let shutdown = shutdown.child_token();
        for n in 0..gateway.slots.len() {
            let (gateway, shutdown) = (Arc::clone(&gateway), shutdown.clone());
            gateway.supervisors.clone().spawn(async move { gateway.slots[n].run(shutdown).await });
        }
        gateway.supervisors.close();
        let deadline = Instant::now() + START_PATIENCE;
        for slot in &gateway.slots {
            let mut queue = slot.context.queue.subscribe();
            let is_clear = |state: &QueueState| {
                !matches!(state, QueueState::Starting | QueueState::Refused(BrokerError::InUse(_)))
            };
            if timeout_at(deadline, queue.wait_for(is_clear)).await.is_err()
                && let QueueState::Refused(BrokerError::InUse(queue)) = &*slot.context.queue.borrow()
            {
                shutdown.cancel();
                return Err(GatewayError::Taken { queue: queue.clone() });
            }
        }
        Ok(gateway)
    }

    /// The worker for a socket: the wanted one if it is one of this instance's, else the one that rendezvous hashing of
    /// the client's address or session gives, the same in every process.
    pub fn place(&self, wanted: Option<&ServerId>, address_or_session: &str) -> ServerId {
        let ids = || self.slots.iter().map(|slot| &slot.context.server_id);
        let placed = ids().find(|id| Some(*id) == wanted).or_else(|| rendezvous(ids(), address_or_session));
        // A gateway has at least one worker, so there is always a place.
        placed.unwrap_or(&self.slots[0].context.server_id).clone()
    }

    /// Serves a socket at a worker of this instance until it is closed. `session` is what resume tokens are bound to
    /// (P8); it is not shown to anybody.
    pub async fn serve<S>(&self, server_id: &ServerId, authority: Authority, session: String, mut socket: S)
    where
        S: Stream<Item = SocketIn> + Sink<SocketOut> + Send + Unpin + 'static,
    {
        let refuse = |code, reason: &str| SocketOut::Close(code, reason.to_owned());
        let life = self.slot(server_id).and_then(Slot::life).filter(|_| !self.closed.load(Ordering::Relaxed));
        let Some(life) = life else {
            // Fails when the client is gone already.
            let _ = socket.send(refuse(CloseCode::Restart, "the worker restarts: come back")).await;
            return;
        };
        let limits = &self.config.limits;
        let id = SocketId(self.sockets_opened.fetch_add(1, Ordering::Relaxed));
        let queue = life.sockets.queue(limits);
        if !life.sockets.insert(id, &session, &queue, limits.sockets_per_worker_max) {
            let _ = socket.send(refuse(CloseCode::TryLater, "this worker has no room for a further socket")).await;
            return;
        }
        let _leaves = Leaves { life: life.clone(), id };
        let opened = Event::Opened { socket: id, authority, session, queue: Arc::clone(&queue) };
        if life.inbox.send(opened).await.is_err() {
            queue.close(CloseCode::Restart, "the worker restarts: come back");
        }
        socket::run(socket, id, &queue, &life.inbox, self.config.ping, limits.close_patience).await;
    }

    /// The workers with their figures.
    pub async fn workers(&self) -> Vec<WorkerView> {
        let mut views = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let context = &slot.context;
            let state = context.queue.borrow().clone();
            let queue_length = match state {
                QueueState::Held { queue, .. } => context.broker.queue_length(&queue).await,
                QueueState::Starting | QueueState::Refused(_) => Ok(None),
            };
            let queue_length = queue_length.unwrap_or_else(|error| {
                error!(server_id = %context.server_id, %error, "the length of a worker's queue cannot be read");
                None
            });
            views.push(WorkerView {
                server_id: context.server_id.clone(),
                sockets: slot.life().map_or(0, |life| life.sockets.len() as u64),
                topics: context.topics.load(Ordering::Relaxed),
                queue_length: queue_length.unwrap_or(0),
                restarts: slot.restarts(),
            });
        }
        views
    }

    /// Closes the sockets of a session with 4500.
    pub fn sign_out(&self, session: &str) {
        for life in self.slots.iter().filter_map(Slot::life) {
            life.sockets.close(CloseCode::SignedOut, "signed out", |of| of == session);
        }
    }

    /// Closes the sockets of a session whose authority has changed with 4003: they come back and are served under the new one.
    pub fn renew(&self, session: &str) {
        for life in self.slots.iter().filter_map(Slot::life) {
            life.sockets.close(CloseCode::Renewed, "what you may do has changed: come back", |of| of == session);
        }
    }

    /// Says that it drains, and after `notice`, when a balancer knows, takes no socket any more. Those that are held are told
    /// to come back (1012), elsewhere: in small groups spread over `period`, so that they do not all come at once.
    pub async fn drain(&self, notice: Duration, period: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(notice).await;
        self.closed.store(true, Ordering::Relaxed);
        let queues: Vec<_> = self.slots.iter().filter_map(Slot::life).flat_map(|life| life.sockets.queues()).collect();
        let groups = usize::try_from(period.as_millis() / DRAIN_PAUSE.as_millis()).unwrap_or(usize::MAX).max(1);
        for group in queues.chunks(queues.len().div_ceil(groups).max(1)) {
            for queue in group {
                queue.close(CloseCode::Restart, "this gateway ends: come back");
            }
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
    }

    /// Whether [`Gateway::drain`] has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Resolves when every worker has ended after the shutdown.
    pub async fn ended(&self) {
        self.supervisors.wait().await;
    }

    /// For tests: the worker's loop panics, as a defect in it would.
    #[doc(hidden)]
    pub async fn fail_worker(&self, server_id: &ServerId) {
        if let Some(life) = self.slot(server_id).and_then(Slot::life) {
            let _ = life.inbox.send(Event::Fail).await;
        }
    }

    fn slot(&self, server_id: &ServerId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.context.server_id == *server_id)
    }
}

/// Tells the worker that a socket is no more, however its serving ended.
struct Leaves {
    life: Life,
    id: SocketId,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.life.sockets.remove(self.id);
        if let Err(mpsc::error::TrySendError::Full(gone)) = self.life.inbox.try_send(Event::Gone { socket: self.id })
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let inbox = self.life.inbox.clone();
            // Fails when the worker's life ended: it forgets its sockets with it.
            runtime.spawn(async move { inbox.send(gone).await });
        }
    }
}
