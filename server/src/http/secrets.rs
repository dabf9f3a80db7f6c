//! `/api/v1/secrets` and `/api/v1/pipelines/{name}/secrets`: names of secrets, and values that only go in.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
};
use wire::{
    Authority, PipelineName, Problem,
    secret::{SecretName, SecretsView, VALUE_BYTES_MAX},
};

use crate::{
    core::Core,
    http::{
        builds::pairs,
        parameters::Path,
        problem::{Answer, Rejection, pipeline_name},
        who::Who,
    },
    secrets,
};

/// `GET /secrets`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<SecretsView>> {
    Ok(Json(secrets::of_installation(&core, &who).await?))
}

/// `GET /pipelines/{name}/secrets`
pub(crate) async fn list_of_pipeline(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(pipeline): Path<String>,
) -> Answer<Json<SecretsView>> {
    Ok(Json(secrets::of_pipeline(&core, &who, &pipeline_name(&pipeline)?).await?))
}

/// `PUT /secrets/{secret}`: the body is the value. `?allow=site,docs` names the only pipelines that may use it, `?allow=` lets
/// all.
pub(crate) async fn put(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer<StatusCode> {
    let name = secret_name(&name)?;
    let mut allowed = None;
    for (key, value) in pairs(request.uri().query().unwrap_or_default()) {
        if key != "allow" {
            let sentence = format!("`{key}` is not known here: use allow.");
            return Err(Problem::new(400, "Invalid parameter", sentence).into());
        }
        let names = value.replace("%2C", ",");
        let names = names.split(',').filter(|name| !name.is_empty()).map(pipeline_name);
        allowed = Some(names.collect::<Answer<Vec<_>>>()?);
    }
    write(&core, &who, None, &name, request, allowed).await
}

/// `PUT /pipelines/{name}/secrets/{secret}`: the body is the value.
pub(crate) async fn put_of_pipeline(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path((pipeline, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Answer<StatusCode> {
    write(&core, &who, Some(&pipeline_name(&pipeline)?), &secret_name(&name)?, request, None).await
}

/// `DELETE /secrets/{secret}`
pub(crate) async fn delete(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    secrets::delete(&core, &who, None, &secret_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /pipelines/{name}/secrets/{secret}`
pub(crate) async fn delete_of_pipeline(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path((pipeline, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    secrets::delete(&core, &who, Some(&pipeline_name(&pipeline)?), &secret_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn write(
    core: &Core,
    who: &Authority,
    pipeline: Option<&PipelineName>,
    name: &SecretName,
    request: Request<Body>,
    allowed: Option<Vec<PipelineName>>,
) -> Answer<StatusCode> {
    check_type(request.headers())?;
    let value = to_bytes(request.into_body(), VALUE_BYTES_MAX + 1).await;
    let value = value.map_err(|_| {
        let sentence = format!("The value broke off, or is longer than {VALUE_BYTES_MAX} bytes, which is the limit.");
        Rejection(Problem::new(413, "Body too large", sentence))
    })?;
    let created = secrets::put(core, who, pipeline, name, value.into(), allowed).await?;
    Ok(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// A form's body would become the value as it is encoded, which nobody means.
fn check_type(headers: &HeaderMap) -> Answer<()> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    if matches!(kind, "" | "text/plain" | "application/octet-stream") {
        return Ok(());
    }
    let sentence = "The body must be the value itself, sent as `text/plain` or `application/octet-stream`.";
    Err(Problem::new(415, "Unsupported type", sentence).into())
}

/// A secret's name from the address.
fn secret_name(text: &str) -> Answer<SecretName> {
    text.parse().map_err(|sentence| Problem::new(400, "Invalid parameter", format!("The {sentence}.")).into())
}
