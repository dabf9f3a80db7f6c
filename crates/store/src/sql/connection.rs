//! What the two databases have in common for the code of [`super`]: a connection, a query with its values, a row. Which
//! database it is shows in [`super::text`] and [`super::failure`], and nowhere else in this module.

use std::borrow::Cow;

use sqlx::{Database, Row as _, Sqlite, SqliteConnection, Transaction, pool::PoolConnection, sqlite::SqliteRow};
#[cfg(feature = "postgres")]
use sqlx::{PgConnection, Postgres, postgres::PgRow};

use super::text::{self, Dialect};
use crate::StoreError;

/// A connection to the database.
pub enum Connection {
    /// To a file.
    Sqlite(Held<Sqlite>),
    /// To a server.
    #[cfg(feature = "postgres")]
    Postgres {
        /// The connection.
        held: Held<Postgres>,
        /// It did not answer in time: nothing more is asked of it.
        silent: bool,
    },
}

/// How a connection is held.
pub enum Held<D: Database> {
    /// By the writer.
    Own(Box<D::Connection>),
    /// On loan from the readers.
    Reader(PoolConnection<D>),
    /// On loan from the readers, in a transaction that ends when it is given back.
    Snapshot(Transaction<'static, D>),
}

impl<D: Database> Held<D> {
    fn get(&mut self) -> &mut D::Connection {
        match self {
            Held::Own(connection) => connection,
            Held::Reader(connection) => connection,
            Held::Snapshot(transaction) => transaction,
        }
    }
}

impl From<SqliteConnection> for Connection {
    fn from(connection: SqliteConnection) -> Self {
        Self::Sqlite(Held::Own(Box::new(connection)))
    }
}

#[cfg(feature = "postgres")]
impl From<Held<Postgres>> for Connection {
    fn from(held: Held<Postgres>) -> Self {
        Self::Postgres { held, silent: false }
    }
}

#[cfg(feature = "postgres")]
impl From<PgConnection> for Connection {
    fn from(connection: PgConnection) -> Self {
        Held::Own(Box::new(connection)).into()
    }
}

impl Connection {
    /// Whose words it speaks.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Runs one statement without values, again and again.
    pub(crate) async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        query(sql).execute(self).await.map(drop)
    }

    /// Runs statements without values, one after the other, in one walk to the server and back.
    #[cfg(feature = "postgres")]
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(held) => {
                sqlx::Executor::execute(held.get(), sql).await?;
            }
            Self::Postgres { held, silent } => {
                in_time(silent, sqlx::Executor::execute(held.get(), sql)).await?;
            }
        }
        Ok(())
    }

    /// Waits for an advisory lock until the transaction ends, and gives the transaction's number.
    #[cfg(feature = "postgres")]
    pub(crate) async fn lock(&mut self, key: i64) -> Result<String, StoreError> {
        let lock = "SELECT CAST(pg_current_xact_id() AS TEXT), pg_advisory_xact_lock(?)";
        query(lock).bind(key).fetch_one(self).await?.try_get(0)
    }

    /// What became of a transaction: committed, aborted or in progress; nothing if it is too old.
    #[cfg(feature = "postgres")]
    pub(crate) async fn fate(&mut self, transaction: &str) -> Result<Option<String>, StoreError> {
        query("SELECT pg_xact_status(CAST(? AS xid8))").bind(transaction).fetch_one(self).await?.try_get(0)
    }

    /// Ends it; what it has written back is written when this returns.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(Held::Own(connection)) => Ok(sqlx::Connection::close(*connection).await?),
            #[cfg(feature = "postgres")]
            Self::Postgres { held: Held::Own(connection), silent: false } => {
                Ok(sqlx::Connection::close(*connection).await?)
            }
            // What was on loan goes back where it came from.
            _ => Ok(()),
        }
    }
}

/// How long a server may be silent after it was asked: longer than it is told to work or wait itself
/// (`postgres::session`), so only a server or a network that is gone comes to it.
#[cfg(feature = "postgres")]
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(20);

#[cfg(feature = "postgres")]
async fn in_time<T>(
    silent: &mut bool,
    answer: impl Future<Output = Result<T, sqlx::Error>> + Send,
) -> Result<T, StoreError> {
    let told = || StoreError::Unavailable(format!("it has not answered for {} s", SILENCE_MAX.as_secs()));
    if *silent {
        return Err(told());
    }
    match tokio::time::timeout(SILENCE_MAX, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            *silent = true;
            Err(told())
        }
    }
}

/// A value that is bound.
pub(super) enum Value<'q> {
    Number(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

macro_rules! values {
    ($($kind:ident($type:ty): $value:ident => $as:expr;)*) => {
        $(
            impl<'q> From<$type> for Value<'q> {
                fn from($value: $type) -> Self {
                    Self::$kind($as)
                }
            }
        )*
    };
}

values! {
    Number(i64): value => Some(value);
    Number(Option<i64>): value => value;
    Text(&'q str): value => Some(Cow::Borrowed(value));
    Text(&'q String): value => Some(Cow::Borrowed(value));
    Text(String): value => Some(Cow::Owned(value));
    Text(Option<&'q str>): value => value.map(Cow::Borrowed);
    Text(Option<String>): value => value.map(Cow::Owned);
    Bytes(&'q [u8]): value => Some(Cow::Borrowed(value));
    Bytes(&'q Vec<u8>): value => Some(Cow::Borrowed(value));
    Bytes(Vec<u8>): value => Some(Cow::Owned(value));
    Bytes(Option<&'q [u8]>): value => value.map(Cow::Borrowed);
}

/// A statement that is being bound. Its text is written as [`super::text`] says.
pub(super) struct Query<'q> {
    sql: &'q str,
    values: Vec<Value<'q>>,
}

/// A statement without its values.
pub(super) fn query(sql: &str) -> Query<'_> {
    Query { sql, values: Vec::new() }
}

/// Binds all values to a statement of one of the databases. Absent bytes and present ones are bound apart: the drivers
/// know no `Cow` of bytes.
macro_rules! bound {
    ($sql:expr, $values:expr, $text:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text.map($text)),
                Value::Bytes(None) => query.bind(None::<&[u8]>),
                Value::Bytes(Some(Cow::Borrowed(bytes))) => query.bind(bytes),
                Value::Bytes(Some(Cow::Owned(bytes))) => query.bind(bytes),
            };
        }
        query
    }};
}

/// Runs a query on either database: `$method` is the driver's, `$row` makes a [`Row`] of what it answers.
macro_rules! asked {
    ($query:expr, $connection:expr, $method:ident, $answer:ident => $sqlite:expr, $postgres:expr) => {{
        let sql = text::of($connection.dialect(), $query.sql);
        match $connection {
            Connection::Sqlite(held) => {
                let $answer = bound!(&sql, $query.values, |text| text).$method(held.get()).await?;
                Ok($sqlite)
            }
            #[cfg(feature = "postgres")]
            Connection::Postgres { held, silent } => {
                let asked = bound!(&sql, $query.values, text::without_nul).$method(held.get());
                let $answer = in_time(silent, asked).await?;
                Ok($postgres)
            }
        }
    }};
}

impl<'q> Query<'q> {
    /// The next value.
    pub(super) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Tells how many rows it wrote.
    pub(super) async fn execute(self, connection: &mut Connection) -> Result<u64, StoreError> {
        asked!(self, connection, execute, done => done.rows_affected(), done.rows_affected())
    }

    /// All rows.
    pub(super) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, StoreError> {
        asked!(self, connection, fetch_all, rows =>
            rows.into_iter().map(Row::Sqlite).collect(), rows.into_iter().map(Row::Postgres).collect())
    }

    /// The one row, if there is one.
    pub(super) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>, StoreError> {
        asked!(self, connection, fetch_optional, row => row.map(Row::Sqlite), row.map(Row::Postgres))
    }

    /// The one row, which must be there.
    pub(super) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, StoreError> {
        asked!(self, connection, fetch_one, row => Row::Sqlite(row), Row::Postgres(row))
    }
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    #[cfg(feature = "postgres")]
    Postgres(PgRow),
}

impl Row {
    /// A column as what it must be.
    pub(super) fn try_get<'r, T: Column<'r>>(&'r self, column: usize) -> Result<T, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

/// What a column can be read as.
#[cfg(not(feature = "postgres"))]
pub(super) trait Column<'r>: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> {}
#[cfg(not(feature = "postgres"))]
impl<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>> Column<'r> for T {}

/// What a column can be read as.
#[cfg(feature = "postgres")]
pub(super) trait Column<'r>:
    sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}
#[cfg(feature = "postgres")]
impl<'r, T> Column<'r> for T where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}
