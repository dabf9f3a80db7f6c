//! The browser's WebSocket: opened once, taken up again when it is lost, its frames handed to watches and queries.
//! What a frame means to a build is not known here.
//!
//! On opening, the server's `hello` speaks first. A tab that was here before answers with `attach` (token and
//! positions) and gets a second `hello`; if that does not give its client id back, every topic is subscribed anew.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};
use wire::{BuildId, ClientFrame, CloseCode, Position, SUBPROTOCOL, SocketMeta, Topic, topic::TopicPosition};

use super::{
    Arrival, Connection, Live, Watch, WatchId,
    heard::{self, Heard},
    heartbeat::{Beat, beat, retry_millis},
    own::Own,
    refusals::{Refusal, Refusals},
    stray::Stray,
};
use crate::{browser, rest};

mod pill;
mod query;
mod refused;

pub(super) use pill::recovered;
use pill::tell_refusal;
use query::{Querying, told};
pub(super) use query::{query, unquery};
use refused::refused;

type OnMessage = Closure<dyn FnMut(MessageEvent)>;
type OnClose = Closure<dyn FnMut(CloseEvent)>;
struct Socket {
    socket: WebSocket,
    _on_message: OnMessage,
    _on_close: OnClose,
}

struct Watching {
    watch: Rc<Watch>,
    build: BuildId,
    topics: HashSet<Topic>,
}

#[derive(Default)]
struct Link {
    socket: Option<Socket>,
    /// A `hello` was heard and, for a returning tab, its `attach` was answered.
    ready: bool,
    attaching: bool,
    meta: Option<SocketMeta>,
    resume: Option<String>,
    period: f64,
    heard: f64,
    pinged: f64,
    tries: u32,
    retry: u64,
    lost_at: Option<i64>,
    refused: bool,
    /// The person signs out in this tab.
    leaving: bool,
    /// Watches that were there when the socket was lost and have not caught up yet.
    away: HashSet<WatchId>,
    live: Option<Live>,
    next_id: u64,
    watches: HashMap<WatchId, Watching>,
    queries: HashMap<WatchId, Querying>,
    refusals: Refusals,
    /// Counts the sockets that could be used: what was to be asked again on a former one was asked anew on the next.
    opened: u64,
    /// Topics that `attach` named.
    attached: HashSet<Topic>,
    /// Topics that the server was asked for.
    subscribed: HashSet<Topic>,
    own: Own,
    stray: Stray,
}

thread_local! {
    static LINK: RefCell<Link> = RefCell::default();
}

fn with<T>(f: impl FnOnce(&mut Link) -> T) -> T {
    LINK.with(|link| f(&mut link.borrow_mut()))
}

pub(super) fn open(live: Live) {
    if with(|link| link.live.replace(live)).is_some() {
        return;
    }
    connect(live);
    browser::on_window("offline", move || lose(live, 1006));
    browser::on_window("online", move || connect(live));
    browser::on_window("visibilitychange", move || {
        if browser::is_visible() {
            connect(live);
        }
    });
    browser::every(1_000, move || check(live));
}

pub(super) fn leaves() {
    with(|link| link.leaving = true);
}

pub(super) fn meta() -> Option<SocketMeta> {
    with(|link| if link.ready { link.meta.clone() } else { None })
}

pub(super) fn asked_for(build: BuildId, socket: SocketMeta) {
    with(|link| link.own.asked_for(build, socket));
}

pub(super) fn watch(build: BuildId, watch: Watch) -> WatchId {
    let id = with(|link| {
        let id = link.id();
        link.watches.insert(id, Watching { watch: Rc::new(watch), build, topics: HashSet::new() });
        id
    });
    changed(id);
    id
}

pub(super) fn changed(id: WatchId) {
    let Some(watch) = with(|link| link.watches.get(&id).map(|known| known.watch.clone())) else { return };
    let positions = (watch.positions)();
    let strays = with(|link| {
        let wanted: HashSet<Topic> = positions.iter().map(|(topic, _)| *topic).collect();
        let Some(known) = link.watches.get_mut(&id) else { return Vec::new() };
        let (left, build) = (known.topics.difference(&wanted).copied().collect::<Vec<_>>(), known.build);
        let new: Vec<_> = positions.into_iter().filter(|(topic, _)| !known.topics.contains(topic)).collect();
        known.topics = wanted;
        for topic in left {
            link.leave(topic);
        }
        let own = link.is_own(build);
        let mut strays = Vec::new();
        for (topic, position) in new {
            strays.extend(link.stray.take(topic));
            if !own && link.ready {
                link.subscribe(topic, position);
            }
        }
        strays
    });
    for frame in strays {
        (watch.arrive)(Arrival::Event(frame));
    }
    tell_refusal();
}

pub(super) fn unwatch(id: WatchId) {
    let live = with(|link| {
        if let Some(known) = link.watches.remove(&id) {
            for topic in known.topics {
                link.leave(topic);
            }
        }
        let was_last = link.away.remove(&id) && link.away.is_empty();
        link.live.filter(|_| was_last)
    });
    if let Some(live) = live
        && live.connection.get_untracked() == Connection::Resuming
    {
        live.connection.set(Connection::Live);
    }
    tell_refusal();
}

impl Link {
    fn id(&mut self) -> WatchId {
        self.next_id += 1;
        WatchId(self.next_id)
    }

    fn is_own(&self, build: BuildId) -> bool {
        self.own.comes_to(build, self.meta.as_ref())
    }

    fn send(&self, frame: &ClientFrame) {
        if let (Some(socket), Ok(text)) = (&self.socket, serde_json::to_string(frame)) {
            // A socket that closes says so by its close event, which is where the loss is handled.
            let _ = socket.socket.send_with_str(&text);
        }
    }

    fn subscribe(&mut self, topic: Topic, position: Option<Position>) {
        self.subscribed.insert(topic);
        self.ask(topic, position);
    }

    /// The topic is also the id, so that a refusal tells what it is about.
    fn ask(&self, topic: Topic, position: Option<Position>) {
        let (topic, id) = (topic.to_string(), Some(topic.to_string()));
        self.send(&ClientFrame::Subscribe { topic, position, id, query: None, patch: false });
    }

    fn leave(&mut self, topic: Topic) {
        self.refusals.left(topic);
        if self.subscribed.remove(&topic) && self.ready {
            self.send(&ClientFrame::Unsubscribe { topic: topic.to_string(), id: None });
        }
    }

    fn watch_of(&self, topic: Topic) -> Option<Rc<Watch>> {
        self.watches.values().find(|known| known.topics.contains(&topic)).map(|known| known.watch.clone())
    }
}

/// Opens a socket unless one is there or must not be.
fn connect(live: Live) {
    if with(|link| link.socket.is_some() || link.refused) || !browser::is_online() {
        return;
    }
    let Ok(socket) = WebSocket::new_with_str(&browser::socket_url(), SUBPROTOCOL) else {
        retry(live);
        return;
    };
    let on_message = OnMessage::new(move |event: MessageEvent| {
        if let Some(text) = event.data().as_string() {
            hear(live, &text);
        }
    });
    let on_close = OnClose::new(move |event: CloseEvent| lose(live, event.code()));
    socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
    with(|link| {
        link.heard = browser::now_millis();
        link.pinged = 0.0;
        link.period = 25_000.0;
        link.socket = Some(Socket { socket, _on_message: on_message, _on_close: on_close });
    });
}

/// The socket is gone, or is given up. Its closures are dropped later: one of them may be what runs now.
fn lose(live: Live, code: u16) {
    let (socket, watches, first, was_ready) = with(|link| {
        let was_ready = link.ready;
        let first = link.lost_at.is_none() && was_ready;
        (link.ready, link.attaching) = (false, false);
        link.lost_at.get_or_insert_with(|| browser::now_millis() as i64);
        if first {
            link.away = link.watches.keys().copied().collect();
        }
        link.refused |= !CloseCode::may_return(code);
        (
            link.socket.take(),
            link.watches.values().map(|known| known.watch.clone()).collect::<Vec<_>>(),
            first,
            was_ready,
        )
    });
    if let Some(socket) = socket {
        socket.socket.set_onmessage(None);
        socket.socket.set_onclose(None);
        // Closing what is closed already is refused, which changes nothing.
        let _ = socket.socket.close();
        browser::after(0, move || drop(socket));
    }
    if first {
        for watch in watches {
            (watch.arrive)(Arrival::Away);
        }
    }
    let since = with(|link| link.lost_at).unwrap_or_default();
    live.connection.set(if with(|link| link.refused) {
        Connection::Refused { code }
    } else if !browser::is_online() {
        Connection::Offline
    } else {
        Connection::Reconnecting { since }
    });
    if code == CloseCode::Renewed.number() {
        live.renewed.update(|renewed| *renewed += 1);
    }
    if code == CloseCode::SignedOut.number() && !with(|link| link.leaving) {
        browser::sign_in_again();
        return;
    }
    if !was_ready && browser::is_online() {
        is_anybody();
    }
    retry(live);
}

/// A socket that never opened does not say why: that the session has ended meanwhile is asked for.
fn is_anybody() {
    spawn_local(async {
        let has_ended = rest::own().await.is_err_and(|refused| refused.status == 401);
        if has_ended && !with(|link| link.leaving) {
            browser::sign_in_again();
        }
    });
}

fn retry(live: Live) {
    let Some((wait, turn)) = with(|link| {
        if link.refused {
            return None;
        }
        let wait = retry_millis(link.tries, browser::random());
        (link.tries, link.retry) = (link.tries.saturating_add(1), link.retry + 1);
        Some((wait, link.retry))
    }) else {
        return;
    };
    browser::after(wait as u64, move || {
        if with(|link| link.retry == turn) {
            connect(live);
        }
    });
}

/// Once a second: asks a silent server, gives a dead socket up.
fn check(live: Live) {
    let now = browser::now_millis();
    let asked = with(|link| {
        link.socket.as_ref()?;
        let asked = beat(now, link.heard, link.pinged, link.period);
        if asked == Beat::Ping {
            link.pinged = now;
            if link.ready {
                link.send(&ClientFrame::Ping {});
            }
        }
        Some(asked)
    });
    if asked == Some(Beat::GiveUp) {
        lose(live, CloseCode::NoPong.number());
    }
}

fn hear(live: Live, text: &str) {
    with(|link| link.heard = browser::now_millis());
    let Some(frame) = heard::read(text) else { return };
    match frame {
        Heard::Hello { meta, resume, resumed, ping_seconds } => greet(live, meta, resume, resumed, ping_seconds),
        Heard::Event(frame) => match with(|link| link.watch_of(frame.topic)) {
            Some(watch) => (watch.arrive)(Arrival::Event(frame)),
            None => with(|link| link.stray.keep(frame)),
        },
        Heard::Resumed(resumed) => {
            with(|link| link.refusals.answered(resumed.topic));
            tell_refusal();
            if let Some(watch) = with(|link| link.watch_of(resumed.topic)) {
                (watch.arrive)(Arrival::Resumed(resumed));
            }
        }
        Heard::Recorded(recorded) => {
            if let Some(watch) = with(|link| link.watch_of(recorded.topic)) {
                (watch.arrive)(Arrival::Recorded(recorded));
            }
        }
        Heard::Result { id, position, body } => told(id, |_| Some((position, body))),
        Heard::Change { id, position, from, mut patch } => told(id, |last| {
            let (at, mut body) = last.filter(|(at, _)| (at.epoch, at.offset) == (position.epoch, from))?;
            let fits = patch.is_empty() || wire::patch::apply(&mut body, &mut patch).is_ok();
            fits.then_some((Position { offset: position.offset, ..at }, body))
        }),
        Heard::Callback { message_id } => with(|link| link.send(&ClientFrame::Receipt { message_id })),
        Heard::Problem { id, title, detail } => {
            if with(|link| link.attaching) {
                settle(live, false);
            } else {
                refused(id, Refusal { title, detail });
            }
        }
        Heard::Pong => {}
    }
}

/// A `hello`: the first of this socket, or the answer to `attach`.
fn greet(live: Live, meta: SocketMeta, resume: String, resumed: bool, ping_seconds: u64) {
    let (was_attaching, former, watches) = with(|link| {
        let former = link.resume.replace(resume);
        link.period = ping_seconds.clamp(1, 600) as f64 * 1_000.0;
        link.meta = Some(meta);
        let watches: Vec<_> = link.watches.values().map(|known| known.watch.clone()).collect();
        (std::mem::take(&mut link.attaching), former, watches)
    });
    if was_attaching {
        settle(live, resumed);
        return;
    }
    let Some(former) = former else {
        settle(live, false);
        return;
    };
    let positions = watches.iter().flat_map(|watch| (watch.positions)());
    let positions: Vec<_> = positions.map(|(topic, position)| TopicPosition { topic, position }).collect();
    with(|link| {
        link.attaching = true;
        link.attached = positions.iter().map(|known| known.topic).collect();
        link.send(&ClientFrame::Attach { resume: former, positions });
    });
}

/// The socket can be used. `taken_up`: with the former client id, so that what was watched still is.
fn settle(live: Live, taken_up: bool) {
    let watches: Vec<_> = with(|link| link.watches.values().map(|known| (known.build, known.watch.clone())).collect());
    let watched: Vec<_> = watches.into_iter().map(|(build, watch)| (build, (watch.positions)())).collect();
    let is_catching_up = with(|link| {
        (link.ready, link.attaching, link.tries) = (true, false, 0);
        link.subscribed.clear();
        let attached = std::mem::take(&mut link.attached);
        link.opened += 1;
        link.refusals.opened(attached.iter().copied().filter(|_| taken_up));
        for (build, positions) in &watched {
            let own = link.is_own(*build);
            for (topic, position) in positions {
                // Leaving a subscription also silences what is addressed: an own build's topics never count as asked for.
                if own {
                    continue;
                }
                if taken_up && attached.contains(topic) {
                    link.subscribed.insert(*topic);
                } else {
                    link.subscribe(*topic, *position);
                }
            }
        }
        for (id, querying) in &link.queries {
            link.send(&querying.subscribe(*id));
        }
        link.lost_at = None;
        !link.away.is_empty()
    });
    live.connection.set(if is_catching_up { Connection::Resuming } else { Connection::Live });
    tell_refusal();
}
