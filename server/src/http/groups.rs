//! Consumer groups: how each stands, and what a person wishes of it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use store::groups::Change;
use wire::group::GroupView;

use crate::{
    core::Core,
    groups,
    http::{problem::Answer, who::Who},
};

/// `GET /groups`
pub(crate) async fn list(State(core): State<Arc<Core>>, Who(who): Who) -> Answer<Json<Vec<GroupView>>> {
    Ok(Json(groups::views(&core, &who).await?))
}

/// `POST /groups/{name}/pause`
pub(crate) async fn pause(state: State<Arc<Core>>, who: Who, name: Path<String>) -> Answer<StatusCode> {
    change(state, who, name, Change::Pause).await
}

/// `POST /groups/{name}/resume`
pub(crate) async fn resume(state: State<Arc<Core>>, who: Who, name: Path<String>) -> Answer<StatusCode> {
    change(state, who, name, Change::Resume).await
}

/// `POST /groups/{name}/rebuild`
pub(crate) async fn rebuild(state: State<Arc<Core>>, who: Who, name: Path<String>) -> Answer<StatusCode> {
    change(state, who, name, Change::Rebuild).await
}

async fn change(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
    change: Change,
) -> Answer<StatusCode> {
    groups::change(&core, &who, &name, change).await?;
    Ok(StatusCode::ACCEPTED)
}
