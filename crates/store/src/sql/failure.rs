//! What the databases' errors mean to the contract. Which code means a full disk stands here alone.

use sqlx::error::DatabaseError;

use crate::{ChangeError, StoreError};

/// SQLITE_FULL: a write found no room (or no more pages are allowed).
const FULL: i32 = 13;
/// SQLITE_IOERR_WRITE: as some file systems tell of a full disk or a used-up quota.
const IOERR_WRITE: i32 = 778;
/// SQLITE_IOERR_SHMSIZE: no room for the index of the write-ahead log.
const IOERR_SHMSIZE: i32 = 4874;
/// SQLITE_CORRUPT and SQLITE_NOTADB, without their extensions.
const CORRUPT: [i32; 2] = [11, 26];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) => told(&**inner),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
                StoreError::Corrupt(error.to_string())
            }
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreError::Unavailable("it is closed".to_owned()),
            sqlx::Error::PoolTimedOut => StoreError::Unavailable("no reader became free in time".to_owned()),
            sqlx::Error::Io(failure) => StoreError::Unavailable(format!("the connection to it is lost: {failure}")),
            _ => StoreError::Unavailable(error.to_string()),
        }
    }
}

/// What the database itself tells.
fn told(error: &dyn DatabaseError) -> StoreError {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return match error.code() {
            // disk_full.
            "53100" => StoreError::Full,
            // data_corrupted and index_corrupted.
            "XX001" | "XX002" => StoreError::Corrupt(error.message().to_owned()),
            code => StoreError::Unavailable(format!("{} (SQLSTATE {code})", error.message())),
        };
    }
    let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    match code {
        FULL | IOERR_WRITE | IOERR_SHMSIZE => StoreError::Full,
        code if CORRUPT.contains(&(code & 0xff)) => StoreError::Corrupt(error.message().to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// An answer's error that may be the store's.
pub(crate) trait Failure: From<StoreError> + Send + 'static {
    /// The store's error in it.
    fn store(&self) -> Option<&StoreError>;
}

impl Failure for StoreError {
    fn store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Failure for ChangeError {
    fn store(&self) -> Option<&StoreError> {
        match self {
            ChangeError::Store(error) => Some(error),
            ChangeError::NoBuild(_) | ChangeError::Refused(_) => None,
        }
    }
}
