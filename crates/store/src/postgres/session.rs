//! How a connection is set up, and the transactions of a writer.

use std::time::Duration;

use futures_util::{TryFutureExt, future::BoxFuture};
use sqlx::{Executor, PgConnection};
use tokio::time::{Instant, interval};
use uuid::Uuid;

use super::{address::Address, signal};
use crate::{
    StoreError,
    sql::{Connection, Home},
};

/// The lock that a transaction of commands takes: the letters of "stepcast".
pub(super) const COMMANDS: i64 = 0x7374_6570_6361_7374;
/// The lock that a transaction of the journal or the record takes.
pub(super) const RECORD: i64 = COMMANDS + 1;
/// The lock under which the schema is changed.
pub(super) const SCHEMA: i64 = COMMANDS + 2;

/// A transaction in which nothing was asked for so long is ended by the server: its process hangs, or is gone without the
/// server's knowing. Others wait for its lock, and far longer than any of ours takes between two statements.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// How long a statement waits for a lock: longer than a hanging holder can keep it.
const LOCK: Duration = Duration::from_secs(10);

/// How long a statement may take, its waiting included.
const STATEMENT: Duration = Duration::from_secs(15);

/// How long a commit whose answer was lost is looked up before its callers are told that nobody knows.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How often it is.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Reader,
    Writer,
}

/// Sets a connection up. A commit that was answered is on the disk, whatever the server's default.
pub(super) async fn set_up(connection: &mut PgConnection, role: Role) -> Result<(), sqlx::Error> {
    let settings = format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {idle}; SET default_transaction_read_only = {read_only}; SET jit = off; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        statement = STATEMENT.as_millis(),
        lock = LOCK.as_millis(),
        idle = IDLE.as_millis(),
        read_only = if role == Role::Reader { "on" } else { "off" },
    );
    run(connection, &settings).await
}

/// Runs statements without values. Boxed here, because the compiler cannot see through the driver's own future that it may
/// be sent.
pub(super) fn run<'c>(connection: &'c mut PgConnection, sql: &'c str) -> BoxFuture<'c, Result<(), sqlx::Error>> {
    Box::pin(connection.execute(sql).map_ok(drop))
}

/// One of the two connections that write. It is made when it is needed and made anew when it is lost.
pub(super) struct Session {
    address: Address,
    /// Which lock its transactions take.
    lock: i64,
    /// The store that it belongs to, whose own signals it need not hear.
    store: Uuid,
    connection: Option<Connection>,
    /// The transaction that is open.
    transaction: Option<String>,
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

impl Session {
    pub(super) fn new(address: Address, lock: i64, store: Uuid) -> Self {
        Self { address, lock, store, connection: None, transaction: None }
    }

    /// A transaction without its lock. A connection that was lost since the last one shows here, before anything was done
    /// in it: so it is made anew without anyone's noticing.
    async fn open(&mut self) -> Result<(), StoreError> {
        if let Some(connection) = &mut self.connection
            && connection.run(BEGIN).await.is_ok()
        {
            return Ok(());
        }
        self.connection = None;
        let mut connection = Connection::from(self.address.connect(Role::Writer).await?);
        connection.run(BEGIN).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Waits for the lock, and notes the transaction's number.
    async fn lock(&mut self) -> Result<(), StoreError> {
        let Some(connection) = &mut self.connection else { return Err(gone()) };
        self.transaction = Some(connection.lock(self.lock).await?);
        Ok(())
    }

    /// Whether a transaction was committed, asked over a new connection: `None` when nobody can say.
    async fn fate(&self, transaction: &str) -> Option<bool> {
        let (began, mut ticks) = (Instant::now(), interval(LOOK_UP_EVERY));
        while began.elapsed() < LOOK_UP {
            ticks.tick().await;
            let Ok(connection) = self.address.connect(Role::Reader).await else { continue };
            match Connection::from(connection).fate(transaction).await.ok()?.as_deref() {
                Some("committed") => return Some(true),
                Some("aborted") => return Some(false),
                // The server has not noticed yet that the connection is lost.
                Some("in progress") => {}
                _ => return None,
            }
        }
        None
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("there is no connection to it".to_owned())
}

impl Home for Session {
    fn begin(&mut self) -> BoxFuture<'_, Result<&mut Connection, StoreError>> {
        Box::pin(async move {
            self.open().await?;
            if let Err(error) = self.lock().await {
                self.roll_back().await;
                return Err(error);
            }
            self.connection.as_mut().ok_or_else(gone)
        })
    }

    fn commit(&mut self, announces: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(connection) = &mut self.connection else { return Err(gone()) };
            let commit = if announces { signal::commit(self.store) } else { "COMMIT".to_owned() };
            let Err(error) = connection.run(&commit).await else { return Ok(()) };
            self.connection = None;
            let Some(transaction) = self.transaction.take() else { return Err(error) };
            match self.fate(&transaction).await {
                Some(true) => Ok(()),
                Some(false) => Err(error),
                None => Err(StoreError::Unavailable(format!(
                    "{error}; whether the last change was kept is not known yet: look before you repeat it"
                ))),
            }
        })
    }

    fn roll_back(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.transaction = None;
            if let Some(connection) = &mut self.connection
                && connection.run("ROLLBACK").await.is_err()
            {
                // The server rolls back what its client has left.
                self.connection = None;
            }
        })
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            match self.connection {
                Some(connection) => connection.close().await,
                None => Ok(()),
            }
        })
    }
}
