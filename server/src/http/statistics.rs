//! Statistics of builds, by day.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use wire::{
    PipelineName, Problem,
    authority::Need,
    statistics::{DAYS, DAYS_MAX, StatsView},
};

use crate::{
    core::Core,
    http::{
        builds::pairs,
        parameters::Path,
        problem::{Answer, pipeline_name},
        who::Who,
    },
    queries,
};

/// `GET /pipelines/{name}/stats?days=`
pub(crate) async fn of_pipeline(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<StatsView>> {
    let (name, days) = (pipeline_name(&name)?, days(query.as_deref())?);
    queries::pipeline(&core, &who, &name).await?; // 404 where there is none.
    statistics(&core, Some(&name), days).await
}

/// `GET /stats?days=`
pub(crate) async fn of_all(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    RawQuery(query): RawQuery,
) -> Answer<Json<StatsView>> {
    who.need(Need::SeeAll)?;
    statistics(&core, None, days(query.as_deref())?).await
}

async fn statistics(core: &Core, pipeline: Option<&PipelineName>, days: u32) -> Answer<Json<StatsView>> {
    Ok(Json(core.store.statistics(pipeline, days).await.map_err(queries::store_problem)?))
}

fn days(query: Option<&str>) -> Answer<u32> {
    let mut days = DAYS;
    for (name, value) in pairs(query.unwrap_or_default()) {
        match name {
            _ if value.is_empty() => {}
            "days" => {
                days = value.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(|| {
                    let sentence = format!("`days` is {value:?}; it must be a number from 1 to {DAYS_MAX}.");
                    Problem::new(400, "Invalid parameter", sentence)
                })?;
            }
            other => {
                let sentence = format!("`{other}` is not known here: use days.");
                return Err(Problem::new(400, "Invalid parameter", sentence).into());
            }
        }
    }
    Ok(days)
}
