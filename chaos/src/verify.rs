//! What is looked at: the notes of the steps, the record of every attempt, what watchers have seen, and at the end whether
//! what was accepted is what is there.

use std::{
    collections::{BTreeMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

use wire::{
    BuildId, JobId, Outcome,
    view::{BuildSummary, BuildView, GroupView, JobView, State},
};

use crate::{
    cast::Cast,
    failure::{Failure, Result},
    load::Load,
    notes, reading,
    track::Lines,
    watcher::Told,
    work::Work,
};

/// How often a record is looked at until it is sealed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a process may take to be there again at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The recorder's own hints behind the last event of a stream count as its lag; there are never many.
const HINTS: u64 = 1_000;

/// The record of each attempt: its lines.
pub(crate) type Record = BTreeMap<(JobId, u32), u64>;

/// Compares a build that is over with what must have come of it.
pub(crate) async fn build(load: &Load, work: Work, view: &BuildView) -> Result<Record> {
    let id = view.summary.id;
    let wrong = |what: String| Failure(format!("build {id} ({}): {what}", work.name()));
    if view.summary.outcome != Some(work.outcome()) {
        let jobs = serde_json::to_string(&view.jobs).unwrap_or_default();
        return Err(wrong(format!(
            "its outcome is {:?} and must be {:?}: {jobs}",
            view.summary.outcome,
            work.outcome()
        )));
    }
    let mut record = Record::new();
    for (job, (name, steps)) in view.jobs.iter().zip(work.jobs()) {
        if job.name != *name || job.state != State::Finished {
            return Err(wrong(format!("job {} is {} in a build that is finished", job.name, job.state.as_str())));
        }
        let written = notes::read(&load.notes, &job.id.to_string());
        if let Some(found) = notes::wrong(&written) {
            return Err(wrong(format!("P2: job {name} {}: {found}: {written:?}", job.id)));
        }
        for attempt in 1..=job.attempt {
            let lines = attempt_lines(load, job.id, attempt).await.map_err(|failure| wrong(failure.to_string()))?;
            load.ledger.add("lines verified in the record", lines.next);
            if attempt == job.attempt {
                last_attempt(work, job, steps, &lines, &written).map_err(wrong)?;
                recount(load, work, view, job.id, lines.next).await.map_err(|failure| wrong(failure.to_string()))?;
            } else {
                load.ledger.count("attempts before the last one");
            }
            record.insert((job.id, attempt), lines.next);
        }
    }
    Ok(record)
}

/// All lines of an attempt, once its record is sealed: each once and in order.
async fn attempt_lines(load: &Load, job: JobId, attempt: u32) -> Result<Lines> {
    let mut lines = Lines::default();
    loop {
        let limit = reading::PAGE_LINES;
        let path = format!("/jobs/{job}/log?attempt={attempt}&from={}&limit={limit}", lines.from());
        let page = reading::log_page(&load.api.get(&path).await)?;
        for line in &page.lines {
            if let Err(found) = lines.take(line.step, &line.line) {
                return Err(Failure(format!("P3: the record of job {job} attempt {attempt}: {found}")));
            }
        }
        if page.sealed && lines.next >= page.total {
            return Ok(lines);
        }
        if page.lines.len() < limit {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What must be so of the attempt that counts.
fn last_attempt(
    work: Work,
    job: &JobView,
    steps: &[Option<u64>],
    lines: &Lines,
    written: &str,
) -> std::result::Result<(), String> {
    if !matches!(work.outcome(), Outcome::Succeeded) && job.attempt == 0 {
        return Ok(());
    }
    for (step, must) in steps.iter().enumerate() {
        let found = lines.steps.get(&u32::try_from(step).unwrap_or(0)).copied().unwrap_or(0);
        let Some(must) = *must else { continue };
        if found != must {
            return Err(format!("P3: step {step} of job {} printed {must} lines, the record has {found}", job.name));
        }
        if !notes::has_ended(written, job.attempt, step) {
            return Err(format!("P2: step {step} of job {} counts as run, and wrote no end: {written:?}", job.name));
        }
    }
    Ok(())
}

/// What the recorder keeps of a job beside its lines: how many there are, and the steps.
async fn recount(load: &Load, work: Work, view: &BuildView, job: JobId, lines: u64) -> Result<()> {
    let fresh: BuildView = load.api.read(&format!("/builds/{}", view.summary.id)).await?;
    let Some(fresh) = fresh.jobs.iter().find(|found| found.id == job) else {
        return Err(Failure(format!("P7: job {job} is not in its build any more")));
    };
    if fresh.lines != lines {
        return Err(Failure(format!(
            "P5: the recorder counts {} lines of job {job}, its record has {lines}",
            fresh.lines
        )));
    }
    let over = fresh.steps.iter().filter(|step| step.outcome == Some(Outcome::Succeeded)).count();
    if work.outcome() == Outcome::Succeeded && (over != fresh.steps.len() || fresh.steps.is_empty()) {
        let steps = serde_json::to_string(&fresh.steps).unwrap_or_default();
        return Err(Failure(format!("P7: job {job} succeeded, and the record of its steps is {steps}")));
    }
    Ok(())
}

/// What a watcher has not seen yet.
pub(crate) fn missing(told: &Told, view: &BuildView, record: &Record) -> Option<String> {
    let last = view.position.offset;
    if told.build <= last {
        return Some(format!("the build's topic goes to {last}, seen until {}", told.build));
    }
    for job in &view.jobs {
        let lines = record.get(&(job.id, job.attempt)).copied().unwrap_or(0);
        let (seen, wants) = told.attempts.get(&(job.id, job.attempt)).copied().unwrap_or_default();
        if seen != lines || wants {
            return Some(format!("job {} attempt {} has {lines} lines, seen {seen}", job.id, job.attempt));
        }
    }
    None
}

/// At the end: what was accepted is what is there, everything is over, and no reader is behind.
pub(crate) async fn installation(load: &Load, cast: &Cast) -> Result<()> {
    let accepted = load.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    load.ledger.add("builds accepted (202)", accepted.len() as u64);
    for work in Work::ALL {
        let known: HashSet<BuildId> = accepted.iter().filter(|(of, _)| *of == work).map(|(_, id)| *id).collect();
        let listed = all_builds(load, work).await?;
        for build in &listed {
            if !known.contains(&build.id) {
                load.ledger.broken(&format!(
                    "P1: build {} of {} is there and nobody was answered 202 for it",
                    build.id,
                    work.name()
                ));
            }
        }
        let ids: HashSet<BuildId> = listed.iter().map(|build| build.id).collect();
        for id in known.difference(&ids) {
            load.ledger.broken(&format!("P1: build {id} of {} was answered 202 and is not in the list", work.name()));
        }
        let mut numbers: Vec<u64> = listed.iter().map(|build| build.number).collect();
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(1..=listed.len() as u64) {
            load.ledger
                .broken(&format!("the builds of {} are not numbered from 1 without gaps: {numbers:?}", work.name()));
        }
    }
    loop {
        let groups: Vec<GroupView> = load.api.read("/groups").await?;
        if groups.iter().all(|group| group.lag <= HINTS) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for process in &cast.processes {
        for panic in process.panics() {
            load.ledger.broken(&format!("a process panicked: {panic}"));
        }
        if process.until_there(PATIENCE).await.is_err() {
            load.ledger.broken(&format!("{} is not there at the end", process.name));
        }
    }
    for queue in cast.queues_with_messages().await? {
        load.ledger.note(&format!("a queue holds messages at the end: {queue}"));
        if let Some(number) = queue.strip_prefix("dead: ").and_then(|number| number.parse().ok()) {
            load.ledger.add("dead letters", number);
        }
    }
    Ok(())
}

async fn all_builds(load: &Load, work: Work) -> Result<Vec<BuildSummary>> {
    let mut all: Vec<BuildSummary> = Vec::new();
    loop {
        let before = all.last().map(|build| format!("&before={}", build.id)).unwrap_or_default();
        let path = format!("/builds?pipeline={}&limit=500{before}", work.name());
        let page: Vec<BuildSummary> = load.api.read(&path).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
