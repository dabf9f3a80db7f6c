//! Deleting builds, and finding those that have outlived their time. A build goes in one short transaction, with its jobs and
//! dead letters: from then on nobody finds it. The rows that hang on them by id alone (log chunks, events, steps, topics,
//! artifacts) are many: they go in slices, and `leavings` remembers whose they are until the last one is gone.

use wire::{ArtifactId, BuildId, JobId, PipelineName, Timestamp};

use super::{
    connection::{Connection, query},
    now, payloads,
    rows::{self, bytes, signed},
    search_index,
};
use crate::{
    StoreError,
    model::retention::{Deletion, Outlived, Swept},
};

/// Log chunks (64 KiB at most) that go in one transaction: 2 MiB, so that it stays below 10 ms.
const CHUNKS: i64 = 32;
/// Artifacts' rows, and events of a build, that go in one.
const ROWS: i64 = 128;
/// In microseconds: a record that is not complete so long after the end never will be.
const SETTLED_MICROS: i64 = 60_000_000;
/// In microseconds: 90 days. No event of a deleted build comes to the record after so long.
const REMEMBERED_MICROS: i64 = 90 * 24 * 3_600_000_000;

/// Deletes a finished build for everybody.
pub(super) async fn delete(connection: &mut Connection, id: BuildId) -> Result<Deletion, StoreError> {
    let found = query("SELECT state, finished_at, {now} FROM builds WHERE id = ?")
        .bind(bytes(&id.0))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else { return Ok(Deletion::NoBuild) };
    if row.try_get::<&str>(0)? != "finished" {
        return Ok(Deletion::Unfinished);
    }
    let (finished_at, now): (Option<i64>, i64) = (row.try_get(1)?, row.try_get(2)?);
    let is_settled = finished_at.is_some_and(|at| at < now - SETTLED_MICROS);
    if !is_settled && !is_recorded(connection, id).await? {
        return Ok(Deletion::Unrecorded);
    }
    for (sql, at) in [
        ("DELETE FROM deleted_builds WHERE deleted_at < ?2 AND id <> ?1", now - REMEMBERED_MICROS),
        ("INSERT INTO deleted_builds (id, deleted_at) VALUES (?1, ?2)", now),
    ] {
        query(sql).bind(bytes(&id.0)).bind(at).execute(&mut *connection).await?;
    }
    payloads::let_go(connection, id).await?;
    for sql in [
        "INSERT INTO leavings (kind, id) SELECT 1, id FROM jobs WHERE build = ?",
        "INSERT INTO leavings (kind, id) SELECT 0, id FROM builds WHERE id = ?",
        "DELETE FROM dead_letters WHERE build = ?",
        // Its jobs go with it.
        "DELETE FROM builds WHERE id = ?",
    ] {
        query(sql).bind(bytes(&id.0)).execute(&mut *connection).await?;
    }
    Ok(Deletion::Done)
}

/// Whether the record of a finished build has all that was said of it and its jobs' last attempts.
async fn is_recorded(connection: &mut Connection, id: BuildId) -> Result<bool, StoreError> {
    let found = query(
        "SELECT 1 FROM builds JOIN topics ON topics.kind = 0 AND topics.id = builds.id AND topics.epoch = builds.epoch \
         WHERE builds.id = ?1 AND topics.last >= builds.revision - 1 AND NOT EXISTS (SELECT 1 FROM jobs \
         WHERE jobs.build = ?1 AND jobs.attempt >= 1 AND NOT EXISTS (SELECT 1 FROM topics AS own \
         WHERE own.kind = 1 AND own.id = jobs.id AND own.epoch = jobs.attempt AND own.sealed = 1))",
    );
    Ok(found.bind(bytes(&id.0)).fetch_optional(connection).await?.is_some())
}

/// One step: a slice of what one deleted build or job has left.
pub(super) async fn sweep(connection: &mut Connection) -> Result<Swept, StoreError> {
    let found =
        query("SELECT kind, id FROM leavings ORDER BY kind, id LIMIT 1").fetch_optional(&mut *connection).await?;
    let Some(row) = found else { return Ok(Swept::default()) };
    let (is_job, id) = (rows::flag(&row, 0)?, rows::uuid(&row, 1)?);
    let mut swept = Swept { more: true, artifacts: Vec::new() };
    let mut is_clean = true;
    if is_job {
        let gone = "DELETE FROM artifacts WHERE id IN (SELECT id FROM artifacts WHERE job = ? LIMIT ?) RETURNING id";
        for row in &query(gone).bind(bytes(&id)).bind(ROWS).fetch_all(&mut *connection).await? {
            swept.artifacts.push((JobId(id), ArtifactId(rows::uuid(row, 0)?)));
        }
        let chunks = "DELETE FROM log_chunks WHERE job = ?1 AND (attempt, first_line) IN (SELECT attempt, first_line \
                      FROM log_chunks WHERE job = ?1 ORDER BY attempt, first_line LIMIT ?2)";
        let chunks = query(chunks).bind(bytes(&id)).bind(CHUNKS).execute(&mut *connection).await?;
        is_clean = (swept.artifacts.len() as i64) < ROWS && signed(chunks) < CHUNKS;
    } else {
        let events = "DELETE FROM build_events WHERE build = ?1 AND (epoch, place) IN (SELECT epoch, place \
                      FROM build_events WHERE build = ?1 ORDER BY epoch, place LIMIT ?2)";
        is_clean &= signed(query(events).bind(bytes(&id)).bind(ROWS).execute(&mut *connection).await?) < ROWS;
    }
    is_clean &= search_index::forget(&mut *connection, is_job, &id).await?;
    if is_clean {
        let rest: &[&str] = if is_job {
            &[
                "DELETE FROM steps WHERE job = ?",
                "DELETE FROM open_lines WHERE job = ?",
                "DELETE FROM missing_lines WHERE job = ?",
                "DELETE FROM topics WHERE kind = 1 AND id = ?",
                "DELETE FROM leavings WHERE kind = 1 AND id = ?",
            ]
        } else {
            &["DELETE FROM topics WHERE kind = 0 AND id = ?", "DELETE FROM leavings WHERE kind = 0 AND id = ?"]
        };
        for sql in rest {
            query(sql).bind(bytes(&id)).execute(&mut *connection).await?;
        }
    }
    Ok(swept)
}

/// Builds that have outlived their time, the oldest first.
pub(super) async fn outlived(
    connection: &mut Connection,
    pipeline: &PipelineName,
    rule: &Outlived,
    limit: u32,
) -> Result<Vec<BuildId>, StoreError> {
    let found = query(
        "SELECT id FROM (SELECT id, number, state, finished_at, queued_at, idempotency_key, \
         ROW_NUMBER() OVER newest AS place, SUM(COALESCE(bytes, 0)) OVER newest AS total, \
         MAX(number) OVER () AS last, MAX(CASE WHEN outcome = 'succeeded' THEN number ELSE 0 END) OVER () AS good \
         FROM builds WHERE pipeline = ?1 WINDOW newest AS (ORDER BY number DESC)) AS ranked \
         WHERE state = 'finished' AND number <> last AND number <> good \
         AND (idempotency_key IS NULL OR queued_at < ?5) \
         AND NOT EXISTS (SELECT 1 FROM replies WHERE replies.build = ranked.id AND replies.state = 'due') \
         AND (finished_at < ?2 OR place > ?3 OR total > ?4) ORDER BY number LIMIT ?6",
    )
    .bind(pipeline.as_str())
    .bind(rule.before.map(|before| before.0))
    .bind(rule.builds.map(signed))
    .bind(rule.bytes.map(signed))
    .bind(rule.keys_before.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    found.iter().map(|row| rows::uuid(row, 0).map(BuildId)).collect()
}

/// Artifacts of builds that finished before, but for the last one that succeeded.
pub(super) async fn outlived_artifacts(
    connection: &mut Connection,
    pipeline: &PipelineName,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<(JobId, ArtifactId)>, StoreError> {
    let found = query(
        "SELECT artifacts.job, artifacts.id FROM builds JOIN jobs ON jobs.build = builds.id \
         JOIN artifacts ON artifacts.job = jobs.id \
         WHERE builds.pipeline = ?1 AND builds.state = 'finished' AND builds.finished_at < ?2 \
         AND builds.number <> COALESCE((SELECT MAX(good.number) FROM builds AS good WHERE good.pipeline = ?1 \
         AND good.outcome = 'succeeded'), 0) ORDER BY builds.number, artifacts.id LIMIT ?3",
    )
    .bind(pipeline.as_str())
    .bind(before.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    found.iter().map(|row| Ok((JobId(rows::uuid(row, 0)?), ArtifactId(rows::uuid(row, 1)?)))).collect()
}

/// Finished builds whose bytes are not counted and can be, the oldest first.
pub(super) async fn uncounted(connection: &mut Connection, limit: u32) -> Result<Vec<BuildId>, StoreError> {
    let settled = now(&mut *connection).await?.0 - SETTLED_MICROS;
    let found = query(
        "SELECT id, finished_at FROM builds WHERE state = 'finished' AND bytes IS NULL ORDER BY finished_at LIMIT ?",
    )
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await?;
    let mut ready = Vec::with_capacity(found.len());
    for row in &found {
        let id = BuildId(rows::uuid(row, 0)?);
        if row.try_get::<i64>(1)? < settled || is_recorded(connection, id).await? {
            ready.push(id);
        }
    }
    Ok(ready)
}

/// Bytes of a build's logs, as they are kept, and artifacts; and the revision at which that is so.
pub(super) async fn count(connection: &mut Connection, id: BuildId) -> Result<Option<(i64, i64)>, StoreError> {
    let found = query(
        "SELECT CAST(COALESCE((SELECT SUM(length(log_chunks.body)) FROM jobs JOIN log_chunks ON log_chunks.job = jobs.id \
         WHERE jobs.build = ?1), 0) + COALESCE((SELECT SUM(artifacts.size) FROM jobs JOIN artifacts \
         ON artifacts.job = jobs.id WHERE jobs.build = ?1), 0) AS BIGINT), revision FROM builds WHERE id = ?1",
    );
    let found = found.bind(bytes(&id.0)).fetch_optional(connection).await?;
    found.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}
