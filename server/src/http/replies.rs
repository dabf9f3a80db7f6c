//! Results and how they are told: what was not received, a person's word that it was, another try, and the secret that
//! webhooks are signed with.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use wire::{Problem, authority::Need, view::BuildSummary, webhook::WebhookSecret};

use crate::{
    commands,
    core::Core,
    http::{
        builds::{limit, pairs},
        parameters::{Path, Query},
        problem::{Answer, parse},
        who::Who,
    },
    queries,
};

/// Results in one answer.
const RESULTS_LIMIT_MAX: u32 = 500;

/// `GET /results?received=false&limit=`
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<BuildSummary>>> {
    let (mut is_named, mut most) = (false, queries::RESULTS_LIMIT);
    for (name, value) in pairs(query.as_deref().unwrap_or_default()) {
        match (name, value) {
            ("received", "false") => is_named = true,
            ("limit", value) => most = limit(value, RESULTS_LIMIT_MAX)?,
            _ => {
                let sentence = format!("`{name}={value}` is not known here: use received=false, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    if !is_named {
        let sentence = "Only results that were not received are listed: send `received=false` along.";
        return Err(Problem::new(400, "Invalid parameter", sentence).into());
    }
    Ok(Json(queries::not_received(&core, &who, most).await?))
}

/// `POST /builds/{id}/receipt`
pub(crate) async fn receipt(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    commands::acknowledge(&core, &who, parse("The build's id", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /builds/{id}/reply`
pub(crate) async fn try_now(State(core): State<Arc<Core>>, Who(who): Who, Path(id): Path<String>) -> Answer<Response> {
    let reply = commands::try_reply_now(&core, &who, parse("The build's id", &id)?).await?;
    Ok((StatusCode::ACCEPTED, Json(reply)).into_response())
}

#[derive(Serialize)]
struct Secret {
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    /// Any address of the receiver.
    url: Option<String>,
}

/// `GET /webhook-secret?url=`
pub(crate) async fn webhook_secret(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Query(receiver): Query<Receiver>,
) -> Answer<Response> {
    who.need(Need::Run)?;
    let invalid = |sentence: String| Problem::new(400, "Invalid parameter", sentence);
    let url = receiver.url.ok_or_else(|| {
        let sentence =
            "Each receiver has a secret of its own: send its address along, such as `url=https://example.org`.";
        invalid(sentence.to_owned())
    })?;
    let secret = WebhookSecret::of(&core.key, &url).map_err(|why| invalid(format!("{why}.")))?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(Secret { secret: secret.reveal() })).into_response())
}
