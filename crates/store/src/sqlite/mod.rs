//! The default store: one SQLite file in WAL mode, one process, one writer. Here a database is opened, checked and
//! closed; each trait of the contract has a file of its own, and everything that writes goes through [`writer`].
//!
//! It is enough for one machine. Reading never waits for writing: readers see the last commit through connections of
//! their own, opened when they are first needed.

mod accounts;
mod builds;
mod callbacks;
mod chunk;
mod executors;
mod failure;
mod insert;
mod journal;
mod labels;
mod leases;
mod lines;
mod lock;
mod migrations;
mod outbox;
mod pipelines;
mod record;
mod recorded;
mod rows;
mod view;
mod writer;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;
use wire::Timestamp;

use crate::{Answer, Store, StoreError};
use lock::Lock;
use writer::{Rank, Writer};

/// Connections for readers, opened when needed; each is a thread and up to [`CACHE_KIB`].
const READERS_MAX: u32 = 4;

/// A reader that has had nothing to do for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(60);

/// How long one connection waits for another process's write ([`SqliteStore::open_beside`]).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read waits for a free reader.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// Page cache of one connection.
const CACHE_KIB: u32 = 4000;

/// Pages of the write-ahead log (4 KiB each) after which it is written back.
const CHECKPOINT_PAGES: u32 = 1000;

/// Who may read and write the files, whatever the umask: the owner alone.
const FILE_MODE: u32 = 0o600;

/// Statements kept ready by one connection.
const STATEMENTS_MAX: usize = 200;

/// A Stepcast database in one file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: SqlitePool,
    /// Taken by [`SqliteStore::close`]. A tokio mutex, because it is held while the writer ends.
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it if there is none, and brings its schema up to date. It is this process's
    /// alone until [`SqliteStore::close`], or until the process ends, however it ends.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process has it, or the file cannot be opened; [`StoreError::Newer`]
    /// when a newer Stepcast wrote it.
    pub async fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let lock = Lock::take(path)?;
        Self::start(path.to_owned(), Some(lock)).await
    }

    /// Opens a database that another process may have open, for a small write of an account such as
    /// [`crate::Accounts::put_token`]. Each write waits up to 5 s for the other process's transaction. The limit:
    /// nothing else is safe here, since what the other process holds in memory (its outbox signal, its broker's journal)
    /// would not hear of it.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; and when the other process runs a Stepcast with another schema.
    pub async fn open_beside(path: &Path) -> Result<Arc<Self>, StoreError> {
        match Lock::take(path) {
            Ok(lock) => Self::start(path.to_owned(), Some(lock)).await,
            Err(_in_use) => Self::start(path.to_owned(), None).await,
        }
    }

    fn start(path: PathBuf, lock: Option<Lock>) -> Answer<'static, Arc<Self>> {
        Box::pin(async move {
            make_file(&path)?;
            let options = options(&path);
            let mut connection = options.clone().connect().await?;
            match &lock {
                Some(_) => migrations::run(&mut connection).await?,
                None => migrations::must_be_current(&mut connection).await?,
            }
            // Readers must not be able to write: the one writer is what keeps commands before projections.
            let readers = SqlitePoolOptions::new()
                .max_connections(READERS_MAX)
                .min_connections(0)
                .idle_timeout(READER_IDLE)
                .acquire_timeout(READER_TIMEOUT)
                .test_before_acquire(false)
                .connect_lazy_with(options.read_only(true));
            let (writer, running) = Writer::start(connection, lock);
            Ok(Arc::new(Self { path, writer, readers, running: Mutex::new(Some(running)) }))
        })
    }

    /// Ends the writer after what was asked of it, writes the log back into the file and lets go of the lock. What is
    /// asked later is answered with [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close();
        if let Some(running) = self.running.lock().await.take()
            && let Err(failure) = running.await
        {
            tracing::error!(%failure, "the database's writer did not end well");
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reader of its own.
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// A reader in a transaction: all that it reads is of one moment.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        Ok(self.readers.begin().await?)
    }
}

impl Store for SqliteStore {
    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.writer
                .run(Rank::Command, |connection| {
                    Box::pin(async move {
                        let at = now(&mut *connection).await?;
                        sqlx::query(CHECK).bind(at.0).execute(connection).await?;
                        Ok::<_, StoreError>(())
                    })
                })
                .await?;
            let mut reader = self.reader().await?;
            sqlx::query("SELECT at FROM facts WHERE name = 'checked'").fetch_one(&mut *reader).await?;
            Ok(())
        })
    }

    fn now(&self) -> Answer<'_, Timestamp> {
        Box::pin(async move { now(&mut *self.reader().await?).await })
    }
}

/// Makes the file if there is none, before SQLite does: the log and its index get the file's mode from SQLite.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
    made.map(drop).map_err(|failure| StoreError::Unavailable(format!("{} cannot be opened: {failure}", path.display())))
}

/// What [`Store::check`] writes.
const CHECK: &str =
    "INSERT INTO facts (name, at) VALUES ('checked', ?1) ON CONFLICT (name) DO UPDATE SET at = excluded.at";

/// The database's clock: microseconds since the Unix epoch, in steps of a millisecond.
async fn now(connection: &mut SqliteConnection) -> Result<Timestamp, StoreError> {
    let row = sqlx::query("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)").fetch_one(connection).await?;
    Ok(Timestamp(row.try_get(0)?))
}

/// How every connection is set up. WAL and FULL: a commit that was answered survives the loss of power.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        .pragma("mmap_size", "0")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .disable_statement_logging()
}

/// Ends a connection so that its last checkpoint is done when this returns.
async fn end(connection: SqliteConnection) -> Result<(), StoreError> {
    Ok(connection.close().await?)
}

/// A length of time in the database's unit.
fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}
