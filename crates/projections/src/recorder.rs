//! The recorder: writes every event into the record, refuses forged ones, and tells watchers how far the record reaches
//! (`recorded` hints). The live path never waits for it.
//!
//! A hint goes by the topic's key alone, so it reaches who subscribed, not who is addressed as the asker, and it may be
//! lost. It makes readers quick; to be right they read until the record of an attempt that is over is sealed.

use std::sync::Arc;

use broker::{
    Broker, Origin, Outgoing, StreamEntry,
    topology::{self, Exchange},
};
use store::{Store, StoreError, model::RecordBatch};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use wire::{EventMessage, Topic, dead_letter::name_of, event::encode_recorded, mac::InstallationKey};

use crate::{
    group::{self, Effect},
    restate,
};

/// The name of the recorder's group.
pub const GROUP: &str = "recorder";

/// Runs the recorder until `shutdown`. `member` is the name of this process.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
    member: String,
    shutdown: CancellationToken,
) {
    let effect = Recorder { broker: Arc::clone(&broker), store: Arc::clone(&store), key };
    group::run(broker, store, effect, member, shutdown).await;
}

struct Recorder {
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
}

/// The event of an entry of the stream, or the sentence that says why it is none for the record: an executor's event
/// carries the MAC of its attempt, and control's the MAC of control.
///
/// # Errors
/// The sentence.
pub fn genuine(key: &InstallationKey, body: &[u8]) -> Result<EventMessage, String> {
    let message = EventMessage::decode(body).map_err(|failure| failure.to_string())?;
    if !key.verify_event(&message) {
        let writer = match message.topic {
            Topic::Job(_) => "its attempt's lease holder",
            Topic::Build(_) => "control",
        };
        return Err(format!("the event of {} has no signature of {writer}", message.topic));
    }
    Ok(message)
}

impl Recorder {
    /// Leaves an entry out of the record: it becomes a dead letter.
    async fn bury(&self, entry: &StreamEntry, reason: &str) {
        let offset = entry.offset;
        warn!(offset, reason, "an event of the stream is left out of the record and goes to the dead letters");
        let reason = format!("the record leaves it out, at offset {offset} of the stream: {reason}");
        let mut letter = Outgoing::dead(Arc::clone(&entry.body), reason, Origin::named(topology::EVENTS));
        // An entry may be read again, and watchers bury it too: it is one letter.
        letter.message_id = name_of(&entry.body);
        if let Err(failure) = self.broker.publish(letter).await {
            warn!(offset, %failure, "and it did not get there");
        }
    }
}

impl Effect for Recorder {
    fn name(&self) -> &str {
        GROUP
    }

    async fn lost_place(&self) -> Result<(), StoreError> {
        let builds = restate::make_good(&*self.store, GROUP).await?;
        warn!(builds, "events may be lost for good: what has ended of these builds was announced once more");
        Ok(())
    }

    async fn apply(&self, incarnation: Uuid, offset: u64, entries: Vec<StreamEntry>) -> Result<(), StoreError> {
        let mut events = Vec::with_capacity(entries.len());
        for entry in &entries {
            match genuine(&self.key, &entry.body) {
                Ok(event) => events.push(event),
                Err(reason) => self.bury(entry, &reason).await,
            }
        }
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
