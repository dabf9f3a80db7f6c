//! The default store: one SQLite file in WAL mode, one process, one writer. Here a database is opened, checked and
//! closed; what it keeps, and how, stands in [`crate::sql`].
//!
//! It is enough for one machine. Reading never waits for writing: readers see the last commit through connections of
//! their own, opened when they are first needed.

mod copy;
mod lock;
mod migrations;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::sync::watch;

use crate::{
    Answer, StoreError,
    sql::{Connection, Details, Held, Home, SqlStore},
};
use lock::Lock;

pub use copy::copy;

/// The schema that this program knows, and brings every database to that it opens as its own.
#[must_use]
pub fn schema() -> i64 {
    migrations::known()
}

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
pub type SqliteStore = SqlStore<File>;

/// The file of a database, and who reads it.
pub struct File {
    path: PathBuf,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it if there is none, and brings its schema up to date. It is this process's
    /// alone until [`SqlStore::close`], or until the process ends, however it ends.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process has it, or the file cannot be opened; [`StoreError::Newer`]
    /// when a newer Stepcast wrote it.
    pub async fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let lock = Lock::take(path)?;
        open(path.to_owned(), Some(lock)).await
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
            Ok(lock) => open(path.to_owned(), Some(lock)).await,
            Err(_in_use) => open(path.to_owned(), None).await,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.details.path
    }
}

fn open(path: PathBuf, lock: Option<Lock>) -> Answer<'static, Arc<SqliteStore>> {
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
        let owner = Owner { connection: connection.into(), _lock: lock };
        let (announced, _) = watch::channel(0);
        Ok(Arc::new(SqlStore::start(File { path, readers }, announced, Box::new(owner), None)))
    })
}

impl Details for File {
    fn reader(&self) -> BoxFuture<'_, Result<Connection, StoreError>> {
        Box::pin(async move { Ok(Connection::Sqlite(Held::Reader(self.readers.acquire().await?))) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Connection, StoreError>> {
        Box::pin(async move { Ok(Connection::Sqlite(Held::Snapshot(self.readers.begin().await?))) })
    }

    fn free_inside(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let (pages, size): (i64, i64) =
                sqlx::query_as("SELECT freelist_count, page_size FROM pragma_freelist_count, pragma_page_size")
                    .fetch_one(&self.readers)
                    .await?;
            Ok(pages.max(0).cast_unsigned().saturating_mul(size.max(0).cast_unsigned()))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.readers.close())
    }
}

/// The one connection that writes. It holds the lock until it ends.
struct Owner {
    connection: Connection,
    _lock: Option<Lock>,
}

impl Home for Owner {
    fn begin(&mut self) -> BoxFuture<'_, Result<&mut Connection, StoreError>> {
        Box::pin(async move {
            self.connection.execute("BEGIN IMMEDIATE").await?;
            Ok(&mut self.connection)
        })
    }

    fn commit(&mut self, _announces: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.connection.execute("COMMIT"))
    }

    fn roll_back(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // SQLite may have rolled back by itself; then this one fails, because there is nothing left to do.
            let _ = self.connection.execute("ROLLBACK").await;
        })
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(self.connection.close())
    }
}

/// Makes the file if there is none, before SQLite does: the log and its index get the file's mode from SQLite.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
    made.map(drop).map_err(|failure| StoreError::Unavailable(format!("{} cannot be opened: {failure}", path.display())))
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
