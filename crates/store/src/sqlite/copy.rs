//! A copy of a database that another process may have open and write to meanwhile: all of one moment. It needs no lock:
//! it only reads, and SQLite lets a reader see the last commit while others write.

use std::path::Path;

use sqlx::ConnectOptions as _;

use super::{make_file, migrations, options};
use crate::StoreError;

/// Writes a copy of the database at `path` to `target`, which must not be there, for its owner alone. Nobody waits for it;
/// until it is done the other process's write-ahead log can only grow. Gives the schema that the copy has.
///
/// # Errors
/// [`StoreError::Full`] when the copy has no room; [`StoreError::Newer`] and [`StoreError::Unavailable`] when the database
/// is of another Stepcast than this one, or cannot be read.
pub async fn copy(path: &Path, target: &Path) -> Result<i64, StoreError> {
    let mut reader = options(path).read_only(true).connect().await?;
    migrations::must_be_current(&mut reader).await?;
    // SQLite fills an empty file and keeps its mode.
    make_file(target)?;
    let name = target.to_str().ok_or_else(|| {
        StoreError::Unavailable(format!("{} cannot be written to: its name is no UTF-8", target.display()))
    })?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut reader).await?;
    sqlx::Connection::close(reader).await?;
    Ok(migrations::known())
}
