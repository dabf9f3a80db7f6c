//! `GET /api/v1/search?q=&pipeline=&kind=&before=&limit=`: hits in all logs and builds, newest first.

use std::sync::Arc;

use axum::{Json, extract::State};
use wire::{
    Problem,
    search::{SEARCH_LIMIT_MAX, SearchPage, SearchQuery},
};

use crate::{
    core::Core,
    http::{
        builds::limit,
        parameters::Query,
        problem::{Answer, parse, pipeline_name},
        who::Who,
    },
};

/// Answers with a page of hits.
pub(crate) async fn search(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Answer<Json<SearchPage>> {
    let mut wanted = SearchQuery::default();
    for (name, value) in pairs {
        match name.as_str() {
            "q" => wanted.q = value,
            _ if value.is_empty() => {}
            "pipeline" => wanted.pipeline = Some(pipeline_name(&value)?),
            "kind" => wanted.kind = Some(parse("`kind`", &value)?),
            "before" => wanted.before = Some(parse("`before`", &value)?),
            "limit" => wanted.limit = Some(limit(&value, SEARCH_LIMIT_MAX)?),
            other => {
                let sentence = format!("`{other}` is not known here: use q, pipeline, kind, before, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    Ok(Json(crate::search::search(&core, &who, &wanted).await?))
}
