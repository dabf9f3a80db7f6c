//! Writing the record: a batch of the stream becomes topics' places, events, steps, log chunks and artifacts, in
//! transactions short enough that commands do not wait for them. What is read of it stands in [`super::recorded`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;
use wire::{ArtifactId, BuildId, Event, EventMessage, JobId, Outcome, Timestamp, Topic, event::Recorded};

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    insert,
    lines::{Gathered, Lines},
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    StoreError,
    model::{RecordBatch, Recording, Refused},
    standing::{self, Standing, Taken},
};

/// Events in one transaction, and bytes of their JSON: together below the 10 ms that a transaction may take.
const PART_EVENTS_MAX: usize = 128;
const PART_BYTES_MAX: usize = 256 * 1024;

/// An event as it is applied; what does not parse carries the reason.
type Read = (EventMessage, Result<Event, String>);

/// The group's place, kept with the last part of a batch.
struct Place {
    group: String,
    incarnation: Uuid,
    offset: u64,
}

/// Applies a batch. A large one is several transactions, the group's place being in the last: if the process dies
/// between them the whole batch comes again, and what was applied is a repeat.
pub(super) async fn record<D: Details>(store: &SqlStore<D>, batch: RecordBatch) -> Result<Recording, StoreError> {
    let mut place = Some(Place { group: batch.group, incarnation: batch.incarnation, offset: batch.offset });
    let mut parts = parts(batch.events).into_iter().peekable();
    let mut whole = Recording::default();
    while let Some(part) = parts.next() {
        let place = if parts.peek().is_none() { place.take() } else { None };
        let done = store.writer.run(Rank::Record, move |connection| Box::pin(apply(connection, part, place))).await?;
        whole.refused.extend(done.refused);
        for recorded in done.recorded {
            match whole.recorded.iter_mut().find(|one| (one.topic, one.epoch) == (recorded.topic, recorded.epoch)) {
                Some(before) => *before = recorded,
                None => whole.recorded.push(recorded),
            }
        }
    }
    Ok(whole)
}

/// Cuts a batch; there is at least one part, for the place.
fn parts(events: Vec<EventMessage>) -> Vec<Vec<Read>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for message in events {
        size += message.event.get().len();
        let event = message.parse().map_err(|failure| failure.to_string());
        match parts.last_mut() {
            Some(part) if part.len() < PART_EVENTS_MAX && (size <= PART_BYTES_MAX || part.is_empty()) => {
                part.push((message, event));
            }
            _ => {
                size = message.event.get().len();
                parts.push(vec![(message, event)]);
            }
        }
    }
    parts
}

/// What is kept of a topic's epoch.
#[derive(Clone, Copy, Default)]
struct Kept {
    standing: Standing,
    lines: u64,
    open: u64,
    /// To be written.
    changed: bool,
    /// To be told.
    moved: bool,
}

type Key = (Topic, u32);

/// What a part has come to, before it is written.
#[derive(Default)]
struct Part {
    topics: HashMap<Key, Kept>,
    /// Builds that were deleted: what still comes of them has no effect, and is no surprise.
    deleted: HashSet<BuildId>,
    /// Topics in the order in which they were met, so that what is told has an order too.
    met: Vec<Key>,
    logs: BTreeMap<(JobId, u32), Lines>,
    events: Vec<EventMessage>,
    /// By job, attempt and step: name, command and time. A writer that repeats itself is taken by its last word.
    started: BTreeMap<(JobId, u32, u32), (String, String, Timestamp)>,
    finished: Vec<FinishedStep>,
    artifacts: Vec<(ArtifactId, JobId, u32, String, u64, String)>,
    refused: Vec<Refused>,
}

struct FinishedStep {
    job: JobId,
    attempt: u32,
    step: u32,
    outcome: Outcome,
    exit_code: Option<i32>,
    reason: Option<String>,
    at: Timestamp,
}

async fn apply(connection: &mut Connection, events: Vec<Read>, place: Option<Place>) -> Result<Recording, StoreError> {
    let mut part = Part::default();
    part.load(connection, &events).await?;
    for (message, event) in events {
        part.event(connection, message, event).await?;
    }
    let recording = part.write(connection).await?;
    if let Some(place) = place {
        query(
            "INSERT INTO groups (name, incarnation, place) VALUES (?, ?, ?) ON CONFLICT (name) \
             DO UPDATE SET incarnation = excluded.incarnation, place = excluded.place",
        )
        .bind(&place.group)
        .bind(bytes(&place.incarnation))
        .bind(signed(place.offset))
        .execute(connection)
        .await?;
    }
    Ok(recording)
}

/// A topic as its columns `kind` and `id`.
pub(super) fn columns(topic: &Topic) -> (i64, &Uuid) {
    match topic {
        Topic::Build(id) => (0, &id.0),
        Topic::Job(id) => (1, &id.0),
    }
}

impl Part {
    /// Reads where all topics stand that the events may move.
    async fn load(&mut self, connection: &mut Connection, events: &[Read]) -> Result<(), StoreError> {
        for (message, event) in events {
            self.meet((message.topic, message.epoch));
            if let Some(end) = event.as_ref().ok().and_then(standing::end) {
                self.meet((Topic::Job(end.job), end.attempt));
            }
        }
        let asked: Vec<(i64, String, u32)> = self
            .met
            .iter()
            .map(|(topic, epoch)| {
                let (kind, id) = columns(topic);
                (kind, id.as_simple().to_string(), *epoch)
            })
            .collect();
        let found = query(
            "WITH asked AS (SELECT CAST(value ->> 0 AS BIGINT) AS kind, unhex(value ->> 1) AS id, \
             CAST(value ->> 2 AS BIGINT) AS epoch FROM {each}) \
             SELECT topics.kind, topics.id, topics.epoch, last, until, sealed, lines, open, may_skip, skipped FROM asked CROSS JOIN topics \
             WHERE topics.kind = asked.kind AND topics.id = asked.id AND topics.epoch = asked.epoch",
        )
        .bind(rows::to_json(&asked)?)
        .fetch_all(&mut *connection)
        .await?;
        let mut known = HashSet::new();
        for row in &found {
            let id = rows::uuid(row, 1)?;
            let topic = if rows::flag(row, 0)? { Topic::Job(JobId(id)) } else { Topic::Build(BuildId(id)) };
            let offset = |place: Option<i64>| place.and_then(|place| u64::try_from(place).ok());
            let standing = Standing {
                last: offset(row.try_get(3)?),
                until: offset(row.try_get(4)?),
                sealed: rows::flag(row, 5)?,
                may_skip: rows::flag(row, 8)?,
                skipped: rows::number(row, 9)?,
            };
            let (lines, open) = (rows::number(row, 6)?, rows::number(row, 7)?);
            let kept = Kept { standing, lines, open, ..Kept::default() };
            let key = (topic, rows::number(row, 2)?);
            self.topics.insert(key, kept);
            known.insert(key);
        }
        let unknown: BTreeSet<BuildId> = events
            .iter()
            .filter(|(message, _)| !known.contains(&(message.topic, message.epoch)))
            .map(|(message, _)| message.build)
            .collect();
        if !unknown.is_empty() {
            let each: Vec<[String; 1]> = unknown.iter().map(|build| [build.0.as_simple().to_string()]).collect();
            let deleted = query("SELECT id FROM deleted_builds WHERE id IN (SELECT unhex(value ->> 0) FROM {each})");
            let deleted = deleted.bind(rows::to_json(&each)?).fetch_all(connection).await?;
            self.deleted = deleted.iter().map(|row| rows::uuid(row, 0).map(BuildId)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    fn meet(&mut self, key: Key) {
        self.topics.entry(key).or_insert_with(|| {
            self.met.push(key);
            Kept::default()
        });
    }

    /// One event: last + 1 of its topic's epoch, or nothing.
    async fn event(
        &mut self,
        connection: &mut Connection,
        message: EventMessage,
        event: Result<Event, String>,
    ) -> Result<(), StoreError> {
        if self.deleted.contains(&message.build) {
            return Ok(());
        }
        let (topic, position, key) = (message.topic, message.position(), (message.topic, message.epoch));
        let kept = self.topics.entry(key).or_default();
        let mut refuse = |reason: String| self.refused.push(Refused { topic, position, reason });
        match kept.standing.take(message.offset) {
            Taken::Next => (kept.changed, kept.moved) = (true, true),
            Taken::Repeat => return Ok(()),
            Taken::Sealed => {
                refuse("its attempt is closed and its record sealed".to_owned());
                return Ok(());
            }
            Taken::Hole { next } => {
                refuse(format!("it is behind a hole: {next} comes next"));
                return Ok(());
            }
        }
        // What cannot be read must not stop its topic for good: the place moves on, and the refusal is told.
        match (topic, event) {
            (_, Err(reason)) => refuse(format!("it cannot be read and has no effect: {reason}")),
            (Topic::Job(job), Ok(event)) => {
                let effect = self.job_event(connection, (job, message.epoch), message.at, event).await?;
                if let Err(reason) = effect {
                    self.refused.push(Refused { topic, position, reason });
                }
            }
            (Topic::Build(_), Ok(event)) => {
                self.build_event(&event);
                self.events.push(message);
            }
        }
        Ok(())
    }

    async fn job_event(
        &mut self,
        connection: &mut Connection,
        (job, attempt): (JobId, u32),
        at: Timestamp,
        event: Event,
    ) -> Result<Result<(), String>, StoreError> {
        match event {
            Event::StepStarted { step, name, command } => {
                self.started.insert((job, attempt, step), (name, command, at));
            }
            Event::StepFinished { step, outcome, exit_code, reason } => {
                self.finished.push(FinishedStep { job, attempt, step, outcome, exit_code, reason, at });
            }
            Event::Artifact { artifact, name, size, sha256 } => {
                self.artifacts.push((artifact, job, attempt, name, size, sha256));
            }
            Event::Log { step, lines } => {
                let log = match self.logs.entry((job, attempt)) {
                    std::collections::btree_map::Entry::Occupied(log) => log.into_mut(),
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        let kept = self.topics.get(&(Topic::Job(job), attempt)).copied().unwrap_or_default();
                        let log = Lines::load(connection, (job, attempt), kept.lines, kept.open).await?;
                        vacant.insert(log)
                    }
                };
                for line in lines {
                    log.push(step, line);
                }
            }
            _ => return Ok(Err("it is control's to say, not the job's, and has no effect".to_owned())),
        }
        Ok(Ok(()))
    }

    /// What an event of a build says of its jobs' topics.
    fn build_event(&mut self, event: &Event) {
        let Some(end) = standing::end(event) else { return };
        let kept = self.topics.entry((Topic::Job(end.job), end.attempt)).or_default();
        if kept.standing.end(&end) {
            kept.changed = true;
            kept.moved |= kept.standing.sealed;
        }
    }

    /// Writes everything; gives what is to be told.
    async fn write(mut self, connection: &mut Connection) -> Result<Recording, StoreError> {
        self.write_events(connection).await?;
        self.write_steps(connection).await?;
        let mut gathered = Gathered::default();
        for (key, log) in std::mem::take(&mut self.logs) {
            if let Some(kept) = self.topics.get_mut(&(Topic::Job(key.0), key.1)) {
                (kept.lines, kept.open) = (log.next, log.open());
            }
            log.write(connection, &mut gathered).await?;
        }
        gathered.write(connection).await?;
        let met: Vec<(Key, Kept)> = self.met.iter().filter_map(|key| Some((*key, *self.topics.get(key)?))).collect();
        let changed: Vec<(Key, Kept)> = met.iter().filter(|(_, kept)| kept.changed).copied().collect();
        let head = "INSERT INTO topics (kind, id, epoch, last, until, sealed, lines, open, may_skip, skipped)";
        let tail = "ON CONFLICT (kind, id, epoch) DO UPDATE SET last = excluded.last, until = excluded.until, \
                    sealed = excluded.sealed, lines = excluded.lines, open = excluded.open, \
                    may_skip = excluded.may_skip, skipped = excluded.skipped";
        insert::rows(connection, head, 10, tail, &changed, |query, ((topic, epoch), kept)| {
            let ((kind, id), Kept { standing, lines, open, .. }) = (columns(topic), kept);
            let query = query.bind(kind).bind(bytes(id)).bind(i64::from(*epoch)).bind(standing.last.map_or(-1, signed));
            let query = query.bind(standing.until.map(signed)).bind(i64::from(standing.sealed));
            let query = query.bind(signed(*lines)).bind(signed(*open));
            query.bind(i64::from(standing.may_skip)).bind(signed(standing.skipped))
        })
        .await?;
        let recorded = met
            .iter()
            .filter(|(_, kept)| kept.moved)
            .map(|((topic, epoch), Kept { standing, .. })| Recorded {
                topic: *topic,
                epoch: *epoch,
                offset: standing.last,
                sealed: standing.sealed,
            })
            .collect();
        Ok(Recording { recorded, refused: self.refused })
    }

    async fn write_events(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let head = "INSERT INTO build_events (build, epoch, place, at, client_id, event)";
        insert::rows(connection, head, 6, "", &self.events, |query, message| {
            let (_, id) = columns(&message.topic);
            let query = query.bind(bytes(id)).bind(i64::from(message.epoch)).bind(signed(message.offset));
            let client = message.client_id.as_ref().map(|client| bytes(&client.0));
            query.bind(message.at.0).bind(client).bind(message.event.get())
        })
        .await
    }

    async fn write_steps(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let head = "INSERT INTO steps (job, attempt, step, name, command, started_at)";
        let tail = "ON CONFLICT (job, attempt, step) DO UPDATE SET name = excluded.name, command = excluded.command, \
                    started_at = excluded.started_at";
        let started: Vec<_> = self.started.iter().collect();
        insert::rows(connection, head, 6, tail, &started, |query, ((job, attempt, step), (name, command, at))| {
            let query = query.bind(bytes(&job.0)).bind(i64::from(*attempt)).bind(i64::from(*step));
            query.bind(name.as_str()).bind(command.as_str()).bind(at.0)
        })
        .await?;
        for step in &self.finished {
            query(
                "UPDATE steps SET outcome = ?, exit_code = ?, reason = ?, finished_at = ? \
                 WHERE job = ? AND attempt = ? AND step = ?",
            )
            .bind(step.outcome.as_str())
            .bind(step.exit_code.map(i64::from))
            .bind(step.reason.as_deref())
            .bind(step.at.0)
            .bind(bytes(&step.job.0))
            .bind(i64::from(step.attempt))
            .bind(i64::from(step.step))
            .execute(&mut *connection)
            .await?;
        }
        let head = "INSERT INTO artifacts (id, job, attempt, name, size, sha256)";
        let tail = "ON CONFLICT (id) DO NOTHING";
        insert::rows(connection, head, 6, tail, &self.artifacts, |query, (id, job, attempt, name, size, sha256)| {
            let query = query.bind(bytes(&id.0)).bind(bytes(&job.0)).bind(i64::from(*attempt)).bind(name.as_str());
            query.bind(signed(*size)).bind(sha256.as_str())
        })
        .await
    }
}
