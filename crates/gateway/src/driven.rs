//! A worker that is driven by hand, one event at a time, for simulations: the real state and the real answers, without the
//! loop, the intake and the sockets' tasks around them. Who drives it says when what happens.
//!
//! Tasks that the worker starts run on the caller's runtime; what they report waits until [`Driven::take_reports`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use broker::{Broker, Delivery};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wire::{Authority, ServerId};

use crate::{
    Desk, GatewayConfig, SocketOut,
    intake::QueueState,
    send_queue::{Next, SendQueue},
    send_room::SendRoom,
    socket::SocketId,
    worker::{Context, Event, Worker},
};

/// See the module. Dropping it is the end of the worker's life.
pub struct Driven {
    context: Arc<Context>,
    worker: Worker,
    inbox: mpsc::Receiver<Event>,
    life: CancellationToken,
    queues: BTreeMap<u64, Arc<SendQueue>>,
    room: Arc<SendRoom>,
}

impl Driven {
    /// A worker that consumes nothing yet.
    #[must_use]
    pub fn new(server_id: ServerId, broker: Arc<dyn Broker>, desk: Arc<dyn Desk>, config: GatewayConfig) -> Self {
        let (reports, inbox) = mpsc::channel(config.limits.inbox_events_max);
        let context = Arc::new(Context {
            server_id,
            broker,
            desk,
            config,
            queue: watch::Sender::new(QueueState::Starting),
            topics: AtomicU64::new(0),
            in_hand: Mutex::default(),
        });
        let life = CancellationToken::new();
        let worker = Worker::new(Arc::clone(&context), reports, life.clone());
        let room = Arc::new(SendRoom::new(context.config.limits.send_queues_bytes_max));
        Self { context, worker, inbox, life, queues: BTreeMap::new(), room }
    }

    /// It has a queue again; it hears of it by [`Driven::consuming`].
    pub fn holds(&mut self, queue: &str) {
        self.context.queue.send_replace(QueueState::Held { queue: queue.to_owned(), instead_of: None });
    }

    /// Its queue is consumed from now on; `again` if it was before in this life.
    pub fn consuming(&mut self, again: bool) {
        self.worker.handle(Event::Consuming { again });
    }

    /// Its consumer has ended.
    pub fn not_consuming(&mut self) {
        self.context.queue.send_replace(QueueState::Starting);
    }

    /// Messages of its queue.
    pub fn deliver(&mut self, deliveries: Vec<Delivery>) {
        self.worker.handle(Event::Deliveries(deliveries));
    }

    /// A client is there.
    pub fn open(&mut self, socket: u64, authority: Authority, session: &str) {
        let queue = Arc::new(SendQueue::new(&self.context.config.limits, self.room.clone()));
        self.queues.insert(socket, Arc::clone(&queue));
        let session = session.to_owned();
        self.worker.handle(Event::Opened { socket: SocketId(socket), authority, session, queue });
    }

    /// A client says something.
    pub fn text(&mut self, socket: u64, text: String) {
        self.worker.handle(Event::Text { socket: SocketId(socket), text });
    }

    /// A client is no more.
    pub fn gone(&mut self, socket: u64) {
        self.queues.remove(&socket);
        self.worker.handle(Event::Gone { socket: SocketId(socket) });
    }

    /// What is to be written to a client next.
    pub fn next(&mut self, socket: u64) -> Option<SocketOut> {
        self.queues.get(&socket)?.try_next().map(|next| match next {
            Next::Text(text) => SocketOut::Text(text),
            Next::Close(code, reason) => SocketOut::Close(code, reason),
        })
    }

    /// Hears what its tasks have reported. Whether there was anything.
    pub fn take_reports(&mut self) -> bool {
        let mut any = false;
        while let Ok(event) = self.inbox.try_recv() {
            self.worker.handle(event);
            any = true;
        }
        any
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.life.cancel();
    }
}
