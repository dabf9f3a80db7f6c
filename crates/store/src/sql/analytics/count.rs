//! Applying a batch of the stream, in one transaction with the group's place.

use std::collections::{BTreeSet, HashMap, HashSet};

use wire::{
    BuildId, Event, EventMessage, JobId, Timestamp, Topic, about, statistics::DAY_MICROS, statistics::DAYS_MAX,
};

use super::{
    Key, REMEMBERED_MICROS, each,
    fold::{self, Counts, Kept},
    look_up, told_time, write_counts, write_told_time, write_topics,
};
use crate::{
    StoreError,
    analytics::{CountBatch, GROUP},
    sql::{
        connection::{Connection, Row, query},
        record,
        rows::{self, bytes, signed},
    },
    standing::{self, Standing, Taken},
};

/// Rows of topics and of counters that are forgotten in one transaction: more than one batch adds.
const FORGOTTEN: i64 = 512;
/// An attempt may run for a week: one that says nothing for longer will never be told of again. Microseconds.
const SILENT_MICROS: i64 = 8 * DAY_MICROS;

/// An event, and what an event of a build says about itself. None: it only moves its topic's place.
type Read = (EventMessage, Option<(Event, Option<about::About>)>);

/// Lines of logs are by far the most, and count nothing.
fn read(message: EventMessage) -> Read {
    let event = if message.is_log().unwrap_or(false) { None } else { message.parse().ok() };
    let event = event.map(|event| {
        let about = matches!(message.topic, Topic::Build(_)).then(|| about::of(&message.event)).flatten();
        (event, about)
    });
    (message, event)
}

/// Applies a batch.
pub(super) async fn apply(connection: &mut Connection, batch: CountBatch) -> Result<(), StoreError> {
    // The place first: who applies the same entries at the same time waits here, and is refused then.
    move_place(connection, &batch).await?;
    let events: Vec<Read> = batch.events.into_iter().map(read).collect();
    if events.is_empty() {
        return Ok(());
    }
    let told = told_time(connection).await?;
    let horizon = told.map(|told| told.plus_micros(-REMEMBERED_MICROS));
    let mut topics = load(connection, &events).await?;
    let known = {
        let (builds, jobs) = unknown(&events, &topics);
        look_up(connection, &builds, &jobs).await?
    };
    let (mut counts, mut newest) = (Counts::default(), told);
    for (message, event) in &events {
        let key = (message.topic, message.epoch);
        let mut kept = topics.remove(&key).unwrap_or_default();
        if is_next(&mut kept, message, event.as_ref().map(|(event, _)| event), horizon) {
            (kept.changed, kept.at) = (true, kept.at.max(message.at));
            match (message.topic, event) {
                (Topic::Build(build), event) => {
                    newest = newest.max(Some(message.at));
                    if let Some((event, about)) = event {
                        let attempt = fold::attempt_of(event).map(|(job, attempt)| (Topic::Job(job), attempt));
                        let mut attempt = attempt.and_then(|key| Some((key, topics.remove(&key)?)));
                        let own = attempt.as_mut().map(|(_, kept)| kept);
                        let told = (event, about.as_ref());
                        fold::build_event(&mut counts, &known, (build, message.at), told, &mut kept, own);
                        if let Some((key, mut kept)) = attempt {
                            if let Some(end) = standing::end(event) {
                                kept.standing.end(&end);
                            }
                            (kept.changed, kept.at) = (true, kept.at.max(message.at));
                            topics.insert(key, kept);
                        }
                    }
                }
                (Topic::Job(job), Some((event, _))) => {
                    fold::job_event(&mut counts, known.jobs.get(&job), message.at, event, &mut kept);
                }
                (Topic::Job(_), None) => {}
            }
            kept.known = true;
        }
        topics.insert(key, kept);
    }
    write_counts(connection, &counts).await?;
    write_topics(connection, &topics).await?;
    if let Some(newest) = newest.filter(|newest| told.is_none_or(|told| told < *newest)) {
        write_told_time(connection, newest).await?;
        forget(connection, newest).await?;
    }
    Ok(())
}

/// Whether an event is the next one of its topic.
fn is_next(kept: &mut Kept, message: &EventMessage, event: Option<&Event>, horizon: Option<Timestamp>) -> bool {
    if !kept.known {
        // Its topic is over and forgotten: it comes once more.
        if horizon.is_some_and(|horizon| message.at < horizon) {
            return false;
        }
        // A build that was forgotten goes on.
        if matches!(event, Some(Event::BuildQueued { retry: true, .. })) {
            kept.standing.may_skip = true;
        }
    }
    kept.standing.take(message.offset) == Taken::Next
}

/// Keeps the group's place, unless another member has been here.
async fn move_place(connection: &mut Connection, batch: &CountBatch) -> Result<(), StoreError> {
    let moved =
        query("UPDATE groups SET incarnation = ?1, place = ?2 WHERE name = ?3 AND (incarnation <> ?1 OR place < ?4)")
            .bind(bytes(&batch.incarnation))
            .bind(signed(batch.offset))
            .bind(GROUP)
            .bind(signed(batch.first))
            .execute(&mut *connection)
            .await?;
    if moved > 0 {
        return Ok(());
    }
    let begun = query("INSERT INTO groups (name, incarnation, place) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING")
        .bind(GROUP)
        .bind(bytes(&batch.incarnation))
        .bind(signed(batch.offset))
        .execute(connection)
        .await?;
    if begun > 0 {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!("what follows {} in the stream was applied by another process", batch.first)))
}

/// Reads what is remembered of all topics that the events may move.
async fn load(connection: &mut Connection, events: &[Read]) -> Result<HashMap<Key, Kept>, StoreError> {
    let mut met: BTreeSet<Key> = BTreeSet::new();
    for (message, event) in events {
        met.insert((message.topic, message.epoch));
        if let Some((job, attempt)) = event.as_ref().and_then(|(event, _)| fold::attempt_of(event)) {
            met.insert((Topic::Job(job), attempt));
        }
    }
    let mut topics: HashMap<Key, Kept> = met.iter().map(|key| (*key, Kept::default())).collect();
    let asked: Vec<(i64, String, u32)> = met
        .iter()
        .map(|(topic, epoch)| {
            let (kind, id) = record::columns(topic);
            (kind, id.as_simple().to_string(), *epoch)
        })
        .collect();
    let found = query(
        "WITH asked AS (SELECT CAST(value ->> 0 AS BIGINT) AS kind, unhex(value ->> 1) AS id, \
         CAST(value ->> 2 AS BIGINT) AS epoch FROM {each}) \
         SELECT own.kind, own.id, own.epoch, last, until, sealed, may_skip, ended_at, pipeline, job, step, step_name, \
         step_at, at, over FROM asked CROSS JOIN analytics_topics AS own \
         WHERE own.kind = asked.kind AND own.id = asked.id AND own.epoch = asked.epoch",
    )
    .bind(rows::to_json(&asked)?)
    .fetch_all(connection)
    .await?;
    for row in &found {
        let (key, kept) = kept(row)?;
        topics.insert(key, kept);
    }
    Ok(topics)
}

fn kept(row: &Row) -> Result<(Key, Kept), StoreError> {
    let id = rows::uuid(row, 1)?;
    let topic = if rows::flag(row, 0)? { Topic::Job(JobId(id)) } else { Topic::Build(BuildId(id)) };
    let standing = Standing {
        last: u64::try_from(row.try_get::<i64>(3)?).ok(),
        until: rows::number_if(row, 4)?,
        sealed: rows::flag(row, 5)?,
        may_skip: rows::flag(row, 6)?,
        skipped: 0,
    };
    let owner: (Option<String>, Option<String>) = (row.try_get(8)?, row.try_get(9)?);
    let step: (Option<u32>, Option<String>) = (rows::number_if(row, 10)?, row.try_get(11)?);
    let step = step.0.zip(step.1).zip(rows::time_if(row, 12)?);
    let kept = Kept {
        standing,
        known: true,
        ended_at: rows::time_if(row, 7)?,
        owner: owner.0.zip(owner.1),
        step: step.map(|((number, name), from)| (number, name, from)),
        at: rows::time(row, 13)?,
        over: rows::flag(row, 14)?,
        ..Kept::default()
    };
    Ok(((topic, rows::number(row, 2)?), kept))
}

/// Builds and jobs that the events do not tell of, and nothing is remembered of either.
fn unknown(events: &[Read], topics: &HashMap<Key, Kept>) -> (Vec<BuildId>, Vec<JobId>) {
    let has_owner = |key: &Key| topics.get(key).is_some_and(|kept| kept.owner.is_some());
    let (mut builds, mut jobs) = (HashSet::new(), HashSet::new());
    for (message, event) in events {
        match (message.topic, event) {
            (Topic::Build(build), Some((event, None))) => match fold::attempt_of(event) {
                Some((job, _)) => drop(jobs.insert(job)),
                None => drop(builds.insert(build)),
            },
            (Topic::Job(job), Some((Event::StepStarted { .. }, _))) if !has_owner(&(message.topic, message.epoch)) => {
                jobs.insert(job);
            }
            _ => {}
        }
    }
    (builds.into_iter().collect(), jobs.into_iter().collect())
}

/// Forgets topics that have been over for long, and days that are too old.
async fn forget(connection: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    let topics = "DELETE FROM analytics_topics WHERE (kind, id, epoch) IN (SELECT kind, id, epoch FROM analytics_topics \
                  WHERE over = ? AND kind >= ? AND at < ? ORDER BY at LIMIT ?)";
    for (over, kind, before) in [(1, 0, REMEMBERED_MICROS), (0, 1, SILENT_MICROS)] {
        let before = now.plus_micros(-before).0;
        query(topics).bind(over).bind(kind).bind(before).bind(FORGOTTEN).execute(&mut *connection).await?;
    }
    let counts = "DELETE FROM analytics_counts WHERE (pipeline, kind, day, job, step, bucket) IN (SELECT pipeline, kind, \
                  day, job, step, bucket FROM analytics_counts WHERE day < ? ORDER BY day LIMIT ?)";
    let oldest = now.0.div_euclid(DAY_MICROS) - i64::from(DAYS_MAX);
    query(counts).bind(oldest).bind(FORGOTTEN).execute(connection).await?;
    Ok(())
}

/// Every id once, for a query.
pub(super) fn ids(keys: &[BuildId]) -> Result<String, StoreError> {
    each(keys.iter().map(|id| id.0))
}
