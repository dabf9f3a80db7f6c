//! The search index: what the record has of every log and every build, so that it is found by its words. The stream says
//! what has changed, and the index takes it from the record: so this group follows the recorder, forged events never reach
//! it, and where the stream has lost something, or there was no index yet, the record alone is enough.
//!
//! A group that is killed anywhere reads again what it had not committed; what an attempt has in the index is counted by its
//! lines, so nothing of it comes twice or is left out (P5).

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use broker::{Broker, StreamEntry};
use serde::Deserialize;
use store::{Store, StoreError, search::IndexBatch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;
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
/// Runs the group until `shutdown`. `member` is the name of this process.
pub async fn run(broker: Arc<dyn Broker>, store: Arc<dyn Store>, member: String, shutdown: CancellationToken) {
    let effect = Index { store: Arc::clone(&store), lacks: AtomicBool::new(false) };
    group::run(broker, store, effect, member, shutdown).await;
}

struct Index {
    store: Arc<dyn Store>,
    /// The stream has lost events, and nothing else is wrong: what is there may stay.
    lacks: AtomicBool,
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
        self.store.count_loss(GROUP).await?;
        self.lacks.store(self.store.index_is_whole().await?, Ordering::Relaxed);
        info!("what the stream does not hold any more is taken from the record");
        Ok(())
    }

    fn can_rebuild(&self) -> bool {
        true
    }

    async fn rebuild(&self, done: &AtomicU64) -> Result<(), StoreError> {
        if !self.lacks.swap(false, Ordering::Relaxed) {
            while self.store.empty_index().await? {}
        }
        // The oldest builds first; of each what the index has not.
        let mut after = None;
        while let Some((last, builds)) = self.store.index_record(after).await? {
            done.fetch_add(builds, Ordering::Relaxed);
            after = Some(last);
        }
        self.store.index_made_whole().await
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
