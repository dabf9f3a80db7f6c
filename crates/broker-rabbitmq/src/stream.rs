//! Reading the stream. RabbitMQ keeps no offset for a reader of AMQP 0-9-1: it says where to begin, and acks are nothing but
//! flow control.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{BoxFuture, BrokerError, StreamEntry, StreamError, StreamFrom, StreamReader, StreamSource, topology};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, LongString},
};
use tokio::time::Instant;

use crate::{
    failure::{sentence, unavailable},
    incarnation::Incarnation,
    link::Link,
    message::{HINT, offset},
};

/// Entries that RabbitMQ sends ahead: at most so many stand in memory.
const PREFETCH: u16 = 256;
/// How long the first entry of a stream that is not empty may take to come.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a stream may take to be told.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How often a reader that lags asks where the stream ends.
const END_EVERY: Duration = Duration::from_secs(5);

/// Opens the stream at a place.
pub(crate) async fn read(
    link: &Link,
    incarnation: &Incarnation,
    from: StreamFrom,
) -> Result<StreamReader, StreamError> {
    let connection = link.connection().await?;
    let now = incarnation.of_stream(&connection).await?;
    let begin = match from {
        StreamFrom::First => text("first"),
        StreamFrom::Next => text("next"),
        StreamFrom::After { incarnation, .. } if incarnation != now => return Err(StreamError::Anew { now }),
        StreamFrom::After { offset, .. } => AMQPValue::LongLongInt(i64::try_from(offset + 1).unwrap_or(i64::MAX)),
    };
    let (channel, entries) = consume(&connection, begin, PREFETCH).await.map_err(|error| unavailable(&error))?;
    let mut last = None;
    if let StreamFrom::After { offset: asked, .. } = from {
        // Asked for a place that is gone, RabbitMQ begins at the oldest without a word. What is the oldest now, after this
        // reader has begun, was not trimmed before.
        let first = tokio::time::timeout(FIRST_PATIENCE, probe(&connection, "first")).await;
        let first = first.ok().flatten().ok_or_else(|| {
            BrokerError::Unavailable(format!("the stream's oldest entry did not come within {FIRST_PATIENCE:?}"))
        })?;
        if first > asked + 1 {
            return Err(StreamError::Trimmed { asked, first });
        }
        last = Some(asked);
    }
    let reader = Reader { connection, channel, entries, last, end: Arc::default(), asked_end: None };
    Ok(StreamReader::new(now, reader))
}

/// The offset behind the first entry of the last chunk: RabbitMQ tells no better end of a stream. A chunk holds what was
/// published within moments. None when nothing comes.
pub(crate) async fn end(link: &Link) -> Result<Option<u64>, BrokerError> {
    let connection = link.connection().await?;
    let last = tokio::time::timeout(END_PATIENCE, probe(&connection, "last")).await;
    Ok(last.ok().flatten().map(|last| last + 1))
}

/// Whether the node can give of the stream. Some seconds after it started, RabbitMQ 4 may have none of its replicas yet; asked
/// then, it closes the whole connection.
pub(crate) async fn is_served(connection: &Connection) -> Result<(), BrokerError> {
    let (channel, _) = consume(connection, text("next"), 1).await.map_err(|error| unavailable(&error))?;
    let _ = channel.close(200, "OK".into()).await; // One that is closed already is as good.
    Ok(())
}

struct Reader {
    connection: Arc<Connection>,
    channel: Channel,
    entries: Consumer,
    /// The last offset that was given, or passed over.
    last: Option<u64>,
    /// The highest offset that was heard of.
    end: Arc<AtomicU64>,
    asked_end: Option<Instant>,
}

impl Reader {
    /// Takes an entry that arrived; none where it is not for readers.
    fn take(&mut self, delivery: Delivery) -> Option<StreamEntry> {
        let offset = offset(&delivery.properties)?;
        if self.last.is_some_and(|last| offset <= last) {
            return None; // RabbitMQ begins a little before the asked place.
        }
        self.last = Some(offset);
        self.end.fetch_max(offset, Ordering::Relaxed);
        let is_hint = delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == HINT);
        (!is_hint).then(|| StreamEntry { offset, body: delivery.data.into() })
    }

    /// Asks where the stream ends, now and then, for the lag.
    fn look_for_the_end(&mut self) {
        if self.asked_end.is_some_and(|asked| asked.elapsed() < END_EVERY) {
            return;
        }
        self.asked_end = Some(Instant::now());
        let (connection, end) = (Arc::clone(&self.connection), Arc::clone(&self.end));
        tokio::spawn(async move {
            let last = tokio::time::timeout(FIRST_PATIENCE, probe(&connection, "last")).await;
            if let Some(last) = last.ok().flatten() {
                end.fetch_max(last, Ordering::Relaxed);
            }
        });
    }
}

impl StreamSource for Reader {
    fn next_batch(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<StreamEntry>, StreamError>> {
        Box::pin(async move {
            let mut batch = Vec::new();
            let mut tag = None;
            while batch.len() < max {
                let next = match self.entries.next().now_or_never() {
                    Some(next) => next,
                    None if batch.is_empty() => self.entries.next().await,
                    None => break,
                };
                match next {
                    Some(Ok(delivery)) => {
                        tag = Some(delivery.delivery_tag);
                        batch.extend(self.take(delivery));
                        if batch.is_empty() {
                            // Only hints so far: they must not use up what RabbitMQ sends ahead.
                            self.acked(tag);
                        }
                    }
                    // What is in the batch is given first; the next call finds the end again.
                    _ if !batch.is_empty() => break,
                    Some(Err(error)) => return Err(gone(&sentence(&error)).into()),
                    None => return Err(gone("it was deleted, or the connection was lost").into()),
                }
            }
            self.acked(tag);
            if batch.len() == max {
                self.look_for_the_end();
            }
            Ok(batch)
        })
    }

    fn lag(&self) -> u64 {
        self.end.load(Ordering::Relaxed).saturating_sub(self.last.unwrap_or(0))
    }

    fn passed(&self) -> Option<u64> {
        self.last
    }
}

impl Reader {
    /// Makes room for more. The first look hands the ack over; whether it arrives is told by what comes next.
    fn acked(&self, tag: Option<u64>) {
        if let Some(tag) = tag {
            let _ = self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).now_or_never();
        }
    }
}

/// The offset of the first entry from a place (of the first in the last chunk, for `last`); none when the connection goes.
async fn probe(connection: &Connection, place: &str) -> Option<u64> {
    let (channel, mut entries) = consume(connection, text(place), 1).await.ok()?;
    let delivery = entries.next().await?.ok()?;
    let _ = channel.close(200, "OK".into()).await;
    offset(&delivery.properties)
}

async fn consume(connection: &Connection, begin: AMQPValue, prefetch: u16) -> lapin::Result<(Channel, Consumer)> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), begin);
    let options = BasicConsumeOptions::default();
    let entries = channel.basic_consume(topology::EVENTS.into(), "".into(), options, arguments).await?;
    Ok((channel, entries))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn gone(reason: &str) -> BrokerError {
    BrokerError::Unavailable(format!("the stream of events cannot be read on: {reason}"))
}
