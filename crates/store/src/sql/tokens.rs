//! Tokens in SQL: written, found, listed and taken back.

use wire::{
    AccountId, Timestamp,
    account::{SECRET_ID_DIGITS, TokenView},
};

use super::{
    connection::{Connection, Row, query},
    rows::{self, bytes},
};
use crate::{StoreError, model::TokenRow};

/// Columns of [`token`].
const TOKEN: &str = "sha256, name, grants, account, expires_at";

/// Writes one, or writes it anew.
pub(super) async fn put(connection: &mut Connection, token: &TokenRow) -> Result<(), StoreError> {
    query(
        "INSERT INTO program_tokens (sha256, name, grants, account, created_at, expires_at) \
         VALUES (?, ?, ?, ?, {now}, ?) ON CONFLICT (sha256) DO UPDATE SET name = excluded.name, \
         grants = excluded.grants, account = excluded.account, expires_at = excluded.expires_at",
    )
    .bind(&token.sha256)
    .bind(&token.name)
    .bind(rows::to_json(&token.grants)?)
    .bind(token.account.as_ref().map(|account| bytes(&account.0)))
    .bind(token.expires_at.map(|at| at.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// The one with this hash, unless it has expired.
pub(super) async fn find(connection: &mut Connection, sha256: &str) -> Result<Option<TokenRow>, StoreError> {
    let sql =
        format!("SELECT {TOKEN} FROM program_tokens WHERE sha256 = ? AND (expires_at IS NULL OR expires_at > {{now}})");
    let found = query(&sql).bind(sha256).fetch_optional(connection).await?;
    found.as_ref().map(token).transpose()
}

/// Those that have not expired, of an account if one is named.
pub(super) async fn all(connection: &mut Connection, account: Option<AccountId>) -> Result<Vec<TokenView>, StoreError> {
    let of = if account.is_some() { "AND t.account = ?" } else { "" };
    let sql = format!(
        "SELECT t.sha256, t.name, t.grants, t.account, t.expires_at, t.created_at, t.used_at, accounts.name \
         FROM program_tokens t LEFT JOIN accounts ON accounts.id = t.account \
         WHERE (t.expires_at IS NULL OR t.expires_at > {{now}}) {of} ORDER BY t.name, t.sha256"
    );
    let asked = query(&sql);
    let asked = match &account {
        Some(account) => asked.bind(bytes(&account.0)),
        None => asked,
    };
    asked.fetch_all(connection).await?.iter().map(view).collect()
}

/// Takes one back, by its id.
pub(super) async fn revoke(connection: &mut Connection, id: &str) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!("DELETE FROM program_tokens WHERE substr(sha256, 1, 16) = ? RETURNING {TOKEN}");
    let gone = query(&sql).bind(id).fetch_optional(connection).await?;
    gone.as_ref().map(token).transpose()
}

fn token(row: &Row) -> Result<TokenRow, StoreError> {
    Ok(TokenRow {
        sha256: row.try_get(0)?,
        name: row.try_get(1)?,
        grants: rows::json(row, 2)?,
        account: rows::uuid_if(row, 3)?.map(AccountId),
        expires_at: rows::time_if(row, 4)?,
    })
}

fn view(row: &Row) -> Result<TokenView, StoreError> {
    let TokenRow { sha256, name, grants, account, expires_at } = token(row)?;
    Ok(TokenView {
        id: sha256.chars().take(SECRET_ID_DIGITS).collect(),
        name,
        grants,
        account,
        created_by: row.try_get(7)?,
        // 0 stands for a token of before, whose time was not kept.
        created_at: Some(rows::time(row, 5)?).filter(|at| *at != Timestamp(0)),
        expires_at,
        used_at: rows::time_if(row, 6)?,
    })
}
