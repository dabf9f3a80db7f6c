//! Writes about secrets and hooks. A secret's value goes out and never comes back.

use wire::{
    HookId, PipelineName, Problem,
    hook::{NewHook, Provider, ShownHook},
};

use super::{JSON, send, unreadable, written};
use crate::{browser::encoded, json};

/// Where a secret is: of a pipeline, or of the installation. Its name is as somebody has typed it.
fn place(pipeline: Option<&PipelineName>, name: &str) -> String {
    let of = pipeline.map(|pipeline| format!("/pipelines/{pipeline}")).unwrap_or_default();
    format!("/api/v1{of}/secrets/{}", encoded(name))
}

/// Gives a secret its value. `allowed` names, separated by commas, the only pipelines that may use one of the installation;
/// nothing leaves that as it is: a new one is for all.
///
/// # Errors
/// What is wrong with its name or its value, or that the server cannot be reached.
pub async fn put_secret(
    pipeline: Option<PipelineName>,
    name: String,
    value: String,
    allowed: String,
) -> Result<(), Problem> {
    let mut place = place(pipeline.as_ref(), &name);
    let allowed: String = allowed.chars().filter(|letter| !letter.is_whitespace()).collect();
    if pipeline.is_none() && !allowed.is_empty() {
        place += &format!("?allow={}", encoded(&allowed));
    }
    send("PUT", &place, "text/plain", None, Some(value)).await.map(drop)
}

/// Forgets a secret.
///
/// # Errors
/// When it is not there any more, or the server cannot be reached.
pub async fn remove_secret(pipeline: Option<PipelineName>, name: String) -> Result<(), Problem> {
    send("DELETE", &place(pipeline.as_ref(), &name), JSON, None, None).await.map(drop)
}

/// Makes a hook; its secret is in the answer and nowhere else.
///
/// # Errors
/// When the pipeline has as many as it may have, or the server cannot be reached.
pub async fn make_hook(pipeline: PipelineName, provider: Provider) -> Result<ShownHook, Problem> {
    let body = Some(written(&NewHook { provider })?);
    let answer = send("POST", &format!("/api/v1/pipelines/{pipeline}/hooks"), JSON, None, body).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Gives a hook another secret, which is in the answer and nowhere else.
///
/// # Errors
/// When it is not there any more, or the server cannot be reached.
pub async fn rotate_hook(pipeline: PipelineName, id: HookId) -> Result<ShownHook, Problem> {
    let answer = send("POST", &format!("/api/v1/pipelines/{pipeline}/hooks/{id}/rotate"), JSON, None, None).await?;
    json::read(&answer.body).map_err(unreadable)
}

/// Removes a hook.
///
/// # Errors
/// When it is not there any more, or the server cannot be reached.
pub async fn remove_hook(pipeline: PipelineName, id: HookId) -> Result<(), Problem> {
    send("DELETE", &format!("/api/v1/pipelines/{pipeline}/hooks/{id}"), JSON, None, None).await.map(drop)
}
