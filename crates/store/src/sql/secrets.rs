//! Secrets, encrypted.

use wire::{
    PipelineName,
    pipeline::PipelineSpec,
    secret::{SecretName, SecretUse},
};

use super::{
    Details, SqlStore, audit,
    connection::{Row, query},
    now, rows,
    writer::Rank,
};
use crate::{
    Answer, Secrets, StoreError,
    audit::NewEntry,
    model::secret::{NewSecret, PutSecret, Resealed, SecretRow},
};

/// Columns of [`secret`].
const SECRET: &str = "pipeline, name, key_id, sealed, allowed, set_at, set_by";

/// How the table names whose it is.
fn owner(pipeline: Option<&PipelineName>) -> &str {
    pipeline.map_or("", PipelineName::as_str)
}

fn secret(row: &Row) -> Result<SecretRow, StoreError> {
    let is_of_installation = row.try_get::<&str>(0)?.is_empty();
    Ok(SecretRow {
        pipeline: if is_of_installation { None } else { Some(rows::parsed(row, 0)?) },
        name: rows::parsed(row, 1)?,
        key_id: row.try_get(2)?,
        sealed: row.try_get::<&[u8]>(3)?.to_vec(),
        allowed: rows::json(row, 4)?,
        set_at: rows::time(row, 5)?,
        set_by: row.try_get(6)?,
    })
}

impl<D: Details> Secrets for SqlStore<D> {
    fn put_secret(&self, secret: NewSecret, entry: NewEntry) -> Answer<'_, PutSecret> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let owner = owner(secret.pipeline.as_ref());
                if !owner.is_empty() {
                    let found = query("SELECT 1 FROM pipelines WHERE name = ?").bind(owner);
                    if found.fetch_optional(&mut *connection).await?.is_none() {
                        return Ok(PutSecret::NoPipeline);
                    }
                }
                let before = query("SELECT 1 FROM job_secrets WHERE pipeline = ? AND name = ?").bind(owner);
                let before = before.bind(secret.name.as_str()).fetch_optional(&mut *connection).await?;
                let at = now(&mut *connection).await?;
                query(
                    "INSERT INTO job_secrets (pipeline, name, key_id, sealed, allowed, set_at, set_by) \
                     VALUES (?1, ?2, ?3, ?4, COALESCE(?5, '[]'), ?6, ?7) ON CONFLICT (pipeline, name) DO UPDATE SET \
                     key_id = excluded.key_id, sealed = excluded.sealed, allowed = COALESCE(?5, job_secrets.allowed), \
                     set_at = excluded.set_at, set_by = excluded.set_by",
                )
                .bind(owner)
                .bind(secret.name.as_str())
                .bind(&secret.key_id)
                .bind(&secret.sealed[..])
                .bind(secret.allowed.as_ref().map(rows::to_json).transpose()?)
                .bind(at.0)
                .bind(&secret.set_by)
                .execute(&mut *connection)
                .await?;
                audit::insert(connection, &entry).await?;
                Ok(if before.is_some() { PutSecret::Replaced } else { PutSecret::Created })
            })
        }))
    }

    fn delete_secret<'a>(
        &'a self,
        pipeline: Option<&'a PipelineName>,
        name: &'a SecretName,
        entry: NewEntry,
    ) -> Answer<'a, bool> {
        let (owner, name) = (owner(pipeline).to_owned(), name.clone());
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let gone = query("DELETE FROM job_secrets WHERE pipeline = ? AND name = ?").bind(&owner);
                let was_there = gone.bind(name.as_str()).execute(&mut *connection).await? > 0;
                if was_there {
                    audit::insert(connection, &entry).await?;
                }
                Ok(was_there)
            })
        }))
    }

    fn secrets(&self) -> Answer<'_, Vec<SecretRow>> {
        Box::pin(async move {
            let sql = format!("SELECT {SECRET} FROM job_secrets ORDER BY pipeline, name");
            query(&sql).fetch_all(&mut self.reader().await?).await?.iter().map(secret).collect()
        })
    }

    fn secrets_of<'a>(&'a self, pipeline: &'a PipelineName, names: &'a [SecretName]) -> Answer<'a, Vec<SecretRow>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {SECRET} FROM job_secrets WHERE pipeline IN ('', ?) AND name IN (SELECT value ->> 0 FROM {{each}}) \
                 ORDER BY pipeline, name"
            );
            let names: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
            let asked = query(&sql).bind(pipeline.as_str()).bind(rows::to_json(&names)?);
            asked.fetch_all(&mut self.reader().await?).await?.iter().map(secret).collect()
        })
    }

    fn secret_uses(&self) -> Answer<'_, Vec<(PipelineName, Vec<SecretUse>)>> {
        Box::pin(async move {
            // Most pipelines have none, and reading one takes time.
            let asked = query("SELECT spec FROM pipelines WHERE spec LIKE '%\"secrets\":[%' ORDER BY name");
            let uses = |row| {
                let spec: PipelineSpec = rows::json(row, 0)?;
                let mut uses: Vec<SecretUse> = spec.jobs.into_iter().flat_map(|job| job.secrets).collect();
                uses.sort();
                uses.dedup();
                Ok((spec.name, uses))
            };
            asked.fetch_all(&mut self.reader().await?).await?.iter().map(uses).collect()
        })
    }

    fn reseal_secrets(&self, secrets: Vec<Resealed>, entry: NewEntry) -> Answer<'_, u64> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let mut resealed = 0;
                for secret in &secrets {
                    let change = query(
                        "UPDATE job_secrets SET key_id = ?, sealed = ? WHERE pipeline = ? AND name = ? AND sealed = ?",
                    );
                    let change = change.bind(&secret.key_id).bind(&secret.sealed[..]);
                    let change = change.bind(owner(secret.pipeline.as_ref())).bind(secret.name.as_str());
                    resealed += change.bind(&secret.was[..]).execute(&mut *connection).await?;
                }
                audit::insert(connection, &entry).await?;
                Ok(resealed)
            })
        }))
    }
}
