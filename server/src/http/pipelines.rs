//! `/api/v1/pipelines`: what people wrote. Starting builds of it stands in `builds.rs`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use wire::{Authority, PipelineName, pipeline::etag, view::PipelineSummary};

use crate::{
    commands,
    core::Core,
    http::{
        parameters::Path,
        problem::{Answer, header_text, pipeline_name, text},
        who::Who,
    },
    precondition::Precondition,
    queries,
};

/// `GET /pipelines`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<PipelineSummary>>> {
    Ok(Json(queries::pipelines(&core, &who).await?))
}

/// `GET /pipelines/{name}`
pub(crate) async fn show(State(core): State<Arc<Core>>, Who(who): Who, Path(name): Path<String>) -> Answer<Response> {
    let view = queries::pipeline(&core, &who, &pipeline_name(&name)?).await?;
    Ok(([(header::ETAG, etag(&view.yaml))], Json(view)).into_response())
}

/// `PUT /pipelines/{name}`: the YAML (or JSON) is the body. With `If-None-Match: *` it is only created, with `If-Match` it
/// replaces only the text that was meant.
pub(crate) async fn put(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Answer<Response> {
    write(&core, &who, Some(&pipeline_name(&name)?), request).await
}

/// `POST /pipelines`: the same under the name that stands in the text.
pub(crate) async fn post(State(core): State<Arc<Core>>, Who(who): Who, request: Request<Body>) -> Answer<Response> {
    write(&core, &who, None, request).await
}

async fn write(core: &Core, who: &Authority, name: Option<&PipelineName>, request: Request<Body>) -> Answer<Response> {
    let wanted = precondition(request.headers())?;
    let text = text(request).await?;
    let (name, created) = commands::put_pipeline(core, who, name, &text, &wanted).await?;
    let view = queries::pipeline(core, who, &name).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    // Of the text that was written: another one may have come since, and is not to be taken for it.
    let headers = [(header::LOCATION, format!("/api/v1/pipelines/{name}")), (header::ETAG, etag(&text))];
    Ok((status, headers, Json(view)).into_response())
}

fn precondition(headers: &HeaderMap) -> Answer<Precondition> {
    let tags = |name| header_text(headers, name).map(|tags| tags.map(str::to_owned));
    Ok(Precondition { if_match: tags("if-match")?, if_none_match: tags("if-none-match")? })
}
