//! A gateway with two workers over an embedded broker, clients at the other end of channels, and a scripted desk.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use broker::{
    BoxFuture, Broker, ConsumeOptions, Consumer, Delivery, Outgoing,
    embedded::{EmbeddedBroker, MemoryJournal},
    topology::{self, Exchange},
};
use futures_util::{Sink, Stream};
use gateway::{Desk, Gateway, GatewayConfig, Limits, LiveResult, MayWatch, NotNow, SocketIn, SocketOut};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, PollSender};
use uuid::Uuid;
use wire::{
    Authority, BuildId, ClientId, Event, EventMessage, JobId, LogLine, Position, Problem, ServerId, SocketMeta,
    Timestamp, Topic, VERSION,
    authority::{Grants, Role},
    command::{Command, Query},
    event::raw,
    frame::{EventFrame, Incoming, ResumeOutcome, Resumed},
    mac::InstallationKey,
};

/// Nothing here takes that long; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any test lets wait.
const ROOMY: usize = 100_000;

pub(crate) const KEY: InstallationKey = InstallationKey([7; 32]);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("what was waited for did not happen")
}

/// More than any test asks for at once.
pub(crate) const PLACES: usize = 100;

/// The desk panics when it is asked about this topic.
pub(crate) const POISON: Topic = Topic::Build(BuildId(Uuid::from_u128(0xdead)));

/// Answers by script, and tells who attached.
pub(crate) struct TestDesk {
    pub(crate) denied: Mutex<HashSet<Topic>>,
    /// Of these it says what is sent here, once it is sent.
    pub(crate) asked: Mutex<HashMap<Topic, watch::Sender<Option<bool>>>>,
    /// So often it cannot tell of these.
    pub(crate) fails: Mutex<HashMap<Topic, usize>>,
    pub(crate) jobs: Mutex<Vec<JobId>>,
    /// Who asks for a build waits for a place; there are [`PLACES`].
    pub(crate) places: Arc<Semaphore>,
    pub(crate) live: Mutex<Option<watch::Sender<Arc<LiveResult>>>>,
    attached: mpsc::UnboundedSender<ClientId>,
}

impl Desk for TestDesk {
    fn command(&self, authority: &Authority, command: Command, socket: SocketMeta) -> BoxFuture<'static, (u16, Value)> {
        let subject = authority.subject.clone();
        Box::pin(async move {
            if let Command::Trigger { pipeline, .. } = &command
                && pipeline.to_string() == "broken"
            {
                panic!("the scripted desk fails");
            }
            (202, json!({"socket": socket, "subject": subject}))
        })
    }

    fn query(&self, _: &Authority, query: Query) -> BoxFuture<'static, (u16, Value)> {
        let jobs: Vec<Value> = self.jobs.lock().unwrap().iter().map(|id| json!({"id": id, "attempt": 2})).collect();
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            match query {
                Query::Executors {} => std::future::pending().await,
                Query::Build { .. } => {
                    let _place = places.acquire().await.unwrap();
                    (200, json!({"jobs": jobs}))
                }
                _ => (200, json!([])),
            }
        })
    }

    fn live(
        &self,
        _: &Authority,
        query: Query,
    ) -> BoxFuture<'static, Result<watch::Receiver<Arc<LiveResult>>, Problem>> {
        let live = self.live.lock().unwrap().as_ref().map(watch::Sender::subscribe);
        Box::pin(async move {
            match query {
                Query::Pipelines {} => live.ok_or_else(|| Problem::new(503, "not now", "no live queries now")),
                _ => Err(Problem::new(404, "not found", "this query is not known")),
            }
        })
    }

    fn may_watch(&self, _: &Authority, topic: Topic) -> MayWatch {
        assert_ne!(topic, POISON, "the scripted desk fails over this topic");
        if let Some(asked) = self.asked.lock().unwrap().get(&topic) {
            let mut answer = asked.subscribe();
            return MayWatch::Asked(Box::pin(async move {
                let answer = answer.wait_for(Option::is_some).await;
                Ok(answer.is_ok_and(|answer| *answer == Some(true)))
            }));
        }
        if let Some(fails) = self.fails.lock().unwrap().get_mut(&topic).filter(|fails| **fails > 0) {
            *fails -= 1;
            return MayWatch::Asked(Box::pin(async { Err(NotNow) }));
        }
        MayWatch::Known(!self.denied.lock().unwrap().contains(&topic))
    }

    fn attached(&self, client: ClientId, _: ServerId) -> BoxFuture<'static, ()> {
        let _ = self.attached.send(client);
        Box::pin(async {})
    }
}

pub(crate) struct Rig {
    pub(crate) broker: Arc<EmbeddedBroker>,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) desk: Arc<TestDesk>,
    pub(crate) attached: mpsc::UnboundedReceiver<ClientId>,
    pub(crate) unrouted: Consumer,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn config(limits: Limits) -> GatewayConfig {
    GatewayConfig {
        instance: "gw".to_owned(),
        workers: 2,
        affinity: Duration::from_secs(300),
        ping: Duration::from_secs(25),
        key: KEY,
        version: "0.0.0".to_owned(),
        limits,
    }
}

pub(crate) async fn rig() -> Rig {
    rig_with(config(Limits::default())).await
}

pub(crate) async fn rig_with(config: GatewayConfig) -> Rig {
    rig_over(config, |broker| broker).await
}

/// A rig whose gateway sees the broker through `view`.
pub(crate) async fn rig_over(config: GatewayConfig, view: impl FnOnce(Arc<dyn Broker>) -> Arc<dyn Broker>) -> Rig {
    let journal = Arc::new(MemoryJournal::default());
    let broker = EmbeddedBroker::start(journal.clone(), CancellationToken::new()).await.unwrap();
    let shutdown = CancellationToken::new();
    broker.declare(&topology::unrouted()).await.unwrap();
    let options = ConsumeOptions { prefetch: 100, exclusive: false };
    let unrouted = broker.consume(topology::UNROUTED, options).await.unwrap();
    let (sender, attached) = mpsc::unbounded_channel();
    let desk = Arc::new(TestDesk {
        denied: Mutex::default(),
        asked: Mutex::default(),
        fails: Mutex::default(),
        jobs: Mutex::default(),
        places: Arc::new(Semaphore::new(PLACES)),
        live: Mutex::default(),
        attached: sender,
    });
    let gateway = within(Gateway::start(view(broker.clone()), desk.clone(), config, shutdown.clone())).await.unwrap();
    Rig { broker, journal, gateway, desk, attached, unrouted, shutdown }
}

/// Where and to whom a build's events are addressed.
pub(crate) type Asker = Option<(ServerId, ClientId)>;

impl Rig {
    /// A client at a worker, its hello read.
    pub(crate) async fn client(&self, worker: usize, session: &str) -> Client {
        let mut client = self.silent(worker, session, ROOMY);
        client.read_hello().await;
        client
    }

    /// A client that reads nothing of itself, with room for so many frames on its way.
    pub(crate) fn silent(&self, worker: usize, session: &str, room: usize) -> Client {
        let (says, heard) = mpsc::unbounded_channel();
        let (told, hears) = mpsc::channel(room);
        let socket = ChannelSocket { incoming: heard, outgoing: PollSender::new(told) };
        let (gateway, server_id) = (Arc::clone(&self.gateway), server(worker));
        let authority = Authority::new(session, None, session, Grants::everywhere(Role::Admin));
        let session = session.to_owned();
        let at = server_id.clone();
        tokio::spawn(async move { gateway.serve(&at, authority, session, socket).await });
        Client {
            says,
            hears,
            id: ClientId(Uuid::nil()),
            server: server_id,
            token: String::new(),
            version: String::new(),
        }
    }

    pub(crate) async fn event(&self, asker: &Asker, topic: Topic, epoch: u32, offset: u64) {
        let event = match topic {
            Topic::Build(_) => Event::BuildStarted {},
            Topic::Job(_) => log(offset),
        };
        self.publish(asker, message(asker, topic, epoch, offset, &event)).await;
    }

    pub(crate) async fn publish(&self, asker: &Asker, message: EventMessage) {
        let server_id = asker.as_ref().map(|(server_id, _)| server_id);
        let outgoing = Outgoing::event(server_id, message.topic, message.encode());
        within(self.broker.publish(outgoing)).await.unwrap();
    }

    pub(crate) async fn callback(&self, key: &str, client: ClientId, payload: Value) -> Uuid {
        let body = json!({"client_id": client, "payload": payload}).to_string().into_bytes();
        let mut outgoing = Outgoing::new(Exchange::Utils, key, body);
        outgoing.reply_to = Some("reply.test".to_owned());
        let id = outgoing.message_id;
        within(self.broker.publish(outgoing)).await.unwrap();
        id
    }

    pub(crate) async fn batch(&self, key: &str, elements: impl IntoIterator<Item = Value>) -> Uuid {
        let body = Value::Array(elements.into_iter().collect()).to_string().into_bytes();
        let outgoing = Outgoing::new(Exchange::Utils, key, body);
        let id = outgoing.message_id;
        within(self.broker.publish(outgoing)).await.unwrap();
        id
    }

    pub(crate) async fn next_unrouted(&mut self) -> Delivery {
        within(self.unrouted.next()).await.unwrap()
    }
}

pub(crate) fn server(worker: usize) -> ServerId {
    ServerId::new("gw", worker).unwrap()
}

pub(crate) fn build(n: u128) -> BuildId {
    BuildId(Uuid::from_u128(n))
}

pub(crate) fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

/// One line, 100 bytes.
pub(crate) fn log(offset: u64) -> Event {
    let text = format!("{offset:0>100}");
    Event::Log {
        step: 0,
        lines: vec![LogLine { n: offset, t: Timestamp(1), text, open: false, split: false, err: false, note: false }],
    }
}

/// An event as its rightful writer publishes it. Every job belongs to build 1.
pub(crate) fn message(asker: &Asker, topic: Topic, epoch: u32, offset: u64, event: &Event) -> EventMessage {
    let event = raw(event);
    let (of, mac) = match topic {
        Topic::Build(build) => (build, Some(KEY.control_key().seal(topic, Position { epoch, offset }, event.get()))),
        Topic::Job(job) => {
            let mac = KEY.event_key(job, epoch).seal(topic, Position { epoch, offset }, event.get());
            (build(1), Some(mac))
        }
    };
    let client_id = asker.as_ref().map(|(_, client)| *client);
    EventMessage { version: VERSION, topic, build: of, epoch, offset, at: Timestamp(1), client_id, mac, event }
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Incoming),
    Ping,
    Close(u16),
    Nothing,
}

pub(crate) struct Client {
    pub(crate) says: mpsc::UnboundedSender<SocketIn>,
    hears: mpsc::Receiver<SocketOut>,
    pub(crate) id: ClientId,
    pub(crate) server: ServerId,
    pub(crate) token: String,
    version: String,
}

impl Client {
    pub(crate) fn asker(&self) -> Asker {
        Some((self.server.clone(), self.id))
    }

    pub(crate) fn say(&self, frame: Value) {
        self.say_text(&frame.to_string());
    }

    pub(crate) fn say_text(&self, text: &str) {
        self.says.send(SocketIn::Text(text.to_owned())).unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        match within(self.hears.recv()).await {
            Some(SocketOut::Text(text)) => Heard::Frame(serde_json::from_str(&text).expect(&text)),
            Some(SocketOut::Ping) => Heard::Ping,
            Some(SocketOut::Close(code, _)) => Heard::Close(code.number()),
            None => Heard::Nothing,
        }
    }

    pub(crate) async fn frame(&mut self) -> Incoming {
        match self.hear().await {
            Heard::Frame(frame) => frame,
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    pub(crate) async fn read_hello(&mut self) -> bool {
        let Incoming::Hello { client_id, server_id, resume, resumed, ping_seconds, version } = self.frame().await
        else {
            panic!("no hello")
        };
        (self.id, self.server, self.token, self.version) = (client_id, server_id, resume, version);
        assert_eq!((ping_seconds, self.version.as_str()), (25, "0.0.0"));
        resumed
    }

    pub(crate) async fn event(&mut self) -> EventFrame {
        match self.frame().await {
            Incoming::Event(event) => event,
            other => panic!("an event was expected, not {other:?}"),
        }
    }

    /// The offsets of the next events, all of one topic.
    pub(crate) async fn offsets(&mut self, topic: Topic, count: usize) -> Vec<u64> {
        let mut offsets = Vec::new();
        for _ in 0..count {
            let event = self.event().await;
            assert_eq!(event.topic, topic);
            offsets.push(event.offset);
        }
        offsets
    }

    pub(crate) async fn resumed(&mut self) -> Resumed {
        match self.frame().await {
            Incoming::Resumed(resumed) => resumed,
            other => panic!("resumed was expected, not {other:?}"),
        }
    }

    pub(crate) async fn problem(&mut self) -> (Option<String>, String, String) {
        match self.frame().await {
            Incoming::Problem { id, title, detail } => (id, title, detail),
            other => panic!("a problem was expected, not {other:?}"),
        }
    }

    /// A callback, as (message id, payload).
    pub(crate) async fn callback(&mut self) -> (Uuid, Value) {
        match self.frame().await {
            Incoming::Callback { message_id, payload, .. } => (message_id, payload),
            other => panic!("a callback was expected, not {other:?}"),
        }
    }

    /// Reads to the close.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.hear().await {
                Heard::Close(code) => return code,
                Heard::Nothing => panic!("the socket ended without a close frame"),
                Heard::Frame(_) | Heard::Ping => {}
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, topic: Topic, position: Option<(u32, u64)>) -> Resumed {
        let mut frame = json!({"type": "subscribe", "topic": topic});
        if let Some((epoch, offset)) = position {
            frame["position"] = json!({"epoch": epoch, "offset": offset});
        }
        self.say(frame);
        self.resumed().await
    }

    /// Everything that the worker took up before is answered before the pong.
    pub(crate) async fn nothing_came(&mut self) {
        self.say(json!({"type": "ping"}));
        let frame = self.frame().await;
        assert!(matches!(frame, Incoming::Pong {}), "{frame:?}");
    }

    /// The tab is closed; resolves when the gateway let go of the socket.
    pub(crate) async fn leave(mut self) -> Former {
        let _ = self.says.send(SocketIn::Closed);
        while within(self.hears.recv()).await.is_some() {}
        Former { token: self.token, id: self.id }
    }

    pub(crate) async fn attach(&mut self, former: &Former, positions: Value) {
        self.say(json!({"type": "attach", "resume": former.token, "positions": positions}));
        assert!(self.read_hello().await);
        assert_eq!(self.id, former.id);
    }
}

/// What a client keeps when its connection is gone.
pub(crate) struct Former {
    pub(crate) token: String,
    pub(crate) id: ClientId,
}

pub(crate) fn gap(resumed: Resumed) -> (u32, u64, Option<u64>) {
    assert_eq!(resumed.outcome, ResumeOutcome::Gap, "{resumed:?}");
    (resumed.epoch, resumed.from, resumed.to)
}

pub(crate) fn complete(resumed: Resumed) -> (u32, u64, Option<u64>) {
    assert_eq!(resumed.outcome, ResumeOutcome::Complete, "{resumed:?}");
    (resumed.epoch, resumed.from, resumed.to)
}

struct ChannelSocket {
    incoming: mpsc::UnboundedReceiver<SocketIn>,
    outgoing: PollSender<SocketOut>,
}

impl Stream for ChannelSocket {
    type Item = SocketIn;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SocketIn>> {
        self.incoming.poll_recv(cx)
    }
}

impl Sink<SocketOut> for ChannelSocket {
    type Error = tokio_util::sync::PollSendError<SocketOut>;
    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.outgoing).poll_ready(cx)
    }
    fn start_send(mut self: Pin<&mut Self>, item: SocketOut) -> Result<(), Self::Error> {
        Pin::new(&mut self.outgoing).start_send(item)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.outgoing).poll_close(cx)
    }
}
