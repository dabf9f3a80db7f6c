//! Counting anew what the record has: the events of each build as they were recorded, and the steps of its jobs. What is
//! remembered of a topic is how far the record was at that moment, so the stream goes on from exactly there, wherever the
//! recorder is meanwhile.

use std::collections::HashMap;

use serde_json::value::RawValue;
use wire::{BuildId, Event, JobId, Outcome, Timestamp, Topic, about};

use super::{
    Key, REMEMBERED_MICROS,
    count::ids,
    fold::{self, Counts, Kept},
    look_up, told_time, write_counts, write_told_time, write_topics,
};
use crate::{
    StoreError,
    sql::{
        connection::{Connection, query},
        now,
        rows::{self, bytes},
    },
    standing::Standing,
};

/// Rows that are forgotten in one transaction.
const FORGOTTEN: i64 = 512;

/// Forgets a slice; whether there is more.
pub(super) async fn forget(connection: &mut Connection) -> Result<bool, StoreError> {
    let mut more = false;
    for sql in [
        "DELETE FROM analytics_counts WHERE (pipeline, kind, day, job, step, bucket) IN (SELECT pipeline, kind, day, job, \
         step, bucket FROM analytics_counts LIMIT ?)",
        "DELETE FROM analytics_topics WHERE (kind, id, epoch) IN (SELECT kind, id, epoch FROM analytics_topics LIMIT ?)",
    ] {
        more |= query(sql).bind(FORGOTTEN).execute(&mut *connection).await? > 0;
    }
    connection.execute("DELETE FROM analytics_time").await?;
    Ok(more)
}

/// A step of an attempt, as it is recorded.
struct Step {
    number: u32,
    name: String,
    outcome: Option<Outcome>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// Counts the next builds.
pub(super) async fn step(
    connection: &mut Connection,
    after: Option<BuildId>,
    limit: u32,
    may_skip: bool,
) -> Result<Option<(BuildId, u64)>, StoreError> {
    let sql = if after.is_some() {
        "SELECT id FROM builds WHERE id > ? ORDER BY id LIMIT ?"
    } else {
        "SELECT id FROM builds WHERE ?1 IS NULL ORDER BY id LIMIT ?2"
    };
    let found = query(sql).bind(after.as_ref().map(|id| bytes(&id.0))).bind(i64::from(limit));
    let found = found.fetch_all(&mut *connection).await?;
    let builds: Vec<BuildId> =
        found.iter().map(|row| rows::uuid(row, 0).map(BuildId)).collect::<Result<_, StoreError>>()?;
    let Some(last) = builds.last().copied() else { return Ok(None) };
    let (mut topics, steps) = recorded(connection, &builds, may_skip).await?;
    let jobs: Vec<JobId> = topics
        .keys()
        .filter_map(|(topic, _)| match topic {
            Topic::Job(job) => Some(*job),
            Topic::Build(_) => None,
        })
        .collect();
    let known = look_up(connection, &builds, &jobs).await?;
    let mut counts = Counts::default();
    let mut newest = told_time(connection).await?;
    let mut last_at: HashMap<JobId, Timestamp> = HashMap::new();
    for (build, epoch, offset, at, text) in events(connection, &builds).await? {
        // The record may have moved on since its places were read: that comes by the stream.
        let Some(mut kept) = topics.remove(&(Topic::Build(build), epoch)) else { continue };
        if kept.standing.last.is_some_and(|last| offset <= last)
            && let Ok(event) = serde_json::from_str::<Event>(text.get())
        {
            let about = about::of(&text);
            let key = fold::attempt_of(&event).map(|(job, attempt)| (Topic::Job(job), attempt));
            if let Some((Topic::Job(job), _)) = key {
                last_at.insert(job, at);
            }
            let attempt = key.and_then(|key| topics.get_mut(&key));
            // Where nothing is remembered of an attempt it still counts.
            let mut forgotten = Kept::default();
            let attempt = attempt.or(key.is_some().then_some(&mut forgotten));
            fold::build_event(&mut counts, &known, (build, at), (&event, about.as_ref()), &mut kept, attempt);
            kept.at = kept.at.max(at);
            newest = newest.max(Some(at));
        }
        topics.insert((Topic::Build(build), epoch), kept);
    }
    for ((topic, epoch), steps) in steps {
        let (Topic::Job(job), Some(kept)) = (topic, topics.get_mut(&(topic, epoch))) else { continue };
        if kept.owner.is_none() {
            kept.owner = known.jobs.get(&job).map(|job| (job.pipeline.clone(), job.name.clone()));
        }
        for step in steps {
            match (step.from, step.until) {
                (Some(from), Some(until)) if step.outcome != Some(Outcome::Skipped) => {
                    if let Some((pipeline, job)) = &kept.owner {
                        counts.step((pipeline, job), &step.name, from, until);
                    }
                }
                (Some(from), None) => kept.step = Some((step.number, step.name, from)),
                _ => {}
            }
        }
    }
    let now = now(&mut *connection).await?;
    for ((topic, _), kept) in &mut topics {
        if let Topic::Job(job) = topic {
            kept.at = last_at.get(job).copied().unwrap_or_default();
            kept.over = kept.standing.sealed;
        }
        let is_old = kept.at < now.plus_micros(-REMEMBERED_MICROS);
        kept.changed = !(kept.over && is_old);
        if !kept.over {
            kept.at = kept.at.max(now);
        }
    }
    write_counts(connection, &counts).await?;
    write_topics(connection, &topics).await?;
    if let Some(newest) = newest {
        write_told_time(connection, newest).await?;
    }
    Ok(Some((last, builds.len() as u64)))
}

/// How far the topics of these builds and their jobs are recorded, and the steps of that moment: one statement, so that they
/// are of one moment wherever the recorder writes.
async fn recorded(
    connection: &mut Connection,
    builds: &[BuildId],
    may_skip: bool,
) -> Result<(HashMap<Key, Kept>, HashMap<Key, Vec<Step>>), StoreError> {
    let found = query(
        "WITH asked AS (SELECT unhex(value ->> 0) AS id FROM {each}) \
         SELECT topics.kind, topics.id, topics.epoch, topics.last, topics.until, topics.sealed, topics.may_skip, \
         CASE WHEN topics.last < builds.revision - 1 THEN 1 ELSE 0 END, \
         CAST(NULL AS BIGINT), CAST(NULL AS TEXT), CAST(NULL AS TEXT), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT) \
         FROM asked JOIN builds ON builds.id = asked.id JOIN topics ON topics.kind = 0 AND topics.id = builds.id \
         AND topics.epoch = builds.epoch \
         UNION ALL SELECT topics.kind, topics.id, topics.epoch, topics.last, topics.until, topics.sealed, \
         topics.may_skip, 1 - topics.sealed, steps.step, steps.name, steps.outcome, steps.started_at, steps.finished_at \
         FROM asked JOIN jobs ON jobs.build = asked.id JOIN topics ON topics.kind = 1 AND topics.id = jobs.id \
         LEFT JOIN steps ON steps.job = topics.id AND steps.attempt = topics.epoch",
    )
    .bind(ids(builds)?)
    .fetch_all(connection)
    .await?;
    let (mut topics, mut steps) = (HashMap::new(), HashMap::<Key, Vec<Step>>::new());
    for row in &found {
        let id = rows::uuid(row, 1)?;
        let topic = if rows::flag(row, 0)? { Topic::Job(JobId(id)) } else { Topic::Build(BuildId(id)) };
        let key = (topic, rows::number(row, 2)?);
        let lacks = rows::flag(row, 7)?;
        let standing = Standing {
            last: u64::try_from(row.try_get::<i64>(3)?).ok(),
            until: rows::number_if(row, 4)?,
            sealed: rows::flag(row, 5)?,
            may_skip: rows::flag(row, 6)? || (may_skip && lacks),
            skipped: 0,
        };
        topics.entry(key).or_insert_with(|| Kept { standing, known: true, ..Kept::default() });
        if let Some(number) = rows::number_if(row, 8)? {
            steps.entry(key).or_default().push(Step {
                number,
                name: row.try_get(9)?,
                outcome: rows::outcome_if(row, 10)?,
                from: rows::time_if(row, 11)?,
                until: rows::time_if(row, 12)?,
            });
        }
    }
    Ok((topics, steps))
}

type Recorded = (BuildId, u32, u64, Timestamp, Box<RawValue>);

async fn events(connection: &mut Connection, builds: &[BuildId]) -> Result<Vec<Recorded>, StoreError> {
    let found = query(
        "SELECT build_events.build, build_events.epoch, build_events.place, build_events.at, build_events.event \
         FROM builds JOIN build_events ON build_events.build = builds.id AND build_events.epoch = builds.epoch \
         WHERE builds.id IN (SELECT unhex(value ->> 0) FROM {each}) ORDER BY build_events.build, build_events.place",
    )
    .bind(ids(builds)?)
    .fetch_all(connection)
    .await?;
    let event = |row: &crate::sql::connection::Row| {
        let text = RawValue::from_string(row.try_get(4)?)
            .map_err(|failure| StoreError::Corrupt(format!("a recorded event is not JSON: {failure}")))?;
        Ok((BuildId(rows::uuid(row, 0)?), rows::number(row, 1)?, rows::number(row, 2)?, rows::time(row, 3)?, text))
    };
    found.iter().map(event).collect()
}
