//! Callbacks: to the client that they are for, wherever it is. A callback stands nowhere but in the broker, so it is acked
//! with the client's receipt, or when another has taken it (P4). A batch is acked when that is true of all in it.

use std::{sync::Arc, time::Instant};

use broker::{Delivery, Incoming, Origin, Outgoing, topology};
use tracing::{error, warn};
use wire::{
    Callback, ClientId, GatewayMessage, Topic,
    callback::Refused,
    frame::{callback_frame, claim_check_frame},
    reply::{CallbackPayload, is_reply_queue},
};

use crate::{
    desk::MayWatch,
    intake::Pauses,
    judge::Then,
    receipts::Unacknowledged,
    socket::SocketId,
    unsettled::{Part, Ticket},
    worker::Worker,
};

/// What the broker does not take is tried so often; then it goes back to the queue.
const PASS_ON_TRIES_MAX: u32 = 8;

impl Worker {
    /// Several in one message: each as if it had come alone.
    pub(crate) fn callbacks(&mut self, callbacks: Vec<Result<Callback, Refused>>, delivery: Delivery) {
        let whole = delivery.message.clone();
        let parts = Part::split(delivery, callbacks.len());
        for (n, (callback, part)) in callbacks.into_iter().zip(parts).enumerate() {
            let mut message = Incoming { message_id: Callback::id_in_batch(whole.message_id, n), ..whole.clone() };
            match callback {
                Ok(callback) => {
                    message.body = callback.encode().into();
                    self.callback(&callback, message, part);
                }
                Err(refused) => self.bury(&message, &refused, part),
            }
        }
    }

    /// A client that is not here may be anywhere: the callback is passed on under the client's own key. If it came
    /// under that key already, this worker is the last that held the client, and control keeps the callback.
    pub(crate) fn callback(&mut self, callback: &Callback, message: Incoming, part: Part) {
        let client = callback.client_id;
        if let Some(id) = self.clients.socket(client).filter(|id| self.sockets.contains_key(id)) {
            let (ticket, oldest) = self.unsettled.hold(part);
            if let Some(oldest) = oldest {
                if let Some(times) = self.acked_early.due(Instant::now()) {
                    warn!(server_id = %self.context.server_id, times, "too many callbacks wait for receipts at this worker: the broker need not keep the oldest");
                }
                oldest.ack();
            }
            return self.hand_over(id, callback, Unacknowledged { message, ticket });
        }
        let client_key = topology::client_key(client);
        let is_last = message.key == client_key;
        if is_last {
            self.wanted_or_unbound(&client_key);
        }
        self.pass_on(client, message, Some(part), is_last);
    }

    /// What stood in a batch and is no callback becomes a dead letter, with its reason.
    fn bury(&self, message: &Incoming, refused: &Refused, part: Part) {
        let (key, message_id, reason) = (&message.key, message.message_id, &refused.reason);
        warn!(server_id = %self.context.server_id, %key, %message_id, reason, "a callback of a batch was refused");
        let origin = Origin::utils(key.as_str());
        let mut letter = Outgoing::dead(refused.body.get().as_bytes().into(), reason.clone(), origin);
        letter.message_id = message_id;
        self.send_on(letter, Some(part));
    }

    /// Sends a callback to a socket, and waits for its receipt. One that tells the end of a build is for those who may see that
    /// now (P8): for anybody else it is taken as received.
    fn hand_over(&mut self, id: SocketId, callback: &Callback, waiting: Unacknowledged) {
        let Some(topic) = CallbackPayload::is_about(&callback.payload).map(Topic::Build) else {
            return self.send(id, callback, waiting);
        };
        let Some(socket) = self.sockets.get(&id) else { return self.hand_on(callback.client_id, waiting) };
        match self.context.desk.may_watch(&socket.authority, topic) {
            MayWatch::Known(true) => self.send(id, callback, waiting),
            MayWatch::Known(false) => self.ack(waiting.ticket),
            MayWatch::Asked(asked) => {
                self.wait_for(id, topic, asked, Then::Hand(Box::new((callback.clone(), waiting))));
            }
        }
    }

    /// Sends a callback that its socket may have.
    pub(crate) fn send(&mut self, id: SocketId, callback: &Callback, waiting: Unacknowledged) {
        let Some(socket) = self.sockets.get_mut(&id) else { return self.hand_on(callback.client_id, waiting) };
        let sent = waiting.message.message_id;
        let frame = if callback.claim_check { claim_check_frame } else { callback_frame };
        socket.queue.push_plain(frame(sent, &callback.payload).into());
        let client = socket.client;
        for former in socket.receipts.sent(waiting) {
            if former.message.message_id != sent
                && let Some(times) = self.taken_as_received.due(Instant::now())
            {
                warn!(%client, times, "too many callbacks wait for a client's receipt: the oldest is taken as received");
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
        let part = self.unsettled.take(waiting.ticket);
        self.pass_on(client, waiting.message, part, false);
    }

    /// Publishes a callback for another worker, or for control.
    fn pass_on(&self, client: ClientId, message: Incoming, part: Option<Part>, to_control: bool) {
        self.send_on(passed_on(client, message, to_control), part);
    }

    /// Publishes a message and acks what it stands for when the broker has it. If the broker does not take it, it goes
    /// back to the queue.
    fn send_on(&self, message: Outgoing, part: Option<Part>) {
        let (broker, life) = (Arc::clone(&self.context.broker), self.life.clone());
        let is_held = part.is_some();
        tokio::spawn(async move {
            let (key, message_id) = (message.key.clone(), message.message_id);
            let mut pauses = Pauses::default();
            for _ in 0..PASS_ON_TRIES_MAX {
                let Err(error) = broker.publish(message.clone()).await else {
                    return part.into_iter().for_each(Part::ack);
                };
                if pauses.is_first() {
                    warn!(key, %message_id, %error, "a callback cannot be passed on now: trying again");
                }
                tokio::select! {
                    () = pauses.wait() => {}
                    () = life.cancelled(), if is_held => return, // Unsettled, it is delivered again.
                }
            }
            match part {
                Some(part) => part.requeue(),
                None => {
                    error!(key, %message_id, "a callback without a receipt could not be passed on: the broker does not take it")
                }
            }
        });
    }

    pub(crate) fn ack(&mut self, ticket: Ticket) {
        self.unsettled.take(ticket).into_iter().for_each(Part::ack);
    }

    /// A client says that a callback arrived: the broker need not keep it any longer, and its producer is told, if it
    /// asked for that.
    pub(crate) fn receipt(&mut self, client: ClientId, waiting: Unacknowledged) {
        let part = self.unsettled.take(waiting.ticket);
        let Some(reply_to) = waiting.message.reply_to.filter(|queue| takes_receipts(queue)) else {
            return part.into_iter().for_each(Part::ack);
        };
        let message_id = waiting.message.message_id;
        let body = serde_json::json!({"client_id": client, "message_id": message_id}).to_string().into_bytes();
        let mut message = Outgoing::new(topology::Exchange::Direct, reply_to, body);
        message.correlation_id = Some(message_id.to_string());
        // Only then the callback is settled: a worker that dies in between is asked for the receipt again. A producer that is
        // gone needs none: what no queue takes counts as published.
        self.send_on(message, part);
    }
}

/// Receipts go to reply queues and to the queue of receipts only: a callback must not make the gateway write into the queues
/// of others.
fn takes_receipts(queue: &str) -> bool {
    queue == topology::RECEIPTS || is_reply_queue(queue)
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
        origin: None,
        body: callback.body,
    }
}
