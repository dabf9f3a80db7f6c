//! Leases: of jobs (claimed, renewed, reaped) and by name. Every comparison is with the database's clock, read inside the
//! transaction that it decides.

use std::time::Duration;

use uuid::Uuid;
use wire::{BuildId, ExecutorId, JobId, LabelSet, task::LeaseRef};

use super::{
    Details, SqlStore, builds,
    connection::{Connection, Row, query},
    micros, now,
    rows::{self, bytes},
    writer::Rank,
};
use crate::{
    Answer, BoxFuture, ChangeError, Grant, Leases, StoreError,
    model::{Claim, Claimed, Expired, JobLease, JobState, NamedLease, QueuedJobs, Refusal, Renewal},
};

impl<D: Details> Leases for SqlStore<D> {
    fn claim_job(&self, claim: Claim, grant: Grant) -> BoxFuture<'_, Result<Option<Claimed>, ChangeError>> {
        Box::pin(self.writer.run(Rank::Announcing, move |connection| Box::pin(claim_job(connection, claim, grant))))
    }

    fn renew_jobs<'a>(
        &'a self,
        executor: ExecutorId,
        incarnation: Uuid,
        leases: &'a [LeaseRef],
        lease: Duration,
    ) -> Answer<'a, Renewal> {
        let leases = leases.to_vec();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move { renew(connection, executor, incarnation, &leases, lease).await })
        }))
    }

    fn expired_jobs(&self, limit: u32) -> Answer<'_, Vec<Expired>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT build, id, attempt FROM jobs WHERE state = 'running' \
                 AND expires_at < {now} ORDER BY expires_at, id LIMIT ?",
            )
            .bind(i64::from(limit))
            .fetch_all(&mut reader)
            .await?;
            found.iter().map(expired).collect()
        })
    }

    fn orphaned_jobs(&self, executor: ExecutorId, incarnation: Uuid) -> Answer<'_, Vec<Expired>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT build, id, attempt FROM jobs WHERE state = 'running' AND executor = ? AND incarnation <> ? \
                 ORDER BY id",
            )
            .bind(bytes(&executor.0))
            .bind(bytes(&incarnation))
            .fetch_all(&mut reader)
            .await?;
            found.iter().map(expired).collect()
        })
    }

    fn queued_jobs(&self) -> Answer<'_, Vec<QueuedJobs>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT label_set, CAST(SUM(queued) AS BIGINT) FROM queues WHERE queued > 0 GROUP BY label_set ORDER BY label_set",
            )
            .fetch_all(&mut reader)
            .await?;
            found
                .iter()
                .map(|row| Ok(QueuedJobs { label_set: rows::converted(row, 0)?, count: rows::number(row, 1)? }))
                .collect()
        })
    }

    fn label_sets(&self) -> Answer<'_, Vec<LabelSet>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT label_set FROM label_sets ORDER BY label_set").fetch_all(&mut reader).await?;
            found.iter().map(|row| rows::converted(row, 0)).collect()
        })
    }

    fn hold<'a>(&'a self, name: &'a str, holder: Uuid, lease: Duration) -> Answer<'a, Option<NamedLease>> {
        let name = name.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                let taken = query(
                    "INSERT INTO leases (name, holder, term, expires_at) VALUES (?1, ?2, 1, ?3) \
                     ON CONFLICT (name) DO UPDATE SET \
                     term = leases.term + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END, \
                     holder = excluded.holder, expires_at = excluded.expires_at \
                     WHERE leases.holder = excluded.holder OR leases.expires_at < ?4 \
                     RETURNING term, expires_at",
                )
                .bind(&name)
                .bind(bytes(&holder))
                .bind(now.plus_micros(micros(lease)).0)
                .bind(now.0)
                .fetch_optional(connection)
                .await?;
                taken
                    .map(|row| Ok(NamedLease { term: rows::number(&row, 0)?, expires_at: rows::time(&row, 1)? }))
                    .transpose()
            })
        }))
    }

    fn release<'a>(&'a self, name: &'a str, holder: Uuid) -> Answer<'a, ()> {
        let name = name.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("UPDATE leases SET expires_at = 0 WHERE name = ? AND holder = ?")
                    .bind(&name)
                    .bind(bytes(&holder))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }
}

fn expired(row: &Row) -> Result<Expired, StoreError> {
    let lease = LeaseRef { job: JobId(rows::uuid(row, 1)?), attempt: rows::number(row, 2)? };
    Ok(Expired { build: BuildId(rows::uuid(row, 0)?), lease })
}

/// What the claim has already, or the first job that waits under its label set: of the pipeline that has the fewest running
/// among those with jobs of the greatest priority, as `queues` tells; among equals of the one that was served longest ago.
/// `queues` is looked at a little further than its first row, for what another transaction has locked. CASE keeps the planner
/// to the claim's own index: an executor may hold many jobs, a claim has one.
const CHOOSE: &str = "SELECT id, build, CAST(1 AS BIGINT) AS again FROM jobs WHERE state = 'running' AND claim_id = ?1 \
    AND CASE WHEN executor = ?2 AND incarnation = ?3 \
    AND expires_at >= {now} THEN 1 ELSE 0 END = 1 \
    UNION ALL SELECT id, build, CAST(0 AS BIGINT) FROM jobs WHERE id = (SELECT id FROM (SELECT (SELECT jobs.id FROM jobs \
    WHERE jobs.state = 'queued' AND jobs.held = 0 AND jobs.label_set = queues.label_set \
    AND jobs.pipeline = queues.pipeline AND jobs.priority = queues.priority \
    ORDER BY jobs.losses DESC, jobs.queued_at, jobs.id LIMIT 1 {skip_locked}) AS id FROM queues \
    WHERE queues.label_set = ?4 AND queues.queued > 0 ORDER BY queues.priority DESC, queues.running, queues.served_at, \
    queues.since, queues.pipeline LIMIT 8) AS first WHERE id IS NOT NULL LIMIT 1) ORDER BY again DESC LIMIT 1";

async fn claim_job(connection: &mut Connection, claim: Claim, grant: Grant) -> Result<Option<Claimed>, ChangeError> {
    if !is_registered(connection, &claim).await? {
        return Err(Refusal::Unregistered.into());
    }
    let Some((job, build, again)) = choose(connection, &claim).await? else { return Ok(None) };
    let (before, now) = builds::load_known(connection, build).await?;
    if again {
        return Ok(Some(Claimed { build: before, job }));
    }
    let mut build = before.clone();
    if let Some(chosen) = build.jobs.iter_mut().find(|one| one.id == job) {
        chosen.attempt = chosen.next_attempt(before.epoch);
        let lease = JobLease {
            executor: claim.executor,
            incarnation: claim.incarnation,
            claim_id: claim.claim_id,
            expires_at: now.plus_micros(micros(claim.lease)),
        };
        chosen.state = JobState::Running { lease, since: now, cancelling: false };
    }
    let announcements = grant(&mut build, job, now)?;
    builds::write_change(connection, &before, &mut build, announcements, now).await?;
    Ok(Some(Claimed { build, job }))
}

/// Whether the start that claims is its executor's present one. Ids are on every page, an incarnation is not: who does not
/// know it gets no job and none of its secrets.
async fn is_registered(connection: &mut Connection, claim: &Claim) -> Result<bool, StoreError> {
    let found = query("SELECT 1 FROM executors WHERE id = ? AND incarnation = ? AND has_left = 0")
        .bind(bytes(&claim.executor.0))
        .bind(bytes(&claim.incarnation))
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

async fn choose(connection: &mut Connection, claim: &Claim) -> Result<Option<(JobId, Uuid, bool)>, StoreError> {
    let chosen = query(CHOOSE)
        .bind(bytes(&claim.claim_id))
        .bind(bytes(&claim.executor.0))
        .bind(bytes(&claim.incarnation))
        .bind(claim.label_set.to_string())
        .fetch_optional(connection)
        .await?;
    chosen.map(|row| Ok((JobId(rows::uuid(&row, 0)?), rows::uuid(&row, 1)?, rows::flag(&row, 2)?))).transpose()
}

async fn renew(
    connection: &mut Connection,
    executor: ExecutorId,
    incarnation: Uuid,
    leases: &[LeaseRef],
    lease: Duration,
) -> Result<Renewal, StoreError> {
    let now = now(&mut *connection).await?;
    let found = query(
        "SELECT id, attempt, cancelling FROM jobs \
         WHERE state = 'running' AND executor = ? AND incarnation = ? AND expires_at >= ?",
    )
    .bind(bytes(&executor.0))
    .bind(bytes(&incarnation))
    .bind(now.0)
    .fetch_all(&mut *connection)
    .await?;
    let mut valid = std::collections::HashMap::new();
    for row in &found {
        let own = LeaseRef { job: JobId(rows::uuid(row, 0)?), attempt: rows::number(row, 1)? };
        valid.insert(own, row.try_get::<i64>(2)? != 0);
    }
    let mut renewal = Renewal::default();
    for own in leases {
        match valid.get(own) {
            None => renewal.lost.push(*own),
            Some(cancelling) => {
                renewal.held.push(*own);
                if *cancelling {
                    renewal.cancelled.push(*own);
                }
            }
        }
    }
    if !renewal.held.is_empty() {
        let held: Vec<[String; 1]> = renewal.held.iter().map(|own| [own.job.0.as_simple().to_string()]).collect();
        query("UPDATE jobs SET expires_at = ? WHERE id IN (SELECT unhex(value ->> 0) FROM {each})")
            .bind(now.plus_micros(micros(lease)).0)
            .bind(rows::to_json(&held)?)
            .execute(connection)
            .await?;
    }
    Ok(renewal)
}
