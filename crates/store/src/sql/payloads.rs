//! Payloads, and who refers to them. One that a build takes up while it is being forgotten is either found and kept, or not
//! found: both write its row.

use wire::{BuildId, ClaimCheck, JobId, PayloadId, PipelineName, Timestamp};

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    now,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{Answer, Payloads, StoreError, model::Build};

impl<D: Details> Payloads for SqlStore<D> {
    fn put_payload<'a>(&'a self, check: &'a ClaimCheck) -> Answer<'a, ()> {
        let check = check.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("INSERT INTO payloads (id, size, sha256, content_type, kept_at) VALUES (?, ?, ?, ?, {now})")
                    .bind(bytes(&check.reference.0))
                    .bind(signed(check.size))
                    .bind(check.sha256.as_str())
                    .bind(check.content_type.as_str())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }

    fn payload(&self, id: PayloadId) -> Answer<'_, Option<ClaimCheck>> {
        Box::pin(async move {
            let asked = query("SELECT id, size, sha256, content_type FROM payloads WHERE id = ?").bind(bytes(&id.0));
            let found = asked.fetch_optional(&mut self.reader().await?).await?;
            found
                .map(|row| {
                    let (sha256, content_type) = (row.try_get(2)?, row.try_get(3)?);
                    let (reference, size) = (PayloadId(rows::uuid(&row, 0)?), rows::number(&row, 1)?);
                    Ok(ClaimCheck { reference, size, sha256, content_type })
                })
                .transpose()
        })
    }

    fn has_payload(&self, job: JobId, id: PayloadId) -> Answer<'_, bool> {
        Box::pin(async move {
            let asked = query(
                "SELECT 1 FROM jobs JOIN payload_uses ON payload_uses.build = jobs.build \
                 WHERE jobs.id = ? AND payload_uses.payload = ?",
            );
            let asked = asked.bind(bytes(&job.0)).bind(bytes(&id.0));
            Ok(asked.fetch_optional(&mut self.reader().await?).await?.is_some())
        })
    }

    fn pipelines_with(&self, id: PayloadId) -> Answer<'_, Vec<PipelineName>> {
        Box::pin(async move {
            let asked = query(
                "SELECT DISTINCT builds.pipeline FROM payload_uses JOIN builds ON builds.id = payload_uses.build \
                 WHERE payload_uses.payload = ? ORDER BY builds.pipeline",
            );
            let found = asked.bind(bytes(&id.0)).fetch_all(&mut self.reader().await?).await?;
            found.iter().map(|row| rows::parsed(row, 0)).collect()
        })
    }

    fn known_payloads<'a>(&'a self, ids: &'a [PayloadId]) -> Answer<'a, Vec<PayloadId>> {
        Box::pin(async move {
            let asked = query("SELECT id FROM payloads WHERE id IN (SELECT unhex(value ->> 0) FROM {each})");
            let found = asked.bind(named(ids)?).fetch_all(&mut self.reader().await?).await?;
            found.iter().map(|row| rows::uuid(row, 0).map(PayloadId)).collect()
        })
    }

    fn payloads_behind(&self, after: Option<PayloadId>, limit: u32) -> Answer<'_, Vec<PayloadId>> {
        Box::pin(async move {
            let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
            let asked = query("SELECT id FROM payloads WHERE id > ? ORDER BY id LIMIT ?");
            let asked = asked.bind(bytes(&after)).bind(i64::from(limit));
            let found = asked.fetch_all(&mut self.reader().await?).await?;
            found.iter().map(|row| rows::uuid(row, 0).map(PayloadId)).collect()
        })
    }

    fn forget_unused_payloads(&self, before: Timestamp, limit: u32) -> Answer<'_, Vec<PayloadId>> {
        Box::pin(self.writer.run(Rank::Record, move |connection| Box::pin(forget_unused(connection, before, limit))))
    }

    fn forget_payloads<'a>(&'a self, ids: &'a [PayloadId]) -> Answer<'a, ()> {
        let ids = named(ids);
        Box::pin(async move {
            let ids = ids?;
            let forget = self.writer.run(Rank::Command, move |connection| {
                Box::pin(async move {
                    let gone = "DELETE FROM payloads WHERE id IN (SELECT unhex(value ->> 0) FROM {each})";
                    query(gone).bind(&ids).execute(connection).await?;
                    Ok(())
                })
            });
            forget.await
        })
    }
}

/// Notes what a new build has as inputs; gives the first one that is not kept.
pub(super) async fn hold(connection: &mut Connection, build: &Build) -> Result<Option<PayloadId>, StoreError> {
    // Each job has the same.
    let Some(job) = build.jobs.iter().find(|job| !job.plan.files.is_empty()) else { return Ok(None) };
    let now = now(&mut *connection).await?;
    let mut held: Vec<PayloadId> = Vec::new();
    for id in job.plan.files.iter().map(|file| file.check.reference) {
        if held.contains(&id) {
            continue;
        }
        // Written, not only read: who forgets it at the same moment waits for this, and finds it used.
        let used = query("UPDATE payloads SET kept_at = ? WHERE id = ?").bind(now.0).bind(bytes(&id.0));
        if used.execute(&mut *connection).await? == 0 {
            return Ok(Some(id));
        }
        held.push(id);
    }
    for id in held {
        query("INSERT INTO payload_uses (payload, build) VALUES (?, ?)")
            .bind(bytes(&id.0))
            .bind(bytes(&build.id.0))
            .execute(&mut *connection)
            .await?;
    }
    Ok(None)
}

/// A build is deleted: what it alone had as an input goes soon.
pub(super) async fn let_go(connection: &mut Connection, build: BuildId) -> Result<(), StoreError> {
    for sql in [
        "UPDATE payloads SET kept_at = 0 WHERE id IN (SELECT payload FROM payload_uses WHERE build = ?1) \
         AND NOT EXISTS (SELECT 1 FROM payload_uses AS other WHERE other.payload = payloads.id AND other.build <> ?1)",
        "DELETE FROM payload_uses WHERE build = ?1",
    ] {
        query(sql).bind(bytes(&build.0)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn forget_unused(
    connection: &mut Connection,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<PayloadId>, StoreError> {
    let found = query(
        "DELETE FROM payloads WHERE kept_at < ?1 AND id IN (SELECT id FROM payloads AS old WHERE old.kept_at < ?1 \
         AND NOT EXISTS (SELECT 1 FROM payload_uses WHERE payload_uses.payload = old.id) \
         AND NOT EXISTS (SELECT 1 FROM callbacks WHERE callbacks.payload = old.id) ORDER BY old.kept_at LIMIT ?2) \
         RETURNING id",
    )
    .bind(before.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    found.iter().map(|row| rows::uuid(row, 0).map(PayloadId)).collect()
}

/// Ids as `{each}` takes them, in hex.
fn named(ids: &[PayloadId]) -> Result<String, StoreError> {
    let ids: Vec<[String; 1]> = ids.iter().map(|id| [id.0.as_simple().to_string()]).collect();
    rows::to_json(&ids)
}
