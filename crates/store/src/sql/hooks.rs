//! Hooks in SQL, and the marks of what was delivered to them.

use wire::{BuildId, HookId, PipelineName, Timestamp, hook::Provider};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, Row, query},
    micros, now,
    rows::{self, bytes},
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    audit::NewEntry,
    hooks::{DELIVERIES_KEPT, Delivery, HOOKS_MAX, Hook, Hooks},
};

const COLUMNS: &str = "id, pipeline, provider, generation, created_at, created_by";
/// Marks that are forgotten with each new one: more than come.
const FORGOTTEN_AT_ONCE: i64 = 20;

impl<D: Details> Hooks for SqlStore<D> {
    fn create_hook<'a>(
        &'a self,
        id: HookId,
        pipeline: &'a PipelineName,
        provider: Provider,
        by: NewEntry,
    ) -> Answer<'a, Option<Hook>> {
        let pipeline = pipeline.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let found = query(
                    "SELECT (SELECT count(*) FROM hooks WHERE pipeline = ?), {now} FROM pipelines WHERE name = ?",
                );
                let found = found.bind(pipeline.as_str()).bind(pipeline.as_str());
                let Some(found) = found.fetch_optional(&mut *connection).await? else { return Ok(None) };
                if rows::number::<u32>(&found, 0)? >= HOOKS_MAX {
                    return Ok(None);
                }
                let created_at = rows::time(&found, 1)?;
                let created_by = by.name.clone();
                let hook = Hook { id, pipeline, provider, generation: 1, created_at, created_by, last_built_at: None };
                let insert = format!("INSERT INTO hooks ({COLUMNS}) VALUES (?, ?, ?, 1, ?, ?)");
                query(&insert)
                    .bind(bytes(&id.0))
                    .bind(hook.pipeline.as_str())
                    .bind(provider.as_str())
                    .bind(created_at.0)
                    .bind(hook.created_by.as_str())
                    .execute(&mut *connection)
                    .await?;
                audit::insert(connection, &by).await?;
                Ok(Some(hook))
            })
        }))
    }

    fn hooks<'a>(&'a self, pipeline: &'a PipelineName) -> Answer<'a, Vec<Hook>> {
        Box::pin(async move {
            let asked = format!(
                "SELECT {COLUMNS}, (SELECT MAX(at) FROM hook_deliveries WHERE hook = hooks.id) FROM hooks \
                 WHERE pipeline = ? ORDER BY created_at, id"
            );
            let found = query(&asked).bind(pipeline.as_str()).fetch_all(&mut self.reader().await?).await?;
            found.iter().map(|row| Ok(Hook { last_built_at: rows::time_if(row, 6)?, ..hook(row)? })).collect()
        })
    }

    fn hook(&self, id: HookId) -> Answer<'_, Option<Hook>> {
        Box::pin(async move {
            let asked = format!("SELECT {COLUMNS} FROM hooks WHERE id = ?");
            let found = query(&asked).bind(bytes(&id.0)).fetch_optional(&mut self.reader().await?).await?;
            found.as_ref().map(hook).transpose()
        })
    }

    fn rotate_hook<'a>(&'a self, pipeline: &'a PipelineName, id: HookId, by: NewEntry) -> Answer<'a, Option<Hook>> {
        let pipeline = pipeline.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let change = format!(
                    "UPDATE hooks SET generation = generation + 1 WHERE pipeline = ? AND id = ? RETURNING {COLUMNS}"
                );
                let change = query(&change).bind(pipeline.as_str()).bind(bytes(&id.0));
                let Some(found) = change.fetch_optional(&mut *connection).await? else { return Ok(None) };
                audit::insert(connection, &by).await?;
                hook(&found).map(Some)
            })
        }))
    }

    fn delete_hook<'a>(&'a self, pipeline: &'a PipelineName, id: HookId, by: NewEntry) -> Answer<'a, bool> {
        let pipeline = pipeline.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let delete = query("DELETE FROM hooks WHERE pipeline = ? AND id = ?");
                let deleted = delete.bind(pipeline.as_str()).bind(bytes(&id.0)).execute(&mut *connection).await?;
                if deleted > 0 {
                    audit::insert(connection, &by).await?;
                }
                Ok(deleted > 0)
            })
        }))
    }
}

fn hook(row: &Row) -> Result<Hook, StoreError> {
    Ok(Hook {
        id: HookId(rows::uuid(row, 0)?),
        pipeline: rows::parsed(row, 1)?,
        provider: rows::parsed(row, 2)?,
        generation: rows::number(row, 3)?,
        created_at: rows::time(row, 4)?,
        created_by: row.try_get::<&str>(5)?.to_owned(),
        last_built_at: None,
    })
}

/// What becomes of a delivery in the transaction of its build.
pub(super) enum Marked {
    /// It is new.
    New,
    /// It was built before.
    Before(BuildId),
    /// Its hook is deleted, or has another secret now.
    NoHook,
}

/// Marks a delivery as built. Two at the same time wait for each other at the mark, so one of them finds the other's.
pub(super) async fn mark(
    connection: &mut Connection,
    delivery: &Delivery,
    build: BuildId,
) -> Result<Marked, StoreError> {
    // Locked against those who delete or rotate it meanwhile.
    let held = query("UPDATE hooks SET generation = generation WHERE id = ? AND generation = ?");
    let held = held.bind(bytes(&delivery.hook.0)).bind(i64::from(delivery.generation));
    if held.execute(&mut *connection).await? == 0 {
        return Ok(Marked::NoHook);
    }
    let marks = [format!("id {}", delivery.id), format!("signature {}", delivery.digest)];
    let before = query("SELECT build FROM hook_deliveries WHERE hook = ? AND mark IN (?, ?) ORDER BY at LIMIT 1");
    let before = before.bind(bytes(&delivery.hook.0)).bind(marks[0].as_str()).bind(marks[1].as_str());
    if let Some(row) = before.fetch_optional(&mut *connection).await? {
        return Ok(Marked::Before(BuildId(rows::uuid(&row, 0)?)));
    }
    let at: Timestamp = now(&mut *connection).await?;
    for mark in &marks {
        query("INSERT INTO hook_deliveries (hook, mark, build, at) VALUES (?, ?, ?, ?)")
            .bind(bytes(&delivery.hook.0))
            .bind(mark.as_str())
            .bind(bytes(&build.0))
            .bind(at.0)
            .execute(&mut *connection)
            .await?;
    }
    let old = "DELETE FROM hook_deliveries WHERE (hook, mark) IN \
               (SELECT hook, mark FROM hook_deliveries WHERE at < ? ORDER BY at LIMIT ?)";
    query(old).bind(at.0 - micros(DELIVERIES_KEPT)).bind(FORGOTTEN_AT_ONCE).execute(connection).await?;
    Ok(Marked::New)
}
