//! The lives of a worker. A life is a loop, an intake and the sockets that came to it. When the loop panics, its sockets
//! are closed with "come back", and the next life begins under the same server id with an empty memory; the other
//! workers notice nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;
use wire::CloseCode;

use crate::{
    Limits,
    intake::{self, Pauses},
    send_queue::SendQueue,
    send_room::SendRoom,
    socket::SocketId,
    worker::{Context, Event, Worker},
};

/// Each panic in a row is followed by a longer pause; a life of so many seconds ends the row.
const STEADY_LIFE_SECONDS: u64 = 60;

/// The sockets of one life, for those who must close them from outside the loop.
pub(crate) struct Sockets {
    room: Arc<SendRoom>,
    // A std mutex: held for a map operation, never across an await.
    open: Mutex<HashMap<SocketId, (String, Arc<SendQueue>)>>,
}

impl Sockets {
    fn new(limits: &Limits) -> Self {
        Self { room: Arc::new(SendRoom::new(limits.send_queues_bytes_max)), open: Mutex::default() }
    }

    /// The queue for a socket that comes.
    pub(crate) fn queue(&self, limits: &Limits) -> Arc<SendQueue> {
        Arc::new(SendQueue::new(limits, Arc::clone(&self.room)))
    }

    /// Takes a socket in unless there are `max` already.
    pub(crate) fn insert(&self, id: SocketId, session: &str, queue: &Arc<SendQueue>, max: usize) -> bool {
        let mut open = self.lock();
        let has_room = open.len() < max;
        if has_room {
            open.insert(id, (session.to_owned(), Arc::clone(queue)));
            self.room.share_among(open.len());
        }
        has_room
    }

    pub(crate) fn remove(&self, id: SocketId) {
        let mut open = self.lock();
        open.remove(&id);
        self.room.share_among(open.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them.
    pub(crate) fn queues(&self) -> Vec<Arc<SendQueue>> {
        self.lock().values().map(|(_, queue)| Arc::clone(queue)).collect()
    }

    /// Closes those that `which` picks by their session.
    pub(crate) fn close(&self, code: CloseCode, reason: &str, which: impl Fn(&str) -> bool) {
        for (session, queue) in self.lock().values() {
            if which(session) {
                queue.close(code, reason);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketId, (String, Arc<SendQueue>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How to reach the present life of a worker.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) inbox: mpsc::Sender<Event>,
    pub(crate) sockets: Arc<Sockets>,
}

/// The place of a worker, through all its lives.
pub(crate) struct Slot {
    pub(crate) context: Arc<Context>,
    /// None between two lives and at the end.
    life: Mutex<Option<Life>>,
    restarts: AtomicU64,
}

impl Slot {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, life: Mutex::new(None), restarts: AtomicU64::new(0) }
    }

    /// The present life.
    pub(crate) fn life(&self) -> Option<Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the worker was started anew after a panic.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    fn set_life(&self, life: Option<Life>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }

    /// One life after the other, until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut pauses = Pauses::default();
        while !shutdown.is_cancelled() {
            let born = tokio::time::Instant::now();
            if self.live(shutdown.child_token()).await {
                return;
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            if born.elapsed().as_secs() >= STEADY_LIFE_SECONDS {
                pauses = Pauses::default();
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = pauses.wait() => {}
            }
        }
    }

    /// One life. False if it ended with a panic.
    async fn live(&self, token: CancellationToken) -> bool {
        let (inbox, events) = mpsc::channel(self.context.config.limits.inbox_events_max.max(1));
        let sockets = Arc::new(Sockets::new(&self.context.config.limits));
        let worker = Worker::new(Arc::clone(&self.context), inbox.clone(), token.clone());
        let intake = tokio::spawn(intake::run(Arc::clone(&self.context), inbox.clone(), token.clone()));
        self.set_life(Some(Life { inbox, sockets: Arc::clone(&sockets) }));
        let ended = tokio::spawn(worker.run(events)).await;
        self.set_life(None);
        token.cancel();
        sockets.close(CloseCode::Restart, "the worker restarts: come back", |_| true);
        // The queue must be free before the next life asks for it.
        if let Err(error) = intake.await {
            error!(server_id = %self.context.server_id, %error, "the intake of a worker failed");
        }
        if let Err(error) = &ended {
            error!(server_id = %self.context.server_id, %error, "a worker failed: its sockets are told to come back, and it starts anew");
        }
        ended.is_ok()
    }
}
