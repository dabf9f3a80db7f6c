//! What arrives from the broker: events, hints of the recorder, callbacks. An event is acked as soon as its frames
//! are in the send queues: it stands in the record. A callback stands nowhere else and is acked with the client's receipt.
//! What cannot be read or is forged becomes a dead letter with its reason.

use std::sync::Arc;

use broker::{Delivery, Incoming, Outgoing, topology};
use tracing::{error, warn};
use wire::{
    ClientId, EventMessage, GatewayMessage, ServerFrame, Topic,
    event::{Callback, Recorded},
    frame::{callback_frame, event_frame},
};

use crate::{
    frames,
    intake::{Pauses, is_fence},
    receipts::Unacknowledged,
    replay::Frame,
    send_queue::Tag,
    socket::SocketId,
    subscriptions::Reader,
    unsettled::Ticket,
    worker::Worker,
};

/// A callback that the broker does not take is tried so often; then it goes back to the queue.
const PASS_ON_TRIES_MAX: u32 = 8;

impl Worker {
    pub(crate) fn delivery(&mut self, delivery: Delivery) {
        if self.suspect == Some(delivery.message.message_id) {
            return self.refuse(delivery, "the worker failed over it");
        }
        if is_fence(&delivery.message) {
            return self.fence(delivery);
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
        let log = match message.is_log() {
            Ok(log) => log,
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
        let message = delivery.message.clone();
        if let Some(id) = self.clients.socket(client).filter(|id| self.sockets.contains_key(id)) {
            let (ticket, oldest) = self.unsettled.hold(delivery);
            if let Some(oldest) = oldest {
                let message_id = oldest.message.message_id;
                warn!(%message_id, "too many callbacks wait for receipts at this worker: the broker need not keep this one");
                oldest.ack();
            }
            return self.hand_over(id, &callback, Unacknowledged { message, ticket });
        }
        let client_key = topology::client_key(client);
        let is_last = message.key == client_key;
        if is_last {
            self.wanted_or_unbound(&client_key);
        }
        self.pass_on(client, message, Some(delivery), is_last);
    }

    /// Sends a callback to a socket, and waits for its receipt.
    fn hand_over(&mut self, id: SocketId, callback: &Callback, waiting: Unacknowledged) {
        let Some(socket) = self.sockets.get_mut(&id) else { return self.hand_on(callback.client_id, waiting) };
        let sent = waiting.message.message_id;
        socket.queue.push_plain(callback_frame(sent, &callback.payload).into());
        let client = socket.client;
        for former in socket.receipts.sent(waiting) {
            let message_id = former.message.message_id;
            if message_id != sent {
                warn!(%client, %message_id, "too many callbacks wait for a receipt: this one is taken as received");
            }
            self.ack(former.ticket);
        }
    }

    /// Gives a callback that another socket of the client did not acknowledge to the one that took its place.
    pub(crate) fn hand_to(&mut self, id: SocketId, waiting: Unacknowledged) {
        match GatewayMessage::decode(&waiting.message.body) {
            Ok(GatewayMessage::Callback(callback)) => self.hand_over(id, &callback, waiting),
            // Not reached: it was read when it came.
            _ => self.ack(waiting.ticket),
        }
    }

    /// Passes on a callback that this worker took but whose client went without a receipt.
    pub(crate) fn hand_on(&mut self, client: ClientId, waiting: Unacknowledged) {
        let delivery = self.unsettled.take(waiting.ticket);
        self.pass_on(client, waiting.message, delivery, false);
    }

    /// Publishes a callback for another worker, or for control, and acks it when the broker has it. If the broker does not
    /// take it, it goes back to the queue.
    fn pass_on(&self, client: ClientId, message: Incoming, delivery: Option<Delivery>, to_control: bool) {
        let (broker, life) = (Arc::clone(&self.context.broker), self.life.clone());
        let is_held = delivery.is_some();
        tokio::spawn(async move {
            let message_id = message.message_id;
            let mut pauses = Pauses::default();
            for _ in 0..PASS_ON_TRIES_MAX {
                let Err(error) = broker.publish(passed_on(client, message.clone(), to_control)).await else {
                    return delivery.into_iter().for_each(Delivery::ack);
                };
                if pauses.is_first() {
                    warn!(%client, %message_id, %error, "a callback cannot be passed on now: trying again");
                }
                tokio::select! {
                    () = pauses.wait() => {}
                    () = life.cancelled(), if is_held => return, // Unsettled, it is delivered again.
                }
            }
            match delivery {
                Some(delivery) => delivery.requeue(),
                None => {
                    error!(%client, %message_id, "a callback without a receipt could not be passed on: the broker does not take it")
                }
            }
        });
    }

    fn ack(&mut self, ticket: Ticket) {
        self.unsettled.take(ticket).into_iter().for_each(Delivery::ack);
    }

    /// A client says that a callback arrived: the broker need not keep it any longer, and its producer is told, if it
    /// asked for that.
    pub(crate) fn receipt(&mut self, client: ClientId, waiting: Unacknowledged) {
        self.ack(waiting.ticket);
        let Some(reply_to) = waiting.message.reply_to.filter(|queue| takes_receipts(queue)) else { return };
        let message_id = waiting.message.message_id;
        let body = serde_json::json!({"client_id": client, "message_id": message_id}).to_string().into_bytes();
        let mut message = Outgoing::new(topology::Exchange::Direct, reply_to, body);
        message.correlation_id = Some(message_id.to_string());
        // A producer that is gone needs no receipt, and one that misses it may ask again.
        drop(self.context.broker.publish(message));
    }
}

/// Receipts go to reply queues only: a callback must not make the gateway write into the queues of others.
fn takes_receipts(queue: &str) -> bool {
    queue.starts_with("reply.") || queue.starts_with("amq.rabbitmq.reply-to")
}

fn passed_on(client: ClientId, callback: Incoming, to_control: bool) -> Outgoing {
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
        death: None,
        body: callback.body,
    }
}
