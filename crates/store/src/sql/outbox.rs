//! The outbox: rows written with the change that they announce, read by the relay until the broker has confirmed them.

use tokio::sync::watch;
use wire::{EventMessage, Timestamp, Topic, VERSION, about};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, query},
    dead_letters, insert, now, rows, told_about,
    writer::Rank,
};
use crate::{
    Answer, Outbox, StoreError,
    audit::NewEntry,
    model::{Announcement, Build, Outbound, OutboxRow},
};

/// Writes announcements of a build, and what goes with them. Each event gets the build's next revision as its offset, and
/// says what a reader needs besides; `before` is the build before the change that is announced.
pub(super) async fn announce(
    connection: &mut Connection,
    before: Option<&Build>,
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
                    event: about::raw(&event, told_about::about(&event, before, build).as_ref()),
                };
                build.revision += 1;
                let server_id = build.reply.as_ref().map(|reply| reply.server_id.clone());
                Outbound::Event { server_id, message: Box::new(message) }
            }
            Announcement::Hint(label_set) => Outbound::Hint { label_set },
            Announcement::Notice { executor, notice } => Outbound::Notice { executor, notice },
            Announcement::JobGivenUp { job, reason } => {
                dead_letters::give_up(connection, build, job, reason, now).await?;
                continue;
            }
            Announcement::Noted(entry) => {
                let about = NewEntry { pipeline: Some(build.pipeline.clone()), build: Some(build.id), ..*entry };
                audit::insert(connection, &about).await?;
                continue;
            }
            Announcement::TakenUp { by } => {
                dead_letters::take_up(connection, build.id, &by, now).await?;
                continue;
            }
        };
        bodies.push(body(&outbound)?);
    }
    insert::rows(connection, "INSERT INTO outbox (body)", 1, "", &bodies, |query, body| query.bind(body.as_str())).await
}

/// Writes hints that go with no build's change.
pub(super) async fn hint(connection: &mut Connection, label_sets: Vec<wire::LabelSet>) -> Result<(), StoreError> {
    let bodies = label_sets.into_iter().map(|label_set| body(&Outbound::Hint { label_set }));
    let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback: Option<KeptCallback>,
}

/// A callback, whose body is JSON.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptCallback {
    message_id: uuid::Uuid,
    body: String,
}

/// Writes one row.
pub(super) async fn push(connection: &mut Connection, outbound: &Outbound) -> Result<(), StoreError> {
    query("INSERT INTO outbox (body) VALUES (?)").bind(body(outbound)?).execute(connection).await?;
    Ok(())
}

fn body(outbound: &Outbound) -> Result<String, StoreError> {
    let mut kept =
        Kept { server_id: None, message: None, label_set: None, executor: None, notice: None, callback: None };
    match outbound.clone() {
        Outbound::Event { server_id, message } => (kept.server_id, kept.message) = (server_id, Some(message)),
        Outbound::Hint { label_set } => kept.label_set = Some(label_set),
        Outbound::Notice { executor, notice } => (kept.executor, kept.notice) = (Some(executor), Some(notice)),
        Outbound::Callback { server_id, message_id, body } => {
            let body = String::from_utf8_lossy(&body).into_owned();
            (kept.server_id, kept.callback) = (Some(server_id), Some(KeptCallback { message_id, body }));
        }
    }
    rows::to_json(&kept)
}

fn outbound(kept: Kept) -> Result<Outbound, StoreError> {
    match kept {
        Kept { server_id, message: Some(message), .. } => Ok(Outbound::Event { server_id, message }),
        Kept { label_set: Some(label_set), .. } => Ok(Outbound::Hint { label_set }),
        Kept { executor: Some(executor), notice: Some(notice), .. } => Ok(Outbound::Notice { executor, notice }),
        Kept { server_id: Some(server_id), callback: Some(KeptCallback { message_id, body }), .. } => {
            Ok(Outbound::Callback { server_id, message_id, body: body.into_bytes() })
        }
        _ => Err(StoreError::Corrupt("a row of the outbox says nothing".to_owned())),
    }
}

/// What is still to be published of builds' topics goes on under a new epoch. A row that cannot be read stays as it is:
/// the relay sets it aside.
pub(super) async fn raise_epoch(connection: &mut Connection, epoch: u32) -> Result<(), StoreError> {
    for row in &query("SELECT id, body FROM outbox").fetch_all(&mut *connection).await? {
        let Ok(mut kept) = rows::json::<Kept>(row, 1) else { continue };
        let Some(message) = &mut kept.message else { continue };
        message.epoch = epoch;
        query("UPDATE outbox SET body = ? WHERE id = ?")
            .bind(rows::to_json(&kept)?)
            .bind(row.try_get::<i64>(0)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl<D: Details> SqlStore<D> {
    /// Rows behind `after` that can be read, and the ids of those that cannot, with the reason.
    async fn outbox_rows(&self, after: i64, limit: u32) -> Result<(Vec<OutboxRow>, Vec<(i64, String)>), StoreError> {
        let mut reader = self.reader().await?;
        let found = query("SELECT id, body FROM outbox WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut reader)
            .await?;
        let (mut rows, mut unreadable) = (Vec::with_capacity(found.len()), Vec::new());
        for row in &found {
            let id = row.try_get(0)?;
            match rows::json(row, 1).and_then(outbound) {
                Ok(outbound) => rows.push(OutboxRow { id, outbound }),
                Err(reason) => unreadable.push((id, reason.to_string())),
            }
        }
        Ok((rows, unreadable))
    }

    /// Moves rows out of the way. Two readers may find the same one: who moves it tells of it.
    async fn set_aside(&self, unreadable: Vec<(i64, String)>) -> Result<(), StoreError> {
        let moved = self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                let mut moved = Vec::new();
                for (id, reason) in unreadable {
                    query(
                        "INSERT INTO outbox_unreadable (id, body, reason, found_at) \
                         SELECT id, body, ?2, ?3 FROM outbox WHERE id = ?1",
                    )
                    .bind(id)
                    .bind(&reason)
                    .bind(now.0)
                    .execute(&mut *connection)
                    .await?;
                    let gone = query("DELETE FROM outbox WHERE id = ?").bind(id).execute(&mut *connection).await?;
                    if gone > 0 {
                        moved.push((id, reason));
                    }
                }
                Ok::<_, StoreError>(moved)
            })
        });
        for (row, reason) in moved.await? {
            tracing::error!(row, reason, "a row of the outbox cannot be published: it is kept in outbox_unreadable");
        }
        Ok(())
    }
}

impl<D: Details> Outbox for SqlStore<D> {
    fn outbox(&self, after: i64, limit: u32) -> Answer<'_, Vec<OutboxRow>> {
        Box::pin(async move {
            loop {
                let (rows, unreadable) = self.outbox_rows(after, limit).await?;
                if unreadable.is_empty() {
                    return Ok(rows);
                }
                self.set_aside(unreadable).await?;
                // Where none could be read there may be others behind them: they are gone now, so the next look is further.
                if !rows.is_empty() {
                    return Ok(rows);
                }
            }
        })
    }

    fn outbox_done<'a>(&'a self, ids: &'a [i64]) -> Answer<'a, ()> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(());
            }
            let ids = rows::to_json(&ids.iter().map(|id| [*id]).collect::<Vec<_>>())?;
            self.writer
                .run(Rank::Record, move |connection| {
                    Box::pin(async move {
                        query("DELETE FROM outbox WHERE id IN (SELECT CAST(value ->> 0 AS BIGINT) FROM {each})")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteStore;

    /// More unreadable rows than one look takes, and one between two that can be read.
    #[tokio::test]
    async fn p1_a_row_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let hint = |labels: &str| format!(r#"{{"label_set":"{labels}"}}"#);
        let bodies = ["nonsense".to_owned(), "{}".to_owned(), "[".to_owned(), hint("a"), "?".to_owned(), hint("b")];
        let write = store.writer.run(Rank::Announcing, move |connection| {
            Box::pin(async move {
                let head = "INSERT INTO outbox (body)";
                insert::rows(connection, head, 1, "", &bodies, |query, body| query.bind(body.as_str())).await
            })
        });
        write.await.unwrap();
        let hints = |rows: Vec<OutboxRow>| -> Vec<(i64, String)> {
            let hint = |row: OutboxRow| match row.outbound {
                Outbound::Hint { label_set } => (row.id, label_set.to_string()),
                other => panic!("{other:?}"),
            };
            rows.into_iter().map(hint).collect()
        };
        assert_eq!(hints(store.outbox(0, 2).await.unwrap()), [(4, "a".to_owned())]);
        assert_eq!(hints(store.outbox(4, 2).await.unwrap()), [(6, "b".to_owned())]);
        assert_eq!(hints(store.outbox(6, 2).await.unwrap()), []);
        let mut reader = store.reader().await.unwrap();
        let aside = query("SELECT id, body, reason FROM outbox_unreadable ORDER BY id");
        let aside = aside.fetch_all(&mut reader).await.unwrap();
        let kept: Vec<(i64, &str)> =
            aside.iter().map(|row| (row.try_get(0).unwrap(), row.try_get(1).unwrap())).collect();
        assert_eq!(kept, [(1, "nonsense"), (2, "{}"), (3, "["), (5, "?")]);
        assert!(aside[1].try_get::<&str>(2).unwrap().contains("says nothing"));
    }
}
