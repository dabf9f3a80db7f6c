//! The counters of the group `analytics`: applying a batch of the stream ([`count`]), counting the record anew ([`recount`]),
//! reading ([`read`]). What an event adds is in [`fold`].

mod count;
mod fold;
mod read;
mod recount;

use std::collections::HashMap;

use wire::{BuildId, JobId, PipelineName, Timestamp, Topic, statistics::StatsView};

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    insert, record,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{Analytics, Answer, StoreError, analytics::CountBatch, model::JobPlan};
use fold::{Counts, Kept, Known, KnownBuild, KnownJob};

/// A topic that is over is remembered for so long after its last event, by the time that control tells: what comes twice
/// comes again before. Microseconds.
const REMEMBERED_MICROS: i64 = 24 * 3_600_000_000;

impl<D: Details> Analytics for SqlStore<D> {
    fn count(&self, batch: CountBatch) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Record, move |connection| Box::pin(count::apply(connection, batch))))
    }

    fn forget_counts(&self) -> Answer<'_, bool> {
        Box::pin(self.writer.run(Rank::Record, move |connection| Box::pin(recount::forget(connection))))
    }

    fn recount(&self, after: Option<BuildId>, limit: u32, may_skip: bool) -> Answer<'_, Option<(BuildId, u64)>> {
        Box::pin(
            self.writer
                .run(Rank::Record, move |connection| Box::pin(recount::step(connection, after, limit, may_skip))),
        )
    }

    fn statistics<'a>(&'a self, pipeline: Option<&'a PipelineName>, days: u32) -> Answer<'a, StatsView> {
        Box::pin(async move { read::statistics(&mut self.snapshot().await?, pipeline, days).await })
    }
}

/// A topic's epoch.
type Key = (Topic, u32);

/// Ids as the elements of `{each}`.
fn each(ids: impl Iterator<Item = uuid::Uuid>) -> Result<String, StoreError> {
    rows::to_json(&ids.map(|id| [id.as_simple().to_string()]).collect::<Vec<_>>())
}

/// Looks up builds and jobs that events do not tell of, and that still are there.
async fn look_up(connection: &mut Connection, builds: &[BuildId], jobs: &[JobId]) -> Result<Known, StoreError> {
    let mut known = Known::default();
    if !builds.is_empty() {
        let found =
            query("SELECT id, pipeline, started_at FROM builds WHERE id IN (SELECT unhex(value ->> 0) FROM {each})");
        for row in &found.bind(each(builds.iter().map(|id| id.0))?).fetch_all(&mut *connection).await? {
            let build = KnownBuild { pipeline: row.try_get(1)?, started_at: rows::time_if(row, 2)? };
            known.builds.insert(BuildId(rows::uuid(row, 0)?), build);
        }
    }
    if !jobs.is_empty() {
        let found = query(
            "SELECT jobs.id, builds.pipeline, jobs.plan, jobs.failures FROM jobs JOIN builds ON builds.id = jobs.build \
             WHERE jobs.id IN (SELECT unhex(value ->> 0) FROM {each})",
        );
        for row in &found.bind(each(jobs.iter().map(|id| id.0))?).fetch_all(connection).await? {
            let plan: JobPlan = rows::json(row, 2)?;
            let job = KnownJob { pipeline: row.try_get(1)?, name: plan.name, failures: rows::number(row, 3)? };
            known.jobs.insert(JobId(rows::uuid(row, 0)?), job);
        }
    }
    Ok(known)
}

/// Adds to the counters.
async fn write_counts(connection: &mut Connection, counts: &Counts) -> Result<(), StoreError> {
    let counts: Vec<_> = counts.0.iter().filter(|(_, count)| **count != 0).collect();
    let head = "INSERT INTO analytics_counts (pipeline, kind, day, job, step, bucket, count)";
    let tail = "ON CONFLICT (pipeline, kind, day, job, step, bucket) \
                DO UPDATE SET count = analytics_counts.count + excluded.count";
    insert::rows(connection, head, 7, tail, &counts, |query, (counter, count)| {
        let query = query.bind(counter.pipeline.as_str()).bind(counter.kind as i64).bind(counter.day);
        let query = query.bind(counter.job.as_str()).bind(counter.step.as_str());
        query.bind(i64::from(counter.bucket)).bind(**count)
    })
    .await
}

/// Writes what is remembered of topics.
async fn write_topics(connection: &mut Connection, topics: &HashMap<Key, Kept>) -> Result<(), StoreError> {
    let mut changed: Vec<(&Key, &Kept)> = topics.iter().filter(|(_, kept)| kept.changed).collect();
    // Two members that write at once must not wait for each other.
    changed.sort_unstable_by_key(|(key, _)| **key);
    let head = "INSERT INTO analytics_topics (kind, id, epoch, last, until, sealed, may_skip, ended_at, pipeline, job, \
                step, step_name, step_at, at, over)";
    let tail = "ON CONFLICT (kind, id, epoch) DO UPDATE SET last = excluded.last, until = excluded.until, \
                sealed = excluded.sealed, may_skip = excluded.may_skip, ended_at = excluded.ended_at, \
                pipeline = excluded.pipeline, job = excluded.job, step = excluded.step, \
                step_name = excluded.step_name, step_at = excluded.step_at, at = excluded.at, over = excluded.over";
    insert::rows(connection, head, 15, tail, &changed, |query, ((topic, epoch), kept)| {
        let ((kind, id), standing) = (record::columns(topic), kept.standing);
        let query = query.bind(kind).bind(bytes(id)).bind(i64::from(*epoch)).bind(standing.last.map_or(-1, signed));
        let query = query.bind(standing.until.map(signed)).bind(i64::from(standing.sealed));
        let query = query.bind(i64::from(standing.may_skip)).bind(kept.ended_at.map(|at| at.0));
        let owner = kept.owner.as_ref();
        let query = query.bind(owner.map(|(pipeline, _)| pipeline.as_str())).bind(owner.map(|(_, job)| job.as_str()));
        let step = kept.step.as_ref();
        let query =
            query.bind(step.map(|(number, ..)| i64::from(*number))).bind(step.map(|(_, name, _)| name.as_str()));
        let over = if matches!(topic, Topic::Job(_)) { standing.sealed } else { kept.over };
        query.bind(step.map(|(.., from)| from.0)).bind(kept.at.0).bind(i64::from(over))
    })
    .await
}

/// The newest time that control has told of; none before the first.
async fn told_time(connection: &mut Connection) -> Result<Option<Timestamp>, StoreError> {
    let found = query("SELECT at FROM analytics_time WHERE one = 1").fetch_optional(connection).await?;
    found.map(|row| rows::time(&row, 0)).transpose()
}

/// Keeps it.
async fn write_told_time(connection: &mut Connection, at: Timestamp) -> Result<(), StoreError> {
    query(
        "INSERT INTO analytics_time (one, at) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET \
         at = CASE WHEN analytics_time.at < excluded.at THEN excluded.at ELSE analytics_time.at END",
    )
    .bind(at.0)
    .execute(connection)
    .await?;
    Ok(())
}
