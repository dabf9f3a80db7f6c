//! Writes about people, invitations and tokens, and one's own password.

use wire::{
    AccountId, Problem,
    account::{ChangeAccount, ChangePassword, MadeInvitation, MadeToken, NewInvitation, NewToken},
};

use super::{JSON, send, unreadable, written};
use crate::json;

/// Makes an invitation; its link is in the answer and nowhere else.
///
/// # Errors
/// When nothing is granted by it, or the server cannot be reached.
pub async fn invite(wanted: NewInvitation) -> Result<MadeInvitation, Problem> {
    let answer = send("POST", "/api/v1/invitations", JSON, None, Some(written(&wanted)?)).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Takes an invitation back.
///
/// # Errors
/// When it was used or taken back already, or the server cannot be reached.
pub async fn revoke_invitation(id: String) -> Result<(), Problem> {
    send("DELETE", &format!("/api/v1/invitations/{id}"), JSON, None, None).await.map(drop)
}

/// Changes what an account may do, or whether it can sign in.
///
/// # Errors
/// When it is the last one that is admin everywhere, or the server cannot be reached.
pub async fn change_account(id: AccountId, change: ChangeAccount) -> Result<(), Problem> {
    let body = written(&change)?;
    send("PATCH", &format!("/api/v1/accounts/{id}"), JSON, None, Some(body)).await.map(drop)
}

/// Removes an account with its tokens.
///
/// # Errors
/// As [`change_account`].
pub async fn remove_account(id: AccountId) -> Result<(), Problem> {
    send("DELETE", &format!("/api/v1/accounts/{id}"), JSON, None, None).await.map(drop)
}

/// Makes a token, which is in the answer and nowhere else.
///
/// # Errors
/// When it would do more than who makes it, or the server cannot be reached.
pub async fn create_token(wanted: NewToken) -> Result<MadeToken, Problem> {
    let answer = send("POST", "/api/v1/tokens", JSON, None, Some(written(&wanted)?)).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Takes a token back.
///
/// # Errors
/// When it is not there any more, or the server cannot be reached.
pub async fn revoke_token(id: String) -> Result<(), Problem> {
    send("DELETE", &format!("/api/v1/tokens/{id}"), JSON, None, None).await.map(drop)
}

/// Chooses another password for who asks, which ends their other sessions.
///
/// # Errors
/// 403 when the old one is not right, 422 when the new one may not be chosen; or when the server cannot be reached.
pub async fn change_password(change: ChangePassword) -> Result<(), Problem> {
    send("PUT", "/api/v1/account/password", JSON, None, Some(written(&change)?)).await.map(drop)
}
