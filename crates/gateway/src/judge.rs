//! Whether a socket may watch a topic (P8). Mostly that is known at once; where the desk must look it up, the socket's wish
//! waits beside the loop, and is forgotten when the client unsubscribes meanwhile.

use std::sync::Arc;

use broker::BoxFuture;
use wire::{
    Callback, ClientId, Position, Topic,
    frame::{CloseCode, ResumeOutcome, Resumed},
};

use crate::{
    attach::FIRST_EPOCH,
    desk::{MayWatch, NotNow},
    frames,
    intake::Pauses,
    receipts::Unacknowledged,
    send_queue::Tag,
    socket::SocketId,
    worker::{Event, Worker},
};

/// So often the desk is asked; then the client comes back later.
const ASK_TRIES_MAX: u32 = 6;

/// The desk looks it up.
type Asked = BoxFuture<'static, Result<bool, NotNow>>;

/// What is done when it is known.
pub(crate) enum Then {
    /// A subscription is answered.
    Watch { position: Option<Position>, epoch: u32, name: Option<String> },
    /// A client that came back takes the topic up again.
    Follow { client: ClientId, position: Option<Position> },
    /// The topic is addressed to the client, who hears nothing of it until then.
    Hear,
    /// A callback tells the end of the topic's build: it is handed over, or else taken as received.
    Hand(Box<(Callback, Unacknowledged)>),
}

impl Worker {
    /// Goes on with `then` as soon as it is known whether the socket may watch the topic.
    pub(crate) fn if_it_may(&mut self, id: SocketId, topic: Topic, then: Then) {
        let Some(socket) = self.sockets.get(&id) else { return };
        match self.context.desk.may_watch(&socket.authority, topic) {
            MayWatch::Known(may) => self.known(id, topic, may, then),
            MayWatch::Asked(asked) => self.wait_for(id, topic, asked, then),
        }
    }

    /// Goes on with `then` when the desk has answered.
    pub(crate) fn wait_for(&mut self, id: SocketId, topic: Topic, asked: Asked, then: Then) {
        if matches!(then, Then::Hand(_)) {
            // It waits for its receipt like any other callback, and is none of the socket's topics.
            return self.ask(id, topic, None, asked, then);
        }
        let max = self.context.config.limits.topics_per_socket_max;
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.judging.len() >= max {
            let name = match then {
                Then::Watch { name, .. } => name,
                // It did not ask, and would never know what it does not hear.
                Then::Hear => return self.come_back(id),
                _ => None,
            };
            return self.problem(id, name, "too many topics", format!("a socket may watch {max} topics"));
        }
        let number = socket.judged;
        socket.judged += 1;
        socket.judging.insert(number, topic);
        self.ask(id, topic, Some(number), asked, then);
    }

    /// What cannot be told now is asked again, a few times.
    fn ask(&self, id: SocketId, topic: Topic, number: Option<u64>, asked: Asked, then: Then) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let (desk, authority) = (Arc::clone(&self.context.desk), socket.authority.clone());
        let (reports, life) = (self.reports.clone(), self.life.clone());
        tokio::spawn(async move {
            // A desk that panics lets nobody watch.
            let answer = async |asked: Asked| tokio::spawn(asked).await.unwrap_or(Ok(false));
            let mut may = answer(asked).await;
            let mut pauses = Pauses::default();
            for _ in 1..ASK_TRIES_MAX {
                if may.is_ok() {
                    break;
                }
                tokio::select! {
                    () = pauses.wait() => {}
                    () = life.cancelled() => return,
                }
                may = match desk.may_watch(&authority, topic) {
                    MayWatch::Known(may) => Ok(may),
                    MayWatch::Asked(asked) => answer(asked).await,
                };
            }
            // Nobody hears when the worker's life ended, and its sockets with it.
            let _ = reports.send(Event::Judged { socket: id, number, may, then }).await;
        });
    }

    /// The desk has answered, or cannot.
    pub(crate) fn judged(&mut self, id: SocketId, number: Option<u64>, may: Result<bool, NotNow>, then: Then) {
        if let Then::Hand(handed) = then {
            let (callback, waiting) = *handed;
            return match may {
                Ok(true) => self.send(id, &callback, waiting),
                Ok(false) => self.ack(waiting.ticket),
                Err(NotNow) => {
                    self.come_back(id);
                    self.hand_on(callback.client_id, waiting);
                }
            };
        }
        let waited = self.sockets.get_mut(&id).zip(number).and_then(|(socket, number)| socket.judging.remove(&number));
        match (waited, may) {
            (Some(topic), Ok(may)) => self.known(id, topic, may, then),
            (Some(_), Err(NotNow)) => self.come_back(id),
            (None, _) => {}
        }
    }

    /// It is not told that it may not, for that would be for good: it asks again, here or elsewhere.
    fn come_back(&self, id: SocketId) {
        if let Some(socket) = self.sockets.get(&id) {
            socket.queue.close(CloseCode::TryLater, "it cannot be told now what may be watched: come back");
        }
    }

    fn known(&mut self, id: SocketId, topic: Topic, may: bool, then: Then) {
        match then {
            Then::Watch { position, epoch, name } if may => self.watch_allowed(id, topic, position, epoch, name),
            Then::Follow { client, position } if may => self.follow_allowed(id, client, topic, position),
            Then::Hear if may => self.hear(id, topic),
            Then::Hear | Then::Hand(_) => {}
            Then::Watch { name, .. } => self.forbidden(id, name, topic),
            Then::Follow { .. } => self.forbidden(id, None, topic),
        }
    }

    fn forbidden(&self, id: SocketId, name: Option<String>, topic: Topic) {
        self.problem(id, name, "forbidden", format!("{topic} may not be watched with this session"));
    }

    /// What came meanwhile stands in the record: the client is told to read it there.
    fn hear(&mut self, id: SocketId, topic: Topic) {
        let Some(reader) = self.subscriptions.get(topic, id).filter(|reader| reader.muted && !reader.watches) else {
            return;
        };
        reader.muted = false;
        let (outcome, epoch) = (ResumeOutcome::Gap, FIRST_EPOCH);
        let gap = Resumed { topic, outcome, epoch, from: 0, to: None };
        if let Some(socket) = self.sockets.get(&id) {
            socket.queue.push(frames::resumed(gap), Tag::Resumed(gap));
        }
    }
}
