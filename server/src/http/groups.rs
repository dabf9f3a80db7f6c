//! Consumer groups: how each stands, and what a person wishes of it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use store::groups::Change;
use wire::{Problem, group::GroupView};

use crate::{
    core::Core,
    groups,
    http::{parameters::Path, problem::Answer, who::Who},
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
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        let sentence = format!("{name:?} cannot be the name of a group: those have letters, digits, `-` and `_`.");
        return Err(Problem::new(400, "Invalid parameter", sentence).into());
    }
    groups::change(&core, &who, &name, change).await?;
    Ok(StatusCode::ACCEPTED)
}
