//! A page's road through lost sockets, lagging records and dead attempts.

use super::*;
use crate::live::sample::{build, frame_of_build, frame_of_job, line};
use wire::{ExecutorId, Outcome, log::RecordedLine, view::State};

fn log_frame(job: JobId, attempt: u32, offset: u64, lines: std::ops::Range<u64>) -> EventFrame {
    let lines = lines.map(|n| line(n, &format!("line {n}"))).collect();
    frame_of_job(job, attempt, offset, Event::Log { step: 0, lines })
}

fn started(job: JobId, attempt: u32, offset: u64) -> EventFrame {
    let executor = ExecutorId(uuid::Uuid::nil());
    frame_of_build(1, offset, Event::JobStarted { job, attempt, executor, executor_name: "here".into() })
}

/// A page that has one running job open and has seen lines 0 to 9 as offsets 0 to 9.
fn watching() -> (LiveBuild, JobId) {
    let mut live = LiveBuild::new(build(2));
    let job = live.view().jobs[0].id;
    live.choose(job, None);
    live.event(started(job, 1, 1));
    for n in 0..10 {
        live.event(log_frame(job, 1, n, n..n + 1));
    }
    (live, job)
}

/// What the record answers.
fn record(live: &LiveBuild, attempt: u32, offset: u64, lines: u64, sealed: bool) -> BuildView {
    let mut view = live.view().clone();
    view.position = Position { epoch: 1, offset: 1 };
    let job = &mut view.jobs[0];
    (job.attempt, job.lines, job.sealed) = (attempt, lines, sealed);
    job.position = Some(Position { epoch: attempt, offset });
    view
}

fn gap(job: JobId, epoch: u32, to: Option<u64>) -> Resumed {
    Resumed { topic: Topic::Job(job), outcome: ResumeOutcome::Gap, epoch, from: 0, to }
}

fn texts(live: &LiveBuild) -> Vec<Option<String>> {
    let log = live.log().unwrap();
    (0..log.total()).map(|n| log.get(n).map(|line| line.text.to_string())).collect()
}

#[test]
fn p3_after_a_gap_the_page_reads_until_the_record_reaches_its_end_and_counts_what_it_recovered() {
    let (mut live, job) = watching();
    let complete = |topic| Resumed { topic, outcome: ResumeOutcome::Complete, epoch: 1, from: 2, to: None };
    live.away();
    live.resumed(&complete(Topic::Build(live.view().summary.id)));
    live.resumed(&gap(job, 1, Some(29)));
    live.event(log_frame(job, 1, 30, 30..31));
    assert_eq!((live.need(), live.take_recovered()), (Read::Now, None));
    live.reading();
    live.adopt(record(&live, 1, 19, 20, false));
    assert_eq!(live.need(), Read::Now, "the record lags behind the gap's end");
    live.reading();
    live.adopt(record(&live, 1, 29, 30, false));
    assert_eq!((live.need(), live.log().unwrap().total()), (Read::No, 31));
    assert_eq!(live.take_recovered(), Some(21));
    assert_eq!(live.take_recovered(), None, "told once");
}

#[test]
fn p3_frames_of_the_replay_are_counted_as_recovered_and_applied_once() {
    let (mut live, job) = watching();
    live.away();
    let complete = |topic, from, to| Resumed { topic, outcome: ResumeOutcome::Complete, epoch: 1, from, to };
    live.resumed(&complete(Topic::Build(live.view().summary.id), 2, None));
    live.resumed(&complete(Topic::Job(job), 10, Some(11)));
    live.event(log_frame(job, 1, 9, 9..10));
    live.event(log_frame(job, 1, 10, 10..11));
    assert_eq!(live.take_recovered(), None, "one is still to come");
    live.event(log_frame(job, 1, 11, 11..12));
    assert_eq!(live.take_recovered(), Some(2));
    let expected: Vec<_> = (0..12).map(|n| Some(format!("line {n}"))).collect();
    assert_eq!(texts(&live), expected);
}

#[test]
fn p3_a_record_that_lags_behind_what_was_seen_takes_nothing_away() {
    let (mut live, _) = watching();
    live.force();
    live.reading();
    live.adopt(record(&live, 1, 4, 5, false));
    assert_eq!(live.log().unwrap().total(), 10);
    assert_eq!(live.view().jobs[0].lines, 10);
    assert_eq!(live.positions()[1].1, Some(Position { epoch: 1, offset: 9 }));
}

#[test]
fn p3_lines_that_were_seen_but_never_recorded_are_named_once_the_attempt_is_sealed() {
    let (mut live, job) = watching();
    let hint = |offset, sealed| Recorded { topic: Topic::Job(job), epoch: 1, offset: Some(offset), sealed };
    assert!(!live.recorded(&hint(5, false)));
    assert_eq!(live.lost(), []);
    live.event(started(job, 2, 2));
    assert_eq!(live.log().unwrap().total(), 0, "the next attempt has a log of its own");
    assert!(live.recorded(&hint(6, true)));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 7, last: 9 }]);
}

#[test]
fn p3_a_sealed_record_ends_the_waiting_for_an_end_that_will_never_be_recorded() {
    let (mut live, job) = watching();
    live.resumed(&gap(job, 1, Some(40)));
    live.reading();
    live.adopt(record(&live, 1, 20, 21, true));
    assert_eq!(live.need(), Read::No);
}

#[test]
fn p3_the_end_that_job_finished_names_is_read_if_its_frames_do_not_come() {
    let (mut live, job) = watching();
    let over = Event::JobFinished { job, attempt: 1, outcome: Outcome::Succeeded, last_offset: Some(12), reason: None };
    live.event(frame_of_build(1, 2, over));
    assert_eq!(live.need(), Read::Soon);
    live.event(log_frame(job, 1, 10, 10..11));
    live.event(log_frame(job, 1, 11, 11..12));
    live.event(log_frame(job, 1, 12, 12..13));
    live.reading();
    assert_eq!(live.need(), Read::No);
}

#[test]
fn p3_a_hole_in_the_builds_own_topic_is_filled_by_the_view() {
    let (mut live, _) = watching();
    live.event(frame_of_build(1, 3, Event::BuildFinished { outcome: Outcome::Failed }));
    assert_eq!((live.need(), live.view().summary.state), (Read::Now, State::Queued));
    let mut read = record(&live, 1, 9, 10, false);
    read.position.offset = 2;
    live.reading();
    live.adopt(read);
    assert_eq!((live.need(), live.view().summary.state), (Read::No, State::Finished));
}

#[test]
fn a_retry_is_read_because_its_event_does_not_name_the_jobs() {
    let (mut live, _) = watching();
    let pipeline = live.view().summary.pipeline.clone();
    live.event(frame_of_build(1, 2, Event::BuildQueued { pipeline, retry: true }));
    assert_eq!(live.need(), Read::Now);
}

#[test]
fn another_job_is_followed_from_what_the_page_knows_of_it() {
    let (mut live, _) = watching();
    let other = live.view().jobs[1].id;
    let recorded = |n| RecordedLine { step: 0, line: line(n, "x") };
    let position = Some(Position { epoch: 1, offset: 2 });
    let mut view = live.view().clone();
    (view.jobs[1].attempt, view.jobs[1].lines, view.jobs[1].position) = (1, 3, position);
    live.adopt(view);
    let page = LogPage { attempt: 1, total: 3, position, sealed: false, lines: (0..3).map(recorded).collect() };
    live.choose(other, Some(&page));
    assert_eq!(live.positions()[1], (Topic::Job(other), position));
    live.event(log_frame(other, 1, 3, 3..4));
    assert_eq!(live.log().unwrap().total(), 4);
}
