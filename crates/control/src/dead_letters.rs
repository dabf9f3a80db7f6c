//! Messages that could not be processed: taken from the queue `dead` into the store, where a person finds them, and handed
//! in again when that person says so. Jobs that were given up come there by the graph, in the transaction in which they are.
//!
//! # Nothing loops, nothing is lost
//!
//! A letter is acked once it is stored; who is killed in between gets it again, and finds its row. One that cannot be
//! stored now is held, not given back: a broker counts what is given back, and lets go of it in the end. So while the
//! store is away the letters wait in their queue, at most `dead`'s bounds of them, and one look follows another more and more
//! slowly. One that the store refuses while it takes others is stored without its body.
//!
//! Whoever retries a letter publishes it first and settles its row then, as it was read. If it dies again in between, the
//! row has changed and stays open; if the process dies in between, it stays open too, and may be retried twice: receivers
//! know a repeat by its id, its offset or its lease.

use std::time::Duration;

use broker::{
    Broker, BrokerError, Delivery, Incoming, NEVER_SETTLED, Outgoing,
    topology::{self, Exchange},
};
use serde_json::Value;
use store::{
    Store, StoreError,
    audit::NewEntry,
    model::dead_letter::{DeadLetter, NewDeadLetter, Retention, Settled},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    BuildId, JobId, Topic,
    dead_letter::{Cause, DeadLetterOrigin},
};

use crate::service::{Consumers, RECONNECT_PAUSE};

/// Letters that are stored in one transaction, at most.
const BATCH_MAX: u16 = 64;
/// Bytes of bodies in one transaction, at most, unless it is one letter alone: it must be short.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// The longest wait while the store takes nothing; the first is [`RECONNECT_PAUSE`].
const STORE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a reason or an id that are kept: a program may have written anything.
const TEXT_BYTES_MAX: usize = 4096;

/// Keeps dead letters until `shutdown`.
pub(crate) async fn run(broker: &dyn Broker, store: &dyn Store, shutdown: &CancellationToken) {
    let mut consumers = Consumers::of(broker, topology::dead(), BATCH_MAX, shutdown);
    while let Some(mut consumer) = consumers.next().await {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => return,
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            let mut bytes = delivery.message.body.len();
            let mut batch = vec![delivery];
            while bytes < BATCH_BYTES_MAX
                && batch.len() < usize::from(BATCH_MAX)
                && let Some(next) = consumer.try_next()
            {
                bytes += next.message.body.len();
                batch.push(next);
            }
            if !keep(store, batch, shutdown).await {
                return;
            }
        }
    }
}

/// Stores a batch, however long that takes; false at shutdown, when the rest goes back to the queue.
async fn keep(store: &dyn Store, mut batch: Vec<Delivery>, shutdown: &CancellationToken) -> bool {
    let mut pause = RECONNECT_PAUSE;
    loop {
        let letters = batch.iter().map(|delivery| letter(&delivery.message)).collect();
        let Err(error) = bury(store, letters).await else {
            batch.into_iter().for_each(Delivery::ack);
            return true;
        };
        if pause == RECONNECT_PAUSE {
            tracing::warn!(%error, letters = batch.len(), "dead letters cannot be stored now: trying until they can");
        }
        batch = one_by_one(store, batch).await;
        if batch.is_empty() {
            return true;
        }
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(STORE_PAUSE_MAX);
    }
}

/// Stores each by itself, after a batch was refused as a whole; gives those that could not be stored. Where the store
/// works and refuses one all the same, it is that letter's text: it is stored without.
async fn one_by_one(store: &dyn Store, batch: Vec<Delivery>) -> Vec<Delivery> {
    let mut left = Vec::new();
    for delivery in batch {
        let whole = letter(&delivery.message);
        let (id, size) = (whole.message_id, whole.body.len());
        let Err(error) = bury(store, vec![whole.clone()]).await else {
            delivery.ack();
            continue;
        };
        if store.check().await.is_err() {
            left.push(delivery);
            continue;
        }
        let reason = format!("{} (its body of {size} bytes could not be stored)", whole.reason);
        let bare = NewDeadLetter {
            reason,
            origin: None,
            correlation_id: None,
            reply_to: None,
            body: Vec::new(),
            build: None,
            job: None,
            ..whole
        };
        match bury(store, vec![bare]).await {
            Ok(()) => {
                tracing::error!(%error, message_id = %id, "a dead letter was stored without its body");
                delivery.ack();
            }
            Err(_) => left.push(delivery),
        }
    }
    left
}

async fn bury(store: &dyn Store, letters: Vec<NewDeadLetter>) -> Result<(), StoreError> {
    let forgotten = store.bury(letters, Retention::default()).await?;
    if forgotten > 0 {
        tracing::error!(
            forgotten,
            "dead letters that nobody had decided on gave way: there were too many, or they were too old"
        );
    }
    Ok(())
}

/// What a message says of what it is about, as far as that can be understood, whatever else it holds.
#[derive(Debug, Default, PartialEq)]
struct About {
    has_topic: bool,
    build: Option<BuildId>,
    job: Option<JobId>,
}

fn about(body: &[u8]) -> About {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let topic = said["topic"].as_str().and_then(|topic| topic.parse().ok());
    let (of_build, of_job) = match topic {
        Some(Topic::Build(build)) => (Some(build), None),
        Some(Topic::Job(job)) => (None, Some(job)),
        None => (None, None),
    };
    let id = |value: &Value| value.as_str().and_then(|id| Uuid::try_parse(id).ok());
    About {
        has_topic: !said["topic"].is_null(),
        build: of_build.or_else(|| id(&said["build"]).map(BuildId)),
        job: of_job.or_else(|| id(&said["lease"]["job"]).map(JobId)),
    }
}

/// Whether a message is, or was to be, of a topic's stream.
pub(crate) fn names_a_topic(message: &Incoming) -> bool {
    topology::is_of_a_topic(&message.key) || about(&message.body).has_topic
}

fn letter(message: &Incoming) -> NewDeadLetter {
    let reason = message.death.clone().unwrap_or_else(|| "it came without a reason".to_owned());
    let cause = if reason.contains(NEVER_SETTLED) { Cause::NeverSettled } else { Cause::of_body(&message.body) };
    let About { build, job, .. } = about(&message.body);
    let origin = message.origin.as_ref();
    NewDeadLetter {
        message_id: message.message_id,
        cause,
        reason: cut(reason),
        origin: origin.map(|from| DeadLetterOrigin { exchange: from.exchange.name().into(), key: from.key.clone() }),
        correlation_id: message.correlation_id.clone().map(cut),
        reply_to: message.reply_to.clone().map(cut),
        content_type: content_type(cause, &message.body).to_owned(),
        body: message.body.to_vec(),
        build,
        job,
        redelivered: message.redelivered,
    }
}

/// What the body is, not what its program said.
fn content_type(cause: Cause, body: &[u8]) -> &'static str {
    if std::str::from_utf8(body).is_err() {
        "application/octet-stream"
    } else if cause == Cause::NotJson || Cause::of_body(body) == Cause::NotJson {
        "text/plain"
    } else {
        "application/json"
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Why a dead letter was not handed in again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// It cannot be: a sentence.
    #[error("{0}")]
    Not(String),
    /// Nobody takes it where it came from.
    #[error("Nobody takes it where it came from: {0}.")]
    Unroutable(String),
    /// See [`BrokerError`].
    #[error(transparent)]
    Broker(BrokerError),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hands a message in again where it came from, under its id, and settles it once the broker has it. Whether it was
/// settled: not if it died again meanwhile. A job's letter is retried with its build.
///
/// # Errors
/// When it cannot be retried, nobody takes it, or broker or store do not work: then it is open as before.
pub async fn retry(
    broker: &dyn Broker,
    store: &dyn Store,
    letter: &DeadLetter,
    by: &str,
    entry: NewEntry,
) -> Result<bool, RetryError> {
    if let Some(reason) = &letter.view.not_retriable {
        return Err(RetryError::Not(reason.clone()));
    }
    let origin = letter.view.origin.as_ref().and_then(|from| Some((Exchange::of_name(&from.exchange)?, &from.key)));
    let Some((exchange, key)) = origin else {
        return Err(RetryError::Not("It is not known where it came from.".to_owned()));
    };
    let mut message = Outgoing::new(exchange, key.clone(), letter.body.clone());
    message.message_id = letter.view.message_id;
    message.correlation_id.clone_from(&letter.view.correlation_id);
    message.mandatory = true;
    // Who asked by name has long stopped waiting; who asked for a receipt has not.
    if exchange == Exchange::Utils {
        message.reply_to.clone_from(&letter.reply_to);
    }
    match broker.publish(message).await {
        Ok(()) => Ok(store.settle_dead_letter(letter, Settled::Retried, by, entry).await?),
        Err(error @ (BrokerError::Unroutable(_) | BrokerError::NoQueue(_))) => {
            Err(RetryError::Unroutable(error.to_string()))
        }
        Err(error) => Err(RetryError::Broker(error)),
    }
}

#[cfg(test)]
mod tests {
    use broker::Origin;

    use super::*;

    fn message(death: &str, body: &[u8]) -> Incoming {
        Incoming {
            key: "control".to_owned(),
            message_id: Uuid::new_v4(),
            correlation_id: None,
            reply_to: None,
            redelivered: false,
            death: Some(death.to_owned()),
            origin: Some(Origin::named("control")),
            body: body.into(),
        }
    }

    #[test]
    fn a_letter_tells_what_it_is_and_what_it_is_about() {
        let id = "01a22000-0000-7000-8000-000000000001";
        let uuid: Uuid = id.parse().unwrap();
        let of = |death: &str, body: &str| {
            let kept = letter(&message(death, body.as_bytes()));
            (kept.cause, kept.content_type, kept.build, kept.job)
        };
        let refused = "the message is not valid";
        let (build, job) = (Some(BuildId(uuid)), Some(JobId(uuid)));
        for (body, cause, kind, of_build, of_job) in [
            ("nonsense".to_owned(), Cause::NotJson, "text/plain", None, None),
            ("{\"version\":2}".to_owned(), Cause::UnknownVersion, "application/json", None, None),
            (format!("{{\"topic\":\"job.{id}\",\"build\":\"{id}\"}}"), Cause::Refused, "application/json", build, job),
            (format!("{{\"topic\":\"build.{id}\"}}"), Cause::Refused, "application/json", build, None),
            (
                format!("{{\"lease\":{{\"job\":\"{id}\",\"attempt\":1}}}}"),
                Cause::Refused,
                "application/json",
                None,
                job,
            ),
            ("{\"topic\":7,\"build\":[]}".to_owned(), Cause::Refused, "application/json", None, None),
        ] {
            assert_eq!(of(refused, &body), (cause, kind.to_owned(), of_build, of_job), "{body}");
        }
        let (cause, kind, ..) = of("it was given back 20 times and never settled", "{}");
        assert_eq!((cause, &*kind), (Cause::NeverSettled, "application/json"));
        assert_eq!(letter(&message(refused, b"\xff")).content_type, "application/octet-stream");
        assert_eq!(letter(&message(&"ä".repeat(9_000), b"x")).reason.len(), TEXT_BYTES_MAX);
    }
}
