//! The page's socket: one for the whole app. Here stands what pages may ask of it; on the server each of these does
//! nothing, because a page there is read once.
//!
//! The parts: `track` (one topic's position), `apply` (what an event does), `log` (lines held), `build` (all three for an
//! open build), `heard` (what a frame says), `unrecorded` (what the record has not confirmed), `heartbeat` (when to
//! retry), `stray` (frames without a reader), `refusals` (what the server will not tell), `own` (which builds' events come
//! unasked): all pure. `follow` ties them to signals, and `socket` alone knows the browser's WebSocket.

pub mod apply;
pub mod build;
pub mod follow;
pub mod heard;
pub mod heartbeat;
pub mod log;
pub mod own;
pub mod refusals;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(target_arch = "wasm32")]
mod socket;
pub mod stray;
pub mod track;
pub mod unrecorded;

use leptos::prelude::*;
use wire::{
    BuildId, Position, SocketMeta, Topic,
    command::Query,
    event::Recorded,
    frame::{EventFrameOf, Resumed},
};

use refusals::Refusal;

/// How the page stands to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The first socket is not open yet.
    Connecting,
    /// Events arrive as they happen.
    Live,
    /// The socket was lost at this time (milliseconds since the epoch) and is being tried again.
    Reconnecting {
        /// When it was lost.
        since: i64,
    },
    /// The socket is back; what was missed is being read.
    Resuming,
    /// All that was missed has been applied. Shown for some seconds, then `Live`.
    Resumed(Recovered),
    /// The socket is there, but the server refuses to tell of something that the page watches: see [`Live::refusal`].
    Partial,
    /// The browser has no network.
    Offline,
    /// The server said to stay away: signed out, not allowed, or another version.
    Refused {
        /// The close code.
        code: u16,
    },
}

/// What was missed while the socket was away, and is here now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Log lines.
    pub lines: u64,
    /// The worker no longer had all of it in its replay: they were read from the record.
    pub from_record: bool,
}

/// The handle on the socket, provided to all pages.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// For the pill.
    pub connection: RwSignal<Connection>,
    /// Why the page is not live while [`Connection::Partial`].
    pub refusal: RwSignal<Option<Refusal>>,
    /// How often the server has said that something else may be done now.
    pub renewed: RwSignal<u32>,
}

/// An event frame as the socket hands it on: what the event says is read where it is shown.
pub type Unread = EventFrameOf<serde_json::Value>;

/// What arrives for a watched topic.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// An event, in the order of the socket.
    Event(Unread),
    /// The answer to a subscription or to coming back.
    Resumed(Resumed),
    /// The record moved on.
    Recorded(Recorded),
    /// The server refused to tell of this topic.
    Refused(Topic),
    /// The socket was lost.
    Away,
}

/// Names a watch or a live query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub u64);

/// What a watch needs: where arrivals go, and the positions to come back with.
pub struct Watch {
    /// Called for each arrival.
    pub arrive: Box<dyn Fn(Arrival)>,
    /// What is watched now, with the last event applied.
    pub positions: Box<dyn Fn() -> Vec<(Topic, Option<Position>)>>,
}

impl Live {
    /// Provides the handle; the socket is opened by [`Live::open`].
    pub fn provide() -> Self {
        let (connection, refusal) = (RwSignal::new(Connection::Connecting), RwSignal::new(None));
        let live = Self { connection, refusal, renewed: RwSignal::new(0) };
        provide_context(live);
        live
    }

    /// Opens the socket, once.
    pub fn open(self) {
        #[cfg(target_arch = "wasm32")]
        socket::open(self);
    }

    /// The person signs out here: the page is left by that, whatever the socket tells.
    pub fn leaves(self) {
        #[cfg(target_arch = "wasm32")]
        socket::leaves();
    }

    /// Where this tab sits, to be sent with a command; none while the socket is away.
    #[must_use]
    pub fn meta(self) -> Option<SocketMeta> {
        #[cfg(target_arch = "wasm32")]
        return socket::meta();
        #[cfg(not(target_arch = "wasm32"))]
        None
    }

    /// This tab asked for the build and named this socket: its events come addressed there, without a subscription.
    pub fn asked_for(self, build: BuildId, socket: SocketMeta) {
        #[cfg(target_arch = "wasm32")]
        socket::asked_for(build, socket);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = (build, socket);
    }

    /// Watches the topics of one build. A topic is subscribed unless the build is this tab's own.
    pub fn watch(self, build: BuildId, watch: Watch) -> WatchId {
        #[cfg(target_arch = "wasm32")]
        return socket::watch(build, watch);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = (build, watch);
            WatchId(0)
        }
    }

    /// The watch's topics have changed: subscribes to new ones and leaves old ones.
    pub fn changed(self, id: WatchId) {
        #[cfg(target_arch = "wasm32")]
        socket::changed(id);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = id;
    }

    /// Leaves the topics of a watch.
    pub fn unwatch(self, id: WatchId) {
        #[cfg(target_arch = "wasm32")]
        socket::unwatch(id);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = id;
    }

    /// The watch has applied all that was missed: so many lines.
    pub fn recovered(self, recovered: Recovered) {
        #[cfg(target_arch = "wasm32")]
        socket::recovered(self, recovered);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = recovered;
    }

    /// Watches a live query until [`Live::unquery`]; `arrive` gets each result whole.
    pub fn query(self, query: Query, arrive: Box<dyn Fn(serde_json::Value)>) -> WatchId {
        #[cfg(target_arch = "wasm32")]
        return socket::query(query, arrive);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = (query, arrive);
            WatchId(0)
        }
    }

    /// Leaves a live query.
    pub fn unquery(self, id: WatchId) {
        #[cfg(target_arch = "wasm32")]
        socket::unquery(id);
        #[cfg(not(target_arch = "wasm32"))]
        let _ = id;
    }
}

/// Keeps `data` the present result of a live query while the component lives; of another one when `query` changes.
pub fn keep_live<T>(query: impl Into<Signal<Query>>, data: RwSignal<T>)
where
    T: serde::de::DeserializeOwned + PartialEq + Send + Sync + 'static,
{
    let query = query.into();
    let Some(live) = use_context::<Live>() else { return };
    Effect::new(move |_| {
        let arrive = move |body: serde_json::Value| {
            if let Ok(fresh) = serde_json::from_value::<T>(body)
                && data.with_untracked(|old| *old != fresh)
            {
                data.set(fresh);
            }
        };
        let id = live.query(query.get(), Box::new(arrive));
        on_cleanup(move || live.unquery(id));
    });
}
