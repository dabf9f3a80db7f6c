//! Messages as AMQP carries them.
//!
//! - `type` is `hint` where a message bears a topic's key and is no event: `utils` leads it to the stream as well, and readers
//!   of the stream pass over it. On RabbitMQ before 4.0 the stream keeps no headers that could say so.
//! - The header [`DEATH`] is the sentence of who rejected a message, and [`ORIGIN`] where it is handed in again (name of the
//!   exchange, `/`, key); RabbitMQ's own `x-death` knows only the kind of death and the queue.
//! - A dead letter of another program that named its message by no UUID is named by its body, so that it has the same name
//!   whenever it is delivered.

use std::sync::Arc;

use broker::{
    BrokerError, Incoming, NEVER_SETTLED, Origin, Outgoing, name_of,
    topology::{self, Exchange},
};
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString},
};
use uuid::Uuid;

use crate::setup::short;

/// The header with the reason of a rejection.
pub(crate) const DEATH: &str = "x-stepcast-death";
/// The header with the origin of a dead letter.
pub(crate) const ORIGIN: &str = "x-stepcast-origin";
/// The type of what bears a topic's key and is no event.
pub(crate) const HINT: &str = "hint";
/// The offset of an entry of a stream.
const STREAM_OFFSET: &str = "x-stream-offset";
/// How a name begins that the broker has given to a consumer of direct replies.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to.";
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// A message, ready to be published, as often as it takes.
pub(crate) struct Parcel {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    pub(crate) mandatory: bool,
    /// It goes to the stream.
    pub(crate) is_event: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Arc<[u8]>,
}

impl Parcel {
    pub(crate) fn new(message: Outgoing) -> Result<Self, BrokerError> {
        let is_of_a_topic =
            topology::is_of_a_topic(&message.key) || message.cc.iter().any(|key| topology::is_of_a_topic(key));
        if message.stream && !is_of_a_topic {
            // The stream is bound by topics alone: this one would not get there.
            return Err(BrokerError::Unroutable(message.key));
        }
        // A request is repeated by who asks, so it need not wait for a disk. A work queue writes it all the same.
        let is_request = message.exchange == Exchange::Direct && message.reply_to.is_some();
        let mut properties = properties(message.message_id, message.correlation_id, message.reply_to)?
            .with_delivery_mode(if is_request { TRANSIENT } else { PERSISTENT });
        if is_of_a_topic && !message.stream {
            properties = properties.with_type(HINT.into());
        }
        let mut headers = FieldTable::default();
        if !message.cc.is_empty() {
            let keys: Vec<AMQPValue> = message.cc.into_iter().map(|key| AMQPValue::LongString(key.into())).collect();
            headers.insert("CC".into(), AMQPValue::FieldArray(FieldArray::from(keys)));
        }
        if let Some(reason) = message.death {
            headers.insert(DEATH.into(), AMQPValue::LongString(reason.into()));
        }
        if let Some(origin) = &message.origin {
            headers.insert(ORIGIN.into(), written(origin));
        }
        if !headers.inner().is_empty() {
            properties = properties.with_headers(headers);
        }
        Ok(Self {
            exchange: message.exchange.name().into(),
            key: short(&message.key)?,
            // RabbitMQ hands a direct reply to its requester itself, and returns it as unroutable all the same (3.10).
            mandatory: message.mandatory && !message.key.starts_with(DIRECT_REPLY),
            is_event: message.stream,
            properties,
            body: message.body,
        })
    }

    /// It is about a topic, and need not arrive.
    pub(crate) fn is_hint(&self) -> bool {
        self.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == HINT)
    }

    /// Its id and its key.
    pub(crate) fn name(&self) -> (String, String) {
        let id = self.properties.message_id().as_ref().map(ToString::to_string);
        (id.unwrap_or_default(), self.key.to_string())
    }

    /// A dead letter: what a consumer of `queue` rejected, with its reason, under the key that it had.
    pub(crate) fn buried(message: Incoming, queue: &str, grave: &str, reason: &str) -> Result<Self, BrokerError> {
        let key = short(&message.key)?;
        let origin = message.origin.unwrap_or_else(|| origin_of(queue, &message.key));
        let mut headers = header(DEATH, AMQPValue::LongString(LongString::from(reason)));
        headers.insert(ORIGIN.into(), written(&origin));
        let properties = properties(message.message_id, message.correlation_id, message.reply_to)?
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers);
        Ok(Self { exchange: grave.into(), key, mandatory: false, is_event: false, properties, body: message.body })
    }
}

/// What arrived. A message of another program may have no id or one that is no UUID: it gets one.
pub(crate) fn incoming(delivery: Delivery) -> Incoming {
    let properties = delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let id = properties.message_id().as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
    let is_dead = delivery.exchange.as_str() == topology::DEAD;
    let key = delivery.routing_key.to_string();
    Incoming {
        message_id: id.unwrap_or_else(|| if is_dead { name_of(&delivery.data) } else { Uuid::new_v4() }),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        redelivered: delivery.redelivered,
        death: properties.headers().as_ref().and_then(death),
        origin: properties.headers().as_ref().and_then(|headers| origin(headers, &key)),
        key,
        body: delivery.data.into(),
    }
}

/// The offset of an entry of a stream.
pub(crate) fn offset(properties: &BasicProperties) -> Option<u64> {
    match properties.headers().as_ref()?.inner().get(STREAM_OFFSET)? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}

fn properties(
    id: Uuid,
    correlation_id: Option<String>,
    reply_to: Option<String>,
) -> Result<BasicProperties, BrokerError> {
    let mut properties =
        BasicProperties::default().with_content_type("application/json".into()).with_message_id(id.to_string().into());
    if let Some(correlation_id) = correlation_id {
        properties = properties.with_correlation_id(short(&correlation_id)?);
    }
    if let Some(reply_to) = reply_to {
        properties = properties.with_reply_to(short(&reply_to)?);
    }
    Ok(properties)
}

fn header(name: &str, value: AMQPValue) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(name.into(), value);
    headers
}

fn written(origin: &Origin) -> AMQPValue {
    AMQPValue::LongString(format!("{}/{}", origin.exchange.name(), origin.key).into())
}

/// What died in a gateway's queue is handed in under its key: its queue may be gone then.
fn origin_of(queue: &str, key: &str) -> Origin {
    if queue.starts_with("gateway.") { Origin::utils(key) } else { Origin::named(queue) }
}

fn origin(headers: &FieldTable, key: &str) -> Option<Origin> {
    if let Some(AMQPValue::LongString(origin)) = headers.inner().get(ORIGIN) {
        let origin = origin.to_string();
        let (exchange, key) = origin.split_once('/')?;
        return Some(Origin { exchange: Exchange::of_name(exchange)?, key: key.to_owned() });
    }
    // The name of the queue is all that RabbitMQ tells of a message whose consumers all went.
    match last_death(headers)?.inner().get("queue") {
        Some(AMQPValue::LongString(queue)) => Some(origin_of(&queue.to_string(), key)),
        _ => None,
    }
}

fn last_death(headers: &FieldTable) -> Option<&FieldTable> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    // The latest stands first.
    let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
    Some(death)
}

fn death(headers: &FieldTable) -> Option<String> {
    if let Some(AMQPValue::LongString(reason)) = headers.inner().get(DEATH) {
        return Some(reason.to_string());
    }
    let death = last_death(headers)?;
    let text = |name: &str| match death.inner().get(name) {
        Some(AMQPValue::LongString(value)) => value.to_string(),
        _ => "?".to_owned(),
    };
    let queue = text("queue");
    Some(match text("reason").as_str() {
        "expired" => format!("it waited too long in {queue}"),
        "maxlen" => format!("{queue} was full"),
        "delivery_limit" => format!("it was delivered from {queue} too often and {NEVER_SETTLED}"),
        "rejected" => format!("a consumer of {queue} rejected it"),
        other => format!("{queue} let go of it: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(parcel: Parcel) -> Incoming {
        let mut delivery = Delivery::mock(1, parcel.exchange, parcel.key, false, parcel.body.to_vec());
        delivery.properties = parcel.properties;
        incoming(delivery)
    }

    #[test]
    fn a_message_arrives_with_all_that_it_was_given() {
        let mut sent = Outgoing::new(Exchange::Direct, "control", b"{}".to_vec());
        sent.correlation_id = Some("c1".to_owned());
        sent.reply_to = Some("reply.a".to_owned());
        let message = arrived(Parcel::new(sent.clone()).unwrap());
        assert_eq!(
            (message.key, message.message_id, message.correlation_id),
            (sent.key, sent.message_id, sent.correlation_id)
        );
        assert_eq!((message.reply_to, message.death, &*message.body), (sent.reply_to, None, &*sent.body));
    }

    #[test]
    fn a_dead_letter_keeps_its_key_and_has_its_reason() {
        let message = arrived(Parcel::new(Outgoing::new(Exchange::Tasks, "linux", b"{}".to_vec())).unwrap());
        let parcel = Parcel::buried(message.clone(), "tasks.linux", topology::DEAD, "it makes no sense").unwrap();
        assert_eq!(parcel.exchange.as_str(), topology::DEAD);
        let buried = arrived(parcel);
        assert_eq!((&buried.key, buried.message_id), (&message.key, message.message_id));
        assert_eq!(buried.death.as_deref(), Some("it makes no sense"));
        assert_eq!(buried.origin, Some(Origin::named("tasks.linux")));
        let again = Parcel::buried(buried, topology::UNROUTED, topology::DEAD, "it still makes none").unwrap();
        assert_eq!(arrived(again).origin, Some(Origin::named("tasks.linux")), "where it first came from");
    }

    #[test]
    fn what_bears_a_topics_key_is_an_event_or_a_hint() {
        let kind = |stream, key: &str| {
            let mut message = Outgoing::new(Exchange::Utils, key, Vec::new());
            message.stream = stream;
            Parcel::new(message).map(|parcel| parcel.properties.kind().as_ref().map(ToString::to_string))
        };
        assert_eq!(kind(true, "job.a"), Ok(None));
        assert_eq!(kind(false, "job.a"), Ok(Some(HINT.to_owned())));
        assert_eq!(kind(false, "a-0"), Ok(None));
        assert_eq!(kind(true, "a-0"), Err(BrokerError::Unroutable("a-0".to_owned())));
    }

    #[test]
    fn rabbitmqs_own_reasons_become_sentences() {
        for (reason, sentence) in [
            ("expired", "it waited too long in gateway.a-0"),
            ("maxlen", "gateway.a-0 was full"),
            ("delivery_limit", "it was delivered from gateway.a-0 too often and never settled"),
            ("rejected", "a consumer of gateway.a-0 rejected it"),
            ("unheard of", "gateway.a-0 let go of it: unheard of"),
        ] {
            let mut table = header("reason", AMQPValue::LongString(reason.into()));
            table.insert("queue".into(), AMQPValue::LongString("gateway.a-0".into()));
            let deaths = FieldArray::from(vec![AMQPValue::FieldTable(table)]);
            let headers = header("x-death", AMQPValue::FieldArray(deaths));
            assert_eq!(death(&headers).as_deref(), Some(sentence));
            assert_eq!(origin(&headers, "a-0"), Some(Origin::utils("a-0")));
        }
        assert_eq!(death(&FieldTable::default()), None);
    }

    #[test]
    fn a_key_that_amqp_cannot_carry_is_refused() {
        let message = Outgoing::new(Exchange::Utils, "k".repeat(256), Vec::new());
        assert!(matches!(Parcel::new(message), Err(BrokerError::Unavailable(_))));
    }
}
