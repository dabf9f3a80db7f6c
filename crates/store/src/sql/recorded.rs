//! Reading the record: groups' places, logs, events and artifacts. [`super::record`] writes it.

use serde_json::value::RawValue;
use uuid::Uuid;
use wire::{
    ArtifactId, BuildId, ClientId, EventMessage, JobId, Position, Topic, VERSION,
    event::Recorded,
    view::{ArtifactView, GroupView, LogPage},
};

use super::{
    Details, SqlStore,
    connection::{Connection, Row, query},
    lines, lost_place, record,
    rows::{self, bytes, signed},
    view,
    writer::Rank,
};
use crate::{
    Answer, Groups as _, Record, StoreError,
    model::{Lacking, RecordBatch, Recording},
};

impl<D: Details> Record for SqlStore<D> {
    fn record(&self, batch: RecordBatch) -> Answer<'_, Recording> {
        Box::pin(record::record(self, batch))
    }

    fn group_place<'a>(&'a self, group: &'a str) -> Answer<'a, Option<(Uuid, u64)>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT incarnation, place FROM groups WHERE name = ?")
                .bind(group)
                .fetch_optional(&mut reader)
                .await?;
            found.map(|row| Ok((rows::uuid(&row, 0)?, rows::number(&row, 1)?))).transpose()
        })
    }

    fn lose_place<'a>(&'a self, group: &'a str) -> Answer<'a, Vec<Lacking>> {
        let group = group.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| Box::pin(lost_place::lose(connection, group))))
    }

    fn groups(&self) -> Answer<'_, Vec<GroupView>> {
        self.group_views(None, std::time::Duration::ZERO)
    }

    fn log(&self, job: JobId, attempt: Option<u32>, from: u64, limit: u32) -> Answer<'_, Option<LogPage>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            let found = query("SELECT attempt FROM jobs WHERE id = ?")
                .bind(bytes(&job.0))
                .fetch_optional(&mut snapshot)
                .await?;
            let Some(row) = found else { return Ok(None) };
            let attempt = match attempt {
                Some(attempt) => attempt,
                None => rows::number(&row, 0)?,
            };
            let mut page = LogPage { attempt, total: 0, position: None, sealed: false, lines: Vec::new() };
            if let Some((recorded, total)) = standing(&mut snapshot, Topic::Job(job), attempt).await? {
                page.position = recorded.offset.map(|offset| Position { epoch: attempt, offset });
                (page.sealed, page.total) = (recorded.sealed, total);
                page.lines =
                    lines::read(&mut snapshot, job, attempt, from, from.saturating_add(u64::from(limit))).await?;
            }
            Ok(Some(page))
        })
    }

    fn build_events(&self, build: BuildId, after: Option<u64>, limit: u32) -> Answer<'_, Vec<EventMessage>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT build_events.epoch, place, at, client_id, event FROM builds \
                 JOIN build_events ON build_events.build = builds.id AND build_events.epoch = builds.epoch \
                 WHERE builds.id = ? AND place > ? ORDER BY place LIMIT ?",
            )
            .bind(bytes(&build.0))
            .bind(after.map_or(-1, signed))
            .bind(i64::from(limit))
            .fetch_all(&mut reader)
            .await?;
            found.iter().map(|row| event(build, row)).collect()
        })
    }

    fn artifact(&self, id: ArtifactId) -> Answer<'_, Option<ArtifactView>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT artifacts.id, job, artifacts.attempt, name, size, sha256 FROM artifacts \
                JOIN jobs ON jobs.id = artifacts.job WHERE artifacts.id = ?",
            )
            .bind(bytes(&id.0))
            .fetch_optional(&mut reader)
            .await?;
            found.map(|row| view::artifact(&row)).transpose()
        })
    }

    fn recorded(&self, topic: Topic, epoch: u32) -> Answer<'_, Option<Recorded>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            Ok(standing(&mut reader, topic, epoch).await?.map(|(recorded, _)| recorded))
        })
    }
}

/// How far a topic's epoch is recorded, and the count of its lines.
async fn standing(
    connection: &mut Connection,
    topic: Topic,
    epoch: u32,
) -> Result<Option<(Recorded, u64)>, StoreError> {
    let (kind, id) = record::columns(&topic);
    let found = query("SELECT last, sealed, lines FROM topics WHERE kind = ? AND id = ? AND epoch = ?")
        .bind(kind)
        .bind(bytes(id))
        .bind(i64::from(epoch))
        .fetch_optional(connection)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let offset = u64::try_from(row.try_get::<i64>(0)?).ok();
    Ok(Some((Recorded { topic, epoch, offset, sealed: rows::flag(&row, 1)? }, rows::number(&row, 2)?)))
}

fn event(build: BuildId, row: &Row) -> Result<EventMessage, StoreError> {
    let event = RawValue::from_string(row.try_get(4)?)
        .map_err(|failure| StoreError::Corrupt(format!("a recorded event is not JSON: {failure}")))?;
    Ok(EventMessage {
        version: VERSION,
        topic: Topic::Build(build),
        build,
        epoch: rows::number(row, 0)?,
        offset: rows::number(row, 1)?,
        at: rows::time(row, 2)?,
        client_id: rows::uuid_if(row, 3)?.map(ClientId),
        mac: None,
        event,
    })
}
