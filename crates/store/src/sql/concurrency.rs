//! Concurrency groups in SQL: what a change of a build means for them, in its transaction. The rules stand in
//! [`crate::concurrency`]. A build without a group costs nothing here.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use wire::{
    BuildId, JobId, LabelSet, PipelineName,
    concurrency::{ConcurrencySpec, WhenFull},
};

use super::{
    Details, SqlStore,
    connection::{Connection, query},
    outbox,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    Answer, StoreError,
    concurrency::{Concurrency, HeldUp, Superseded},
    model::{Announcement, Build, BuildState, Job, JobState},
};

/// Finished ones that leave in one transaction.
const TIDIED_MAX: i64 = 100;

/// Whose group: the numbers are those in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Build = 0,
    Job = 1,
}

/// One who enters a group.
struct Entrant<'b> {
    kind: Kind,
    id: Uuid,
    spec: &'b ConcurrencySpec,
    build: Uuid,
    pipeline: &'b PipelineName,
    number: u64,
    queued_at: i64,
}

/// Groups in which a place may have become free.
type Touched = BTreeSet<(Kind, String)>;

/// Whether a build has to do with groups at all.
fn is_grouped(build: &Build) -> bool {
    build.concurrency.is_some() || build.jobs.iter().any(|job| job.plan.concurrency.is_some())
}

fn is_open(state: BuildState) -> bool {
    !matches!(state, BuildState::Finished { .. })
}

/// Whether a job has come to wait for an executor.
pub(super) fn is_newly_queued(old: Option<&Job>, new: &Job) -> bool {
    let was_queued = old.is_some_and(|old| matches!(old.state, JobState::Queued { .. }));
    matches!(new.state, JobState::Queued { .. }) && !was_queued
}

/// Lets a build, which was `before`, and its jobs enter and leave their groups, and gives the jobs that are queued and must
/// not be claimed yet. Their hints are taken out of the announcements; those of jobs that may be claimed now are put in.
/// Nothing of the change itself is written yet.
pub(super) async fn follow(
    connection: &mut Connection,
    before: Option<&Build>,
    build: &Build,
    announcements: &mut Vec<Announcement>,
) -> Result<BTreeSet<JobId>, StoreError> {
    if !is_grouped(build) {
        return Ok(BTreeSet::new());
    }
    let old = |place: usize| before.and_then(|before| before.jobs.get(place));
    let (mut touched, mut released) = (Touched::new(), Vec::new());
    let entrant = |kind, id, spec| Entrant {
        kind,
        id,
        spec,
        build: build.id.0,
        pipeline: &build.pipeline,
        number: build.number,
        queued_at: build.queued_at.0,
    };
    for (place, job) in build.jobs.iter().enumerate() {
        let was_open = old(place).is_some_and(|old| !matches!(old.state, JobState::Finished { .. }));
        if was_open && matches!(job.state, JobState::Finished { .. }) && job.plan.concurrency.is_some() {
            leave(connection, Kind::Job, job.id.0, &mut touched).await?;
        }
    }
    let was_open = before.is_some_and(|before| is_open(before.state));
    if let Some(spec) = &build.concurrency {
        if was_open && !is_open(build.state) {
            leave(connection, Kind::Build, build.id.0, &mut touched).await?;
        }
        if !was_open && is_open(build.state) {
            enter(connection, &entrant(Kind::Build, build.id.0, spec), &mut touched).await?;
        }
    }
    give_places(connection, &mut touched, &mut released).await?;
    let has_place = build.concurrency.is_none() || is_admitted(connection, Kind::Build, build.id.0).await?;
    let newly_queued = || {
        let jobs = build.jobs.iter().enumerate();
        jobs.filter(|(place, job)| is_newly_queued(old(*place), job)).map(|(_, job)| job)
    };
    if has_place {
        for job in newly_queued() {
            if let Some(spec) = &job.plan.concurrency {
                enter(connection, &entrant(Kind::Job, job.id.0, spec), &mut touched).await?;
            }
        }
        give_places(connection, &mut touched, &mut released).await?;
    }
    let mut held = BTreeSet::new();
    for job in newly_queued() {
        let may_go =
            has_place && (job.plan.concurrency.is_none() || is_admitted(connection, Kind::Job, job.id.0).await?);
        if !may_go {
            held.insert(job.id);
            let hint = Announcement::Hint(job.plan.labels.clone());
            if let Some(place) = announcements.iter().rposition(|announcement| *announcement == hint) {
                announcements.remove(place);
            }
        }
    }
    announcements.extend(released.into_iter().map(Announcement::Hint));
    Ok(held)
}

async fn leave(connection: &mut Connection, kind: Kind, id: Uuid, touched: &mut Touched) -> Result<(), StoreError> {
    let gone = query("DELETE FROM concurrency WHERE kind = ? AND id = ? RETURNING name")
        .bind(kind as i64)
        .bind(bytes(&id))
        .fetch_optional(connection)
        .await?;
    if let Some(row) = gone {
        touched.insert((kind, row.try_get(0)?));
    }
    Ok(())
}

/// One who is there already keeps its place.
async fn enter(connection: &mut Connection, entrant: &Entrant<'_>, touched: &mut Touched) -> Result<(), StoreError> {
    let Entrant { kind, id, spec, build, pipeline, number, queued_at } = entrant;
    let entered = query(
        "INSERT INTO concurrency (kind, id, name, build, pipeline, number, queued_at, places, admitted) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (kind, id) DO NOTHING",
    )
    .bind(*kind as i64)
    .bind(bytes(id))
    .bind(&spec.group)
    .bind(bytes(build))
    .bind(pipeline.as_str())
    .bind(signed(*number))
    .bind(*queued_at)
    .bind(i64::from(spec.limit))
    .execute(&mut *connection)
    .await?;
    touched.insert((*kind, spec.group.clone()));
    if entered == 0 || spec.when_full == WhenFull::Queue {
        return Ok(());
    }
    let by = format!("build #{number} of {pipeline}");
    let waiting = "UPDATE concurrency SET superseded_by = ?1 WHERE kind = ?2 AND name = ?3 AND pipeline = ?5 \
         AND admitted = 0 AND build <> ?4 AND superseded_by IS NULL";
    let supersede = query(waiting).bind(&by).bind(*kind as i64).bind(&spec.group).bind(bytes(build));
    supersede.bind(pipeline.as_str()).execute(&mut *connection).await?;
    if spec.when_full == WhenFull::CancelRunning {
        // As many of the oldest as must go for this one to get a place; those of other pipelines keep theirs.
        let running = "UPDATE concurrency SET superseded_by = ?1 WHERE kind = ?2 AND id IN (SELECT id FROM concurrency \
             WHERE kind = ?2 AND name = ?3 AND pipeline = ?6 AND admitted = 1 AND build <> ?4 AND superseded_by IS NULL \
             ORDER BY queued_at, id LIMIT (SELECT CASE WHEN COUNT(*) >= ?5 THEN COUNT(*) - ?5 + 1 ELSE 0 END \
             FROM concurrency WHERE kind = ?2 AND name = ?3 AND admitted = 1 AND superseded_by IS NULL))";
        let supersede = query(running).bind(&by).bind(*kind as i64).bind(&spec.group).bind(bytes(build));
        supersede.bind(i64::from(spec.limit)).bind(pipeline.as_str()).execute(connection).await?;
    }
    Ok(())
}

async fn is_admitted(connection: &mut Connection, kind: Kind, id: Uuid) -> Result<bool, StoreError> {
    let found = query("SELECT 1 FROM concurrency WHERE kind = ? AND id = ? AND admitted = 1");
    Ok(found.bind(kind as i64).bind(bytes(&id)).fetch_optional(connection).await?.is_some())
}

/// Gives away what places are free in the groups touched: builds first, whose jobs may then ask for places of their own.
async fn give_places(
    connection: &mut Connection,
    touched: &mut Touched,
    released: &mut Vec<LabelSet>,
) -> Result<(), StoreError> {
    while let Some((kind, name)) = touched.pop_first() {
        while let Some(id) = give_place(connection, kind, &name).await? {
            match kind {
                Kind::Build => release_build(connection, id, touched, released).await?,
                Kind::Job => release_job(connection, id, released).await?,
            }
        }
    }
    Ok(())
}

/// The one that gets a place now: the oldest that waits, if its own limit allows one more.
async fn give_place(connection: &mut Connection, kind: Kind, name: &str) -> Result<Option<Uuid>, StoreError> {
    let given = query(
        "UPDATE concurrency SET admitted = 1 WHERE kind = ?1 AND id = (SELECT id FROM concurrency WHERE kind = ?1 \
         AND name = ?2 AND admitted = 0 AND superseded_by IS NULL ORDER BY queued_at, id LIMIT 1) AND places > \
         (SELECT COUNT(*) FROM concurrency AS others WHERE others.kind = ?1 AND others.name = ?2 AND others.admitted = 1) \
         RETURNING id",
    )
    .bind(kind as i64)
    .bind(name)
    .fetch_optional(connection)
    .await?;
    given.map(|row| rows::uuid(&row, 0)).transpose()
}

/// A job that has its place may be claimed, if it is queued already.
async fn release_job(connection: &mut Connection, job: Uuid, released: &mut Vec<LabelSet>) -> Result<(), StoreError> {
    let free = query("UPDATE jobs SET held = 0 WHERE id = ? AND state = 'queued' AND held = 1 RETURNING label_set");
    if let Some(row) = free.bind(bytes(&job)).fetch_optional(connection).await? {
        released.push(rows::converted(&row, 0)?);
    }
    Ok(())
}

/// The queued jobs of a build that has its place may be claimed, or ask for places of their own.
async fn release_build(
    connection: &mut Connection,
    build: Uuid,
    touched: &mut Touched,
    released: &mut Vec<LabelSet>,
) -> Result<(), StoreError> {
    let sql =
        format!("SELECT {} FROM jobs WHERE build = ? AND state = 'queued' AND held = 1 ORDER BY place", rows::JOB);
    let waiting = query(&sql).bind(bytes(&build)).fetch_all(&mut *connection).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let row = query("SELECT pipeline, number, queued_at FROM builds WHERE id = ?")
        .bind(bytes(&build))
        .fetch_one(&mut *connection)
        .await?;
    let (pipeline, number, queued_at): (PipelineName, u64, i64) =
        (rows::parsed(&row, 0)?, rows::number(&row, 1)?, row.try_get(2)?);
    for row in &waiting {
        let job = rows::job(row)?;
        match &job.plan.concurrency {
            None => release_job(connection, job.id.0, released).await?,
            Some(spec) => {
                let (kind, id, pipeline) = (Kind::Job, job.id.0, &pipeline);
                enter(connection, &Entrant { kind, id, spec, build, pipeline, number, queued_at }, touched).await?;
            }
        }
    }
    Ok(())
}

/// Those of whom no end was announced though they are finished.
const LEFT_BEHIND: &str = "SELECT kind, id FROM concurrency WHERE (kind = 0 AND NOT EXISTS (SELECT 1 FROM builds \
    WHERE builds.id = concurrency.id AND builds.state <> 'finished')) OR (kind = 1 AND NOT EXISTS (SELECT 1 FROM jobs \
    WHERE jobs.id = concurrency.id AND jobs.state <> 'finished')) LIMIT ?";

impl<D: Details> Concurrency for SqlStore<D> {
    fn superseded(&self, limit: u32) -> Answer<'_, Vec<Superseded>> {
        Box::pin(async move {
            let found = query(
                "SELECT concurrency.kind, concurrency.id, concurrency.build, concurrency.superseded_by FROM concurrency \
                 JOIN builds ON builds.id = concurrency.build \
                 LEFT JOIN jobs ON concurrency.kind = 1 AND jobs.id = concurrency.id \
                 WHERE concurrency.superseded_by IS NOT NULL AND builds.state <> 'finished' AND builds.cancelling = 0 \
                 AND (concurrency.kind = 0 OR (jobs.cancelling = 0 AND jobs.state <> 'finished')) \
                 ORDER BY concurrency.kind, concurrency.id LIMIT ?",
            )
            .bind(i64::from(limit))
            .fetch_all(&mut self.reader().await?)
            .await?;
            let one = |row| {
                let job = if rows::flag(row, 0)? { Some(JobId(rows::uuid(row, 1)?)) } else { None };
                Ok(Superseded { build: BuildId(rows::uuid(row, 2)?), job, by: row.try_get(3)? })
            };
            found.iter().map(one).collect()
        })
    }

    fn held_up(&self, build: BuildId) -> Answer<'_, Vec<HeldUp>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            // A job whose build waits has not asked for a place of its own.
            let found = query(
                "SELECT jobs.id, COALESCE(whole.kind, own.kind), COALESCE(whole.name, own.name) FROM jobs \
                 LEFT JOIN concurrency AS whole ON whole.kind = 0 AND whole.id = jobs.build AND whole.admitted = 0 \
                 LEFT JOIN concurrency AS own ON own.kind = 1 AND own.id = jobs.id AND own.admitted = 0 \
                 WHERE jobs.build = ? AND jobs.state = 'queued' AND jobs.held = 1 \
                 AND COALESCE(whole.name, own.name) IS NOT NULL ORDER BY jobs.place",
            )
            .bind(bytes(&build.0))
            .fetch_all(&mut snapshot)
            .await?;
            let mut holders: BTreeMap<(i64, String), Vec<(PipelineName, u64)>> = BTreeMap::new();
            let mut held_up = Vec::with_capacity(found.len());
            for row in &found {
                let (kind, group): (i64, String) = (row.try_get(1)?, row.try_get(2)?);
                let key = (kind, group.clone());
                if !holders.contains_key(&key) {
                    holders.insert(key.clone(), holders_of(&mut snapshot, kind, &group).await?);
                }
                let holders = holders.get(&key).cloned().unwrap_or_default();
                held_up.push(HeldUp { job: JobId(rows::uuid(row, 0)?), group, holders });
            }
            Ok(held_up)
        })
    }

    fn tidy_groups(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            // Looked for where nobody waits for it: there are none, but after an older process.
            let found = query(LEFT_BEHIND).bind(1).fetch_all(&mut self.reader().await?).await?;
            if found.is_empty() {
                return Ok(0);
            }
            self.writer.run(Rank::Announcing, |connection| Box::pin(tidy(connection))).await
        })
    }
}

async fn holders_of(
    connection: &mut Connection,
    kind: i64,
    group: &str,
) -> Result<Vec<(PipelineName, u64)>, StoreError> {
    let found = query(
        "SELECT DISTINCT pipeline, number, queued_at FROM concurrency WHERE kind = ? AND name = ? AND admitted = 1 \
         ORDER BY queued_at, number",
    );
    let found = found.bind(kind).bind(group).fetch_all(connection).await?;
    found.iter().map(|row| Ok((rows::parsed(row, 0)?, rows::number(row, 1)?))).collect()
}

async fn tidy(connection: &mut Connection) -> Result<u64, StoreError> {
    let found = query(LEFT_BEHIND).bind(TIDIED_MAX).fetch_all(&mut *connection).await?;
    let (mut touched, mut released) = (Touched::new(), Vec::new());
    for row in &found {
        let kind = if rows::flag(row, 0)? { Kind::Job } else { Kind::Build };
        leave(connection, kind, rows::uuid(row, 1)?, &mut touched).await?;
    }
    give_places(connection, &mut touched, &mut released).await?;
    outbox::hint(connection, released).await?;
    Ok(found.len() as u64)
}
