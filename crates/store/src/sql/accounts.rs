//! Sessions, tokens and sign-in links.

use wire::Timestamp;

use super::{Details, SqlStore, connection::query, now, rows, tokens, writer::Rank};
use crate::{Accounts, Answer, StoreError, model::TokenRow};

impl<D: Details> Accounts for SqlStore<D> {
    fn create_session<'a>(&'a self, id: &'a str, data: &'a [u8], expires_at: Timestamp) -> Answer<'a, bool> {
        const INSERT: &str =
            "INSERT INTO sessions (id, data, expires_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
        self.write_session(INSERT, id, data, expires_at)
    }

    fn put_session<'a>(&'a self, id: &'a str, data: &'a [u8], expires_at: Timestamp) -> Answer<'a, bool> {
        const UPDATE: &str = "UPDATE sessions SET data = ?2, expires_at = ?3 WHERE id = ?1";
        self.write_session(UPDATE, id, data, expires_at)
    }

    fn session<'a>(&'a self, id: &'a str) -> Answer<'a, Option<(Vec<u8>, Timestamp)>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query(
                "SELECT data, expires_at FROM sessions \
                 WHERE id = ? AND expires_at > {now}",
            )
            .bind(id)
            .fetch_optional(&mut reader)
            .await?;
            found.map(|row| Ok((row.try_get(0)?, rows::time(&row, 1)?))).transpose()
        })
    }

    fn delete_session<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let id = id.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("DELETE FROM sessions WHERE id = ?").bind(&id).execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn put_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()> {
        let token = token.clone();
        Box::pin(
            self.writer
                .run(Rank::Command, move |connection| Box::pin(async move { tokens::put(connection, &token).await })),
        )
    }

    fn token<'a>(&'a self, sha256: &'a str) -> Answer<'a, Option<TokenRow>> {
        Box::pin(async move { tokens::find(&mut self.reader().await?, sha256).await })
    }

    fn put_sign_in_link<'a>(&'a self, sha256: &'a str, expires_at: Timestamp) -> Answer<'a, ()> {
        let sha256 = sha256.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query(
                    "INSERT INTO sign_in_links (sha256, expires_at) VALUES (?, ?) \
                     ON CONFLICT (sha256) DO UPDATE SET expires_at = excluded.expires_at",
                )
                .bind(&sha256)
                .bind(expires_at.0)
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn installation_key<'a>(&'a self, offered: &'a [u8; 32]) -> Answer<'a, [u8; 32]> {
        let offered = *offered;
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("INSERT INTO secrets (name, value) VALUES ('installation-key', ?) ON CONFLICT DO NOTHING")
                    .bind(offered.as_slice())
                    .execute(&mut *connection)
                    .await?;
                let row =
                    query("SELECT value FROM secrets WHERE name = 'installation-key'").fetch_one(connection).await?;
                let value: Vec<u8> = row.try_get(0)?;
                value.try_into().map_err(|_| StoreError::Corrupt("the installation key has not 32 bytes".to_owned()))
            })
        }))
    }
}

impl<D: Details> SqlStore<D> {
    /// Forgets what has expired, then runs `sql` with the id, the data and the expiry; tells whether it wrote a row.
    fn write_session<'a>(
        &'a self,
        sql: &'static str,
        id: &str,
        data: &[u8],
        expires_at: Timestamp,
    ) -> Answer<'a, bool> {
        let (id, data) = (id.to_owned(), data.to_vec());
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                query("DELETE FROM sessions WHERE expires_at <= ?").bind(now.0).execute(&mut *connection).await?;
                let done = query(sql).bind(&id).bind(&data).bind(expires_at.0).execute(connection).await?;
                Ok(done > 0)
            })
        }))
    }
}
