//! Executors that have registered, and what they run.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;
use wire::{
    BuildId, ExecutorId, JobId, Timestamp,
    view::{ExecutorView, RunningJob},
};

use super::{
    Details, SqlStore,
    connection::{Connection, Row, query},
    micros, now,
    rows::{self, bytes},
    writer::Rank,
};
use crate::{
    Answer, Executors, FORMER_STARTS_MAX, StoreError,
    model::{ExecutorRow, Registration},
};

/// Who runs what: the executor, then the columns of [`running_job`].
const RUNNING: &str = "SELECT jobs.executor, jobs.id, jobs.plan, jobs.attempt, jobs.started_at, builds.id, \
    builds.pipeline, builds.number FROM jobs JOIN builds ON builds.id = jobs.build WHERE jobs.state = 'running' \
    ORDER BY jobs.started_at, jobs.id";

fn running_job(row: &Row) -> Result<RunningJob, StoreError> {
    /// What is read of the plan.
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    Ok(RunningJob {
        id: JobId(rows::uuid(row, 1)?),
        name: rows::json::<Named>(row, 2)?.name,
        attempt: rows::number(row, 3)?,
        started_at: rows::time(row, 4)?,
        build: BuildId(rows::uuid(row, 5)?),
        pipeline: rows::parsed(row, 6)?,
        number: rows::number(row, 7)?,
    })
}

/// Whether `shown` is what was shown first under this id, or nothing was yet.
async fn is_its_own(
    connection: &mut Connection,
    executor: ExecutorId,
    shown: Option<&str>,
) -> Result<bool, StoreError> {
    let found = query("SELECT secret_sha256 FROM executors WHERE id = ?");
    let Some(row) = found.bind(bytes(&executor.0)).fetch_optional(connection).await? else { return Ok(true) };
    let known: Option<String> = row.try_get(0)?;
    Ok(known.is_none_or(|known| shown == Some(known.as_str())))
}

/// Whether this start is the present one from now on, or was already; it is not if another one has taken its place.
async fn takes_its_place(
    connection: &mut Connection,
    executor: ExecutorId,
    incarnation: Uuid,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (id, start) = (bytes(&executor.0), bytes(&incarnation));
    let is_former = query("SELECT 1 FROM former_starts WHERE executor = ? AND incarnation = ?");
    if is_former.bind(id).bind(start).fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let replaced = query(
        "INSERT INTO former_starts (executor, incarnation, replaced_at) \
         SELECT id, incarnation, ? FROM executors WHERE id = ? AND incarnation <> ?",
    );
    if replaced.bind(now.0).bind(id).bind(start).execute(&mut *connection).await? > 0 {
        query(
            "DELETE FROM former_starts WHERE executor = ? AND incarnation NOT IN (SELECT incarnation FROM former_starts \
             WHERE executor = ? ORDER BY replaced_at DESC, incarnation DESC LIMIT ?)",
        )
        .bind(id)
        .bind(id)
        .bind(i64::from(FORMER_STARTS_MAX))
        .execute(&mut *connection)
        .await?;
    }
    Ok(true)
}

impl<D: Details> Executors for SqlStore<D> {
    fn put_executor<'a>(&'a self, executor: &'a ExecutorRow) -> Answer<'a, Registration> {
        let executor = executor.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                if !is_its_own(connection, executor.id, executor.secret_sha256.as_deref()).await? {
                    return Ok(Registration::Foreign);
                }
                if !takes_its_place(connection, executor.id, executor.incarnation, now).await? {
                    return Ok(Registration::Replaced);
                }
                query(
                    "INSERT INTO executors (id, incarnation, name, labels, slots, isolation, heard_at, has_left, \
                     secret_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT (id) DO UPDATE SET \
                     incarnation = excluded.incarnation, name = excluded.name, labels = excluded.labels, \
                     slots = excluded.slots, isolation = excluded.isolation, heard_at = excluded.heard_at, has_left = 0, \
                     secret_sha256 = excluded.secret_sha256",
                )
                .bind(bytes(&executor.id.0))
                .bind(bytes(&executor.incarnation))
                .bind(&executor.name)
                .bind(executor.labels.to_string())
                .bind(i64::from(executor.slots))
                .bind(executor.isolation.as_str())
                .bind(now.0)
                .bind(executor.secret_sha256.as_deref())
                .execute(connection)
                .await?;
                Ok(Registration::Heard)
            })
        }))
    }

    fn has_secret(&self, executor: ExecutorId) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT 1 FROM executors WHERE id = ? AND secret_sha256 IS NOT NULL");
            Ok(found.bind(bytes(&executor.0)).fetch_optional(&mut reader).await?.is_some())
        })
    }

    fn executor_left(&self, id: ExecutorId, incarnation: Uuid) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("UPDATE executors SET has_left = 1 WHERE id = ? AND incarnation = ?")
                    .bind(bytes(&id.0))
                    .bind(bytes(&incarnation))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }

    fn executors(&self, lease: Duration) -> Answer<'_, Vec<ExecutorView>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            let heard_since = now(&mut snapshot).await?.plus_micros(-micros(lease)).0;
            let mut running: HashMap<Uuid, Vec<RunningJob>> = HashMap::new();
            for row in &query(RUNNING).fetch_all(&mut snapshot).await? {
                running.entry(rows::uuid(row, 0)?).or_default().push(running_job(row)?);
            }
            let found =
                query("SELECT id, name, labels, slots, heard_at, has_left, isolation FROM executors ORDER BY name, id")
                    .fetch_all(&mut snapshot)
                    .await?;
            found
                .iter()
                .map(|row| {
                    let id = rows::uuid(row, 0)?;
                    let heard_at = rows::time(row, 4)?;
                    let jobs = running.remove(&id).unwrap_or_default();
                    Ok(ExecutorView {
                        id: ExecutorId(id),
                        name: row.try_get(1)?,
                        labels: rows::converted(row, 2)?,
                        slots: rows::number(row, 3)?,
                        isolation: rows::converted(row, 6)?,
                        heard_at,
                        alive: !rows::flag(row, 5)? && heard_at.0 >= heard_since,
                        running: jobs.iter().map(|job| job.id).collect(),
                        jobs,
                    })
                })
                .collect()
        })
    }
}
