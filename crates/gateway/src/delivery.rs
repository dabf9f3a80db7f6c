//! What arrives from the broker: events, hints of the recorder, callbacks. A delivery is acked as soon as its frames are
//! in the send queues; what cannot be read or is forged becomes a dead letter with its reason.

use std::{borrow::Cow, sync::Arc};

use broker::{Delivery, Incoming, Outgoing, topology};
use serde::Deserialize;
use tracing::{error, warn};
use wire::{
    ClientId, EventMessage, GatewayMessage, ServerFrame, Topic,
    event::{Callback, Recorded},
    frame::{callback_frame, event_frame},
};

use crate::{
    frames,
    intake::Pauses,
    receipts::Unacknowledged,
    replay::Frame,
    send_queue::Tag,
    socket::SocketId,
    subscriptions::Reader,
    worker::{Socket, Worker},
};

/// A callback that the broker does not take is tried so often; then only the log knows of it.
const HAND_ON_TRIES_MAX: u32 = 8;

/// All that the gateway must know of an event itself.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

impl Worker {
    pub(crate) fn delivery(&mut self, delivery: Delivery) {
        if self.suspect == Some(delivery.message.message_id) {
            return self.refuse(delivery, "the worker failed over it");
        }
        match GatewayMessage::decode(&delivery.message.body) {
            Ok(GatewayMessage::Event(event)) => self.event(event, delivery),
            Ok(GatewayMessage::Recorded(recorded)) => self.recorded(recorded, delivery),
            Ok(GatewayMessage::Callback(callback)) => self.callback(callback, delivery),
            Err(error) => self.refuse(delivery, &error.to_string()),
        }
    }

    fn refuse(&self, delivery: Delivery, reason: &str) {
        let (key, message_id) = (&delivery.message.key, delivery.message.message_id);
        warn!(server_id = %self.context.server_id, %key, %message_id, reason, "a message was refused");
        delivery.reject(reason);
    }

    fn event(&mut self, message: EventMessage, delivery: Delivery) {
        let (topic, position) = (message.topic, message.position());
        if matches!(topic, Topic::Job(_)) && !self.context.config.key.verify_event(&message) {
            return self.refuse(delivery, "its MAC is not that of the attempt's lease holder");
        }
        let log = match serde_json::from_str::<Kind>(message.event.get()) {
            Ok(Kind { kind }) => kind == "log",
            Err(error) => return self.refuse(delivery, &format!("its event has no kind: {error}")),
        };
        let is_addressed = delivery.message.key == self.context.server_id.as_str();
        if !is_addressed && !self.wanted_or_unbound(&topic.to_string()) {
            return delivery.ack();
        }
        let text: Arc<str> = event_frame(topic, position, message.at, &message.event).into();
        let frame = Frame { position, log, text: Arc::clone(&text) };
        let is_new = self.replay.push(topic, message.build, is_addressed, frame);
        if is_new {
            if is_addressed && let Some(client) = message.client_id {
                self.addressed(client, topic);
            }
            for (id, reader) in self.subscriptions.readers(topic) {
                if reader.takes(position)
                    && let Some(socket) = self.sockets.get(&id)
                {
                    socket.queue.push(Arc::clone(&text), Tag::Event { topic, position, log });
                }
            }
        }
        delivery.ack();
    }

    /// An event is for this client: from now on it reads the topic, if its session may see it (P8).
    fn addressed(&mut self, client: ClientId, topic: Topic) {
        let (socket, forgotten) = self.clients.addressed(client, topic);
        let Some(id) = socket else { return };
        if let Some(forgotten) = forgotten
            && self.subscriptions.get(forgotten, id).is_some_and(|reader| !reader.watches)
        {
            self.subscriptions.remove(forgotten, id);
        }
        if self.subscriptions.get(topic, id).is_none()
            && let Some(socket) = self.sockets.get(&id)
        {
            let muted = !self.context.desk.may_watch(&socket.authority, topic);
            self.subscriptions.put(topic, id, Reader { muted, ..Reader::default() });
        }
    }

    fn recorded(&mut self, recorded: Recorded, delivery: Delivery) {
        let topic = recorded.topic;
        if delivery.message.key != self.context.server_id.as_str() {
            self.wanted_or_unbound(&topic.to_string());
        }
        let text = frames::text(&ServerFrame::Recorded(recorded));
        for (id, reader) in self.subscriptions.readers(topic) {
            if !reader.muted
                && let Some(socket) = self.sockets.get(&id)
            {
                socket.queue.push(Arc::clone(&text), Tag::Hint(topic, recorded.epoch));
            }
        }
        delivery.ack();
    }

    /// A client that is not here may be anywhere: the callback is passed on under the client's own key. If it came
    /// under that key already, this worker is the last that held the client, and control keeps the callback.
    fn callback(&mut self, callback: Callback, delivery: Delivery) {
        let client = callback.client_id;
        if let Some(socket) = self.clients.socket(client).and_then(|id| self.sockets.get_mut(&id)) {
            hand_over(socket, &callback, unacknowledged(&delivery.message));
            return delivery.ack();
        }
        let client_key = topology::client_key(client);
        let is_last = delivery.message.key == client_key;
        if is_last {
            self.wanted_or_unbound(&client_key);
        }
        let outgoing = passed_on(client, unacknowledged(&delivery.message), is_last);
        let confirm = self.context.broker.publish(outgoing);
        let life = self.life.clone();
        tokio::spawn(async move {
            match confirm.await {
                Ok(()) => delivery.ack(),
                Err(error) => {
                    warn!(%client, %error, "a callback cannot be passed on now: it goes back to the queue");
                    tokio::select! {
                        () = Pauses::longest() => delivery.requeue(),
                        () = life.cancelled() => {} // Unsettled, it is delivered again.
                    }
                }
            }
        });
    }

    /// Gives a callback that another socket of the client did not acknowledge to the one that took its place.
    pub(crate) fn hand_to(&mut self, id: SocketId, callback: Unacknowledged) {
        let Ok(GatewayMessage::Callback(decoded)) = GatewayMessage::decode(&callback.body) else { return };
        if let Some(socket) = self.sockets.get_mut(&id) {
            hand_over(socket, &decoded, callback);
        }
    }

    /// Passes on a callback that this worker took but whose client went without a receipt.
    pub(crate) fn hand_on(&self, client: ClientId, callback: Unacknowledged) {
        let broker = Arc::clone(&self.context.broker);
        tokio::spawn(async move {
            let message_id = callback.message_id;
            let mut pauses = Pauses::default();
            for _ in 0..HAND_ON_TRIES_MAX {
                match broker.publish(passed_on(client, callback.clone(), false)).await {
                    Ok(()) => return,
                    Err(_) => pauses.wait().await,
                }
            }
            error!(%client, %message_id, "a callback without a receipt could not be passed on: the broker does not take it");
        });
    }

    /// A client says that a callback arrived: its producer is told, if it asked for that.
    pub(crate) fn receipt(&self, client: ClientId, callback: Unacknowledged) {
        let Some(reply_to) = callback.reply_to.filter(|queue| takes_receipts(queue)) else { return };
        let message_id = callback.message_id;
        let body = serde_json::json!({"client_id": client, "message_id": message_id}).to_string().into_bytes();
        let mut message = Outgoing::new(topology::Exchange::Direct, reply_to, body);
        message.correlation_id = Some(message_id.to_string());
        // A producer that is gone needs no receipt, and one that misses it may ask again.
        drop(self.context.broker.publish(message));
    }
}

/// Sends a callback to a socket, and waits for its receipt.
fn hand_over(socket: &mut Socket, callback: &Callback, message: Unacknowledged) {
    socket.queue.push_plain(callback_frame(message.message_id, &callback.payload).into());
    for given_up in socket.receipts.sent(message) {
        let (client, message_id) = (socket.client, given_up.message_id);
        warn!(%client, %message_id, "too many callbacks wait for a receipt: this one is taken as received");
    }
}

/// Receipts go to reply queues only: a callback must not make the gateway write into the queues of others.
fn takes_receipts(queue: &str) -> bool {
    queue.starts_with("reply.") || queue.starts_with("amq.rabbitmq.reply-to")
}

fn unacknowledged(message: &Incoming) -> Unacknowledged {
    Unacknowledged {
        message_id: message.message_id,
        correlation_id: message.correlation_id.clone(),
        reply_to: message.reply_to.clone(),
        body: Arc::clone(&message.body),
    }
}

fn passed_on(client: ClientId, callback: Unacknowledged, to_control: bool) -> Outgoing {
    let (exchange, key) = if to_control {
        (topology::Exchange::Direct, topology::UNROUTED.to_owned())
    } else {
        (topology::Exchange::Utils, topology::client_key(client))
    };
    Outgoing {
        exchange,
        key,
        cc: Vec::new(),
        stream: false,
        message_id: callback.message_id,
        correlation_id: callback.correlation_id,
        reply_to: callback.reply_to,
        mandatory: to_control,
        body: callback.body,
    }
}
