//! Dead letters: what could not be processed, and what a person decides on it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use wire::{
    Problem,
    dead_letter::{DEAD_LETTERS_LIMIT_MAX, DeadLetterBody, DeadLetterView, DeadLettersQuery},
};

use crate::{
    commands,
    core::Core,
    http::{
        builds::{limit, pairs},
        parameters::Path,
        problem::{Answer, parse},
        who::Who,
    },
    queries,
};

/// `GET /dead-letters?state=&before=&limit=`
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<DeadLetterView>>> {
    let mut wanted = DeadLettersQuery::default();
    for (name, value) in pairs(query.as_deref().unwrap_or_default()) {
        match name {
            _ if value.is_empty() => {}
            "state" => wanted.state = Some(parse("`state`", value)?),
            "before" => wanted.before = Some(parse("`before`", value)?),
            "limit" => wanted.limit = Some(limit(value, DEAD_LETTERS_LIMIT_MAX)?),
            other => {
                let sentence = format!("`{other}` is not known here: use state, before, limit.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    Ok(Json(queries::dead_letters(&core, &who, &wanted).await?))
}

/// `GET /dead-letters/{id}`
pub(crate) async fn show(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<Json<DeadLetterBody>> {
    Ok(Json(queries::dead_letter(&core, &who, parse("The dead letter's id", &id)?).await?))
}

/// `POST /dead-letters/{id}/retry`
pub(crate) async fn retry(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<Json<DeadLetterView>> {
    Ok(Json(commands::retry_dead_letter(&core, &who, parse("The dead letter's id", &id)?).await?))
}

/// `POST /dead-letters/{id}/discard`
pub(crate) async fn discard(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Answer<Json<DeadLetterView>> {
    Ok(Json(commands::discard_dead_letter(&core, &who, parse("The dead letter's id", &id)?).await?))
}
