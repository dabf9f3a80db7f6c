//! The topology on RabbitMQ: exchanges and queues with their arguments. Declaring is idempotent; whatever exists with
//! other properties is an error, never changed.
//!
//! - The exchanges `unrouted` and `dead` lead to the queues of these names: a message that dies or that nobody takes keeps
//!   its routing key on that way.
//! - A work queue's delivery limit is [`topology::ABANDONED_LIMIT`], for RabbitMQ counts messages that were given back
//!   together with those whose consumer went; [`topology::DELIVERY_LIMIT`] is counted by [`crate::settler`].

use broker::{
    BrokerError,
    topology::{self, Exchange, Queue, QueueKind},
};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use crate::failure::{about, unavailable};

/// The size of the stream's files: the oldest goes when there are too many.
const SEGMENT_BYTES: i64 = 100 << 20;

/// Declares what every process needs before it publishes or consumes, the stream excepted.
pub(crate) async fn base(channel: &Channel) -> Result<(), BrokerError> {
    for grave in [topology::UNROUTED, topology::DEAD] {
        exchange(channel, grave, ExchangeKind::Fanout, FieldTable::default()).await?;
    }
    let alternate = table([("alternate-exchange", text(topology::UNROUTED))]);
    exchange(channel, Exchange::Utils.name(), ExchangeKind::Topic, alternate).await?;
    exchange(channel, Exchange::Tasks.name(), ExchangeKind::Direct, FieldTable::default()).await?;
    for standing in [topology::unrouted(), topology::dead(), topology::control()] {
        queue(channel, &standing).await?;
    }
    for grave in [topology::UNROUTED, topology::DEAD] {
        bind(channel, grave, grave, "").await?;
    }
    Ok(())
}

/// Whether private queues may be declared here: one is, and goes again.
pub(crate) async fn may_have_its_own(connection: &Connection) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await.map_err(|error| unavailable(&error))?;
    let own = topology::reply();
    queue(&channel, &own).await?;
    let deleted = channel.queue_delete(short(&own.name)?, QueueDeleteOptions::default()).await;
    deleted.map_err(|error| about(&own.name, &error))?;
    let _ = channel.close(200, "OK".into()).await; // One that is closed already is as good.
    Ok(())
}

/// Declares a queue and its bindings.
pub(crate) async fn queue(channel: &Channel, queue: &Queue) -> Result<(), BrokerError> {
    let is_private = queue.kind == QueueKind::Private;
    let options = QueueDeclareOptions {
        durable: !is_private,
        exclusive: is_private,
        auto_delete: is_private,
        ..QueueDeclareOptions::default()
    };
    declare(channel, &queue.name, options, arguments(&queue.name, &queue.kind)).await?;
    let exchange = if queue.kind == QueueKind::Work { Exchange::Tasks } else { Exchange::Utils };
    for key in &queue.bindings {
        bind(channel, &queue.name, exchange.name(), key).await?;
    }
    Ok(())
}

/// Declares the stream and its bindings: see [`crate::incarnation`] for when.
pub(crate) async fn stream(channel: &Channel) -> Result<(), BrokerError> {
    let arguments = table([
        ("x-queue-type", text("stream")),
        ("x-max-length-bytes", number(topology::EVENTS_BYTES_MAX)),
        ("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(SEGMENT_BYTES)),
    ]);
    declare(channel, topology::EVENTS, durable(), arguments).await?;
    for key in topology::EVENT_KEYS {
        bind(channel, topology::EVENTS, Exchange::Utils.name(), key).await?;
    }
    Ok(())
}

/// Declares the queue that holds the stream's incarnation.
pub(crate) async fn incarnation(channel: &Channel) -> Result<(), BrokerError> {
    // Reading it gives the message back each time: a delivery limit must not end that.
    let arguments = table([("x-queue-type", text("quorum")), ("x-delivery-limit", AMQPValue::LongInt(i32::MAX))]);
    declare(channel, topology::INCARNATION, durable(), arguments).await
}

/// Binds a queue; repeating it changes nothing.
pub(crate) async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), BrokerError> {
    let (name, key) = (short(queue)?, short(key)?);
    let bound = channel.queue_bind(name, exchange.into(), key, QueueBindOptions::default(), FieldTable::default());
    bound.await.map_err(|error| about(queue, &error))
}

/// A name or a key as AMQP carries it: 255 bytes at most.
pub(crate) fn short(name: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(name).map_err(|_| BrokerError::Unavailable(format!("{name} is longer than 255 bytes")))
}

fn arguments(name: &str, kind: &QueueKind) -> FieldTable {
    match (kind, name) {
        // A classic queue, gone with its connection; how much may wait in it is counted by its consumer.
        (QueueKind::Private, _) => FieldTable::default(),
        (QueueKind::Gateway { expires, message_ttl }, _) => table([
            ("x-queue-type", text("classic")),
            ("x-expires", number(expires.as_millis())),
            ("x-message-ttl", number(message_ttl.as_millis())),
            ("x-max-length", number(topology::GATEWAY_LENGTH_MAX)),
            ("x-dead-letter-exchange", text(topology::UNROUTED)),
        ]),
        // Confirmed is kept: a full queue refuses, it does not let go.
        (QueueKind::Work, topology::UNROUTED) => table([
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", number(topology::ABANDONED_LIMIT)),
            ("x-max-length", number(topology::UNROUTED_LENGTH_MAX)),
            ("x-max-length-bytes", number(topology::UNROUTED_BYTES_MAX)),
            ("x-overflow", text("reject-publish")),
        ]),
        (QueueKind::Work, topology::DEAD) => table([
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", number(topology::ABANDONED_LIMIT)),
            ("x-max-length", number(topology::DEAD_LENGTH_MAX)),
            ("x-max-length-bytes", number(topology::DEAD_BYTES_MAX)),
            ("x-overflow", text("drop-head")),
        ]),
        // RabbitMQ gives dead letters at least once only where a full queue refuses.
        (QueueKind::Work, _) => table([
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", number(topology::ABANDONED_LIMIT)),
            ("x-dead-letter-exchange", text(topology::DEAD)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-max-length", number(topology::WORK_LENGTH_MAX)),
            ("x-overflow", text("reject-publish")),
        ]),
    }
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, arguments).await.map_err(|error| unavailable(&error))
}

async fn declare(
    channel: &Channel,
    name: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let declared = channel.queue_declare(short(name)?, options, arguments).await;
    declared.map(drop).map_err(|error| about(name, &error))
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn number(value: impl TryInto<i64>) -> AMQPValue {
    AMQPValue::LongLongInt(value.try_into().unwrap_or(i64::MAX))
}
