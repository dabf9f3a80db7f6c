//! A group's loss of its place: the stream was trimmed beyond it, or made anew. Which events are gone nobody can say; which
//! topics may lack some is known, for the builds themselves stand beside the record.

use std::collections::BTreeMap;

use wire::{BuildId, JobId};

use super::{
    connection::{Connection, query},
    rows,
};
use crate::{StoreError, model::Lacking};

/// See [`crate::Record::lose_place`].
pub(super) async fn lose(connection: &mut Connection, group: String) -> Result<Vec<Lacking>, StoreError> {
    query("UPDATE groups SET losses = losses + 1 WHERE name = ?").bind(&group).execute(&mut *connection).await?;
    // Those of which nothing is recorded: all of it, or its beginning, may be gone.
    for begun in [
        "INSERT INTO topics (kind, id, epoch, last, sealed, lines, open) \
         SELECT 0, id, epoch, -1, 0, 0, 0 FROM builds WHERE revision > 0 ON CONFLICT DO NOTHING",
        "INSERT INTO topics (kind, id, epoch, last, sealed, lines, open) \
         SELECT 1, id, attempt, -1, 0, 0, 0 FROM jobs WHERE attempt > 0 ON CONFLICT DO NOTHING",
    ] {
        connection.execute(begun).await?;
    }
    connection
        .execute(
            "UPDATE topics SET may_skip = 1 WHERE sealed = 0 AND (kind = 1 OR EXISTS (SELECT 1 FROM builds \
             WHERE builds.id = topics.id AND builds.epoch = topics.epoch AND topics.last < builds.revision - 1))",
        )
        .await?;
    let unfinished = query(
        "SELECT builds.id FROM builds JOIN topics ON topics.kind = 0 AND topics.id = builds.id \
         AND topics.epoch = builds.epoch WHERE topics.last < builds.revision - 1",
    );
    let unsealed = query(
        "SELECT jobs.build, jobs.id, topics.epoch FROM jobs JOIN topics ON topics.kind = 1 AND topics.id = jobs.id \
         WHERE topics.sealed = 0 AND (jobs.state <> 'running' OR topics.epoch < jobs.attempt) ORDER BY topics.epoch",
    );
    let mut lacking: BTreeMap<BuildId, Vec<(JobId, u32)>> = BTreeMap::new();
    for row in &unfinished.fetch_all(&mut *connection).await? {
        lacking.entry(BuildId(rows::uuid(row, 0)?)).or_default();
    }
    for row in &unsealed.fetch_all(connection).await? {
        let attempt = (JobId(rows::uuid(row, 1)?), rows::number(row, 2)?);
        lacking.entry(BuildId(rows::uuid(row, 0)?)).or_default().push(attempt);
    }
    Ok(lacking.into_iter().map(|(build, attempts)| Lacking { build, attempts }).collect())
}
