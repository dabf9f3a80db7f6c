//! What must be true when all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use app::live::build::LiveBuild;
use store::model::JobState;
use wire::{Event, EventMessage, JobId, Outcome, Topic, view::JobView};

use crate::world::World;

type Key = (Topic, u32);

pub(crate) fn all(world: &World) -> Result<(), String> {
    triggers_end(world)?;
    the_record_is_what_the_stream_says(world)?;
    attempts_are_complete(world)?;
    lines_stand_once_and_in_order(world)?;
    counters_equal_a_recount(world)?;
    for (place, page) in world.pages.iter().enumerate() {
        a_page_shows_the_record(world, page.build, &page.live).map_err(|what| format!("page {place}: {what}"))?;
    }
    Ok(())
}

/// P1: all that was announced of an accepted build is recorded, and with it its end.
fn triggers_end(world: &World) -> Result<(), String> {
    for (id, announced) in &world.control.announced {
        let recorded = world.record.events.get(&(Topic::Build(*id), 1));
        let recorded: Vec<&String> = recorded.into_iter().flatten().map(|(_, text)| text).collect();
        if !announced.iter().eq(recorded.iter().copied()) {
            let (all, found) = (announced.len(), recorded.len());
            return Err(format!("P1: {all} events of build {id} were announced and {found} are recorded, or others"));
        }
        if !announced.iter().any(|text| text.contains("build_finished")) {
            return Err(format!("P1: build {id} was accepted and has no end"));
        }
    }
    Ok(())
}

/// P2, P3: what is recorded, by a rule of its own that is as simple as can be: an event counts if it continues its topic
/// and nobody has said before it in the stream that its attempt is over.
fn the_record_is_what_the_stream_says(world: &World) -> Result<(), String> {
    let mut expected: BTreeMap<Key, Vec<(u64, String)>> = BTreeMap::new();
    let mut closed: BTreeSet<(JobId, u32)> = BTreeSet::new();
    for body in &world.bus.stream {
        let message = EventMessage::decode(body).map_err(|failure| failure.to_string())?;
        let known = expected.entry((message.topic, message.epoch)).or_default();
        let is_over = matches!(message.topic, Topic::Job(job) if closed.contains(&(job, message.epoch)));
        if message.offset != known.len() as u64 || is_over {
            continue;
        }
        known.push((message.offset, message.event.get().to_owned()));
        if let Event::AttemptClosed { job, attempt } = message.parse().map_err(|failure| failure.to_string())? {
            closed.insert((job, attempt));
        }
    }
    expected.retain(|_, events| !events.is_empty());
    for key in expected.keys().chain(world.record.events.keys()) {
        let (theirs, ours) = (expected.get(key), world.record.events.get(key));
        if theirs != ours {
            let count = |events: Option<&Vec<_>>| events.map_or(0, Vec::len);
            let (theirs, ours) = (count(theirs), count(ours));
            return Err(format!(
                "P2, P3: {ours} events of {key:?} are recorded where the stream has {theirs}, or others"
            ));
        }
    }
    Ok(())
}

/// P3: offsets have no hole, and every attempt that ended is sealed, with all that its holder said of a finished one.
fn attempts_are_complete(world: &World) -> Result<(), String> {
    for (key, events) in &world.record.events {
        if !events.iter().map(|(offset, _)| *offset).eq(0..events.len() as u64) {
            return Err(format!("P3: the offsets of {key:?} have holes or doubles"));
        }
    }
    for job in world.control.builds.values().flat_map(|build| &build.jobs) {
        for attempt in 1..=job.attempt {
            let key = (Topic::Job(job.id), attempt);
            let standing = world.record.standings.get(&key).copied().unwrap_or_default();
            if !standing.sealed {
                return Err(format!("P3: the record of {key:?} is not sealed: {standing:?}"));
            }
            let events = world.record.events.get(&key).map_or(0, Vec::len) as u64;
            if standing.last.map_or(0, |last| last + 1) != events {
                return Err(format!("P3: {key:?} has {events} events, and its place is {standing:?}"));
            }
            if let JobState::Finished { last_offset: Some(last), .. } = job.state
                && attempt == job.attempt
                && standing.last != Some(last)
            {
                return Err(format!("P7: {key:?} was finished with offset {last} and is recorded up to {standing:?}"));
            }
        }
    }
    Ok(())
}

/// P3, P7: each line of an attempt once, in order, as its step printed it.
fn lines_stand_once_and_in_order(world: &World) -> Result<(), String> {
    for ((job, attempt), lines) in &world.record.lines {
        for (expected, (n, line)) in (0..).zip(lines) {
            let text = format!("{} {attempt} {n}", job.0.as_u128());
            if expected != *n || (!line.line.open && line.line.text != text) {
                return Err(format!("P3: line {expected} of job {job} attempt {attempt} is {n}: {:?}", line.line.text));
            }
        }
    }
    Ok(())
}

/// P5: what groups count beside the events.
fn counters_equal_a_recount(world: &World) -> Result<(), String> {
    for (key, lines) in &world.record.lines {
        let counted = world.record.total.get(key).copied().unwrap_or(0);
        if counted != lines.len() as u64 {
            return Err(format!("P5: {counted} lines of {key:?} are counted, {} are there", lines.len()));
        }
    }
    let recount: BTreeMap<Key, u64> =
        world.record.events.iter().map(|(key, events)| (*key, events.len() as u64)).collect();
    match recount == world.counter.counts {
        true => Ok(()),
        false => Err(format!("P5: a group has counted {:?}; a recount gives {recount:?}", world.counter.counts)),
    }
}

/// P3: a page that has nothing to ask for shows the record, and beyond it only lines that it calls lost.
fn a_page_shows_the_record(world: &World, build: wire::BuildId, live: &LiveBuild) -> Result<(), String> {
    let (shown, view) = (live.view(), world.record.view(&world.control, build));
    let summary = |view: &wire::view::BuildView| {
        let of = &view.summary;
        (of.state, of.outcome, of.jobs_finished, view.position)
    };
    if summary(shown) != summary(&view) {
        return Err(format!("P3: it shows {:?}, the record has {:?}", summary(shown), summary(&view)));
    }
    for (ours, theirs) in shown.jobs.iter().zip(&view.jobs) {
        let facts = |job: &JobView| (job.state, job.outcome, job.attempt, job.lost.len());
        if facts(ours) != facts(theirs) {
            return Err(format!("P3: it shows {:?} of {}, the record has {:?}", facts(ours), ours.id, facts(theirs)));
        }
    }
    for lost in live.lost() {
        // A line that was recorded without its end may have been seen with it.
        let recorded = world.record.total.get(&(lost.job, lost.attempt)).copied().unwrap_or(0);
        if recorded > lost.first + 1 {
            return Err(format!("P3: it calls {lost:?} lost, and {recorded} lines are recorded"));
        }
    }
    let Some(theirs) = view.jobs.iter().find(|job| Some(job.id) == live.chosen()) else { return Ok(()) };
    let Some(log) = live.log().filter(|_| theirs.attempt > 0) else { return Ok(()) };
    if log.attempt() != theirs.attempt {
        return Err(format!("P3: it shows the log of attempt {}, the last one is {}", log.attempt(), theirs.attempt));
    }
    let lost = live.lost().iter().find(|lost| (lost.job, lost.attempt) == (theirs.id, theirs.attempt));
    let lines = world.record.lines.get(&(theirs.id, theirs.attempt));
    for n in 0..log.total().max(theirs.lines) {
        let here = log.get(n).map(|line| (&*line.text, line.open));
        let there = lines.and_then(|lines| lines.get(&n)).map(|line| (&*line.line.text, line.line.open));
        let is_lost = lost.is_some_and(|lost| (lost.first..=lost.last).contains(&n));
        if here != there && !is_lost {
            return Err(format!("P3: line {n} is {here:?}, the record has {there:?}, lost are {lost:?}"));
        }
    }
    if lost.is_some() {
        return Ok(());
    }
    let Some(ours) = shown.jobs.iter().find(|job| job.id == theirs.id) else { return Ok(()) };
    let steps = |job: &JobView| -> Vec<(u32, Option<Outcome>, Option<u64>)> {
        let started = job.steps.iter().filter(|step| step.started_at.is_some());
        started.map(|step| (step.step, step.outcome, step.first_line)).collect()
    };
    // How a step ended that was cut off is control's word on a page that saw it, and nobody's in the record.
    let is_whole = matches!(theirs.outcome, Some(Outcome::Succeeded | Outcome::Failed)) && theirs.reason.is_none();
    if is_whole && steps(ours) != steps(theirs) {
        return Err(format!("P3: it shows the steps {:?}, the record has {:?}", steps(ours), steps(theirs)));
    }
    // Of an attempt that was lost it may have seen more than lines.
    let stands = |job: &JobView| (job.position.filter(|_| is_whole), job.lines, job.sealed);
    match stands(ours) == stands(theirs) {
        true => Ok(()),
        false => Err(format!(
            "P3: it stands at {:?} with {} lines, the record at {:?} with {}",
            (ours.position, ours.sealed),
            ours.lines,
            (theirs.position, theirs.sealed),
            theirs.lines
        )),
    }
}
