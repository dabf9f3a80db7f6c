//! What the pages of people, of tokens and of the audit log read.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use wire::{
    Problem, Timestamp,
    account::{AccountView, InvitationView, TokenView},
    audit::AuditEntry,
    authority::Grants,
};

use super::{PageError, Stamped};
#[cfg(feature = "ssr")]
use super::{address, backend, stamped};
use crate::json::JsonAnswer;

/// The page of the people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeoplePage {
    /// All accounts.
    pub accounts: Vec<AccountView>,
    /// Invitations that can still be used.
    pub invitations: Vec<InvitationView>,
    /// Pipelines in which one can have a role.
    pub pipelines: Vec<String>,
}

/// The page of the tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokensPage {
    /// One's own, or all for an admin.
    pub tokens: Vec<TokenView>,
    /// Pipelines in which one can have a role.
    pub pipelines: Vec<String>,
}

/// The page of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Whose entries were asked for; empty for all.
    pub name: String,
    /// Of which kind; empty for all.
    pub action: String,
    /// About which pipeline; empty for all.
    pub pipeline: String,
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// Where it goes on with older ones.
    pub older: Option<String>,
    /// Where all of them are had as lines of JSON.
    pub download: String,
    /// Pipelines that can be chosen.
    pub pipelines: Vec<String>,
    /// What is wrong with the question.
    pub problem: Option<Problem>,
}

/// What a link that was opened without a session is good for; none for one that can be used no more. The server provides it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invited(pub Option<Gives>);

/// What an invitation gives, as who was invited may know it: without what admins noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gives {
    /// To whom uses it.
    pub grants: Grants,
    /// Who made it.
    pub invited_by: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl From<InvitationView> for Gives {
    fn from(InvitationView { grants, invited_by, expires_at, .. }: InvitationView) -> Self {
        Self { grants, invited_by, expires_at }
    }
}

#[cfg(feature = "ssr")]
async fn pipeline_names() -> Result<Vec<String>, PageError> {
    let all = backend()?.pipelines().await.map_err(PageError)?;
    Ok(all.into_iter().map(|pipeline| pipeline.name.to_string()).collect())
}

/// Reads the page of the people.
#[server(prefix = "/api/page", endpoint = "people", output = JsonAnswer)]
pub async fn read_people() -> Result<Stamped, PageError> {
    let backend = backend()?;
    let accounts = backend.accounts().await.map_err(PageError)?;
    let invitations = backend.invitations().await.map_err(PageError)?;
    stamped(PeoplePage { accounts, invitations, pipelines: pipeline_names().await? })
}

/// Reads the page of the tokens. A program that has none of its own is shown none.
#[server(prefix = "/api/page", endpoint = "tokens", output = JsonAnswer)]
pub async fn read_tokens() -> Result<Stamped, PageError> {
    let tokens = match backend()?.tokens().await {
        Err(problem) if problem.status == 403 => Vec::new(),
        tokens => tokens.map_err(PageError)?,
    };
    stamped(TokensPage { tokens, pipelines: pipeline_names().await? })
}

/// Reads the page of the audit log.
#[server(prefix = "/api/page", endpoint = "audit", output = JsonAnswer)]
pub async fn read_audit(
    /// Whose entries, unless it is empty.
    name: String,
    /// Of which kind, unless it is empty.
    action: String,
    /// About which pipeline, unless it is empty.
    pipeline: String,
    /// Behind this one, unless it is empty.
    before: String,
) -> Result<Stamped, PageError> {
    let name = name.trim().to_owned();
    let asked = [("name", name.as_str()), ("action", &action), ("pipeline", &pipeline)];
    let query = wire::audit::AuditQuery {
        before: before.parse().ok(),
        name: Some(name.clone()).filter(|name| !name.is_empty()),
        action: action.parse().ok(),
        pipeline: pipeline.parse().ok(),
        ..wire::audit::AuditQuery::default()
    };
    let unknown = [
        ("action", !action.is_empty() && query.action.is_none()),
        ("pipeline", !pipeline.is_empty() && query.pipeline.is_none()),
    ];
    let problem = unknown.iter().find(|(_, unknown)| *unknown).map(|(what, _)| {
        Problem::new(400, "Invalid parameter", format!("The {what} in the address is not one: choose one of the list."))
    });
    let entries = match problem {
        None => backend()?.audit(query).await.map_err(PageError)?,
        Some(_) => Vec::new(),
    };
    let is_full = entries.len() >= usize::try_from(wire::audit::AUDIT_LIMIT).unwrap_or(usize::MAX);
    let last = entries.last().filter(|_| is_full).map(|last| last.id.to_string());
    let older = last.map(|last| address("/audit", asked.into_iter().chain([("before", last.as_str())])));
    let limit = wire::audit::AUDIT_LIMIT_MAX.to_string();
    let download = address("/api/v1/audit", asked.into_iter().chain([("limit", limit.as_str()), ("format", "ndjson")]));
    stamped(AuditPage { name, action, pipeline, entries, older, download, pipelines: pipeline_names().await?, problem })
}
