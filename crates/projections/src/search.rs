//! The search index: what the record has of every log and every build, so that it is found by its words. The stream says
//! what has changed, and the index takes it from the record: so this group follows the recorder, forged events never reach
//! it, and where the stream has lost something, or there was no index yet, the record alone is enough.
//!
//! A group that is killed anywhere reads again what it had not committed; what an attempt has in the index is counted by its
//! lines, so nothing of it comes twice or is left out (P5).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use broker::{Broker, StreamEntry};
use serde::Deserialize;
use store::{Store, StoreError, search::IndexBatch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;
use wire::{BuildId, Event, JobId, Topic, event::EventMessage};

use crate::{
    group::{self, Effect},
    recorder,
};

/// The name of the group.
pub const GROUP: &str = "search";

/// The record is asked this often whether it has come as far as the stream was read: what is printed is found so much later,
/// and where little happens the index is written so often at most.
const LOOK: Duration = Duration::from_millis(200);
/// The wait after the record could not be read.
const RETRY: Duration = Duration::from_secs(2);

/// Runs the group until `shutdown`: first what is recorded already, where the index is not whole, then the stream.
pub async fn run(broker: Arc<dyn Broker>, store: Arc<dyn Store>, shutdown: CancellationToken) {
    loop {
        let filled = tokio::select! {
            () = shutdown.cancelled() => return,
            filled = fill_if_needed(&*store) => filled,
        };
        let Err(failure) = filled else { break };
        warn!(%failure, "the search index cannot be made of the record now and is tried again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(RETRY) => {}
        }
    }
    let effect = Index { store: Arc::clone(&store) };
    group::run(broker, store, effect, shutdown).await;
}

async fn fill_if_needed(store: &dyn Store) -> Result<(), StoreError> {
    if store.index_is_whole().await? {
        return Ok(());
    }
    let builds = fill(store).await?;
    info!(builds, "the search index was made of the record");
    Ok(())
}

/// Takes from the record what the index has not, the oldest builds first. How many builds were looked at.
async fn fill(store: &dyn Store) -> Result<usize, StoreError> {
    let (mut after, mut steps) = (None, 0);
    loop {
        after = store.index_record(after).await?;
        if after.is_none() {
            break;
        }
        steps += 1;
    }
    store.index_made_whole().await?;
    Ok(steps)
}

/// Makes the index anew: empties it in short steps, and fills it from the record. The group may not read the stream meanwhile;
/// it may be killed at any moment, and goes on when it runs the next time.
///
/// # Errors
/// When the store cannot be used.
pub async fn rebuild(store: &dyn Store) -> Result<(), StoreError> {
    while store.empty_index().await? {}
    fill(store).await.map(drop)
}

struct Index {
    store: Arc<dyn Store>,
}

/// All that is read of an event: lines are long, and are taken from the record.
#[derive(Deserialize)]
struct Head {
    topic: Topic,
    build: BuildId,
    epoch: u32,
}

/// What a batch says has changed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Touched {
    builds: BTreeSet<BuildId>,
    attempts: BTreeSet<(JobId, u32)>,
}

impl Touched {
    /// Adds what an entry says. What is no event is the recorder's to tell.
    fn add(&mut self, body: &[u8]) {
        let Ok(Head { topic, build, epoch }) = serde_json::from_slice(body) else { return };
        match topic {
            Topic::Job(job) => {
                self.attempts.insert((job, epoch));
                // Its name is one of the words by which its build is found.
                if is_artifact(body) {
                    self.builds.insert(build);
                }
            }
            Topic::Build(_) => {
                self.builds.insert(build);
                let event = EventMessage::decode(body).ok().and_then(|message| message.parse().ok());
                if let Some(
                    Event::JobFinished { job, attempt, .. }
                    | Event::JobLost { job, attempt, .. }
                    | Event::AttemptClosed { job, attempt },
                ) = event
                {
                    self.attempts.insert((job, attempt));
                }
            }
        }
    }
}

fn is_artifact(body: &[u8]) -> bool {
    let message = EventMessage::decode(body).ok().filter(|message| !message.is_log().unwrap_or(true));
    matches!(message.and_then(|message| message.parse().ok()), Some(Event::Artifact { .. }))
}

impl Effect for Index {
    fn name(&self) -> &str {
        GROUP
    }

    async fn lost_place(&self) -> Result<(), StoreError> {
        let builds = fill(&*self.store).await?;
        info!(builds, "what the stream does not hold any more was taken from the record");
        Ok(())
    }

    async fn apply(&self, incarnation: Uuid, offset: u64, entries: Vec<StreamEntry>) -> Result<(), StoreError> {
        let mut touched = Touched::default();
        entries.iter().for_each(|entry| touched.add(&entry.body));
        // The record first: the index is made of it.
        loop {
            match self.store.group_place(recorder::GROUP).await? {
                Some((of, reached)) if of == incarnation && reached >= offset => break,
                _ => sleep(LOOK).await,
            }
        }
        let Touched { builds, attempts } = touched;
        self.store.index(IndexBatch { group: GROUP.to_owned(), incarnation, offset, builds, attempts }).await
    }
}

#[cfg(test)]
mod tests {
    use wire::{ArtifactId, LogLine, Outcome, Timestamp, VERSION, event::raw};

    use super::*;

    const BUILD: BuildId = BuildId(Uuid::from_u128(1));
    const JOB: JobId = JobId(Uuid::from_u128(2));

    fn touched(topic: Topic, epoch: u32, event: &Event) -> Touched {
        let (at, event) = (Timestamp(0), raw(event));
        let message = EventMessage {
            version: VERSION,
            topic,
            build: BUILD,
            epoch,
            offset: 0,
            at,
            client_id: None,
            mac: None,
            event,
        };
        let mut touched = Touched::default();
        touched.add(&message.encode());
        touched
    }

    #[test]
    fn an_event_touches_the_attempt_that_said_it_or_of_which_it_tells_the_end() {
        let line =
            LogLine { n: 0, t: Timestamp(0), text: "x".to_owned(), open: false, split: false, err: false, note: false };
        let attempts = |attempt| BTreeSet::from([(JOB, attempt)]);
        let builds = || BTreeSet::from([BUILD]);
        let log = touched(Topic::Job(JOB), 3, &Event::Log { step: 0, lines: vec![line] });
        assert_eq!(log, Touched { builds: BTreeSet::new(), attempts: attempts(3) });
        let artifact =
            Event::Artifact { artifact: ArtifactId(Uuid::nil()), name: "a".to_owned(), size: 0, sha256: String::new() };
        assert_eq!(touched(Topic::Job(JOB), 3, &artifact), Touched { builds: builds(), attempts: attempts(3) });
        let closed = touched(Topic::Build(BUILD), 1, &Event::AttemptClosed { job: JOB, attempt: 2 });
        assert_eq!(closed, Touched { builds: builds(), attempts: attempts(2) });
        let finished = touched(Topic::Build(BUILD), 1, &Event::BuildFinished { outcome: Outcome::Failed });
        assert_eq!(finished, Touched { builds: builds(), attempts: BTreeSet::new() });
    }

    #[test]
    fn what_is_no_event_touches_nothing() {
        let mut touched = Touched::default();
        touched.add(b"nonsense");
        touched.add(b"{\"version\":9}");
        assert_eq!(touched, Touched::default());
    }
}
