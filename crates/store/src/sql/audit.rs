//! The audit log in SQL. [`insert`] is for the transaction of the change that an entry tells of.

use wire::{
    AccountId, BuildId, Timestamp,
    audit::{AUDIT_LIMIT, AUDIT_LIMIT_MAX, AuditEntry, AuditQuery},
};

use super::{
    Details, SqlStore,
    connection::{Connection, Row, Value, query},
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    audit::{Audit, DETAIL_CHARS_MAX, NewEntry},
};

/// Writes an entry in the transaction that the connection is in.
pub(super) async fn insert(connection: &mut Connection, entry: &NewEntry) -> Result<(), StoreError> {
    let detail: Option<String> = entry.detail.as_ref().map(|detail| detail.chars().take(DETAIL_CHARS_MAX).collect());
    query(
        "INSERT INTO audit_log (at, action, subject, name, account, address, pipeline, build, detail) \
         VALUES ({now}, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.action.as_str())
    .bind(&entry.subject)
    .bind(&entry.name)
    .bind(entry.account.as_ref().map(|account| bytes(&account.0)))
    .bind(entry.address.as_deref())
    .bind(entry.pipeline.as_ref().map(|pipeline| pipeline.as_str()))
    .bind(entry.build.as_ref().map(|build| bytes(&build.0)))
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

impl<D: Details> Audit for SqlStore<D> {
    fn note(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(
            self.writer.run(Rank::Command, move |connection| Box::pin(async move { insert(connection, &entry).await })),
        )
    }

    fn entries<'a>(&'a self, asked: &'a AuditQuery) -> Answer<'a, Vec<AuditEntry>> {
        Box::pin(async move {
            let before = asked.before.map_or(i64::MAX, signed);
            let conditions: [(&str, Option<Value<'_>>); 4] = [
                (" AND pipeline = ?", asked.pipeline.as_ref().map(|pipeline| pipeline.as_str().into())),
                (" AND account = ?", asked.account.as_ref().map(|account| bytes(&account.0).into())),
                (" AND name = ?", asked.name.as_ref().map(|name| name.as_str().into())),
                (" AND action = ?", asked.action.map(|action| action.as_str().into())),
            ];
            let mut sql = "SELECT id, at, action, subject, name, account, address, pipeline, build, detail \
                           FROM audit_log WHERE id < ?"
                .to_owned();
            let wanted = conditions.into_iter().filter_map(|(words, value)| Some((words, value?)));
            let (words, values): (Vec<&str>, Vec<Value<'_>>) = wanted.unzip();
            sql.extend(words);
            sql.push_str(" ORDER BY id DESC LIMIT ?");
            let limit = asked.limit.unwrap_or(AUDIT_LIMIT).min(AUDIT_LIMIT_MAX);
            let filled = values.into_iter().fold(query(&sql).bind(before), |query, value| query.bind(value));
            let found = filled.bind(i64::from(limit)).fetch_all(&mut self.reader().await?).await?;
            found.iter().map(entry).collect()
        })
    }

    fn forget_entries(&self, before: Timestamp, limit: u32) -> Answer<'_, u64> {
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                let old =
                    "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE at < ? ORDER BY at LIMIT ?)";
                query(old).bind(before.0).bind(i64::from(limit)).execute(connection).await
            })
        }))
    }
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    let pipeline: Option<&str> = row.try_get(7)?;
    Ok(AuditEntry {
        id: rows::number(row, 0)?,
        at: rows::time(row, 1)?,
        action: rows::parsed(row, 2)?,
        subject: row.try_get(3)?,
        name: row.try_get(4)?,
        account: rows::uuid_if(row, 5)?.map(AccountId),
        address: row.try_get(6)?,
        pipeline: if pipeline.is_some() { Some(rows::parsed(row, 7)?) } else { None },
        build: rows::uuid_if(row, 8)?.map(BuildId),
        detail: row.try_get(9)?,
    })
}
