//! The recorder: writes every event into the record, refuses forged ones, and tells watchers how far the record reaches
//! (`recorded` hints). The live path never waits for it.
//!
//! A hint goes by the topic's key alone, so it reaches who subscribed, not who is addressed as the asker, and it may be
//! lost. It makes readers quick; to be right they read until the record of an attempt that is over is sealed.

use std::sync::Arc;

use broker::{Broker, Outgoing, StreamEntry, topology::Exchange};
use store::{Store, StoreError, model::RecordBatch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use wire::{EventMessage, Topic, event::encode_recorded, mac::InstallationKey};

use crate::group::{self, Effect};

/// The name of the recorder's group.
pub const GROUP: &str = "recorder";

/// Runs the recorder until `shutdown`.
pub async fn run(broker: Arc<dyn Broker>, store: Arc<dyn Store>, key: InstallationKey, shutdown: CancellationToken) {
    let effect = Recorder { broker: Arc::clone(&broker), store: Arc::clone(&store), key };
    group::run(broker, store, effect, shutdown).await;
}

struct Recorder {
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
}

impl Recorder {
    /// The event of an entry, if it is genuine: an executor's event carries the MAC of its attempt.
    fn genuine(&self, entry: &StreamEntry) -> Option<EventMessage> {
        let message = match EventMessage::decode(&entry.body) {
            Ok(message) => message,
            Err(failure) => {
                warn!(offset = entry.offset, %failure, "an event of the stream cannot be read and is left out of the record");
                return None;
            }
        };
        if matches!(message.topic, Topic::Job(_)) && !self.key.verify_event(&message) {
            warn!(topic = %message.topic, offset = message.offset, "an event without its attempt's signature is left out of the record");
            return None;
        }
        Some(message)
    }
}

impl Effect for Recorder {
    fn name(&self) -> &str {
        GROUP
    }

    async fn apply(&self, incarnation: Uuid, offset: u64, entries: Vec<StreamEntry>) -> Result<(), StoreError> {
        let events = entries.iter().filter_map(|entry| self.genuine(entry)).collect();
        let batch = RecordBatch { group: GROUP.to_owned(), incarnation, offset, events };
        let recording = self.store.record(batch).await?;
        for refused in &recording.refused {
            let (topic, position, reason) = (refused.topic, refused.position, &refused.reason);
            warn!(%topic, epoch = position.epoch, offset = position.offset, %reason, "an event was not recorded");
        }
        for recorded in &recording.recorded {
            let hint = Outgoing::new(Exchange::Utils, recorded.topic.to_string(), encode_recorded(recorded));
            drop(self.broker.publish(hint)); // A hint: who hears none reads the record again by itself.
        }
        Ok(())
    }
}
