//! What is kept of builds that are over, and how it goes: see [`super::retention`] for the statements. The files of
//! artifacts are the server's business.

use wire::{
    ArtifactId, BuildId, JobId, PipelineName, Timestamp,
    pipeline::{PipelineSpec, RetentionSpec},
    view::ArtifactView,
};

use super::{
    Details, SqlStore, audit,
    connection::query,
    retention,
    rows::{self, bytes},
    view,
    writer::Rank,
};
use crate::{
    Answer, Kept, StoreError,
    audit::NewEntry,
    model::retention::{Deletion, Outlived, PipelineRetention, Swept},
};

impl<D: Details> Kept for SqlStore<D> {
    fn artifacts_behind(&self, after: Option<ArtifactId>, limit: u32) -> Answer<'_, Vec<ArtifactView>> {
        Box::pin(async move {
            let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
            let asked =
                query("SELECT id, job, attempt, name, size, sha256 FROM artifacts WHERE id > ? ORDER BY id LIMIT ?");
            let asked = asked.bind(bytes(&after)).bind(i64::from(limit));
            asked.fetch_all(&mut self.reader().await?).await?.iter().map(view::artifact).collect()
        })
    }

    fn forget_artifacts<'a>(&'a self, ids: &'a [ArtifactId]) -> Answer<'a, ()> {
        let ids = named(ids);
        Box::pin(async move {
            let ids = ids?;
            let forget = self.writer.run(Rank::Command, move |connection| {
                Box::pin(async move {
                    let fewer = "UPDATE builds SET bytes = NULL WHERE id IN (SELECT jobs.build FROM jobs JOIN artifacts \
                                 ON artifacts.job = jobs.id WHERE artifacts.id IN (SELECT unhex(value ->> 0) FROM {each}))";
                    query(fewer).bind(&ids).execute(&mut *connection).await?;
                    let gone = "DELETE FROM artifacts WHERE id IN (SELECT unhex(value ->> 0) FROM {each})";
                    query(gone).bind(&ids).execute(connection).await?;
                    Ok(())
                })
            });
            forget.await
        })
    }

    fn known_artifacts<'a>(&'a self, ids: &'a [ArtifactId]) -> Answer<'a, Vec<ArtifactId>> {
        Box::pin(async move {
            let asked = query("SELECT id FROM artifacts WHERE id IN (SELECT unhex(value ->> 0) FROM {each})");
            let found = asked.bind(named(ids)?).fetch_all(&mut self.reader().await?).await?;
            found.iter().map(|row| rows::uuid(row, 0).map(ArtifactId)).collect()
        })
    }

    fn delete_build(&self, id: BuildId, entry: Option<NewEntry>) -> Answer<'_, Deletion> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let deletion = retention::delete(&mut *connection, id).await?;
                if let (Deletion::Done, Some(entry)) = (deletion, entry) {
                    audit::insert(connection, &entry).await?;
                }
                Ok(deletion)
            })
        }))
    }

    fn sweep(&self) -> Answer<'_, Swept> {
        Box::pin(self.writer.run(Rank::Record, |connection| Box::pin(retention::sweep(connection))))
    }

    fn retentions(&self) -> Answer<'_, Vec<PipelineRetention>> {
        Box::pin(async move {
            let found = query(
                "SELECT build_numbers.pipeline, pipelines.spec FROM build_numbers \
                 LEFT JOIN pipelines ON pipelines.name = build_numbers.pipeline ORDER BY build_numbers.pipeline",
            )
            .fetch_all(&mut self.reader().await?)
            .await?;
            let retention = |row| {
                let has_text = super::connection::Row::try_get::<Option<&str>>(row, 1)?.is_some();
                let spec: RetentionSpec =
                    if has_text { rows::json::<PipelineSpec>(row, 1)?.retention } else { RetentionSpec::default() };
                Ok(PipelineRetention { pipeline: rows::parsed(row, 0)?, spec })
            };
            found.iter().map(retention).collect()
        })
    }

    fn outlived<'a>(&'a self, pipeline: &'a PipelineName, rule: Outlived, limit: u32) -> Answer<'a, Vec<BuildId>> {
        Box::pin(async move { retention::outlived(&mut self.reader().await?, pipeline, &rule, limit).await })
    }

    fn outlived_artifacts<'a>(
        &'a self,
        pipeline: &'a PipelineName,
        before: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<(JobId, ArtifactId)>> {
        Box::pin(async move { retention::outlived_artifacts(&mut self.reader().await?, pipeline, before, limit).await })
    }

    fn count_bytes(&self, limit: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let ready = retention::uncounted(&mut self.reader().await?, limit).await?;
            let mut counted = 0;
            for id in ready {
                // Counted where nobody waits for it; written only if the build is still as it was counted.
                let Some((size, revision)) = retention::count(&mut self.reader().await?, id).await? else { continue };
                let write = self.writer.run(Rank::Record, move |connection| {
                    Box::pin(async move {
                        let write = "UPDATE builds SET bytes = ? WHERE id = ? AND revision = ? AND state = 'finished'";
                        let write = query(write).bind(size).bind(bytes(&id.0)).bind(revision);
                        write.execute(connection).await
                    })
                });
                counted += write.await?;
            }
            Ok(counted)
        })
    }
}

/// Ids as `{each}` takes them, in hex.
fn named(ids: &[ArtifactId]) -> Result<String, StoreError> {
    let ids: Vec<[String; 1]> = ids.iter().map(|id| [id.0.as_simple().to_string()]).collect();
    rows::to_json(&ids)
}
