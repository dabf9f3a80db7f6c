//! The worker: one task, one queue, one loop over a closed enum of events. It owns the replay, the subscriptions and the
//! clients, so nothing that happens to them can overtake anything else. The loop waits for nothing but its next event:
//! what takes time (the broker, the desk, a socket) is done in tasks that report back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{Broker, Delivery};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::interval,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    Authority, ClientId, ServerFrame, ServerId, Topic,
    frame::{ResumeOutcome, Resumed},
};

use crate::{
    Desk, GatewayConfig,
    attach::{JobOf, Left},
    bindings::{Bindings, Step, Waiter},
    clients::Clients,
    desk::NotNow,
    frames,
    intake::{QueueState, carry_out},
    judge::Then,
    live::LiveQueries,
    receipts::Receipts,
    replay::Replay,
    seldom::Seldom,
    send_queue::{SendQueue, Tag},
    socket::SocketId,
    subscriptions::Subscriptions,
    unsettled::Unsettled,
};

/// What stays the same through all lives of a worker.
pub(crate) struct Context {
    pub(crate) server_id: ServerId,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) config: GatewayConfig,
    pub(crate) queue: watch::Sender<QueueState>,
    /// How many topics the worker's sockets read, for views.
    pub(crate) topics: AtomicU64,
    /// The message that the loop has in hand. If a life ends over it, the next one refuses it, so that one message cannot
    /// end every life. A std mutex: held to set it.
    pub(crate) in_hand: Mutex<Option<Uuid>>,
}

impl Context {
    fn set_in_hand(&self, message_id: Option<Uuid>) {
        *self.in_hand.lock().unwrap_or_else(PoisonError::into_inner) = message_id;
    }

    fn take_in_hand(&self) -> Option<Uuid> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Everything that a worker wakes for.
pub(crate) enum Event {
    /// A socket is there.
    Opened { socket: SocketId, authority: Authority, session: String, queue: Arc<SendQueue> },
    /// A client says something.
    Text { socket: SocketId, text: String },
    /// A socket is no more.
    Gone { socket: SocketId },
    /// The worker's queue is consumed from now on; `again` if it was before.
    Consuming { again: bool },
    /// Messages.
    Deliveries(Vec<Delivery>),
    /// A binding was made or taken away.
    Settled(Step),
    /// The desk named the jobs of a build that a returning client watched.
    JobsOf { socket: SocketId, jobs: Vec<JobOf> },
    /// The desk said whether a socket may watch what it wished to.
    Judged { socket: SocketId, number: Option<u64>, may: Result<bool, NotNow>, then: Then },
    /// Time to forget who is gone for long.
    Forget,
    /// For tests: the loop panics.
    Fail,
}

/// What the worker knows of a socket.
pub(crate) struct Socket {
    pub(crate) authority: Authority,
    pub(crate) session: String,
    pub(crate) client: ClientId,
    /// The worker's queue is bound with the client's key because of this socket.
    pub(crate) holds_client_key: bool,
    pub(crate) queue: Arc<SendQueue>,
    pub(crate) bad_frames: u32,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) live: LiveQueries,
    pub(crate) receipts: Receipts,
    /// Topics of which the desk must say whether it may watch them, by number, and the next number.
    pub(crate) judging: HashMap<u64, Topic>,
    pub(crate) judged: u64,
    /// While jobs are looked up for it.
    pub(crate) left: Option<Box<Left>>,
}

/// See the module.
pub(crate) struct Worker {
    pub(crate) context: Arc<Context>,
    pub(crate) life: CancellationToken,
    /// Its own inbox, for the tasks that report back.
    pub(crate) reports: mpsc::Sender<Event>,
    pub(crate) sockets: HashMap<SocketId, Socket>,
    pub(crate) clients: Clients,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) replay: Replay,
    /// The former life ended over this message.
    pub(crate) suspect: Option<Uuid>,
    /// Deliveries of callbacks that wait for their receipts.
    pub(crate) unsettled: Unsettled,
    /// See [`crate::callback`] for what these say.
    pub(crate) acked_early: Seldom,
    pub(crate) taken_as_received: Seldom,
    bindings: Bindings,
    /// Unbindings whose fence is on its way (see [`carry_out`]), by its message id.
    fences: HashMap<Uuid, Step>,
    /// Steps for a queue that was given up end with it.
    era: CancellationToken,
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, reports: mpsc::Sender<Event>, life: CancellationToken) -> Self {
        let (config, era) = (&context.config, life.child_token());
        let clients = Clients::new(config.affinity, &config.limits);
        let replay = Replay::new(&config.limits);
        Self {
            life,
            reports,
            sockets: HashMap::new(),
            clients,
            subscriptions: Subscriptions::default(),
            replay,
            suspect: context.take_in_hand(),
            unsettled: Unsettled::new(&context.config.limits),
            acked_early: Seldom::default(),
            taken_as_received: Seldom::default(),
            bindings: Bindings::default(),
            fences: HashMap::new(),
            era,
            context,
        }
    }

    /// The loop. Ends with the worker's life.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut forget = interval((self.context.config.affinity / 4).max(Duration::from_secs(1)));
        loop {
            let event = tokio::select! {
                biased;
                () = self.life.cancelled() => return,
                _ = forget.tick() => Event::Forget,
                event = inbox.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
            };
            self.handle(event);
            self.context.topics.store(self.subscriptions.len() as u64, Ordering::Relaxed);
        }
    }

    /// The effect of one event.
    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Opened { socket, authority, session, queue } => self.opened(socket, authority, session, queue),
            Event::Text { socket, text } => self.text(socket, &text),
            Event::Gone { socket } => self.gone(socket),
            Event::Consuming { again } => self.consuming(again),
            Event::Deliveries(deliveries) => {
                for delivery in deliveries {
                    self.context.set_in_hand(Some(delivery.message.message_id));
                    self.delivery(delivery);
                }
                self.context.set_in_hand(None);
            }
            Event::Settled(step) => self.settled(&step),
            Event::JobsOf { socket, jobs } => self.jobs_of(socket, jobs),
            Event::Judged { socket, number, may, then } => self.judged(socket, number, may, then),
            Event::Forget => self.clients.forget(Instant::now()),
            Event::Fail => fail(),
        }
    }

    fn opened(&mut self, id: SocketId, authority: Authority, session: String, queue: Arc<SendQueue>) {
        let limits = &self.context.config.limits;
        let client = ClientId(Uuid::new_v4());
        self.clients.hold(client, &session, true, id);
        let socket = Socket {
            authority,
            session,
            client,
            holds_client_key: false,
            queue,
            bad_frames: 0,
            in_flight: Arc::new(Semaphore::new(limits.in_flight_per_socket_max)),
            live: LiveQueries::new(limits.live_queries_per_socket_max),
            receipts: Receipts::new(limits),
            judging: HashMap::new(),
            judged: 0,
            left: None,
        };
        self.hello(&socket, false);
        self.sockets.insert(id, socket);
    }

    /// The socket meta, with a resume token for this client id at this worker.
    pub(crate) fn hello(&self, socket: &Socket, resumed: bool) {
        let (config, server_id) = (&self.context.config, self.context.server_id.clone());
        let resume = config.key.resume_token(socket.client, server_id.as_str(), &socket.session);
        let (client_id, version) = (socket.client, config.version.clone());
        let ping_seconds = config.ping.as_secs();
        let hello = ServerFrame::Hello { client_id, server_id, resume, resumed, ping_seconds, version };
        socket.queue.push_plain(frames::text(&hello));
    }

    fn gone(&mut self, id: SocketId) {
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        for topic in self.subscriptions.remove_socket(id) {
            self.release_topic(id, topic);
        }
        if socket.holds_client_key {
            self.release(&broker::topology::client_key(socket.client));
        }
        self.clients.gone(socket.client, id, Instant::now());
        // Perhaps the connection was dead before they were written: the client knows a repeat by its message id.
        for callback in socket.receipts.take() {
            self.hand_on(socket.client, callback);
        }
    }

    /// Begins to want a key; the waiter's turn comes when its binding stands.
    pub(crate) fn want(&mut self, key: String, waiter: Waiter) {
        let (ready, step) = self.bindings.want(key, waiter);
        step.into_iter().for_each(|step| self.begin(step));
        ready.into_iter().for_each(|waiter| self.serve_waiter(waiter));
    }

    /// Waits for a key that is wanted already.
    pub(crate) fn wait(&mut self, key: &str, waiter: Waiter) {
        let ready = self.bindings.wait(key, waiter);
        ready.into_iter().for_each(|waiter| self.serve_waiter(waiter));
    }

    /// Wants a key no longer.
    pub(crate) fn release(&mut self, key: &str) {
        let step = self.bindings.unwant(key);
        step.into_iter().for_each(|step| self.begin(step));
    }

    /// A socket watches a topic no longer. What the replay holds of it is complete only as long as somebody does.
    pub(crate) fn release_topic(&mut self, id: SocketId, topic: Topic) {
        let key = topic.to_string();
        self.bindings.forget(&key, id);
        self.release(&key);
        if !self.bindings.is_wanted(&key) {
            self.replay.stopped_listening(topic);
        }
    }

    /// Whether somebody here wants a key; if nobody does, its binding, left by an earlier life, is taken away.
    pub(crate) fn wanted_or_unbound(&mut self, key: &str) -> bool {
        let is_wanted = self.bindings.is_wanted(key);
        if !is_wanted {
            let step = self.bindings.stray(key);
            step.into_iter().for_each(|step| self.begin(step));
        }
        is_wanted
    }

    fn begin(&mut self, step: Step) {
        let fence = Uuid::new_v4();
        if !step.bind {
            self.fences.insert(fence, step.clone());
        }
        tokio::spawn(carry_out(Arc::clone(&self.context), step, fence, self.reports.clone(), self.era.clone()));
    }

    /// All that came by a key which was unbound has been handled now.
    pub(crate) fn fence(&mut self, delivery: Delivery) {
        let step = self.fences.remove(&delivery.message.message_id);
        delivery.ack();
        // None for a fence of an earlier life or queue.
        if let Some(step) = step {
            self.settled(&step);
        }
    }

    fn settled(&mut self, step: &Step) {
        let settled = self.bindings.settled(step);
        if settled.unbound
            && let Ok(topic) = step.key.parse()
        {
            self.replay.stopped_listening(topic);
        }
        settled.step.into_iter().for_each(|step| self.begin(step));
        settled.waiters.into_iter().for_each(|waiter| self.serve_waiter(waiter));
    }

    fn serve_waiter(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Subscribed { socket, topic, position, epoch } => self.resume(socket, topic, position, epoch),
            Waiter::Attached(client) => self.attached(client),
            Waiter::Reread(topic) => self.reread(topic, true),
        }
    }

    /// The queue may be a new one: keys are bound again, and since messages may have been missed, the replay begins anew
    /// and readers are sent to the record.
    fn consuming(&mut self, again: bool) {
        self.era.cancel();
        self.fences.clear();
        self.era = self.life.child_token();
        for step in self.bindings.bind_all(again) {
            self.begin(step);
        }
        if again {
            self.replay = Replay::new(&self.context.config.limits);
            let mut topics: Vec<Topic> = self.subscriptions.topics().collect();
            topics.sort_unstable();
            topics.into_iter().for_each(|topic| self.reread(topic, false));
        }
    }

    /// Tells readers of a topic, either those who watch or those who are only addressed, to look into the record.
    fn reread(&mut self, topic: Topic, watches: bool) {
        for (id, reader) in self.subscriptions.readers(topic) {
            if reader.watches != watches || reader.pending || reader.muted {
                continue;
            }
            let (epoch, from) = reader.seen.map_or((1, 0), |seen| (seen.epoch, seen.offset.saturating_add(1)));
            let gap = Resumed { topic, outcome: ResumeOutcome::Gap, epoch, from, to: None };
            if let Some(socket) = self.sockets.get(&id) {
                socket.queue.push(frames::resumed(gap), Tag::Resumed(gap));
            }
        }
    }
}

#[expect(clippy::panic, reason = "tests must be able to prove that a panic in one worker hurts no other")]
fn fail() {
    panic!("this worker was told to fail");
}
