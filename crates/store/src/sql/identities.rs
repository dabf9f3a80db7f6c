//! Accounts that belong to identities of a provider of OpenID Connect, in SQL.

use wire::AccountId;

use super::{
    audit,
    connection::{Connection, query},
    now, people,
    rows::{self, bytes},
};
use crate::{
    StoreError,
    audit::NewEntry,
    people::{Account, Identity, Linked, Unlinked},
};

/// The account that belongs to an identity.
pub(super) async fn account_of(
    connection: &mut Connection,
    identity: &Identity,
) -> Result<Option<Account>, StoreError> {
    match owner(connection, identity).await? {
        Some(id) => people::find(connection, id).await,
        None => Ok(None),
    }
}

/// Its id.
pub(super) async fn owner(connection: &mut Connection, identity: &Identity) -> Result<Option<AccountId>, StoreError> {
    let found = query("SELECT account FROM identities WHERE issuer = ? AND subject = ?")
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .fetch_optional(connection)
        .await?;
    found.map(|row| Ok(AccountId(rows::uuid(&row, 0)?))).transpose()
}

/// Writes it for an account that has none of this provider.
pub(super) async fn insert(connection: &mut Connection, id: AccountId, identity: &Identity) -> Result<(), StoreError> {
    query("INSERT INTO identities (issuer, subject, account, linked_at) VALUES (?, ?, ?, {now})")
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .bind(bytes(&id.0))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether an account has one of this provider.
pub(super) async fn is_linked(connection: &mut Connection, id: AccountId, issuer: &str) -> Result<bool, StoreError> {
    let found = query("SELECT 1 FROM identities WHERE account = ? AND issuer = ?").bind(bytes(&id.0)).bind(issuer);
    Ok(found.fetch_optional(connection).await?.is_some())
}

/// See [`crate::People::link`].
pub(super) async fn link(
    connection: &mut Connection,
    id: AccountId,
    identity: &Identity,
    entry: &NewEntry,
) -> Result<Linked, StoreError> {
    if people::find(connection, id).await?.is_none() {
        return Ok(Linked::Nobody);
    }
    match owner(connection, identity).await? {
        Some(owner) if owner == id => return Ok(Linked::Done),
        Some(_) => return Ok(Linked::Taken),
        None => {}
    }
    if is_linked(connection, id, &identity.issuer).await? {
        return Ok(Linked::Another);
    }
    insert(connection, id, identity).await?;
    audit::insert(connection, entry).await?;
    Ok(Linked::Done)
}

/// See [`crate::People::unlink`].
pub(super) async fn unlink(
    connection: &mut Connection,
    id: AccountId,
    issuer: &str,
    entry: &NewEntry,
) -> Result<Unlinked, StoreError> {
    let Some(found) = people::find(connection, id).await? else { return Ok(Unlinked::Nothing) };
    if !is_linked(connection, id, issuer).await? {
        return Ok(Unlinked::Nothing);
    }
    if found.password.is_none() {
        return Ok(Unlinked::OnlyWay);
    }
    let gone = query("DELETE FROM identities WHERE account = ? AND issuer = ?").bind(bytes(&id.0)).bind(issuer);
    gone.execute(&mut *connection).await?;
    audit::insert(connection, entry).await?;
    Ok(Unlinked::Done)
}

/// See [`crate::People::use_answer`].
pub(super) async fn use_answer(connection: &mut Connection, sha256: &str, seconds: i64) -> Result<bool, StoreError> {
    let now = now(&mut *connection).await?;
    query("DELETE FROM openid_answers WHERE expires_at <= ?").bind(now.0).execute(&mut *connection).await?;
    let write = query("INSERT INTO openid_answers (sha256, expires_at) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING");
    Ok(write.bind(sha256).bind(now.plus_micros(seconds * 1_000_000).0).execute(connection).await? > 0)
}
