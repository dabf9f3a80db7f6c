//! `/api/v1/tokens`: tokens for programs, no wider than who makes them.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use wire::account::{NewToken, TokenView};

use crate::{
    core::Core,
    http::{
        parameters::Path,
        problem::{Answer, json},
        who::{Shown, Who},
    },
    tokens,
};

/// `GET /tokens`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who, shown: Shown) -> Answer<Json<Vec<TokenView>>> {
    Ok(Json(tokens::tokens(&core, &who, shown.credential()).await?))
}

/// `POST /tokens`: the token is in this answer and nowhere else.
pub(crate) async fn create(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    request: Request<Body>,
) -> Answer<Response> {
    tokens::may_make_tokens(&who, shown.credential())?;
    let wanted: NewToken = json(request).await?;
    let made = tokens::create_token(&core, &who, shown.credential(), wanted).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// `DELETE /tokens/{id}`
pub(crate) async fn revoke(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    tokens::revoke_token(&core, &who, shown.credential(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
