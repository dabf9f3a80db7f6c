//! `GET /api/v1/audit`: who did what, and when. A page of it as JSON; with `Accept: application/x-ndjson`, or
//! `format=ndjson` for links, an entry a line.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use wire::{
    Problem,
    audit::{AUDIT_LIMIT_MAX, AuditQuery},
};

use crate::{
    accounts,
    core::Core,
    http::{
        builds::limit,
        parameters::Query,
        problem::{Answer, header_text, parse, pipeline_name},
        who::Who,
    },
};

/// Answers with a page, the newest first.
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let mut wanted = AuditQuery::default();
    let mut as_lines = header_text(&headers, "accept")?.is_some_and(|accept| accept.contains("application/x-ndjson"));
    for (name, value) in pairs {
        match name.as_str() {
            _ if value.is_empty() => {}
            "before" => wanted.before = Some(parse("`before`", &value)?),
            "limit" => wanted.limit = Some(limit(&value, AUDIT_LIMIT_MAX)?),
            "pipeline" => wanted.pipeline = Some(pipeline_name(&value)?),
            "account" => wanted.account = Some(parse("`account`", &value)?),
            "name" => wanted.name = Some(value),
            "action" => wanted.action = Some(parse("`action`", &value)?),
            "format" if value == "ndjson" => as_lines = true,
            "format" => {
                let sentence = "`format` must be `ndjson`; without it the answer is JSON.";
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
            other => {
                let sentence =
                    format!("`{other}` is not known here: use before, limit, pipeline, account, name, action, format.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    let entries = accounts::audit(&core, &who, &wanted).await?;
    if !as_lines {
        return Ok(Json(entries).into_response());
    }
    let mut body = Vec::with_capacity(entries.len() * 256);
    for entry in &entries {
        // Numbers and text only: their encoding does not fail.
        let _ = serde_json::to_writer(&mut body, entry);
        body.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
