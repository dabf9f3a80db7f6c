//! The outbox: rows written with the change that they announce, read by the relay until the broker has confirmed them.

use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;
use wire::{EventMessage, Timestamp, Topic, VERSION, event::raw};

use super::{SqliteStore, insert, rows, writer::Rank};
use crate::{
    Answer, Outbox, StoreError,
    model::{Announcement, Build, Outbound, OutboxRow},
};

/// Writes announcements of a build. Each event gets the build's next revision as its offset.
pub(super) async fn announce(
    connection: &mut SqliteConnection,
    build: &mut Build,
    announcements: Vec<Announcement>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut bodies = Vec::with_capacity(announcements.len());
    for announcement in announcements {
        let outbound = match announcement {
            Announcement::Event(event) => {
                let message = EventMessage {
                    version: VERSION,
                    topic: Topic::Build(build.id),
                    build: build.id,
                    epoch: build.epoch,
                    offset: build.revision,
                    at: now,
                    client_id: build.reply.as_ref().map(|reply| reply.client_id),
                    mac: None,
                    event: raw(&event),
                };
                build.revision += 1;
                let server_id = build.reply.as_ref().map(|reply| reply.server_id.clone());
                Outbound::Event { server_id, message: Box::new(message) }
            }
            Announcement::Hint(label_set) => Outbound::Hint { label_set },
            Announcement::Notice { executor, notice } => Outbound::Notice { executor, notice },
        };
        bodies.push(body(&outbound)?);
    }
    insert::rows(connection, "INSERT INTO outbox (body)", 1, "", &bodies, |query, body| query.bind(body.as_str())).await
}

/// An event keeps its bytes: `RawValue` does not survive serde's buffering of tagged enums, so a row has a shape of its
/// own.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_id: Option<wire::ServerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Box<EventMessage>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label_set: Option<wire::LabelSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executor: Option<wire::ExecutorId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<wire::task::ExecutorNotice>,
}

fn body(outbound: &Outbound) -> Result<String, StoreError> {
    let mut kept = Kept { server_id: None, message: None, label_set: None, executor: None, notice: None };
    match outbound.clone() {
        Outbound::Event { server_id, message } => (kept.server_id, kept.message) = (server_id, Some(message)),
        Outbound::Hint { label_set } => kept.label_set = Some(label_set),
        Outbound::Notice { executor, notice } => (kept.executor, kept.notice) = (Some(executor), Some(notice)),
    }
    rows::to_json(&kept)
}

fn outbound(kept: Kept) -> Result<Outbound, StoreError> {
    match kept {
        Kept { server_id, message: Some(message), .. } => Ok(Outbound::Event { server_id, message }),
        Kept { label_set: Some(label_set), .. } => Ok(Outbound::Hint { label_set }),
        Kept { executor: Some(executor), notice: Some(notice), .. } => Ok(Outbound::Notice { executor, notice }),
        _ => Err(StoreError::Corrupt("a row of the outbox says nothing".to_owned())),
    }
}

impl Outbox for SqliteStore {
    fn outbox(&self, after: i64, limit: u32) -> Answer<'_, Vec<OutboxRow>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = sqlx::query("SELECT id, body FROM outbox WHERE id > ? ORDER BY id LIMIT ?")
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&mut *reader)
                .await?;
            found
                .iter()
                .map(|row| Ok(OutboxRow { id: row.try_get(0)?, outbound: outbound(rows::json(row, 1)?)? }))
                .collect()
        })
    }

    fn outbox_done<'a>(&'a self, ids: &'a [i64]) -> Answer<'a, ()> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(());
            }
            let ids = rows::to_json(&ids)?;
            self.writer
                .run(Rank::Record, move |connection| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?))")
                            .bind(ids)
                            .execute(connection)
                            .await?;
                        Ok(())
                    })
                })
                .await
        })
    }

    fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.writer.announced()
    }
}
