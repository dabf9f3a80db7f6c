//! What arrives from the broker: events, hints of the recorder, callbacks (see `callback.rs`). An event is acked as soon as
//! its frames are in the send queues: it stands in the record. What cannot be read or is forged becomes a dead letter with its
//! reason.

use std::sync::Arc;

use broker::Delivery;
use tracing::warn;
use wire::{ClientId, EventMessage, GatewayMessage, ServerFrame, Topic, event::Recorded, frame::event_frame};

use crate::{
    MayWatch, frames, intake::is_fence, judge::Then, replay::Frame, send_queue::Tag, subscriptions::Reader,
    unsettled::Part, worker::Worker,
};

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
            Ok(GatewayMessage::Callback(callback)) => {
                self.callback(&callback, delivery.message.clone(), Part::Whole(delivery));
            }
            Ok(GatewayMessage::Callbacks(callbacks)) => self.callbacks(callbacks, delivery),
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
        if !self.context.config.key.verify_event(&message) {
            return self.refuse(delivery, "its MAC is not that of who may write its topic");
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
        if self.subscriptions.get(topic, id).is_some() {
            return;
        }
        let Some(socket) = self.sockets.get(&id) else { return };
        let may = self.context.desk.may_watch(&socket.authority, topic);
        let muted = !matches!(may, MayWatch::Known(true));
        self.subscriptions.put(topic, id, Reader { muted, ..Reader::default() });
        if let MayWatch::Asked(asked) = may {
            self.wait_for(id, topic, asked, Then::Hear);
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
}
