//! Builds with their jobs: written at the trigger, changed by a rule, loaded whole. What readers are shown stands in
//! [`super::view`].

use std::collections::BTreeSet;

use uuid::Uuid;
use wire::{
    BuildId, JobId, PipelineName, Timestamp,
    authority::Grants,
    command::BuildsQuery,
    view::{BuildSummary, BuildView},
};

use super::{
    Details, SqlStore, concurrency,
    connection::{Connection, query},
    hooks::{self, Marked},
    insert, labels, outbox, payloads, replies,
    rows::{self, BuildColumns, JobColumns, bytes, signed},
    view,
    writer::Rank,
};
use crate::{
    Answer, BoxFuture, Builds, ChangeError, Decide, StoreError,
    model::{Announcement, Build, BuildState, Created, Job, JobState, NewBuild},
};

impl<D: Details> Builds for SqlStore<D> {
    fn create_build(&self, build: NewBuild) -> Answer<'_, Created> {
        Box::pin(self.writer.run(Rank::Announcing, move |connection| Box::pin(create(connection, build))))
    }

    fn change_build(&self, id: BuildId, decide: Decide) -> BoxFuture<'_, Result<Build, ChangeError>> {
        Box::pin(self.writer.run(Rank::Announcing, move |connection| {
            Box::pin(async move {
                let (before, now) = load(connection, id).await?.ok_or(ChangeError::NoBuild(id))?;
                let mut build = before.clone();
                let announcements = decide(&mut build, now)?;
                write_change(connection, &before, &mut build, announcements, now).await?;
                Ok(build)
            })
        }))
    }

    fn load_build(&self, id: BuildId) -> Answer<'_, Option<Build>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            Ok(load(&mut snapshot, id).await?.map(|(build, _)| build))
        })
    }

    fn build_of(&self, job: JobId) -> Answer<'_, Option<BuildId>> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found =
                query("SELECT build FROM jobs WHERE id = ?").bind(bytes(&job.0)).fetch_optional(&mut reader).await?;
            found.map(|row| rows::uuid(&row, 0).map(BuildId)).transpose()
        })
    }

    fn build_view(&self, id: BuildId) -> Answer<'_, Option<BuildView>> {
        Box::pin(async move { view::build(&mut self.snapshot().await?, id).await })
    }

    fn pipeline_of_build(&self, id: BuildId) -> Answer<'_, Option<PipelineName>> {
        Box::pin(async move {
            let asked = query("SELECT pipeline FROM builds WHERE id = ?").bind(bytes(&id.0));
            let found = asked.fetch_optional(&mut self.reader().await?).await?;
            found.map(|row| rows::parsed(&row, 0)).transpose()
        })
    }

    fn pipeline_of_job(&self, job: JobId) -> Answer<'_, Option<PipelineName>> {
        Box::pin(async move {
            let asked = "SELECT builds.pipeline FROM jobs JOIN builds ON builds.id = jobs.build WHERE jobs.id = ?";
            let found = query(asked).bind(bytes(&job.0)).fetch_optional(&mut self.reader().await?).await?;
            found.map(|row| rows::parsed(&row, 0)).transpose()
        })
    }

    fn builds<'a>(&'a self, query: &'a BuildsQuery, seen_by: &'a Grants) -> Answer<'a, Vec<BuildSummary>> {
        Box::pin(async move { view::builds(&mut self.reader().await?, query, seen_by).await })
    }
}

/// A new build with its jobs and announcements.
async fn create(connection: &mut Connection, new: NewBuild) -> Result<Created, StoreError> {
    let NewBuild { mut build, announcements, idempotency, told, delivery } = new;
    if let Some(idempotency) = &idempotency {
        let before = query("SELECT id, digest FROM builds WHERE pipeline = ? AND idempotency_key = ?")
            .bind(build.pipeline.as_str())
            .bind(&idempotency.key)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = before {
            let same = row.try_get::<&str>(1)? == idempotency.digest;
            return Ok(if same { Created::Before(BuildId(rows::uuid(&row, 0)?)) } else { Created::OtherBody });
        }
    }
    if let Some(missing) = payloads::hold(connection, &build).await? {
        return Ok(Created::NoPayload(missing));
    }
    if let Some(delivery) = &delivery {
        match hooks::mark(connection, delivery, build.id).await? {
            Marked::New => {}
            Marked::Before(id) => return Ok(Created::Before(id)),
            Marked::NoHook => return Ok(Created::NoHook),
        }
    }
    let given = query(
        "INSERT INTO build_numbers (pipeline, last) VALUES (?, 1) \
         ON CONFLICT (pipeline) DO UPDATE SET last = build_numbers.last + 1 \
         RETURNING last, {now}",
    )
    .bind(build.pipeline.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let now = rows::time(&given, 1)?;
    (build.number, build.revision, build.queued_at) = (rows::number(&given, 0)?, 0, now);
    for job in &mut build.jobs {
        if let JobState::Queued { since } = &mut job.state {
            *since = now;
        }
    }
    let mut announcements = announcements;
    let held = concurrency::follow(connection, None, &build, &mut announcements).await?;
    // Announcing raises the revision, so it comes first; the rows become visible together.
    outbox::announce(connection, None, &mut build, announcements, now).await?;
    insert_build(connection, &build, idempotency.as_ref().map(|one| (one.key.as_str(), one.digest.as_str()))).await?;
    insert_jobs(connection, &build, &held).await?;
    labels::note(connection, build.jobs.iter().map(|job| &job.plan.labels)).await?;
    if let Some(told) = told {
        replies::insert(connection, &build, &told).await?;
        replies::build_changed(connection, false, &build, now).await?;
    }
    Ok(Created::New(build))
}

async fn insert_build(connection: &mut Connection, build: &Build, key: Option<(&str, &str)>) -> Result<(), StoreError> {
    let columns = BuildColumns::of(build);
    query(
        "INSERT INTO builds (id, pipeline, number, inputs, reply, epoch, revision, queued_at, cancelling, state, outcome, \
         started_at, finished_at, jobs_total, jobs_finished, idempotency_key, digest, concurrency, triggered_by) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(bytes(&build.id.0))
    .bind(build.pipeline.as_str())
    .bind(signed(build.number))
    .bind(rows::to_json(&build.inputs)?)
    .bind(build.reply.as_ref().map(rows::to_json).transpose()?)
    .bind(i64::from(build.epoch))
    .bind(signed(build.revision))
    .bind(build.queued_at.0)
    .bind(i64::from(build.cancelling))
    .bind(columns.state)
    .bind(columns.outcome)
    .bind(columns.started_at)
    .bind(columns.finished_at)
    .bind(columns.jobs_total)
    .bind(columns.jobs_finished)
    .bind(key.map(|(key, _)| key))
    .bind(key.map(|(_, digest)| digest))
    .bind(build.concurrency.as_ref().map(rows::to_json).transpose()?)
    .bind(build.triggered_by.as_ref().map(rows::to_json).transpose()?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_jobs(connection: &mut Connection, build: &Build, held: &BTreeSet<JobId>) -> Result<(), StoreError> {
    let mut jobs = Vec::with_capacity(build.jobs.len());
    for (place, job) in build.jobs.iter().enumerate() {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        jobs.push((place, job, rows::to_json(&*job.plan)?, job.plan.labels.to_string(), rows::to_json(&job.lost)?));
    }
    let head = "INSERT INTO jobs (id, build, place, pipeline, label_set, priority, plan, attempt, failures, losses, state, \
                queued_at, started_at, finished_at, executor, incarnation, claim_id, expires_at, cancelling, outcome, \
                reason, last_offset, lost, held)";
    insert::rows(connection, head, 24, "", &jobs, |query, (place, job, plan, label_set, lost)| {
        let columns = JobColumns::of(&job.state);
        query
            .bind(bytes(&job.id.0))
            .bind(build.id.0.as_bytes().to_vec())
            .bind(*place)
            .bind(build.pipeline.as_str())
            .bind(label_set.as_str())
            .bind(i64::from(job.plan.priority))
            .bind(plan.as_str())
            .bind(i64::from(job.attempt))
            .bind(i64::from(job.failures))
            .bind(i64::from(job.losses))
            .bind(columns.state)
            .bind(columns.queued_at)
            .bind(columns.started_at)
            .bind(columns.finished_at)
            .bind(columns.executor)
            .bind(columns.incarnation)
            .bind(columns.claim_id)
            .bind(columns.expires_at)
            .bind(i64::from(columns.cancelling))
            .bind(columns.outcome)
            .bind(columns.reason)
            .bind(columns.last_offset)
            .bind(lost.as_str())
            .bind(i64::from(held.contains(&job.id)))
    })
    .await
}

/// A build with its jobs, and the database's time.
pub(super) async fn load(connection: &mut Connection, id: BuildId) -> Result<Option<(Build, Timestamp)>, StoreError> {
    let sql = format!("SELECT {}, {{now}} FROM builds WHERE id = ?", rows::BUILD);
    let Some(row) = query(&sql).bind(bytes(&id.0)).fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let sql = format!("SELECT {} FROM jobs WHERE build = ? ORDER BY place", rows::JOB);
    let jobs = query(&sql).bind(bytes(&id.0)).fetch_all(connection).await?;
    let jobs = jobs.iter().map(rows::job).collect::<Result<_, _>>()?;
    Ok(Some((rows::build(&row, jobs)?, rows::time(&row, rows::BUILD_COLUMNS)?)))
}

/// Writes what `build` has become since `before`, with what is to be announced. What a rule may not change (ids, number,
/// plans, the list of jobs) is not written.
pub(super) async fn write_change(
    connection: &mut Connection,
    before: &Build,
    build: &mut Build,
    announcements: Vec<Announcement>,
    now: Timestamp,
) -> Result<(), StoreError> {
    build.revision = before.revision;
    let mut announcements = announcements;
    let held = concurrency::follow(connection, Some(before), build, &mut announcements).await?;
    outbox::announce(connection, Some(before), build, announcements, now).await?;
    for (old, new) in before.jobs.iter().zip(&build.jobs) {
        if old != new {
            let newly_queued = concurrency::is_newly_queued(Some(old), new);
            update_job(connection, new, newly_queued.then(|| held.contains(&new.id))).await?;
        }
    }
    let columns = BuildColumns::of(build);
    if before != build {
        query(
            "UPDATE builds SET epoch = ?, revision = ?, cancelling = ?, state = ?, outcome = ?, started_at = ?, \
             finished_at = ?, jobs_finished = ?, bytes = NULL WHERE id = ?",
        )
        .bind(i64::from(build.epoch))
        .bind(signed(build.revision))
        .bind(i64::from(build.cancelling))
        .bind(columns.state)
        .bind(columns.outcome)
        .bind(columns.started_at)
        .bind(columns.finished_at)
        .bind(columns.jobs_finished)
        .bind(bytes(&build.id.0))
        .execute(&mut *connection)
        .await?;
    }
    let was_finished = matches!(before.state, BuildState::Finished { .. });
    replies::build_changed(connection, was_finished, build, now).await
}

/// `held` says, of a job that is newly queued, whether it must not be claimed yet.
async fn update_job(connection: &mut Connection, job: &Job, held: Option<bool>) -> Result<(), StoreError> {
    let columns = JobColumns::of(&job.state);
    query(
        "UPDATE jobs SET attempt = ?1, failures = ?2, losses = ?3, state = ?4, \
         queued_at = CASE ?4 WHEN 'waiting' THEN NULL WHEN 'queued' THEN ?5 ELSE queued_at END, \
         started_at = ?6, finished_at = ?7, executor = ?8, incarnation = ?9, claim_id = ?10, expires_at = ?11, \
         cancelling = ?12, outcome = ?13, reason = ?14, last_offset = ?15, lost = ?16, \
         held = CASE ?4 WHEN 'queued' THEN COALESCE(?17, held) ELSE 0 END WHERE id = ?18",
    )
    .bind(i64::from(job.attempt))
    .bind(i64::from(job.failures))
    .bind(i64::from(job.losses))
    .bind(columns.state)
    .bind(columns.queued_at)
    .bind(columns.started_at)
    .bind(columns.finished_at)
    .bind(columns.executor)
    .bind(columns.incarnation)
    .bind(columns.claim_id)
    .bind(columns.expires_at)
    .bind(i64::from(columns.cancelling))
    .bind(columns.outcome)
    .bind(columns.reason)
    .bind(columns.last_offset)
    .bind(rows::to_json(&job.lost)?)
    .bind(held.map(i64::from))
    .bind(bytes(&job.id.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// The build of a row whose column is its id, which must be there.
pub(super) async fn load_known(connection: &mut Connection, id: Uuid) -> Result<(Build, Timestamp), StoreError> {
    let loaded = load(connection, BuildId(id)).await?;
    loaded.ok_or_else(|| StoreError::Corrupt(format!("a job belongs to build {id}, which is not there")))
}
