//! The store in SQL, for both databases: each trait of the contract has a file of its own, and everything that writes
//! goes through [`writer`]. What only one of them has (a file and its lock, a server and its signals) stands in
//! [`crate::sqlite`] and `crate::postgres`.

mod accounts;
mod analytics;
mod anew;
mod audit;
mod builds;
mod callbacks;
mod chunk;
mod concurrency;
mod connection;
mod dead_letters;
mod executors;
mod failure;
mod gateways;
mod groups;
mod hooks;
mod identities;
mod insert;
mod invitations;
mod journal;
mod kept;
mod labels;
mod leases;
mod lines;
mod lost_place;
mod outbox;
mod payloads;
mod people;
mod pipelines;
mod record;
mod recorded;
mod replies;
mod retention;
mod rows;
mod search;
mod search_index;
mod secrets;
mod text;
mod tokens;
mod told_about;
mod view;
mod writer;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};
use wire::Timestamp;

pub(crate) use connection::{Connection, Held};
pub(crate) use writer::{Home, Writer};

use crate::{Answer, Store, StoreError};
use connection::query;
use writer::Rank;

/// A Stepcast database in SQL. `D` is what only one kind of database has.
pub struct SqlStore<D> {
    writer: Writer,
    /// The writer's tasks, taken by [`SqlStore::close`]. A tokio mutex, because it is held while they end.
    running: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) details: D,
}

/// What only one kind of database has.
pub trait Details: Send + Sync + 'static {
    /// A connection to read with.
    fn reader(&self) -> BoxFuture<'_, Result<Connection, StoreError>>;
    /// A connection in a transaction: all that it reads is of one moment.
    fn snapshot(&self) -> BoxFuture<'_, Result<Connection, StoreError>>;
    /// See [`Store::free_inside`].
    fn free_inside(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// Ends the readers.
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<D: Details> SqlStore<D> {
    /// Starts the writer: one for everything, or a second one for the journal and the record.
    /// `announced` is raised when there may be new rows in the outbox.
    pub(crate) fn start(
        details: D,
        announced: watch::Sender<u64>,
        home: Box<dyn Home>,
        record_home: Option<Box<dyn Home>>,
    ) -> Self {
        let (writer, running) = Writer::start(announced, home, record_home);
        Self { writer, running: Mutex::new(running), details }
    }

    /// Ends the writer after what was asked of it, and lets go of the database. What is asked later is answered with
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.details.close().await;
        self.writer.close();
        for running in self.running.lock().await.drain(..) {
            if let Err(failure) = running.await {
                tracing::error!(%failure, "the database's writer did not end well");
            }
        }
    }

    async fn reader(&self) -> Result<Connection, StoreError> {
        self.details.reader().await
    }

    async fn snapshot(&self) -> Result<Connection, StoreError> {
        self.details.snapshot().await
    }
}

impl<D: Details> Store for SqlStore<D> {
    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.writer
                .run(Rank::Command, |connection| {
                    Box::pin(async move {
                        let at = now(&mut *connection).await?;
                        query(CHECK).bind(at.0).execute(connection).await?;
                        Ok::<_, StoreError>(())
                    })
                })
                .await?;
            let mut reader = self.reader().await?;
            query("SELECT at FROM facts WHERE name = 'checked'").fetch_one(&mut reader).await?;
            Ok(())
        })
    }

    fn free_inside(&self) -> Answer<'_, u64> {
        self.details.free_inside()
    }

    fn now(&self) -> Answer<'_, Timestamp> {
        Box::pin(async move { now(&mut self.reader().await?).await })
    }
}

/// What [`Store::check`] writes.
const CHECK: &str =
    "INSERT INTO facts (name, at) VALUES ('checked', ?1) ON CONFLICT (name) DO UPDATE SET at = excluded.at";

/// The database's clock: microseconds since the Unix epoch. SQLite's goes in steps of a millisecond.
async fn now(connection: &mut Connection) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(query("SELECT {now}").fetch_one(connection).await?.try_get(0)?))
}

/// A length of time in the database's unit.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}
