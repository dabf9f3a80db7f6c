//! Dead letters: kept, shown, settled, forgotten. A message that dies again finds its row.

use uuid::Uuid;
use wire::{
    BuildId, DeadLetterId, JobId, Timestamp,
    dead_letter::{
        Cause, DEAD_LETTERS_LIMIT_MAX, DeadLetterCount, DeadLetterOrigin, DeadLetterState, DeadLetterView,
        DeadLettersQuery,
    },
};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, Row, query},
    micros, now,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    Answer, DeadLetters, StoreError,
    audit::NewEntry,
    model::{
        Build,
        dead_letter::{DEAD_BODY_BYTES_CUT, DEAD_BODY_BYTES_MAX, DeadLetter, NewDeadLetter, Retention, Settled},
    },
};

/// Dead letters in one answer, unless asked otherwise.
const LIMIT: u32 = 50;
/// Rows that give way at once where there are too many bytes.
const GIVE_WAY: u64 = 16;

/// Columns of [`view`]; `length(body)` tells whether it is whole.
const COLUMNS: &str = "dead_letters.id, message_id, cause, reason, deaths, first_at, died_at, exchange, routing_key, \
    correlation_id, content_type, size, build, job, dead_letters.state, settled_by, settled_at, CAST(length(body) AS BIGINT), \
    builds.pipeline, builds.number";
const FROM: &str = "FROM dead_letters LEFT JOIN builds ON builds.id = dead_letters.build";

fn view(row: &Row) -> Result<DeadLetterView, StoreError> {
    let (exchange, key): (Option<String>, Option<String>) = (row.try_get(7)?, row.try_get(8)?);
    let origin = exchange.zip(key).map(|(exchange, key)| DeadLetterOrigin { exchange, key });
    let cause: Cause = rows::parsed(row, 2)?;
    let (size, kept): (u64, u64) = (rows::number(row, 11)?, rows::number(row, 17)?);
    let not_retriable = match cause {
        Cause::JobLost => None,
        _ if origin.is_none() => Some("It is not known where it came from.".to_owned()),
        _ if kept < size => Some(format!("It has {size} bytes, of which the first {kept} were kept.")),
        _ => None,
    };
    let pipeline: Option<&str> = row.try_get(18)?;
    Ok(DeadLetterView {
        id: DeadLetterId(rows::uuid(row, 0)?),
        message_id: rows::uuid(row, 1)?,
        cause,
        reason: row.try_get(3)?,
        deaths: rows::number(row, 4)?,
        first_at: rows::time(row, 5)?,
        died_at: rows::time(row, 6)?,
        origin,
        correlation_id: row.try_get(9)?,
        content_type: row.try_get(10)?,
        size,
        build: rows::uuid_if(row, 12)?.map(BuildId),
        job: rows::uuid_if(row, 13)?.map(JobId),
        state: rows::parsed(row, 14)?,
        settled_by: row.try_get(15)?,
        settled_at: rows::time_if(row, 16)?,
        pipeline: if pipeline.is_some() { Some(rows::parsed(row, 18)?) } else { None },
        number: rows::number_if(row, 19)?,
        not_retriable,
    })
}

impl<D: Details> DeadLetters for SqlStore<D> {
    fn bury(&self, letters: Vec<NewDeadLetter>, retention: Retention) -> Answer<'_, u64> {
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                for letter in &letters {
                    bury(connection, letter, now).await?;
                }
                forget(connection, retention, now).await
            })
        }))
    }

    fn dead_letters<'a>(&'a self, wanted: &'a DeadLettersQuery) -> Answer<'a, Vec<DeadLetterView>> {
        Box::pin(async move {
            let mut sql = format!("SELECT {COLUMNS} {FROM} WHERE 1 = 1");
            if wanted.state.is_some() {
                sql.push_str(" AND dead_letters.state = ?");
            }
            if wanted.before.is_some() {
                sql.push_str(" AND dead_letters.id < ?");
            }
            sql.push_str(" ORDER BY dead_letters.id DESC LIMIT ?");
            let mut asked = query(&sql);
            if let Some(state) = wanted.state {
                asked = asked.bind(state.as_str());
            }
            if let Some(before) = &wanted.before {
                asked = asked.bind(bytes(&before.0));
            }
            asked = asked.bind(i64::from(wanted.limit.unwrap_or(LIMIT).min(DEAD_LETTERS_LIMIT_MAX)));
            asked.fetch_all(&mut self.reader().await?).await?.iter().map(view).collect()
        })
    }

    fn dead_letter(&self, id: DeadLetterId) -> Answer<'_, Option<DeadLetter>> {
        Box::pin(async move {
            let sql = format!("SELECT {COLUMNS}, reply_to, body, changes {FROM} WHERE dead_letters.id = ?");
            let found = query(&sql).bind(bytes(&id.0)).fetch_optional(&mut self.reader().await?).await?;
            let Some(row) = found else { return Ok(None) };
            let (reply_to, body, changes) = (row.try_get(20)?, row.try_get(21)?, rows::number(&row, 22)?);
            Ok(Some(DeadLetter { view: view(&row)?, reply_to, body, changes }))
        })
    }

    fn settle_dead_letter<'a>(
        &'a self,
        letter: &'a DeadLetter,
        settled: Settled,
        by: &'a str,
        entry: NewEntry,
    ) -> Answer<'a, bool> {
        let (id, changes, by) = (letter.view.id, signed(letter.changes), by.to_owned());
        let state = match settled {
            Settled::Retried => DeadLetterState::Retried,
            Settled::Discarded => DeadLetterState::Discarded,
        };
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                let settle = "UPDATE dead_letters SET state = ?, settled_by = ?, settled_at = ? \
                              WHERE id = ? AND state = 'open' AND changes = ?";
                let settle = query(settle).bind(state.as_str()).bind(&by).bind(now.0).bind(bytes(&id.0)).bind(changes);
                let is_settled = settle.execute(&mut *connection).await? > 0;
                // What was handed in again is so whatever became of the letter meanwhile.
                if is_settled || settled == Settled::Retried {
                    audit::insert(connection, &entry).await?;
                }
                Ok(is_settled)
            })
        }))
    }

    fn dead_letter_counts(&self) -> Answer<'_, Vec<DeadLetterCount>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            let open = "SELECT cause, COUNT(*) FROM dead_letters WHERE state = 'open' GROUP BY cause";
            let open = query(open).fetch_all(&mut snapshot).await?;
            let total = query("SELECT cause, total FROM dead_letter_totals").fetch_all(&mut snapshot).await?;
            let of = |rows: &[Row], cause: Cause| -> Result<u64, StoreError> {
                for row in rows {
                    if row.try_get::<&str>(0)? == cause.as_str() {
                        return rows::number(row, 1);
                    }
                }
                Ok(0)
            };
            let count = |cause: &Cause| {
                Ok(DeadLetterCount { cause: *cause, open: of(&open, *cause)?, total: of(&total, *cause)? })
            };
            Cause::ALL.iter().map(count).collect()
        })
    }
}

/// Keeps one. A letter that is delivered again and is still open was kept before: it has not died once more. In doubt it
/// is open again: a person then decides twice, and nothing is overlooked.
async fn bury(connection: &mut Connection, letter: &NewDeadLetter, now: Timestamp) -> Result<(), StoreError> {
    let known = if letter.redelivered { is_open(connection, letter.message_id).await? } else { false };
    let body = if letter.body.len() > DEAD_BODY_BYTES_MAX { DEAD_BODY_BYTES_CUT } else { letter.body.len() };
    query(
        "INSERT INTO dead_letters (id, message_id, cause, reason, deaths, first_at, died_at, exchange, routing_key, \
         correlation_id, reply_to, content_type, size, body, build, job, state, changes) \
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'open', 0) \
         ON CONFLICT (message_id) DO UPDATE SET deaths = dead_letters.deaths + ?15, cause = excluded.cause, \
         reason = excluded.reason, died_at = excluded.died_at, exchange = excluded.exchange, \
         routing_key = excluded.routing_key, correlation_id = excluded.correlation_id, reply_to = excluded.reply_to, \
         content_type = excluded.content_type, size = excluded.size, body = excluded.body, build = excluded.build, \
         job = excluded.job, state = 'open', settled_by = NULL, settled_at = NULL, changes = dead_letters.changes + 1",
    )
    .bind(bytes(&Uuid::now_v7()))
    .bind(bytes(&letter.message_id))
    .bind(letter.cause.as_str())
    .bind(&letter.reason)
    .bind(now.0)
    .bind(letter.origin.as_ref().map(|origin| origin.exchange.as_str()))
    .bind(letter.origin.as_ref().map(|origin| origin.key.as_str()))
    .bind(letter.correlation_id.as_deref())
    .bind(letter.reply_to.as_deref())
    .bind(&letter.content_type)
    .bind(i64::try_from(letter.body.len()).unwrap_or(i64::MAX))
    .bind(&letter.body[..body])
    .bind(letter.build.as_ref().map(|build| bytes(&build.0)))
    .bind(letter.job.as_ref().map(|job| bytes(&job.0)))
    .bind(i64::from(!known))
    .execute(&mut *connection)
    .await?;
    if !known {
        let count = "INSERT INTO dead_letter_totals (cause, total) VALUES (?, 1) \
                     ON CONFLICT (cause) DO UPDATE SET total = dead_letter_totals.total + 1";
        query(count).bind(letter.cause.as_str()).execute(connection).await?;
    }
    Ok(())
}

async fn is_open(connection: &mut Connection, message_id: Uuid) -> Result<bool, StoreError> {
    let found = query("SELECT 1 FROM dead_letters WHERE message_id = ? AND state = 'open'");
    Ok(found.bind(bytes(&message_id)).fetch_optional(connection).await?.is_some())
}

/// A job that was given up: part of the transaction in which it was.
pub(super) async fn give_up(
    connection: &mut Connection,
    build: &Build,
    job: JobId,
    reason: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let letter = NewDeadLetter {
        message_id: job.0,
        cause: Cause::JobLost,
        reason,
        origin: None,
        correlation_id: None,
        reply_to: None,
        content_type: String::new(),
        body: Vec::new(),
        build: Some(build.id),
        job: Some(job),
        redelivered: false,
    };
    bury(connection, &letter, now).await
}

/// What was given up of a build is taken up again: part of the transaction in which it is.
pub(super) async fn take_up(
    connection: &mut Connection,
    build: BuildId,
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let settle = "UPDATE dead_letters SET state = 'retried', settled_by = ?, settled_at = ? \
                  WHERE build = ? AND state = 'open' AND cause = 'job_lost'";
    query(settle).bind(by).bind(now.0).bind(bytes(&build.0)).execute(connection).await?;
    Ok(())
}

/// Forgets what is too old or too much; the number of those that nobody had decided on.
async fn forget(connection: &mut Connection, retention: Retention, now: Timestamp) -> Result<u64, StoreError> {
    let since = |kept| now.plus_micros(-micros(kept)).0;
    let settled = "DELETE FROM dead_letters WHERE state <> 'open' AND settled_at < ?";
    query(settled).bind(since(retention.settled)).execute(&mut *connection).await?;
    let mut open = 0;
    for row in &query("DELETE FROM dead_letters WHERE died_at < ? RETURNING state")
        .bind(since(retention.open))
        .fetch_all(&mut *connection)
        .await?
    {
        open += u64::from(row.try_get::<&str>(0)? == DeadLetterState::Open.as_str());
    }
    loop {
        let held = query("SELECT COUNT(*), CAST(COALESCE(SUM(length(body)), 0) AS BIGINT) FROM dead_letters");
        let held = held.fetch_one(&mut *connection).await?;
        let (letters, size): (u64, u64) = (rows::number(&held, 0)?, rows::number(&held, 1)?);
        let over = letters.saturating_sub(retention.letters_max);
        let too_many =
            if size > retention.bytes_max && letters > 1 { over.max(GIVE_WAY.min(letters - 1)) } else { over };
        if too_many == 0 {
            return Ok(open);
        }
        let gone = "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters \
                    ORDER BY CASE state WHEN 'open' THEN 1 ELSE 0 END, died_at, id LIMIT ?) RETURNING state";
        for row in &query(gone).bind(signed(too_many)).fetch_all(&mut *connection).await? {
            open += u64::from(row.try_get::<&str>(0)? == DeadLetterState::Open.as_str());
        }
    }
}
