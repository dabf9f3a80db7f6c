//! The label sets that were ever asked for: the queues that executors may serve. None is forgotten, because a job that
//! asked for it may be queued again.

use std::collections::BTreeSet;

use wire::LabelSet;

use super::{connection::Connection, insert};
use crate::StoreError;

/// Notes that these are asked for.
pub(super) async fn note<'a>(
    connection: &mut Connection,
    asked: impl Iterator<Item = &'a LabelSet>,
) -> Result<(), StoreError> {
    let asked: Vec<String> = asked.collect::<BTreeSet<_>>().into_iter().map(LabelSet::to_string).collect();
    let tail = "ON CONFLICT (label_set) DO NOTHING";
    insert::rows(connection, "INSERT INTO label_sets (label_set)", 1, tail, &asked, |query, text| {
        query.bind(text.as_str())
    })
    .await
}
