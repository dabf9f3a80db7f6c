//! Inserting many rows with few statements: each statement costs a walk to the connection's thread and back.

use sqlx::{
    SqliteConnection,
    query::Query,
    sqlite::{Sqlite, SqliteArguments},
};

use crate::StoreError;

/// A statement that is being bound.
pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments<'q>>;

/// Rows in one statement: a few fixed sizes, so that all of them stay in the cache of prepared statements.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// `head VALUES (?, ...), (?, ...) tail` for all rows; `bind` binds the `columns` of one.
pub(super) async fn rows<T>(
    connection: &mut SqliteConnection,
    head: &str,
    columns: usize,
    tail: &str,
    rows: &[T],
    bind: impl for<'q> Fn(Bound<'q>, &'q T) -> Bound<'q>,
) -> Result<(), StoreError> {
    let one = format!("({})", vec!["?"; columns].join(", "));
    let mut left = rows;
    while !left.is_empty() {
        let size = SIZES.into_iter().find(|size| *size <= left.len()).unwrap_or(1);
        let (now, later) = left.split_at(size);
        left = later;
        let sql = format!("{head} VALUES {} {tail}", vec![one.as_str(); size].join(", "));
        let mut query = sqlx::query(&sql);
        for row in now {
            query = bind(query, row);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
