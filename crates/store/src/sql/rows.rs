//! From rows to types and back: columns, ids, times, and builds with their jobs. A row that cannot be what it must be is
//! [`StoreError::Corrupt`].

use std::{fmt::Display, str::FromStr, sync::Arc};

use serde::de::DeserializeOwned;
use uuid::Uuid;
use wire::{BuildId, ExecutorId, JobId, Outcome, Timestamp};

use super::connection::Row;
use crate::{
    StoreError,
    model::{Build, BuildState, Job, JobLease, JobState},
};

/// Columns of [`build`], without its jobs.
pub(super) const BUILD: &str = "id, pipeline, number, inputs, reply, epoch, revision, queued_at, cancelling, state, \
                                outcome, started_at, finished_at, concurrency, triggered_by";
/// How many they are.
pub(super) const BUILD_COLUMNS: usize = 15;

/// Columns of [`job`].
pub(super) const JOB: &str = "id, plan, attempt, failures, losses, state, queued_at, started_at, finished_at, executor, \
                              incarnation, claim_id, expires_at, cancelling, outcome, reason, last_offset, lost";

/// An id's bytes, as they are bound.
pub(super) fn bytes(id: &Uuid) -> &[u8] {
    id.as_bytes()
}

/// A number as SQLite keeps it. Beyond its range the greatest one stands for it: no real count comes near.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A type's JSON. Only maps with keys that are not text could fail, and none here has any.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|failure| StoreError::Corrupt(failure.to_string()))
}

pub(super) fn uuid(row: &Row, column: usize) -> Result<Uuid, StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    Uuid::from_slice(bytes).map_err(|_| StoreError::Corrupt(format!("an id has {} bytes instead of 16", bytes.len())))
}

pub(super) fn uuid_if(row: &Row, column: usize) -> Result<Option<Uuid>, StoreError> {
    let there: Option<&[u8]> = row.try_get(column)?;
    if there.is_some() { uuid(row, column).map(Some) } else { Ok(None) }
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.try_get(column)?))
}

pub(super) fn time_if(row: &Row, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>>(column)?.map(Timestamp))
}

pub(super) fn flag(row: &Row, column: usize) -> Result<bool, StoreError> {
    Ok(row.try_get::<i64>(column)? != 0)
}

pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, StoreError> {
    let found: i64 = row.try_get(column)?;
    T::try_from(found).map_err(|_| StoreError::Corrupt(format!("the number {found} is out of its range")))
}

pub(super) fn number_if<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<Option<T>, StoreError> {
    let there: Option<i64> = row.try_get(column)?;
    if there.is_some() { number(row, column).map(Some) } else { Ok(None) }
}

pub(super) fn parsed<T>(row: &Row, column: usize) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|failure: T::Err| StoreError::Corrupt(failure.to_string()))
}

pub(super) fn converted<T>(row: &Row, column: usize) -> Result<T, StoreError>
where
    T: TryFrom<String>,
    T::Error: Display,
{
    let text: String = row.try_get(column)?;
    T::try_from(text).map_err(|failure: T::Error| StoreError::Corrupt(failure.to_string()))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, StoreError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text)
        .map_err(|failure| StoreError::Corrupt(format!("a stored value does not parse: {failure}")))
}

pub(super) fn outcome_if(row: &Row, column: usize) -> Result<Option<Outcome>, StoreError> {
    let there: Option<&str> = row.try_get(column)?;
    if there.is_some() { parsed(row, column).map(Some) } else { Ok(None) }
}

/// What must be there in the state that a row is in.
fn needed<T>(value: Option<T>, what: &str) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Corrupt(format!("{what} is missing")))
}

/// JSON, if there is any.
pub(super) fn json_if<T: serde::de::DeserializeOwned>(row: &Row, column: usize) -> Result<Option<T>, StoreError> {
    let there: Option<&str> = row.try_get(column)?;
    if there.is_some() { json(row, column).map(Some) } else { Ok(None) }
}

/// A build from [`BUILD`], with the jobs given.
pub(super) fn build(row: &Row, jobs: Vec<Job>) -> Result<Build, StoreError> {
    let (outcome, since, until) = (outcome_if(row, 10)?, time_if(row, 11)?, time_if(row, 12)?);
    let state = match row.try_get::<&str>(9)? {
        "queued" => BuildState::Queued,
        "running" => BuildState::Running { since: needed(since, "the start of a running build")? },
        "finished" => BuildState::Finished {
            outcome: needed(outcome, "the outcome of a finished build")?,
            since,
            until: needed(until, "the end of a finished build")?,
        },
        other => return Err(StoreError::Corrupt(format!("a build is in state {other:?}"))),
    };
    Ok(Build {
        id: BuildId(uuid(row, 0)?),
        number: number(row, 2)?,
        pipeline: parsed(row, 1)?,
        inputs: json(row, 3)?,
        reply: json_if(row, 4)?,
        epoch: number(row, 5)?,
        revision: number(row, 6)?,
        queued_at: time(row, 7)?,
        cancelling: flag(row, 8)?,
        concurrency: json_if(row, 13)?,
        triggered_by: json_if(row, 14)?,
        state,
        jobs,
    })
}

/// A job from [`JOB`].
pub(super) fn job(row: &Row) -> Result<Job, StoreError> {
    let (since, until) = (time_if(row, 7)?, time_if(row, 8)?);
    let executor = uuid_if(row, 9)?.map(ExecutorId);
    let state = match row.try_get::<&str>(5)? {
        "waiting" => JobState::Waiting,
        "queued" => JobState::Queued { since: needed(time_if(row, 6)?, "the queueing of a job")? },
        "running" => JobState::Running {
            lease: JobLease {
                executor: needed(executor, "the holder of a lease")?,
                incarnation: uuid(row, 10)?,
                claim_id: uuid(row, 11)?,
                expires_at: time(row, 12)?,
            },
            since: needed(since, "the start of a running job")?,
            cancelling: flag(row, 13)?,
        },
        "finished" => JobState::Finished {
            outcome: needed(outcome_if(row, 14)?, "the outcome of a finished job")?,
            executor,
            since,
            until: needed(until, "the end of a finished job")?,
            reason: row.try_get(15)?,
            last_offset: number_if(row, 16)?,
        },
        other => return Err(StoreError::Corrupt(format!("a job is in state {other:?}"))),
    };
    Ok(Job {
        id: JobId(uuid(row, 0)?),
        plan: Arc::new(json(row, 1)?),
        attempt: number(row, 2)?,
        failures: number(row, 3)?,
        losses: number(row, 4)?,
        lost: json(row, 17)?,
        state,
    })
}

/// The columns that a build's state fills.
pub(super) struct BuildColumns {
    pub(super) state: &'static str,
    pub(super) outcome: Option<&'static str>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) jobs_total: i64,
    pub(super) jobs_finished: i64,
}

impl BuildColumns {
    pub(super) fn of(build: &Build) -> Self {
        let (state, outcome, since, until) = match build.state {
            BuildState::Queued => ("queued", None, None, None),
            BuildState::Running { since } => ("running", None, Some(since), None),
            BuildState::Finished { outcome, since, until } => ("finished", Some(outcome), since, Some(until)),
        };
        let finished = build.jobs.iter().filter(|job| matches!(job.state, JobState::Finished { .. })).count();
        Self {
            state,
            outcome: outcome.map(Outcome::as_str),
            started_at: since.map(|at| at.0),
            finished_at: until.map(|at| at.0),
            jobs_total: i64::try_from(build.jobs.len()).unwrap_or(i64::MAX),
            jobs_finished: i64::try_from(finished).unwrap_or(i64::MAX),
        }
    }
}

/// The columns that a job's state fills; those that are not the state's are NULL.
#[derive(Default)]
pub(super) struct JobColumns<'a> {
    pub(super) state: &'static str,
    pub(super) queued_at: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) executor: Option<&'a [u8]>,
    pub(super) incarnation: Option<&'a [u8]>,
    pub(super) claim_id: Option<&'a [u8]>,
    pub(super) expires_at: Option<i64>,
    pub(super) cancelling: bool,
    pub(super) outcome: Option<&'static str>,
    pub(super) reason: Option<&'a str>,
    pub(super) last_offset: Option<i64>,
}

impl<'a> JobColumns<'a> {
    pub(super) fn of(state: &'a JobState) -> Self {
        match state {
            JobState::Waiting => Self { state: "waiting", ..Self::default() },
            JobState::Queued { since } => Self { state: "queued", queued_at: Some(since.0), ..Self::default() },
            JobState::Running { lease, since, cancelling } => Self {
                state: "running",
                started_at: Some(since.0),
                executor: Some(bytes(&lease.executor.0)),
                incarnation: Some(bytes(&lease.incarnation)),
                claim_id: Some(bytes(&lease.claim_id)),
                expires_at: Some(lease.expires_at.0),
                cancelling: *cancelling,
                ..Self::default()
            },
            JobState::Finished { outcome, executor, since, until, reason, last_offset } => Self {
                state: "finished",
                started_at: since.map(|at| at.0),
                finished_at: Some(until.0),
                executor: executor.as_ref().map(|id| bytes(&id.0)),
                outcome: Some(outcome.as_str()),
                reason: reason.as_deref(),
                last_offset: last_offset.map(signed),
                ..Self::default()
            },
        }
    }
}
