//! Which stream the offsets belong to. RabbitMQ gives a stream no identity that a client can see, so Stepcast gives it one:
//! a UUID in the queue [`topology::INCARNATION`], new whenever the stream has to be made. Whoever looks or makes holds
//! [`topology::INCARNATION_LOCK`] meanwhile, so that all processes see one story. A stream that somebody else deletes and
//! makes anew behind Stepcast's back is not noticed.

use std::{sync::Arc, time::Duration};

use broker::{BrokerError, topology};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    },
    types::FieldTable,
};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::{
    failure::{self, unavailable},
    setup,
};

/// How long declaring everything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long somebody else may hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// The wait before the lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// One for each process: the lock on the broker keeps other connections out, this one other tasks.
#[derive(Default)]
pub(crate) struct Incarnation(Arc<Mutex<()>>);

impl Incarnation {
    /// The incarnation of the stream. The whole topology is declared, and the stream made if there is none.
    pub(crate) async fn of_stream(&self, connection: &Arc<Connection>) -> Result<Uuid, BrokerError> {
        let (gate, connection) = (Arc::clone(&self.0), Arc::clone(connection));
        // A task of its own: who asks may stop waiting, and the lock has to be given back all the same.
        let looking = tokio::spawn(async move {
            let _alone = gate.lock().await;
            let Some(lock) = locked(&connection).await? else {
                return look(&connection).await;
            };
            let looked = tokio::time::timeout(PATIENCE, look_or_make(&connection)).await;
            let unlocking = lock.queue_delete(topology::INCARNATION_LOCK.into(), QueueDeleteOptions::default());
            // It goes with the connection otherwise.
            let _ = tokio::time::timeout(LOCK_PATIENCE, unlocking).await;
            close(&lock).await;
            looked.unwrap_or_else(|_| {
                Err(BrokerError::Unavailable(format!("RabbitMQ did not declare the topology within {PATIENCE:?}")))
            })
        });
        looking.await.unwrap_or_else(|error| Err(BrokerError::Unavailable(error.to_string())))
    }
}

/// The channel on which the lock was taken. None where somebody else holds it for too long: from RabbitMQ 4 on it stays with a
/// node that is gone.
async fn locked(connection: &Connection) -> Result<Option<Channel>, BrokerError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let channel = open(connection).await?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(topology::INCARNATION_LOCK.into(), options, FieldTable::default()).await {
            Ok(_) => return Ok(Some(channel)),
            Err(error) if failure::code(&error) == Some(failure::RESOURCE_LOCKED) => {
                if Instant::now() >= until {
                    return Ok(None);
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
}

/// Without the lock nothing is made. Two who look at the same time may disturb each other: then it is tried again.
async fn look(connection: &Connection) -> Result<Uuid, BrokerError> {
    let channel = open(connection).await?;
    let kept = if exists(connection).await? { kept(&channel).await? } else { None };
    close(&channel).await;
    kept.ok_or_else(|| {
        BrokerError::Unavailable(format!(
            "another connection holds the queue {} for too long",
            topology::INCARNATION_LOCK
        ))
    })
}

async fn look_or_make(connection: &Connection) -> Result<Uuid, BrokerError> {
    let channel = open(connection).await?;
    setup::base(&channel).await?;
    setup::incarnation(&channel).await?;
    let kept = if exists(connection).await? { kept(&channel).await? } else { None };
    let incarnation = match kept {
        Some(incarnation) => incarnation,
        None => write(&channel).await?,
    };
    // After the new incarnation is safe: a crash in between makes the next one look for the stream again.
    setup::stream(&channel).await?;
    // What was taken to be read goes back.
    close(&channel).await;
    Ok(incarnation)
}

/// Whether there is a stream. On a channel of its own, which ends if there is none.
async fn exists(connection: &Connection) -> Result<bool, BrokerError> {
    let channel = open(connection).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(topology::EVENTS.into(), options, FieldTable::default()).await {
        Ok(_) => {
            close(&channel).await;
            Ok(true)
        }
        Err(error) if failure::is_missing(&error) => Ok(false),
        Err(error) => Err(unavailable(&error)),
    }
}

async fn kept(channel: &Channel) -> Result<Option<Uuid>, BrokerError> {
    let message = channel.basic_get(topology::INCARNATION.into(), BasicGetOptions::default()).await;
    let message = message.map_err(|error| unavailable(&error))?;
    Ok(message.and_then(|message| Uuid::try_parse_ascii(&message.data).ok()))
}

async fn write(channel: &Channel) -> Result<Uuid, BrokerError> {
    let incarnation = Uuid::new_v4();
    let publishing = async {
        channel.queue_purge(topology::INCARNATION.into(), QueuePurgeOptions::default()).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let body = incarnation.to_string();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (key, options) = (topology::INCARNATION.into(), BasicPublishOptions::default());
        channel.basic_publish("".into(), key, options, body.as_bytes(), properties).await?.await
    };
    match publishing.await.map_err(|error| unavailable(&error))? {
        Confirmation::Nack(_) => Err(BrokerError::Unavailable(format!(
            "queue {} does not take the stream's incarnation",
            topology::INCARNATION
        ))),
        Confirmation::Ack(_) | Confirmation::NotRequested => {
            tracing::info!(%incarnation, "the stream of events is made");
            Ok(incarnation)
        }
    }
}

async fn open(connection: &Connection) -> Result<Channel, BrokerError> {
    connection.create_channel().await.map_err(|error| unavailable(&error))
}

/// Done with it; a channel that is closed already is as good.
async fn close(channel: &Channel) {
    let _ = channel.close(200, "OK".into()).await;
}
