//! The embedded broker's journal: messages that were not settled, and the stream. What is trimmed stops counting at once
//! and is deleted in slices with later writes, so that no transaction grows with the length of the stream.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    insert,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    Answer, Journal, StoreError,
    model::{JournalChange, JournalContents, JournalMessage},
};

/// Trimmed entries deleted with one write: more than one write adds on the average, so that none pile up.
const TRIM_SLICE: i64 = 512;

impl<D: Details> Journal for SqlStore<D> {
    fn journal_load(&self) -> Answer<'_, JournalContents> {
        Box::pin(self.writer.run(Rank::Journal, |connection| Box::pin(load(connection))))
    }

    fn journal_append(&self, changes: Vec<JournalChange>) -> Answer<'_, ()> {
        Box::pin(self.writer.run(Rank::Journal, move |connection| Box::pin(append(connection, changes))))
    }

    fn journal_read(&self, from: u64, max: u32) -> Answer<'_, Vec<(u64, Vec<u8>)>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT place, body FROM journal_stream \
                 WHERE place >= ? AND place >= COALESCE((SELECT first FROM journal_meta), 0) ORDER BY place LIMIT ?",
            )
            .bind(signed(from))
            .bind(i64::from(max))
            .fetch_all(&mut reader)
            .await?;
            found.iter().map(|row| Ok((rows::number(row, 0)?, row.try_get(1)?))).collect()
        })
    }
}

async fn load(connection: &mut Connection) -> Result<JournalContents, StoreError> {
    ensure_meta(connection).await?;
    let meta = query(
        "SELECT incarnation, COALESCE((SELECT MIN(place) FROM journal_stream WHERE place >= first), next), next \
         FROM journal_meta",
    )
    .fetch_one(&mut *connection)
    .await?;
    let found = query("SELECT sequence, queue, deliveries, message FROM journal_messages ORDER BY sequence")
        .fetch_all(connection)
        .await?;
    let messages = found
        .iter()
        .map(|row| {
            let (queue, message) = (row.try_get(1)?, row.try_get(3)?);
            Ok(JournalMessage { sequence: rows::number(row, 0)?, queue, deliveries: rows::number(row, 2)?, message })
        })
        .collect::<Result<_, StoreError>>()?;
    let (first, next) = (rows::number(&meta, 1)?, rows::number(&meta, 2)?);
    Ok(JournalContents { incarnation: rows::uuid(&meta, 0)?, first, next, messages })
}

/// The stream's name, made once.
async fn ensure_meta(connection: &mut Connection) -> Result<(), StoreError> {
    query("INSERT INTO journal_meta (one, incarnation, first, next) VALUES (1, ?, 0, 0) ON CONFLICT DO NOTHING")
        .bind(bytes(&Uuid::new_v4()))
        .execute(connection)
        .await?;
    Ok(())
}

/// What many changes come to: of several to one message the last counts.
#[derive(Default)]
struct Folded {
    messages: BTreeMap<u64, Option<JournalMessage>>,
    stream: BTreeMap<u64, Arc<[u8]>>,
    first: u64,
}

fn fold(changes: Vec<JournalChange>) -> Folded {
    let mut folded = Folded::default();
    for change in changes {
        match change {
            JournalChange::Enqueue(message) => {
                folded.messages.insert(message.sequence, Some(message));
            }
            JournalChange::Remove { sequence } => {
                folded.messages.insert(sequence, None);
            }
            JournalChange::Stream { offset, body } => {
                folded.stream.insert(offset, body);
            }
            JournalChange::Trim { first } => folded.first = folded.first.max(first),
        }
    }
    folded
}

async fn append(connection: &mut Connection, changes: Vec<JournalChange>) -> Result<(), StoreError> {
    let Folded { messages, stream, first } = fold(changes);
    let removed = messages.iter().filter(|(_, message)| message.is_none());
    let removed: Vec<[u64; 1]> = removed.map(|(one, _)| [*one]).collect();
    let kept: Vec<JournalMessage> = messages.into_values().flatten().collect();
    if !removed.is_empty() {
        query("DELETE FROM journal_messages WHERE sequence IN (SELECT CAST(value ->> 0 AS BIGINT) FROM {each})")
            .bind(rows::to_json(&removed)?)
            .execute(&mut *connection)
            .await?;
    }
    let head = "INSERT INTO journal_messages (sequence, queue, deliveries, message)";
    let tail = "ON CONFLICT (sequence) DO UPDATE SET queue = excluded.queue, deliveries = excluded.deliveries, \
                message = excluded.message";
    insert::rows(connection, head, 4, tail, &kept, |query, one| {
        let query = query.bind(signed(one.sequence)).bind(one.queue.as_str());
        query.bind(i64::from(one.deliveries)).bind(one.message.as_slice())
    })
    .await?;
    let next = stream.last_key_value().map_or(0, |(offset, _)| offset.saturating_add(1));
    let stream: Vec<(u64, Arc<[u8]>)> = stream.into_iter().collect();
    let tail = "ON CONFLICT (place) DO UPDATE SET body = excluded.body";
    insert::rows(connection, "INSERT INTO journal_stream (place, body)", 2, tail, &stream, |query, (offset, body)| {
        query.bind(signed(*offset)).bind(&**body)
    })
    .await?;
    if next > 0 || first > 0 {
        move_on(connection, first, next).await?;
    }
    Ok(())
}

/// Raises the ends of the stream, and deletes a slice of what does not count any more.
async fn move_on(connection: &mut Connection, first: u64, next: u64) -> Result<(), StoreError> {
    ensure_meta(connection).await?;
    query(
        "UPDATE journal_meta SET first = CASE WHEN first > ?2 THEN first ELSE ?2 END, \
         next = CASE WHEN next > ?1 THEN next ELSE ?1 END",
    )
    .bind(signed(next.max(first)))
    .bind(signed(first))
    .execute(&mut *connection)
    .await?;
    query(
        "DELETE FROM journal_stream WHERE place IN (SELECT place FROM journal_stream \
         WHERE place < (SELECT first FROM journal_meta) ORDER BY place LIMIT ?)",
    )
    .bind(TRIM_SLICE)
    .execute(connection)
    .await?;
    Ok(())
}
