//! Hooks: `/api/v1/pipelines/{name}/hooks` for the admins of a pipeline, `/api/v1/hooks/{id}` for those who call them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;
use wire::{
    HookId, Problem,
    hook::{Delivered, HookView, NewHook},
};

use crate::{
    core::Core,
    hooks::{self, BODY_BYTES_MAX},
    http::{
        address, objects,
        parameters::Path,
        problem::{Answer, Rejection, json, parse, pipeline_name},
        who::Who,
    },
};

/// So much of a body that is not looked at is still taken from the line, and for so long.
const DRAINED_BYTES_MAX: usize = 256 * 1024;
const DRAINED_WITHIN: Duration = Duration::from_secs(5);
/// How long a delivery may take to arrive; its senders give up after 10 s themselves.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// `GET /pipelines/{name}/hooks`
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<Json<Vec<HookView>>> {
    Ok(Json(hooks::list(&core, &who, &pipeline_name(&name)?).await?))
}

/// `POST /pipelines/{name}/hooks`: the secret is in this answer.
pub(crate) async fn create(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer<Response> {
    let name = pipeline_name(&name)?;
    let wanted: NewHook = json(request).await?;
    let made = hooks::create(&core, &who, &name, wanted).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// `POST /pipelines/{name}/hooks/{id}/rotate`: another secret, which is in this answer.
pub(crate) async fn rotate(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path((name, id)): Path<(String, String)>,
) -> Answer<Response> {
    let (name, id) = (pipeline_name(&name)?, parse("The hook's id", &id)?);
    let hook = hooks::rotate(&core, &who, &name, id).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(hook)).into_response())
}

/// `DELETE /pipelines/{name}/hooks/{id}`
pub(crate) async fn delete(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path((name, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let (name, id) = (pipeline_name(&name)?, parse("The hook's id", &id)?);
    hooks::delete(&core, &who, &name, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /hooks/{id}`: a delivery, by its signature alone.
pub(crate) async fn deliver(
    State(core): State<Arc<Core>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Answer<Response> {
    let from = address::of_client(&core.trusted_proxies, peer.ip(), request.headers());
    let id: HookId = parse("The hook's id", &id)?;
    if let Some(wait) = core.hook_refusals.wait(id, from, Instant::now()) {
        drain(request.into_body()).await;
        let sentence = "Too many deliveries to this hook were refused: they are looked at again in a minute.";
        let mut response = Rejection(Problem::new(429, "Too many refusals", sentence)).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        return Ok(response);
    }
    let (head, body) = request.into_parts();
    let header =
        |name: &'static str| head.headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok());
    let announced = match hooks::announced(&core, id, from, header).await {
        Ok(announced) => announced,
        Err(problem) => {
            drain(body).await;
            return Err(problem.into());
        }
    };
    let is_json =
        header("content-type").is_some_and(|kind| kind.split(';').next().unwrap_or("").trim() == "application/json");
    if !is_json {
        let sentence = "A delivery must have the content type application/json: choose it where the hook is set up.";
        return Err(Problem::new(415, "Not JSON", sentence).into());
    }
    let too_large = || {
        let sentence = format!("A delivery may have {BODY_BYTES_MAX} bytes at most.");
        Problem::new(413, "Body too large", sentence)
    };
    if objects::declared_length(&head.headers).is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large().into());
    }
    let Ok(body) = timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await else {
        let sentence = format!("The body was not there within {} s.", BODY_WITHIN.as_secs());
        return Err(Problem::new(408, "Body too slow", sentence).into());
    };
    let body = body.map_err(|failure| {
        // axum tells a body that broke off and one that is too long apart by its source only.
        let is_long = std::error::Error::source(&failure).is_some_and(|source| source.to_string().contains("limit"));
        if is_long { too_large() } else { Problem::new(400, "Incomplete body", "The body broke off before its end.") }
    })?;
    let delivered = hooks::deliver(&core, announced, from, &body).await?;
    let location = match &delivered {
        Delivered::Built { build, .. } => Some((header::LOCATION, format!("/api/v1/builds/{build}"))),
        Delivered::Ignored { .. } => None,
    };
    let mut response = (StatusCode::ACCEPTED, Json(&delivered)).into_response();
    if let Some((name, value)) = location.and_then(|(name, value)| Some((name, value.parse().ok()?))) {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Who is still sending hears a refusal only afterwards.
async fn drain(body: Body) {
    let _ = timeout(DRAINED_WITHIN, to_bytes(body, DRAINED_BYTES_MAX)).await;
}
