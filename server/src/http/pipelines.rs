//! `/api/v1/pipelines`: what people wrote. Starting builds of it stands in `builds.rs`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use wire::{
    Authority, PipelineName,
    view::{PipelineSummary, PipelineView},
};

use crate::{
    commands,
    core::Core,
    http::{
        problem::{Answer, pipeline_name, text},
        who::Who,
    },
    queries,
};

/// `GET /pipelines`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<PipelineSummary>>> {
    Ok(Json(queries::pipelines(&core, &who).await?))
}

/// `GET /pipelines/{name}`
pub(crate) async fn show(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<Json<PipelineView>> {
    Ok(Json(queries::pipeline(&core, &who, &pipeline_name(&name)?).await?))
}

/// `PUT /pipelines/{name}`: the YAML (or JSON) is the body.
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
    let text = text(request).await?;
    let (name, created) = commands::put_pipeline(core, who, name, &text).await?;
    let view = queries::pipeline(core, who, &name).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, format!("/api/v1/pipelines/{name}"))], Json(view)).into_response())
}
