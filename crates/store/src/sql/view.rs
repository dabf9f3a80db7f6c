//! What readers are shown of builds: lists, and one build with what is recorded of each job's last attempt, in a few
//! queries however many jobs there are.

use std::collections::HashMap;

use uuid::Uuid;
use wire::{
    ArtifactId, BuildId, JobId, Outcome, Position,
    authority::Grants,
    command::{BUILDS_LIMIT_MAX, BuildsQuery},
    trigger::TriggeredBy,
    view::{ArtifactView, BuildSummary, BuildView, JobView, State, StepView},
};

use super::{
    connection::{Connection, Row, query},
    replies,
    rows::{self, bytes},
    text,
};
use crate::{
    StoreError,
    model::{Job, JobState},
};

/// Builds in one answer, unless the query says how many.
const BUILDS_LIMIT: u32 = 50;

/// Columns of [`summary`].
pub(super) const SUMMARY: &str = "builds.id, builds.pipeline, builds.number, builds.state, builds.outcome, \
    builds.queued_at, builds.started_at, builds.finished_at, builds.jobs_finished, builds.jobs_total, \
    builds.triggered_by";
/// How many they are.
pub(super) const SUMMARY_COLUMNS: usize = 11;

/// A build in a list, from [`SUMMARY`].
pub(super) fn summary(row: &Row) -> Result<BuildSummary, StoreError> {
    Ok(BuildSummary {
        id: BuildId(rows::uuid(row, 0)?),
        pipeline: rows::parsed(row, 1)?,
        number: rows::number(row, 2)?,
        state: rows::parsed(row, 3)?,
        outcome: rows::outcome_if(row, 4)?,
        queued_at: rows::time(row, 5)?,
        started_at: rows::time_if(row, 6)?,
        finished_at: rows::time_if(row, 7)?,
        jobs_finished: rows::number(row, 8)?,
        jobs_total: rows::number(row, 9)?,
        triggered_by: trigger(row)?.map(|by| by.to_string()),
    })
}

fn trigger(row: &Row) -> Result<Option<TriggeredBy>, StoreError> {
    rows::json_if(row, 10)
}

/// Newest first.
pub(super) async fn builds(
    connection: &mut Connection,
    asked: &BuildsQuery,
    seen_by: &Grants,
) -> Result<Vec<BuildSummary>, StoreError> {
    let mut conditions = Vec::new();
    let seen: Vec<[&str; 1]> = seen_by.pipelines.keys().map(|name| [name.as_str()]).collect();
    if seen_by.everywhere.is_none() {
        conditions.push(text::pick(
            connection.dialect(),
            "pipeline IN (SELECT value ->> 0 FROM json_each(?8))",
            "pipeline IN (SELECT value ->> 0 FROM jsonb_array_elements(CAST(?8 AS jsonb)) AS each (value))",
        ));
    }
    if asked.pipeline.is_some() {
        conditions.push("pipeline = ?1");
    }
    if asked.state.is_some() {
        conditions.push("state = ?2");
    }
    if asked.before.is_some() {
        conditions.push("(queued_at, id) < (SELECT queued_at, id FROM builds WHERE id = ?3)");
    }
    match asked.outcome {
        None => {}
        Some(Outcome::Failed) => conditions.push("outcome IN ('failed', 'timed_out')"),
        Some(_) => conditions.push("outcome = ?5"),
    }
    if asked.after.is_some() {
        conditions.push("(queued_at, id) > (SELECT queued_at, id FROM builds WHERE id = ?6)");
    }
    if asked.number.is_some() {
        conditions.push("number = ?7");
    }
    let filter = if conditions.is_empty() { "?4 > 0".to_owned() } else { conditions.join(" AND ") };
    let order = if asked.after.is_some() { "ASC" } else { "DESC" };
    let sql = format!("SELECT {SUMMARY} FROM builds WHERE {filter} ORDER BY queued_at {order}, id {order} LIMIT ?4");
    let found = query(&sql)
        .bind(asked.pipeline.as_ref().map(|name| name.as_str()))
        .bind(asked.state.map(State::as_str))
        .bind(asked.before.as_ref().map(|id| bytes(&id.0)))
        .bind(i64::from(asked.limit.unwrap_or(BUILDS_LIMIT).clamp(1, BUILDS_LIMIT_MAX)))
        .bind(asked.outcome.map(Outcome::as_str))
        .bind(asked.after.as_ref().map(|id| bytes(&id.0)))
        .bind(asked.number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
        .bind(rows::to_json(&seen)?)
        .fetch_all(connection)
        .await?;
    let mut found = found.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
    if asked.after.is_some() {
        found.reverse();
    }
    Ok(found)
}

/// One build, as of one moment: `connection` is in a transaction.
pub(super) async fn build(connection: &mut Connection, id: BuildId) -> Result<Option<BuildView>, StoreError> {
    let sql = format!("SELECT {SUMMARY}, inputs, cancelling, epoch, revision FROM builds WHERE id = ?");
    let Some(row) = query(&sql).bind(bytes(&id.0)).fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let mut jobs = jobs(connection, id).await?;
    add_steps(connection, id, &mut jobs).await?;
    add_artifacts(connection, id, &mut jobs).await?;
    Ok(Some(BuildView {
        summary: summary(&row)?,
        inputs: rows::json(&row, SUMMARY_COLUMNS)?,
        cancelling: rows::flag(&row, SUMMARY_COLUMNS + 1)?,
        position: Position {
            epoch: rows::number(&row, SUMMARY_COLUMNS + 2)?,
            offset: rows::number::<u64>(&row, SUMMARY_COLUMNS + 3)?.saturating_sub(1),
        },
        jobs: jobs.views,
        trigger: trigger(&row)?,
        reply: replies::of_build(connection, id).await?,
    }))
}

/// The jobs of a build, and where each stands in the list.
struct Jobs {
    views: Vec<JobView>,
    places: HashMap<Uuid, usize>,
}

impl Jobs {
    fn get(&mut self, id: Uuid) -> Option<&mut JobView> {
        self.views.get_mut(*self.places.get(&id)?)
    }
}

/// Columns of [`rows::job`], qualified, then the queueing, the executor's name and the topic of the last attempt.
const JOBS: &str = "SELECT jobs.id, plan, attempt, failures, losses, state, jobs.queued_at, started_at, finished_at, \
    executor, jobs.incarnation, claim_id, expires_at, cancelling, outcome, reason, last_offset, lost, executors.name, \
    topics.last, topics.sealed, topics.lines, topics.skipped, executors.isolation FROM jobs LEFT JOIN executors ON executors.id = jobs.executor \
    LEFT JOIN topics ON topics.kind = 1 AND topics.id = jobs.id AND topics.epoch = jobs.attempt \
    WHERE build = ? ORDER BY place";

async fn jobs(connection: &mut Connection, build: BuildId) -> Result<Jobs, StoreError> {
    let found = query(JOBS).bind(bytes(&build.0)).fetch_all(connection).await?;
    let jobs = found.iter().map(rows::job).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = jobs.iter().map(|job| job.plan.name.clone()).collect();
    let places = jobs.iter().enumerate().map(|(place, job)| (job.id.0, place)).collect();
    let views = jobs.into_iter().zip(&found).map(|(job, row)| view(job, row, &names)).collect::<Result<_, _>>()?;
    Ok(Jobs { views, places })
}

fn view(job: Job, row: &Row, names: &[String]) -> Result<JobView, StoreError> {
    let (state, outcome, executor, started_at, finished_at, reason) = match job.state {
        JobState::Waiting | JobState::Queued { .. } => (State::Queued, None, None, None, None, None),
        JobState::Running { lease, since, .. } => (State::Running, None, Some(lease.executor), Some(since), None, None),
        JobState::Finished { outcome, executor, since, until, reason, .. } => {
            (State::Finished, Some(outcome), executor, since, Some(until), reason)
        }
    };
    let name: Option<String> = row.try_get(18)?;
    let last: Option<i64> = row.try_get(19)?;
    let isolation = row.try_get::<Option<&str>>(23)?.map(str::parse).transpose().map_err(StoreError::Corrupt)?;
    Ok(JobView {
        id: job.id,
        name: job.plan.name.clone(),
        needs: job.plan.needs.iter().filter_map(|place| names.get(*place).cloned()).collect(),
        condition: job.plan.condition,
        labels: job.plan.labels.clone(),
        state,
        outcome,
        attempt: job.attempt,
        priority: job.plan.priority,
        attempts: job.plan.attempts,
        lost_attempts: job.plan.lost_attempts,
        lost: job.lost,
        waiting_for: None,
        reason,
        isolation: executor.and(isolation),
        image: job.plan.image.clone(),
        executor: executor.map(|id| name.unwrap_or_else(|| id.to_string())),
        queued_at: rows::time_if(row, 6)?,
        started_at,
        finished_at,
        position: last.and_then(|last| u64::try_from(last).ok()).map(|offset| Position { epoch: job.attempt, offset }),
        lines: rows::number_if(row, 21)?.unwrap_or(0),
        sealed: rows::number_if::<u8>(row, 20)?.unwrap_or(0) != 0,
        unrecorded: rows::number_if(row, 22)?.unwrap_or(0),
        steps: Vec::new(),
        artifacts: Vec::new(),
    })
}

async fn add_steps(connection: &mut Connection, build: BuildId, jobs: &mut Jobs) -> Result<(), StoreError> {
    let found = query(
        "SELECT steps.job, steps.step, steps.name, steps.command, steps.outcome, steps.exit_code, steps.reason, \
         steps.started_at, steps.finished_at, steps.first_line FROM jobs \
         JOIN steps ON steps.job = jobs.id AND steps.attempt = jobs.attempt \
         WHERE jobs.build = ? ORDER BY jobs.place, steps.step",
    )
    .bind(bytes(&build.0))
    .fetch_all(connection)
    .await?;
    for row in &found {
        let outcome = rows::outcome_if(row, 4)?;
        let step = StepView {
            step: rows::number(row, 1)?,
            name: row.try_get(2)?,
            command: row.try_get(3)?,
            state: if outcome.is_some() { State::Finished } else { State::Running },
            outcome,
            exit_code: rows::number_if(row, 5)?,
            reason: row.try_get(6)?,
            started_at: rows::time_if(row, 7)?,
            finished_at: rows::time_if(row, 8)?,
            first_line: rows::number_if(row, 9)?,
        };
        if let Some(job) = jobs.get(rows::uuid(row, 0)?) {
            job.steps.push(step);
        }
    }
    Ok(())
}

async fn add_artifacts(connection: &mut Connection, build: BuildId, jobs: &mut Jobs) -> Result<(), StoreError> {
    let found = query(
        "SELECT artifacts.id, artifacts.job, artifacts.attempt, artifacts.name, artifacts.size, artifacts.sha256 \
         FROM jobs JOIN artifacts ON artifacts.job = jobs.id AND artifacts.attempt = jobs.attempt \
         WHERE jobs.build = ? ORDER BY jobs.place, artifacts.name, artifacts.id",
    )
    .bind(bytes(&build.0))
    .fetch_all(connection)
    .await?;
    for row in &found {
        let artifact = artifact(row)?;
        if let Some(job) = jobs.get(artifact.job.0) {
            job.artifacts.push(artifact);
        }
    }
    Ok(())
}

/// From `id, job, attempt, name, size, sha256`.
pub(super) fn artifact(row: &Row) -> Result<ArtifactView, StoreError> {
    Ok(ArtifactView {
        id: ArtifactId(rows::uuid(row, 0)?),
        job: JobId(rows::uuid(row, 1)?),
        attempt: rows::number(row, 2)?,
        name: row.try_get(3)?,
        size: rows::number(row, 4)?,
        sha256: row.try_get(5)?,
    })
}
