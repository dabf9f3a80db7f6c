//! The store for more than one machine: a PostgreSQL database that any number of Stepcast's processes use at once. Here it
//! is opened and closed; what it keeps, and how, stands in [`crate::sql`].
//!
//! # How many processes come to one order
//!
//! - A transaction of commands begins by taking an advisory lock of the database, and one of the record takes another
//!   ([`session`]). So rows of the outbox become visible in the order of their ids, which the relay relies on; a rule sees
//!   the build as the last one left it; and no two of our transactions can wait for each other. Many commands share a
//!   transaction, so the lock costs a process less than each command's own flush to the disk would.
//! - Who hangs in a transaction is put out by the server after [`session::IDLE`], so nobody waits for ever.
//! - Every comparison of time is made with the server's clock, after the lock was taken.
//! - A transaction that may have written to the outbox notifies the other processes when it commits ([`signal`]).
//!
//! # When the server is away
//!
//! Whoever asks is told why, and the next one who asks reaches the server as soon as it is back. A commit whose answer was
//! lost is looked up before its callers are told anything.

mod address;
mod migrations;
mod session;
mod signal;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, PgPool, postgres::PgPoolOptions};
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use uuid::Uuid;

use crate::{
    StoreError,
    sql::{Connection, Details, Held, SqlStore},
};
use address::Address;
use session::{Role, Session};

/// Connections for readers, opened when needed. A process has three more: two that write, one that listens.
const READERS_MAX: u32 = 8;

/// A reader that has had nothing to do for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(60);

/// How long a read waits for a free reader, or for a server that is starting.
const READER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a reader that was given back may take to show that it works.
const READER_PROOF: Duration = Duration::from_secs(5);

/// How every reader's transaction begins: all that it reads is of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A Stepcast database on a server.
pub type PostgresStore = SqlStore<Server>;

/// The server of a database, who reads it, and who listens to it.
pub struct Server {
    address: Address,
    readers: PgPool,
    listening: AbortHandle,
}

impl PostgresStore {
    /// Opens the database at `url` (`postgres://user:password@host:port/database`), and brings its schema up to date.
    /// Other processes may have it open, of an older Stepcast too: steps of the schema only add.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], in one sentence, when the URL is none, no server answers there, or it refuses the user
    /// or the database; [`StoreError::Newer`] when a newer Stepcast wrote it.
    pub async fn open(url: &str) -> Result<Arc<Self>, StoreError> {
        let address = Address::parse(url)?;
        migrations::run(&mut address.connect(Role::Writer).await?).await?;
        // Readers must not be able to write: what the writers' locks promise would not hold.
        let readers = PgPoolOptions::new()
            .max_connections(READERS_MAX)
            .min_connections(0)
            .idle_timeout(READER_IDLE)
            .acquire_timeout(READER_TIMEOUT)
            .after_connect(|connection, _| Box::pin(session::set_up(connection, Role::Reader)))
            .after_release(|connection, _| {
                Box::pin(async move {
                    let proof = timeout(READER_PROOF, connection.ping()).await;
                    proof.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
                })
            })
            .connect_lazy_with(address.options().clone());
        let (announced, _) = watch::channel(0);
        let own = Uuid::new_v4();
        let listening = tokio::spawn(signal::listen(address.clone(), own, announced.clone())).abort_handle();
        let commands = Session::new(address.clone(), session::COMMANDS, own);
        let record = Session::new(address.clone(), session::RECORD, own);
        let server = Server { address, readers, listening };
        Ok(Arc::new(SqlStore::start(server, announced, Box::new(commands), Some(Box::new(record)))))
    }
}

impl Server {
    /// Why no reader could be had.
    async fn why(&self, error: sqlx::Error) -> StoreError {
        match error {
            // The readers wait for a server that does not answer, and tell of the waiting: the reason is asked anew.
            sqlx::Error::PoolTimedOut => match self.address.connect(Role::Reader).await {
                Ok(_) => StoreError::Unavailable(format!("all {READERS_MAX} connections to read with are in use")),
                Err(error) => error,
            },
            sqlx::Error::PoolClosed => error.into(),
            error => self.address.refusal(error),
        }
    }
}

impl Details for Server {
    fn reader(&self) -> BoxFuture<'_, Result<Connection, StoreError>> {
        Box::pin(async move {
            match self.readers.acquire().await {
                Ok(reader) => Ok(Held::Reader(reader).into()),
                Err(error) => Err(self.why(error).await),
            }
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Connection, StoreError>> {
        Box::pin(async move {
            match self.readers.begin_with(SNAPSHOT).await {
                Ok(snapshot) => Ok(Held::Snapshot(snapshot).into()),
                Err(error) => Err(self.why(error).await),
            }
        })
    }

    fn free_inside(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.listening.abort();
        Box::pin(self.readers.close())
    }
}

impl Drop for Server {
    /// A store that is dropped without being closed listens no more.
    fn drop(&mut self) {
        self.listening.abort();
    }
}
