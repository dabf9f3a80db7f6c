//! Invitations in SQL: what each still gives, and taking it. One gives no more than who made it may do now, and nothing once
//! their account is disabled or gone; one that no account made gives what was written into it.

use wire::{
    Timestamp,
    account::{InvitationView, SECRET_ID_DIGITS},
    authority::Grants,
};

use super::{
    connection::{Connection, Row, query},
    rows,
};
use crate::StoreError;

/// Columns of [`usable`], of those that have not expired.
const LIVING: &str = "SELECT i.sha256, i.note, i.grants, i.invited_by, i.created_at, i.expires_at, i.account, \
                      a.grants, a.disabled \
                      FROM invitations i LEFT JOIN accounts a ON a.id = i.account WHERE i.expires_at > {now}";

/// Those that can still be used, the newest first.
pub(super) async fn all(connection: &mut Connection) -> Result<Vec<InvitationView>, StoreError> {
    let sql = format!("{LIVING} ORDER BY i.created_at DESC, i.sha256");
    query(&sql).fetch_all(connection).await?.iter().filter_map(|row| usable(row).transpose()).collect()
}

/// The one with this hash, if it can still be used.
pub(super) async fn find(connection: &mut Connection, sha256: &str) -> Result<Option<InvitationView>, StoreError> {
    let sql = format!("{LIVING} AND i.sha256 = ?");
    let found = query(&sql).bind(sha256).fetch_optional(connection).await?;
    found.as_ref().map_or(Ok(None), usable)
}

/// Uses it up; what it gives. Within the transaction that gives it.
pub(super) async fn take(connection: &mut Connection, sha256: &str) -> Result<Option<Grants>, StoreError> {
    let Some(found) = find(&mut *connection, sha256).await? else { return Ok(None) };
    query("DELETE FROM invitations WHERE sha256 = ?").bind(sha256).execute(connection).await?;
    Ok(Some(found.grants))
}

/// What an invitation still gives; none if that is nothing.
fn usable(row: &Row) -> Result<Option<InvitationView>, StoreError> {
    let written: Grants = rows::json(row, 2)?;
    let grants = if rows::uuid_if(row, 6)?.is_none() {
        written
    } else if rows::number_if(row, 8)? == Some(0) {
        written.and(&rows::json(row, 7)?)
    } else {
        return Ok(None);
    };
    if grants.is_empty() {
        return Ok(None);
    }
    let sha256: &str = row.try_get(0)?;
    let expires_at: Timestamp = rows::time(row, 5)?;
    Ok(Some(InvitationView {
        id: sha256.chars().take(SECRET_ID_DIGITS).collect(),
        note: row.try_get(1)?,
        grants,
        invited_by: row.try_get(3)?,
        created_at: rows::time(row, 4)?,
        expires_at,
    }))
}
