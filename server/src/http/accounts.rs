//! `/api/v1/account`, `/api/v1/accounts`, `/api/v1/invitations`: one's own account, and those of others.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use tower_sessions::Session;
use wire::account::{AccountView, ChangeAccount, ChangePassword, InvitationView, NewInvitation, OwnView};

use crate::{
    access::Credential,
    accounts,
    core::Core,
    http::{
        parameters::Path,
        problem::{Answer, Rejection, json, parse},
        sessions,
        who::{self, Address, Shown, Who},
    },
};

/// `GET /account`
pub(crate) async fn own(State(core): State<Arc<Core>>, Who(who): Who, shown: Shown) -> Answer<Json<OwnView>> {
    Ok(Json(accounts::own(&core, &who, shown.credential()).await?))
}

/// `PUT /account/password`: the session that asks goes on under a new id, all others have ended.
pub(crate) async fn change_password(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    Address(from): Address,
    session: Session,
    request: Request<Body>,
) -> Answer<StatusCode> {
    let change: ChangePassword = json(request).await?;
    let _moves = core.access.moves(&who.subject);
    let signed_in = accounts::change_password(&core, &who, shown.credential(), change, from).await?;
    who::begin(&session, &signed_in).await?;
    if let Some(id) = session.id() {
        accounts::password_changed(&core, &who, Credential::Session(sessions::key(&id), signed_in));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /accounts`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<AccountView>>> {
    Ok(Json(accounts::accounts(&core, &who).await?))
}

/// `PATCH /accounts/{id}`
pub(crate) async fn change(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Answer<Json<AccountView>> {
    let id = parse("The account's id", &id)?;
    let wanted: ChangeAccount = json(request).await?;
    Ok(Json(accounts::change_account(&core, &who, id, wanted).await?))
}

/// `DELETE /accounts/{id}`
pub(crate) async fn remove(State(core): State<Arc<Core>>, Who(who): Who, Path(id): Path<String>) -> Answer<StatusCode> {
    accounts::remove_account(&core, &who, parse("The account's id", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /invitations`
pub(crate) async fn invite(State(core): State<Arc<Core>>, Who(who): Who, request: Request<Body>) -> Answer<Response> {
    let wanted: NewInvitation = json(request).await?;
    Ok((StatusCode::CREATED, Json(accounts::invite(&core, &who, wanted).await?)).into_response())
}

/// `GET /invitations`
pub(crate) async fn invitations(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<InvitationView>>> {
    Ok(Json(accounts::invitations(&core, &who).await?))
}

/// `DELETE /invitations/{id}`
pub(crate) async fn revoke_invitation(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Rejection> {
    accounts::revoke_invitation(&core, &who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
