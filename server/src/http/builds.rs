//! Builds: starting, reading, cancelling, running again. Their events stand in `events.rs`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use wire::{
    Authority, BuildId, Problem,
    command::{BUILDS_LIMIT_MAX, BuildsQuery, Retry, Trigger},
    view::{BuildSummary, BuildView, State as BuildState},
};

use crate::{
    commands,
    core::Core,
    http::{
        parameters::Path,
        problem::{Answer, header_text, json, parse, pipeline_name},
        who::{Shown, Who},
    },
    queries,
};

/// `Prefer: wait` waits at most so long, in seconds.
const WAIT_SECONDS_MAX: u64 = 300;

/// `POST /pipelines/{name}/builds`
pub(crate) async fn trigger(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    shown: Shown,
    Path(name): Path<String>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Answer<Response> {
    let name = pipeline_name(&name)?;
    let trigger: Trigger = json(request).await?;
    let key = header_text(&headers, "idempotency-key")?;
    let wait = wait_seconds(&headers);
    let summary = commands::trigger(&core, &who, &name, &trigger, key).await?;
    let location = (header::LOCATION, format!("/api/v1/builds/{}", summary.id));
    if let Some(wait) = wait {
        // It ends with the authority of who asked.
        let held = shown.hold(&core, &who);
        let waiting = async {
            tokio::select! {
                view = wait_for(&core, &who, summary.id) => view,
                () = held.ended.cancelled() => None,
            }
        };
        // Whatever the waiting comes to, the build is accepted, and so it is answered.
        if let Ok(Some(view)) = tokio::time::timeout(Duration::from_secs(wait), waiting).await {
            let applied = (HeaderName::from_static("preference-applied"), format!("wait={wait}"));
            return Ok((StatusCode::OK, [location, applied], Json(view)).into_response());
        }
    }
    Ok((StatusCode::ACCEPTED, [location], Json(summary)).into_response())
}

/// The build once it has finished, in whichever process that was; none if that cannot be told here.
async fn wait_for(core: &Core, who: &Authority, id: BuildId) -> Option<BuildView> {
    let mut waiter = core.hub.build(id);
    loop {
        let view = queries::build(core, who, id).await.ok()?;
        if view.summary.state == BuildState::Finished {
            return Some(view);
        }
        if !waiter.end().await {
            return None;
        }
    }
}

/// The seconds of `Prefer: wait=n` (RFC 7240), at most [`WAIT_SECONDS_MAX`]. What is not understood is ignored, as the RFC asks.
fn wait_seconds(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").into_iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .find_map(|preference| {
            let (name, seconds) = preference.split_once('=')?;
            let wait = name.trim().eq_ignore_ascii_case("wait");
            if wait { seconds.trim().trim_matches('"').parse::<u64>().ok() } else { None }
        })
        .map(|seconds| seconds.min(WAIT_SECONDS_MAX))
}

/// `GET /builds?pipeline=&number=&state=&outcome=&before=&after=&limit=`
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<BuildSummary>>> {
    let mut wanted = BuildsQuery::default();
    for (name, value) in pairs(query.as_deref().unwrap_or_default()) {
        match name {
            _ if value.is_empty() => {}
            "pipeline" => wanted.pipeline = Some(pipeline_name(value)?),
            "number" => wanted.number = Some(parse("`number`", value)?),
            "state" => wanted.state = Some(parse("`state`", value)?),
            "outcome" => wanted.outcome = Some(parse("`outcome`", value)?),
            "after" => wanted.after = Some(parse("`after`", value)?),
            "before" => wanted.before = Some(parse("`before`", value)?),
            "limit" => wanted.limit = Some(limit(value, BUILDS_LIMIT_MAX)?),
            other => {
                let sentence =
                    format!("`{other}` is not known here: use pipeline, number, state, outcome, before, after, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    Ok(Json(queries::builds(&core, &who, &wanted).await?))
}

/// How many are wanted, of `most` that there may be in one answer.
pub(crate) fn limit(value: &str, most: u32) -> Answer<u32> {
    match parse("`limit`", value)? {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Problem::new(400, "Invalid parameter", format!("`limit` must be 1 to {most}.")).into()),
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

/// `DELETE /builds/{id}`
pub(crate) async fn delete(State(core): State<Arc<Core>>, Who(who): Who, Path(id): Path<String>) -> Answer<StatusCode> {
    commands::delete(&core, &who, parse("The build's id", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn accepted(id: BuildId, summary: BuildSummary) -> Response {
    (StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/builds/{id}"))], Json(summary)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_preference_is_found_among_others_and_bounded() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            wait_seconds(&headers)
        };
        assert_eq!(read("wait=30"), Some(30));
        assert_eq!(read("respond-async, Wait=\"5\""), Some(5));
        assert_eq!(read("wait=100000"), Some(WAIT_SECONDS_MAX));
        assert_eq!(read("wait=soon"), None);
        assert_eq!(read("return=minimal"), None);
    }
}
