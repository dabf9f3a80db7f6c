//! A database that was put back from a backup begins anew: every epoch is raised, so that no reader takes what comes for
//! what it has. Nobody else uses the database then, so this is one transaction, however much it holds.

use uuid::Uuid;

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    outbox,
    rows::{self, bytes},
    writer::Rank,
};
use crate::{Anew, Answer, StoreError};

impl<D: Details> Anew for SqlStore<D> {
    fn begin_anew<'a>(&'a self, epoch: u32, keep: &'a [&'a str]) -> Answer<'a, u32> {
        let keep: Vec<[String; 1]> = keep.iter().map(|queue| [(*queue).to_owned()]).collect();
        Box::pin(self.writer.run(Rank::Announcing, move |connection| {
            Box::pin(async move {
                let epoch = above_all(connection, epoch).await?;
                raise(connection, epoch).await?;
                end_what_was_held(connection, epoch).await?;
                empty_journal(connection, &keep).await?;
                Ok(epoch)
            })
        }))
    }
}

/// At least `epoch`, and greater than every epoch and every attempt in the database.
async fn above_all(connection: &mut Connection, epoch: u32) -> Result<u32, StoreError> {
    let found = query(
        "SELECT COALESCE((SELECT MAX(epoch) FROM builds), 0), COALESCE((SELECT MAX(epoch) FROM topics), 0), \
         COALESCE((SELECT MAX(attempt) FROM jobs), 0)",
    )
    .fetch_one(connection)
    .await?;
    let mut above = epoch;
    for column in 0..3 {
        above = above.max(rows::number::<u32>(&found, column)?.saturating_add(1));
    }
    Ok(above)
}

/// The topics of builds go on under the new epoch: their record, and what is still to be published of them, move there
/// as a whole, so that their offsets have no gap in it. Topics of jobs stay: their next attempt is at least the epoch.
async fn raise(connection: &mut Connection, epoch: u32) -> Result<(), StoreError> {
    let moves = [
        "DELETE FROM build_events WHERE epoch <> (SELECT epoch FROM builds WHERE builds.id = build_events.build)",
        "DELETE FROM topics WHERE kind = 0 AND epoch <> (SELECT epoch FROM builds WHERE builds.id = topics.id)",
    ];
    for sql in moves {
        connection.execute(sql).await?;
    }
    for sql in [
        "UPDATE build_events SET epoch = ?",
        "UPDATE topics SET epoch = ? WHERE kind = 0",
        "UPDATE builds SET epoch = ?",
    ] {
        query(sql).bind(i64::from(epoch)).execute(&mut *connection).await?;
    }
    outbox::raise_epoch(connection, epoch).await
}

/// Leases have run out, and their next terms are new ones. Sign-in links may have been used since: none works any more.
async fn end_what_was_held(connection: &mut Connection, epoch: u32) -> Result<(), StoreError> {
    query("UPDATE leases SET expires_at = 0, term = CASE WHEN term > ?1 THEN term ELSE ?1 END")
        .bind(i64::from(epoch))
        .execute(&mut *connection)
        .await?;
    for sql in [
        "UPDATE jobs SET expires_at = 0 WHERE state = 'running'",
        "DELETE FROM sign_in_links",
        "DELETE FROM gateways",
        "DELETE FROM groups",
        // Its group may have been behind the record.
        "UPDATE search_state SET is_whole = 0",
    ] {
        connection.execute(sql).await?;
    }
    Ok(())
}

/// The stream is made anew behind its last offset: who kept a place in it learns that it is another one.
async fn empty_journal(connection: &mut Connection, keep: &[[String; 1]]) -> Result<(), StoreError> {
    connection.execute("DELETE FROM journal_stream").await?;
    query("DELETE FROM journal_messages WHERE queue NOT IN (SELECT value ->> 0 FROM {each})")
        .bind(rows::to_json(&keep)?)
        .execute(&mut *connection)
        .await?;
    query("UPDATE journal_meta SET incarnation = ?, first = next")
        .bind(bytes(&Uuid::new_v4()))
        .execute(connection)
        .await?;
    Ok(())
}
