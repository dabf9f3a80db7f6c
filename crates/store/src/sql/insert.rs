//! Inserting many rows with few statements: each statement costs a walk to the connection's thread or server and back.

use super::connection::{Connection, Query, query};
use crate::StoreError;

/// Rows in one statement: a few fixed sizes, so that all of them stay in the cache of prepared statements.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// `head VALUES (?, ...), (?, ...) tail` for all rows; `bind` binds the `columns` of one.
pub(super) async fn rows<T>(
    connection: &mut Connection,
    head: &str,
    columns: usize,
    tail: &str,
    rows: &[T],
    bind: impl for<'q> Fn(Query<'q>, &'q T) -> Query<'q>,
) -> Result<(), StoreError> {
    let one = format!("({})", vec!["?"; columns].join(", "));
    let mut left = rows;
    while !left.is_empty() {
        let size = SIZES.into_iter().find(|size| *size <= left.len()).unwrap_or(1);
        let (now, later) = left.split_at(size);
        left = later;
        let sql = format!("{head} VALUES {} {tail}", vec![one.as_str(); size].join(", "));
        let mut statement = query(&sql);
        for row in now {
            statement = bind(statement, row);
        }
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}
