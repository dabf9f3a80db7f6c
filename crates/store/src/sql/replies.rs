//! Results that are told to who asked: written with their build, due with its end, and what became of each try.

use std::time::Duration;

use uuid::Uuid;
use wire::{
    BuildId, ClientId, PipelineName, Timestamp,
    callback::Callback,
    reply::{self, CallbackPayload, ReplyKind, ReplyState, ReplyView},
};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, Row, query},
    micros, outbox,
    rows::{self, bytes},
    view,
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    audit::NewEntry,
    model::{
        Build, BuildState, Outbound,
        reply::{Acknowledged, DueReplies, DueReply, FIRST_RECEIPT, NewReply, Tried, TryNow},
    },
    replies::Replies,
};

/// In microseconds: results that were not received are listed for 7 days.
const LISTED_MICROS: i64 = 7 * 24 * 3_600_000_000;

/// Writes what is wanted of a new build's result: part of the transaction in which it is created.
pub(super) async fn insert(connection: &mut Connection, build: &Build, new: &NewReply) -> Result<(), StoreError> {
    query(
        "INSERT INTO replies (build, mode, address, receiver, correlation_id, asked_by, state, attempts) \
         VALUES (?, ?, ?, ?, ?, ?, 'waiting', 0)",
    )
    .bind(bytes(&build.id.0))
    .bind(new.mode.as_str())
    .bind(&new.address)
    .bind(&new.receiver)
    .bind(new.correlation_id.as_deref())
    .bind(&new.asked_by)
    .execute(connection)
    .await?;
    Ok(())
}

/// What a build's end, or its next begin, means to its result: part of the transaction that writes it, behind the events.
pub(super) async fn build_changed(
    connection: &mut Connection,
    was_finished: bool,
    build: &Build,
    now: Timestamp,
) -> Result<(), StoreError> {
    match (was_finished, matches!(build.state, BuildState::Finished { .. })) {
        (false, true) => due(connection, build, now).await,
        (true, false) => {
            let wait = "UPDATE replies SET state = 'waiting', message_id = NULL, attempts = 0, due_at = NULL, \
                        next_at = NULL, last_error = NULL, delivered_at = NULL, received_at = NULL WHERE build = ?";
            query(wait).bind(bytes(&build.id.0)).execute(connection).await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A callback is sent at once, by the outbox, so that it comes behind the events that tell the same.
async fn due(connection: &mut Connection, build: &Build, now: Timestamp) -> Result<(), StoreError> {
    let message_id = reply::message_id(build.id, build.epoch, build.revision);
    let found = query(
        "UPDATE replies SET state = CASE mode WHEN 'callback' THEN 'sent' ELSE 'due' END, message_id = ?2, \
         attempts = CASE mode WHEN 'callback' THEN 1 ELSE 0 END, due_at = ?3, \
         next_at = CASE mode WHEN 'callback' THEN ?4 ELSE ?3 END, last_error = NULL, delivered_at = NULL, \
         received_at = NULL WHERE build = ?1 RETURNING mode",
    )
    .bind(bytes(&build.id.0))
    .bind(bytes(&message_id))
    .bind(now.0)
    .bind(now.plus_micros(micros(FIRST_RECEIPT)).0)
    .fetch_optional(&mut *connection)
    .await?;
    let is_callback = found.map(|row| rows::parsed::<ReplyKind>(&row, 0)).transpose()? == Some(ReplyKind::Callback);
    let Some(to) = build.reply.as_ref().filter(|_| is_callback) else { return Ok(()) };
    let sql = format!("SELECT {} FROM builds WHERE id = ?", view::SUMMARY);
    let row = query(&sql).bind(bytes(&build.id.0)).fetch_one(&mut *connection).await?;
    let payload = CallbackPayload::BuildFinished { build: view::summary(&row)? };
    let payload = serde_json::value::to_raw_value(&payload).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let body = Callback { client_id: to.client_id, payload, claim_check: false }.encode();
    let callback = Outbound::Callback { server_id: to.server_id.clone(), message_id, body };
    outbox::push(connection, &callback).await
}

/// Columns of [`shown`].
const SHOWN: &str = "replies.mode, replies.address, replies.state, replies.attempts, replies.last_error, replies.next_at, \
     replies.delivered_at, replies.received_at";

fn shown(row: &Row) -> Result<ReplyView, StoreError> {
    let (mode, address): (ReplyKind, String) = (rows::parsed(row, 0)?, row.try_get(1)?);
    Ok(ReplyView {
        mode,
        address: if mode == ReplyKind::Webhook { reply::shown(&address) } else { address },
        state: rows::parsed::<ReplyState>(row, 2)?,
        attempts: rows::number(row, 3)?,
        last_error: row.try_get(4)?,
        next_at: rows::time_if(row, 5)?,
        delivered_at: rows::time_if(row, 6)?,
        received_at: rows::time_if(row, 7)?,
    })
}

/// How the result of a build is told.
pub(super) async fn of_build(connection: &mut Connection, build: BuildId) -> Result<Option<ReplyView>, StoreError> {
    let sql = format!("SELECT {SHOWN} FROM replies WHERE build = ?");
    let found = query(&sql).bind(bytes(&build.0)).fetch_optional(connection).await?;
    found.as_ref().map(shown).transpose()
}

/// A due one, from `view::SUMMARY` and the columns that [`Replies::due_replies`] asks for.
fn due_reply(row: &Row) -> Result<DueReply, StoreError> {
    let after = view::SUMMARY_COLUMNS;
    let (due_at, now) = (rows::time(row, after + 7)?, rows::time(row, after + 8)?);
    Ok(DueReply {
        build: view::summary(row)?,
        reply: NewReply {
            mode: rows::parsed(row, after)?,
            address: row.try_get(after + 1)?,
            receiver: row.try_get(after + 2)?,
            correlation_id: row.try_get(after + 3)?,
            asked_by: String::new(),
        },
        message_id: rows::uuid(row, after + 4)?,
        attempts: rows::number(row, after + 5)?,
        socket: rows::json_if(row, after + 6)?,
        age: Duration::from_micros(now.since(due_at)),
    })
}

impl<D: Details> Replies for SqlStore<D> {
    fn due_replies<'a>(&'a self, busy: &'a [String], limit: u32) -> Answer<'a, DueReplies> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let sql = format!(
                "SELECT {}, replies.mode, replies.address, replies.receiver, replies.correlation_id, \
                 replies.message_id, replies.attempts, builds.reply, replies.due_at, {{now}} \
                 FROM replies JOIN builds ON builds.id = replies.build \
                 WHERE replies.next_at <= {{now}} AND replies.state IN ('due', 'sent') \
                 AND replies.receiver NOT IN (SELECT value ->> 0 FROM {{each}}) \
                 ORDER BY replies.next_at LIMIT ?",
                view::SUMMARY
            );
            let busy: Vec<[&String; 1]> = busy.iter().map(|receiver| [receiver]).collect();
            let found = query(&sql).bind(rows::to_json(&busy)?).bind(i64::from(limit)).fetch_all(&mut reader).await?;
            let due = found.iter().map(due_reply).collect::<Result<Vec<_>, _>>()?;
            let later = query("SELECT MIN(next_at) - {now} FROM replies WHERE next_at > {now}");
            let later: Option<i64> = later.fetch_one(&mut reader).await?.try_get(0)?;
            let next = later.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
            Ok(DueReplies { due, next })
        })
    }

    fn reply_tried(&self, build: BuildId, message_id: Uuid, tried: Tried) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let (state, error, wait) = match tried {
                    Tried::Delivered => (ReplyState::Delivered, None, None),
                    Tried::Sent(wait) => (ReplyState::Sent, None, wait),
                    Tried::Again(error, wait) => (ReplyState::Due, Some(error), Some(wait)),
                    Tried::Stopped(error) => (ReplyState::Stopped, Some(error), None),
                };
                query(
                    "UPDATE replies SET state = ?3, attempts = attempts + 1, last_error = ?4, next_at = {now} + ?5, \
                     delivered_at = CASE ?3 WHEN 'delivered' THEN {now} END \
                     WHERE build = ?1 AND message_id = ?2 AND state IN ('due', 'sent')",
                )
                .bind(bytes(&build.0))
                .bind(bytes(&message_id))
                .bind(state.as_str())
                .bind(error)
                .bind(wait.map(micros))
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn receipt(&self, message_id: Uuid) -> Answer<'_, Option<(BuildId, PipelineName)>> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let found = query(
                    "UPDATE replies SET state = 'received', received_at = {now}, next_at = NULL, last_error = NULL \
                     WHERE message_id = ? AND mode = 'callback' AND received_at IS NULL \
                     RETURNING build, (SELECT pipeline FROM builds WHERE id = replies.build)",
                );
                let found = found.bind(bytes(&message_id)).fetch_optional(connection).await?;
                found.map(|row| Ok((BuildId(rows::uuid(&row, 0)?), rows::parsed(&row, 1)?))).transpose()
            })
        }))
    }

    fn acknowledge<'a>(&'a self, build: BuildId, asked_by: &'a str) -> Answer<'a, Acknowledged> {
        let asked_by = asked_by.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let found = query(
                    "SELECT replies.asked_by, replies.state, replies.received_at FROM builds \
                     LEFT JOIN replies ON replies.build = builds.id WHERE builds.id = ?",
                );
                let found = found.bind(bytes(&build.0)).fetch_optional(&mut *connection).await?;
                let Some(row) = found else { return Ok(Acknowledged::NoBuild) };
                if row.try_get::<Option<&str>>(0)? != Some(asked_by.as_str()) {
                    return Ok(Acknowledged::NotTheirs);
                }
                if row.try_get::<&str>(1)? == ReplyState::Waiting.as_str() {
                    return Ok(Acknowledged::NotYet);
                }
                // A webhook or a queue is another one than the person who says so here: they are told all the same.
                query(
                    "UPDATE replies SET received_at = {now}, \
                     state = CASE mode WHEN 'callback' THEN 'received' ELSE state END, \
                     next_at = CASE mode WHEN 'callback' THEN NULL ELSE next_at END \
                     WHERE build = ? AND received_at IS NULL",
                )
                .bind(bytes(&build.0))
                .execute(connection)
                .await?;
                Ok(Acknowledged::Done)
            })
        }))
    }

    fn resend_replies<'a>(&'a self, clients: &'a [ClientId]) -> Answer<'a, ()> {
        Box::pin(async move {
            let each: Vec<[String; 1]> = clients.iter().map(|client| [client.to_string()]).collect();
            let each = rows::to_json(&each)?;
            let whose = "state = 'sent' AND address IN (SELECT value ->> 0 FROM {each})";
            // Nearly always there is none: the writer is left alone then.
            let sql = format!("SELECT 1 FROM replies WHERE {whose} LIMIT 1");
            if query(&sql).bind(&each).fetch_optional(&mut self.reader().await?).await?.is_none() {
                return Ok(());
            }
            let resend = self.writer.run(Rank::Announcing, move |connection| {
                Box::pin(async move {
                    let sql = format!("UPDATE replies SET next_at = {{now}} WHERE {whose}");
                    query(&sql).bind(each).execute(connection).await?;
                    Ok(())
                })
            });
            resend.await
        })
    }

    fn try_reply_now(&self, build: BuildId, entry: NewEntry) -> Answer<'_, TryNow> {
        Box::pin(self.writer.run(Rank::Announcing, move |connection| {
            Box::pin(async move {
                let found = query(
                    "SELECT replies.state, replies.received_at FROM builds \
                     LEFT JOIN replies ON replies.build = builds.id WHERE builds.id = ?",
                );
                let found = found.bind(bytes(&build.0)).fetch_optional(&mut *connection).await?;
                let Some(row) = found else { return Ok(TryNow::NoBuild) };
                if row.try_get::<Option<&str>>(0)?.is_none() {
                    return Ok(TryNow::NoReply);
                }
                match (rows::parsed::<ReplyState>(&row, 0)?, rows::time_if(&row, 1)?) {
                    (ReplyState::Waiting, _) => return Ok(TryNow::NotYet),
                    (ReplyState::Received, Some(at)) => return Ok(TryNow::Received(at)),
                    _ => {}
                }
                query(
                    "UPDATE replies SET state = CASE mode WHEN 'callback' THEN 'sent' ELSE 'due' END, \
                     next_at = {now}, delivered_at = NULL WHERE build = ?",
                )
                .bind(bytes(&build.0))
                .execute(&mut *connection)
                .await?;
                audit::insert(connection, &entry).await?;
                Ok(TryNow::Due)
            })
        }))
    }

    fn reply(&self, build: BuildId) -> Answer<'_, Option<ReplyView>> {
        Box::pin(async move { of_build(&mut self.reader().await?, build).await })
    }

    fn not_received<'a>(&'a self, asked_by: &'a str, limit: u32) -> Answer<'a, Vec<wire::view::BuildSummary>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {} FROM replies JOIN builds ON builds.id = replies.build \
                 WHERE replies.asked_by = ? AND replies.due_at IS NOT NULL AND replies.due_at >= {{now}} - ? \
                 AND replies.delivered_at IS NULL AND replies.received_at IS NULL \
                 ORDER BY replies.due_at DESC, builds.id DESC LIMIT ?",
                view::SUMMARY
            );
            let asked = query(&sql).bind(asked_by).bind(LISTED_MICROS).bind(i64::from(limit));
            asked.fetch_all(&mut self.reader().await?).await?.iter().map(view::summary).collect()
        })
    }
}
