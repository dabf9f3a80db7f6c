//! What clients ask for, frame by frame: subscriptions, commands, queries, receipts, pings. `attach` has its own file.
//!
//! **Bind, then read.** A subscription is answered when the broker has said that the binding stands. What comes between
//! the binding and the answer is in the replay and follows the answer.
//!
//! A position is taken at its word: who subscribes once more with an older position gets the frames once more.

use std::sync::Arc;

use broker::BoxFuture;
use serde_json::Value;
use tracing::error;
use wire::{ClientFrame, CloseCode, Position, Problem, ServerFrame, SocketMeta, Topic, command::Query};

use crate::{
    attach::FIRST_EPOCH,
    bindings::Waiter,
    frames,
    judge::Then,
    live::Telling,
    send_queue::{SendQueue, Tag},
    socket::SocketId,
    subscriptions::Reader,
    worker::{Socket, Worker},
};

/// The topic name of live queries.
const QUERY: &str = "query";

impl Worker {
    pub(crate) fn text(&mut self, id: SocketId, text: &str) {
        let frame = match serde_json::from_str::<ClientFrame>(text) {
            Ok(frame) => frame,
            Err(error) => return self.bad_frame(id, id_of(text), not_understood(&error)),
        };
        match frame {
            ClientFrame::Attach { resume, positions } => self.attach(id, &resume, &positions),
            ClientFrame::Subscribe { topic, position, id: name, query, patch } if topic == QUERY => {
                let telling = if patch { Telling::Patches(position) } else { Telling::Whole };
                self.subscribe_query(id, name, query, telling);
            }
            ClientFrame::Subscribe { topic, position, id: name, .. } => match topic.parse() {
                Ok(topic) => self.watch(id, topic, position, FIRST_EPOCH, name),
                Err(error) => self.bad_frame(id, name, format!("{error}, or `{QUERY}` with `id` and `query`")),
            },
            ClientFrame::Unsubscribe { topic, id: name } => self.unsubscribe(id, &topic, name),
            ClientFrame::Command { id: name, command } => {
                let desk = Arc::clone(&self.context.desk);
                let server_id = self.context.server_id.clone();
                let ask = |socket: &Socket| -> Ask {
                    let (authority, client_id) = (socket.authority.clone(), socket.client);
                    Box::new(move || desk.command(&authority, command, SocketMeta { client_id, server_id }))
                };
                self.answer(id, name, ask);
            }
            ClientFrame::Query { id: name, query } => {
                let desk = Arc::clone(&self.context.desk);
                let ask = |socket: &Socket| -> Ask {
                    let authority = socket.authority.clone();
                    Box::new(move || desk.query(&authority, query))
                };
                self.answer(id, name, ask);
            }
            ClientFrame::Receipt { message_id } => {
                if let Some(socket) = self.sockets.get_mut(&id)
                    && let Some(callback) = socket.receipts.received(message_id)
                {
                    let client = socket.client;
                    self.receipt(client, callback);
                }
            }
            ClientFrame::Ping {} => {
                if let Some(socket) = self.sockets.get(&id) {
                    socket.queue.push_plain(frames::text(&ServerFrame::Pong {}));
                }
            }
        }
    }

    /// A frame that breaks the protocol: the client is told why; after too many of them the socket is closed.
    fn bad_frame(&mut self, id: SocketId, name: Option<String>, detail: String) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.queue.push_plain(frames::problem(name, "frame not understood", detail));
        socket.bad_frames += 1;
        let max = self.context.config.limits.bad_frames_max;
        if socket.bad_frames > max {
            let reason = format!("more than {max} frames were not understood");
            socket.queue.finish(CloseCode::Policy, reason);
        }
    }

    /// Tells a client that something is not possible.
    pub(crate) fn problem(&self, id: SocketId, name: Option<String>, title: &str, detail: impl Into<String>) {
        if let Some(socket) = self.sockets.get(&id) {
            socket.queue.push_plain(frames::problem(name, title, detail));
        }
    }

    /// Begins to watch a topic, or answers once more if the socket watches it already. `epoch` is told where nothing
    /// else is known.
    pub(crate) fn watch(
        &mut self,
        id: SocketId,
        topic: Topic,
        position: Option<Position>,
        epoch: u32,
        name: Option<String>,
    ) {
        self.if_it_may(id, topic, Then::Watch { position, epoch, name });
    }

    /// The same for one that may.
    pub(crate) fn watch_allowed(
        &mut self,
        id: SocketId,
        topic: Topic,
        position: Option<Position>,
        epoch: u32,
        name: Option<String>,
    ) {
        let waiter = Waiter::Subscribed { socket: id, topic, position, epoch };
        let max = self.context.config.limits.topics_per_socket_max;
        let is_full = self.subscriptions.watched_by(id) >= max;
        match self.subscriptions.get(topic, id) {
            Some(reader) if reader.watches => {
                reader.muted = false;
                return self.wait(&topic.to_string(), waiter);
            }
            _ if is_full => {
                return self.problem(id, name, "too many topics", format!("a socket may watch {max} topics"));
            }
            Some(reader) => (reader.watches, reader.muted) = (true, false),
            None => {
                let reader = Reader { watches: true, pending: true, ..Reader::default() };
                self.subscriptions.put(topic, id, reader);
            }
        }
        self.want(topic.to_string(), waiter);
    }

    /// Answers a subscription from the replay.
    pub(crate) fn resume(&mut self, id: SocketId, topic: Topic, position: Option<Position>, epoch: u32) {
        // Either is gone if the client was quicker than the broker.
        let Some(socket) = self.sockets.get(&id) else { return };
        let Some(reader) = self.subscriptions.get(topic, id) else { return };
        let (resumed, following) = self.replay.resume(topic, position, epoch);
        reader.pending = false;
        let told = match resumed.to {
            Some(offset) => Some(Position { epoch: resumed.epoch, offset }),
            None => reader.seen.max(position),
        };
        if let Some(told) = told {
            reader.has_seen(told);
        }
        socket.queue.push(frames::resumed(resumed), Tag::Resumed(resumed));
        for frame in following {
            let tag = Tag::Event { topic, position: frame.position, log: frame.log };
            socket.queue.push(frame.text, tag);
        }
    }

    fn unsubscribe(&mut self, id: SocketId, topic: &str, name: Option<String>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if topic == QUERY {
            let known = name.as_deref().is_some_and(|name| socket.live.end(name));
            if !known {
                self.problem(id, name, "no such live query", "no live query with this `id` runs on this socket");
            }
            return;
        }
        let topic: Topic = match topic.parse() {
            Ok(topic) => topic,
            Err(error) => return self.bad_frame(id, name, format!("{error}, or `{QUERY}` with `id`")),
        };
        socket.judging.retain(|_, judged| *judged != topic);
        let is_addressed = self.clients.is_addressed(socket.client, topic);
        let Some(reader) = self.subscriptions.get(topic, id) else { return };
        if let Some(left) = &mut socket.left {
            left.topics.insert(topic);
        }
        let watched = std::mem::take(&mut reader.watches);
        if is_addressed {
            // The entry stays, so that the next event addressed to the client does not begin anew.
            (reader.muted, reader.pending) = (true, false);
        } else {
            self.subscriptions.remove(topic, id);
        }
        if watched {
            self.release_topic(id, topic);
        }
    }

    fn subscribe_query(&mut self, id: SocketId, name: Option<String>, query: Option<Query>, telling: Telling) {
        let (Some(name), Some(query)) = (name.clone(), query) else {
            return self.bad_frame(id, name, "a live query needs `id` and `query`".to_owned());
        };
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let (desk, queue) = (Arc::clone(&self.context.desk), Arc::clone(&socket.queue));
        if !socket.live.start(name.clone(), query, telling, desk, socket.authority.clone(), queue) {
            let max = self.context.config.limits.live_queries_per_socket_max;
            self.problem(id, Some(name), "too many live queries", format!("a socket may have {max} live queries"));
        }
    }

    /// Asks the desk and sends its answer, in a task of its own.
    fn answer(&self, id: SocketId, name: String, ask: impl FnOnce(&Socket) -> Ask) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let Ok(permit) = Arc::clone(&socket.in_flight).try_acquire_owned() else {
            let max = self.context.config.limits.in_flight_per_socket_max;
            let detail =
                format!("{max} commands and queries of this socket wait for their answers: send it again then");
            return self.problem(id, Some(name), "too many requests", detail);
        };
        let (ask, queue) = (ask(socket), Arc::clone(&socket.queue));
        tokio::spawn(async move {
            reply(name, ask, &queue).await;
            drop(permit);
        });
    }
}

/// A question to the desk.
type Ask = Box<dyn FnOnce() -> BoxFuture<'static, (u16, Value)> + Send>;

async fn reply(id: String, ask: Ask, queue: &SendQueue) {
    // A task of its own: the client gets an answer even if the desk panics.
    let (status, body) = match tokio::spawn(async move { ask().await }).await {
        Ok(answer) => answer,
        Err(error) => {
            error!(%error, "the desk did not answer a client");
            let problem = Problem::new(500, "internal error", "the request failed inside Stepcast: see its log");
            (500, serde_json::to_value(problem).unwrap_or_default())
        }
    };
    queue.push_plain(frames::text(&ServerFrame::Reply { id, status, body }));
}

/// What is wrong with a frame, in one sentence.
fn not_understood(error: &serde_json::Error) -> String {
    if error.is_data() {
        format!("the frame is JSON but not a frame of stepcast.v1: {error}")
    } else {
        format!("the frame is not JSON: {error}; a frame is one JSON object with `type`")
    }
}

/// The id in a frame that could not be understood, so that its sender knows which one it was.
fn id_of(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.get("id")?.as_str().map(str::to_owned)
}
