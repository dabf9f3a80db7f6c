//! What is kept beside the database, by its rows: which artifacts there are, and which have no file any more. The files
//! themselves are the server's business.

use wire::{ArtifactId, view::ArtifactView};

use super::{
    Details, SqlStore,
    connection::query,
    rows::{self, bytes},
    view,
    writer::Rank,
};
use crate::{Answer, Kept, StoreError};

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
                    let gone = "DELETE FROM artifacts WHERE id IN (SELECT unhex(value ->> 0) FROM {each})";
                    query(gone).bind(ids).execute(connection).await?;
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
}

/// Ids as `{each}` takes them, in hex.
fn named(ids: &[ArtifactId]) -> Result<String, StoreError> {
    let ids: Vec<[String; 1]> = ids.iter().map(|id| [id.0.as_simple().to_string()]).collect();
    rows::to_json(&ids)
}
