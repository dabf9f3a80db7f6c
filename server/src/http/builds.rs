//! `/api/v1/builds`: reading, cancelling, running again. Starting one stands in `pipelines.rs`, their events in `events.rs`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use wire::{
    BuildId, Problem,
    command::{BUILDS_LIMIT_MAX, BuildsQuery, Retry},
    view::{BuildSummary, BuildView},
};

use crate::{
    commands,
    core::Core,
    http::{
        problem::{Answer, json, parse},
        who::Who,
    },
    queries,
};

/// `GET /builds?pipeline=&state=&before=&limit=`
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<BuildSummary>>> {
    let mut wanted = BuildsQuery::default();
    for (name, value) in pairs(query.as_deref().unwrap_or_default()) {
        match name {
            _ if value.is_empty() => {}
            "pipeline" => wanted.pipeline = Some(parse("`pipeline`", value)?),
            "state" => wanted.state = Some(parse("`state`", value)?),
            "before" => wanted.before = Some(parse("`before`", value)?),
            "limit" => wanted.limit = Some(limit(value)?),
            other => {
                let sentence = format!("`{other}` is not known here: use pipeline, state, before, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    Ok(Json(queries::builds(&core, &who, &wanted).await?))
}

fn limit(value: &str) -> Answer<u32> {
    match parse("`limit`", value)? {
        limit @ 1..=BUILDS_LIMIT_MAX => Ok(limit),
        _ => Err(Problem::new(400, "Invalid parameter", format!("`limit` must be 1 to {BUILDS_LIMIT_MAX}.")).into()),
    }
}

/// The pairs of a query string. Names and values here are plain ASCII: nothing is percent-decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// `GET /builds/{id}`
pub(crate) async fn show(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<Json<BuildView>> {
    Ok(Json(queries::build(&core, &who, parse("The build's id", &id)?).await?))
}

/// `POST /builds/{id}/cancel`
pub(crate) async fn cancel(State(core): State<Arc<Core>>, Who(who): Who, Path(id): Path<String>) -> Answer<Response> {
    let id = parse("The build's id", &id)?;
    Ok(accepted(id, commands::cancel(&core, &who, id).await?))
}

/// `POST /builds/{id}/retry`
pub(crate) async fn retry(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Answer<Response> {
    let id = parse("The build's id", &id)?;
    let wanted: Retry = json(request).await?;
    Ok(accepted(id, commands::retry(&core, &who, id, wanted).await?))
}

fn accepted(id: BuildId, summary: BuildSummary) -> Response {
    (StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/builds/{id}"))], Json(summary)).into_response()
}
