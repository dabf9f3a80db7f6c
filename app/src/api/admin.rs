//! What only admins read: the secrets and hooks of a pipeline, and the secrets of the installation.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use wire::{PipelineName, hook::HookView, pipeline::OnSpec, secret::SecretsView};

use super::{PageError, Stamped};
#[cfg(feature = "ssr")]
use super::{backend, stamped};
use crate::json::JsonAnswer;

/// What the page of a pipeline shows to its admins besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminPage {
    /// Its secrets, and what its jobs want.
    pub secrets: SecretsView,
    /// Its hooks.
    pub hooks: Vec<HookView>,
    /// What of their deliveries is built; nothing where the pipeline does not say.
    pub on: Option<OnSpec>,
}

/// Reads it.
#[server(prefix = "/api/page", endpoint = "pipeline_admin", output = JsonAnswer)]
pub async fn read_pipeline_admin(
    /// Of which pipeline.
    name: PipelineName,
) -> Result<Stamped, PageError> {
    let backend = backend()?;
    let secrets = backend.secrets(Some(name.clone())).await.map_err(PageError)?;
    let hooks = backend.hooks(name.clone()).await.map_err(PageError)?;
    let on = backend.built_on(name).await.map_err(PageError)?;
    stamped(AdminPage { secrets, hooks, on })
}

/// Reads the page of the installation's secrets.
#[server(prefix = "/api/page", endpoint = "secrets", output = JsonAnswer)]
pub async fn read_secrets() -> Result<Stamped, PageError> {
    stamped(backend()?.secrets(None).await.map_err(PageError)?)
}
