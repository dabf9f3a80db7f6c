//! Callbacks kept for clients that are away.

use std::time::Duration;

use wire::ClientId;

use super::{
    Details, SqlStore,
    connection::query,
    micros, now,
    rows::{self, bytes},
    writer::Rank,
};
use crate::{Answer, Callbacks, model::KeptCallback};

impl<D: Details> Callbacks for SqlStore<D> {
    fn keep_callback<'a>(&'a self, callback: &'a KeptCallback, keep: Duration) -> Answer<'a, ()> {
        let callback = callback.clone();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                let payload = wire::payload::claimed_by(&callback.body);
                query("DELETE FROM callbacks WHERE kept_at < ?")
                    .bind(now.plus_micros(-micros(keep)).0)
                    .execute(&mut *connection)
                    .await?;
                query(
                    "INSERT INTO callbacks (message_id, client, reply_to, body, kept_at, payload) VALUES (?, ?, ?, ?, ?, ?) \
                     ON CONFLICT (message_id) DO UPDATE SET kept = callbacks.kept + 1",
                )
                .bind(bytes(&callback.message_id))
                .bind(bytes(&callback.client.0))
                .bind(callback.reply_to.as_deref())
                .bind(&callback.body)
                .bind(now.0)
                .bind(payload.as_ref().map(|payload| bytes(&payload.0)))
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn kept_callbacks(&self, client: ClientId) -> Answer<'_, Vec<KeptCallback>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT message_id, reply_to, body, kept FROM callbacks WHERE client = ? ORDER BY id")
                .bind(bytes(&client.0))
                .fetch_all(&mut reader)
                .await?;
            found
                .iter()
                .map(|row| {
                    let (reply_to, body) = (row.try_get(1)?, row.try_get(2)?);
                    Ok(KeptCallback {
                        message_id: rows::uuid(row, 0)?,
                        client,
                        reply_to,
                        body,
                        times: rows::number(row, 3)?,
                    })
                })
                .collect()
        })
    }

    fn clients_with_callbacks<'a>(&'a self, clients: &'a [ClientId]) -> Answer<'a, Vec<ClientId>> {
        Box::pin(async move {
            let each: Vec<[String; 1]> = clients.iter().map(|client| [client.0.as_simple().to_string()]).collect();
            let mut reader = self.reader().await?;
            let found =
                query("SELECT DISTINCT client FROM callbacks WHERE client IN (SELECT unhex(value ->> 0) FROM {each})")
                    .bind(rows::to_json(&each)?)
                    .fetch_all(&mut reader)
                    .await?;
            found.iter().map(|row| Ok(ClientId(rows::uuid(row, 0)?))).collect()
        })
    }

    fn forget_callback<'a>(&'a self, callback: &'a KeptCallback) -> Answer<'a, ()> {
        let (message_id, times) = (callback.message_id, callback.times);
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("DELETE FROM callbacks WHERE message_id = ? AND kept = ?")
                    .bind(bytes(&message_id))
                    .bind(i64::try_from(times).unwrap_or(i64::MAX))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }
}
