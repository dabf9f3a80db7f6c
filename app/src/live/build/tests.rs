//! A page's road through lost sockets, lagging records and dead attempts.

use super::*;
use crate::live::sample::{build, frame_of_build, frame_of_job, line};
use wire::{ExecutorId, LogLine, Outcome, log::RecordedLine, view::State};

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
    assert_eq!(live.take_recovered(), Some(Recovered { lines: 21, from_record: true }));
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
    assert_eq!(live.take_recovered(), Some(Recovered { lines: 2, from_record: false }));
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
fn p3_lines_fetched_before_a_reading_do_not_bring_a_line_back_to_what_it_was() {
    let (mut live, job) = watching();
    let half = LogLine { open: true, ..line(10, "half") };
    live.event(frame_of_job(job, 1, 10, Event::Log { step: 0, lines: vec![half.clone()] }));
    live.force();
    live.reading();
    live.adopt(record(&live, 1, 11, 11, false));
    let fetched = |line, offset| {
        let lines = vec![RecordedLine { step: 0, line, missing: false }];
        Fetched { lines, total: Some(11), offset: Some(offset), sealed: false }
    };
    live.fetched(job, 1, &fetched(half, 10));
    assert!(live.log().unwrap().get(10).is_none(), "asked for before the reading, which has its end");
    live.fetched(job, 1, &fetched(line(10, "whole"), 11));
    assert_eq!(texts(&live)[10].as_deref(), Some("whole"));
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
    assert_eq!(live.need(), Read::Soon, "all is here, and the record has not confirmed it yet");
    let hint = Recorded { topic: Topic::Job(job), epoch: 1, offset: Some(12), sealed: true };
    assert!(!live.recorded(&hint));
    assert_eq!((live.need(), live.lost().len()), (Read::No, 0));
}

/// A page's data of a build whose first job is over: control says so, and the recorder has kept `lines` events of it.
fn over(lines: u64, sealed: bool) -> BuildView {
    let mut view = build(2);
    view.summary.state = State::Finished;
    let job = &mut view.jobs[0];
    (job.state, job.outcome, job.attempt) = (State::Finished, Some(Outcome::Succeeded), 1);
    (job.lines, job.sealed) = (lines, sealed);
    job.position = lines.checked_sub(1).map(|offset| Position { epoch: 1, offset });
    view
}

#[test]
fn p3_a_page_that_opens_while_the_recorder_lags_reads_until_the_record_is_complete() {
    let mut live = LiveBuild::new(over(0, false));
    let job = live.view().jobs[0].id;
    live.choose(job, None);
    assert_eq!(live.need(), Read::Soon, "without a word from the socket: an own build gets no answer and no hint");
    live.resumed(&gap(job, 1, None));
    assert_eq!(live.need(), Read::Now);
    for (lines, sealed, need) in [(3, false, Read::Soon), (5, false, Read::Soon), (9, true, Read::No)] {
        live.reading();
        live.adopt(over(lines, sealed));
        assert_eq!((live.need(), live.log().unwrap().total()), (need, lines));
    }
}

#[test]
fn p3_another_job_that_is_chosen_while_the_recorder_lags_is_read_until_it_is_complete() {
    let (mut live, job) = (LiveBuild::new(over(4, false)), over(0, false).jobs[0].id);
    let other = live.view().jobs[1].id;
    live.choose(other, None);
    assert_eq!(live.need(), Read::No, "a job that never ran has no end to wait for");
    live.choose(job, None);
    live.reading();
    assert_eq!(live.need(), Read::Soon);
    live.adopt(over(9, true));
    assert_eq!((live.need(), live.log().unwrap().total()), (Read::No, 9));
}

#[test]
fn p3_a_hint_beyond_a_silent_jobs_place_is_read_for() {
    let (mut live, job) = watching();
    live.resumed(&gap(job, 1, None));
    live.reading();
    live.adopt(record(&live, 1, 9, 10, false));
    assert_eq!(live.need(), Read::No, "the record lagged, and nothing said so");
    let hint = |epoch, offset| Recorded { topic: Topic::Job(job), epoch, offset, sealed: false };
    live.recorded(&hint(1, Some(14)));
    live.reading();
    assert_eq!(live.need(), Read::Soon);
    live.adopt(record(&live, 1, 14, 15, false));
    assert_eq!((live.need(), live.log().unwrap().total()), (Read::No, 15));
    live.recorded(&hint(2, Some(0)));
    assert_eq!((live.need(), live.log().unwrap().attempt()), (Read::Soon, 2));
    live.recorded(&Recorded { topic: Topic::Build(live.view().summary.id), ..hint(1, Some(2)) });
    live.reading();
    assert_eq!(live.need(), Read::Soon, "the build's own topic is behind as well");
}

#[test]
fn p3_a_page_that_comes_back_after_its_attempt_was_closed_names_the_lines_beyond_the_record() {
    let (mut live, job) = watching();
    live.force();
    live.reading();
    live.adopt(record(&live, 1, 6, 7, true));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 7, last: 9 }]);
    assert_eq!((live.need(), live.log().unwrap().total()), (Read::No, 10));
    live.event(log_frame(job, 1, 10, 10..12));
    live.event(log_frame(job, 1, 13, 14..15));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 7, last: 14 }], "the dead still speak");
    assert_eq!(live.need(), Read::No, "what lies between will not be recorded either");
}

#[test]
fn p3_lines_of_a_former_attempt_or_job_are_settled_by_looking_without_any_hint() {
    let (mut live, job) = watching();
    assert_eq!(live.unsettled(), None, "the attempt that is followed is settled by reading the build");
    live.adopt(record(&live, 2, 3, 4, false));
    assert_eq!((live.log().unwrap().attempt(), live.unsettled()), (2, Some((job, 1))));
    let head = |offset, sealed| Recorded { topic: Topic::Job(job), epoch: 1, offset, sealed };
    assert!(!live.recorded(&head(Some(4), false)));
    assert_eq!(live.unsettled(), Some((job, 1)), "the recorder has not come so far");
    assert!(live.recorded(&head(Some(7), true)));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 8, last: 9 }]);
    assert_eq!((live.unsettled(), live.log().unwrap().attempt()), (None, 2));
    live.event(log_frame(job, 2, 4, 4..5));
    let other = live.view().jobs[1].id;
    live.choose(other, None);
    assert_eq!(live.unsettled(), Some((job, 2)));
    assert!(!live.recorded(&Recorded { epoch: 2, ..head(Some(4), false) }));
    assert_eq!((live.unsettled(), live.lost().len()), (None, 1));
}

#[test]
fn p3_a_lost_attempt_is_read_until_it_is_sealed_though_the_job_waits_for_its_next() {
    let (mut live, job) = watching();
    let (executor, reason) = (ExecutorId(uuid::Uuid::nil()), "gone".to_owned());
    let lost = Event::JobLost { job, attempt: 1, executor, executor_name: "here".into(), reason };
    for (offset, event) in
        [lost, Event::AttemptClosed { job, attempt: 1 }, Event::JobQueued { job, attempt: 2 }].into_iter().enumerate()
    {
        live.event(frame_of_build(1, offset as u64 + 2, event));
    }
    live.reading();
    live.adopt(record(&live, 1, 5, 6, false));
    assert_eq!((live.need(), live.lost().len()), (Read::Soon, 0));
    live.reading();
    live.adopt(record(&live, 1, 6, 7, true));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 7, last: 9 }]);
    assert_eq!((live.need(), live.view().jobs[0].state), (Read::No, State::Queued));
}

#[test]
fn p3_a_seal_beyond_a_hole_loses_nothing_that_was_recorded() {
    let (mut live, job) = watching();
    live.event(log_frame(job, 1, 12, 12..13));
    live.event(log_frame(job, 1, 14, 14..15));
    let hint = Recorded { topic: Topic::Job(job), epoch: 1, offset: Some(12), sealed: true };
    assert!(live.recorded(&hint));
    assert_eq!(live.lost(), [LostLines { job, attempt: 1, first: 14, last: 14 }]);
    live.reading();
    assert_eq!(live.need(), Read::Now, "10 and 11 are recorded and not here");
    live.adopt(record(&live, 1, 12, 13, true));
    assert_eq!((live.need(), live.lost().len()), (Read::No, 1));
}

#[test]
fn a_topic_that_is_refused_while_coming_back_is_not_waited_for() {
    let (mut live, job) = watching();
    live.away();
    let topic = Topic::Build(live.view().summary.id);
    live.resumed(&Resumed { topic, outcome: ResumeOutcome::Complete, epoch: 1, from: 2, to: None });
    assert_eq!(live.take_recovered(), None, "the job's topic is not answered yet");
    live.refused(Topic::Job(job));
    assert_eq!((live.need(), live.take_recovered()), (Read::Now, None), "its record is still to be read");
    live.reading();
    live.adopt(record(&live, 1, 11, 12, false));
    assert_eq!(live.take_recovered(), Some(Recovered { lines: 2, from_record: true }));
}

#[test]
fn a_reading_that_does_not_know_the_attempt_that_speaks_yet_leaves_its_steps() {
    let (mut live, job) = watching();
    let before = record(&live, 1, 9, 10, false);
    let step = Event::StepStarted { step: 1, name: "second".into(), command: "true".into() };
    live.event(frame_of_job(job, 2, 0, step));
    live.adopt(before);
    live.event(log_frame(job, 2, 1, 0..1));
    let shown = &live.view().jobs[0];
    assert_eq!((shown.attempt, shown.steps[1].state, shown.lines), (2, State::Running, 1));
}

#[test]
fn p3_a_page_opened_after_the_end_of_a_build_follows_the_record_that_still_lags() {
    let (mut live, job) = watching();
    live.resumed(&gap(job, 1, None));
    live.reading();
    live.adopt(record(&live, 1, 9, 10, false));
    assert_eq!(live.need(), Read::No, "all that is known was read");
    let hint = |offset, sealed| Recorded { topic: Topic::Job(job), epoch: 1, offset: Some(offset), sealed };
    assert!(!live.recorded(&hint(20, false)));
    assert_eq!(live.need(), Read::Soon);
    live.reading();
    live.adopt(record(&live, 1, 20, 21, false));
    assert_eq!(live.need(), Read::No);
    assert!(!live.recorded(&hint(30, true)), "a seal loses nothing that the record holds");
    live.reading();
    live.adopt(record(&live, 1, 30, 31, true));
    assert_eq!((live.need(), live.log().unwrap().total(), live.lost().len()), (Read::No, 31, 0));
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
    let recorded = |n| RecordedLine { step: 0, line: line(n, "x"), missing: false };
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

#[test]
fn p3_after_a_restore_nothing_is_kept_of_the_time_that_did_not_come_back() {
    let (mut live, job) = watching();
    // Attempt 2 was never in the backup, which knows four lines of attempt 1.
    live.event(started(job, 2, 2));
    live.event(log_frame(job, 2, 0, 0..1));
    live.away();
    let of_build = Topic::Build(live.view().summary.id);
    live.resumed(&Resumed { topic: of_build, outcome: ResumeOutcome::Gap, epoch: 1, from: 3, to: None });
    live.resumed(&gap(job, 2, None));
    assert_eq!(live.need(), Read::Now);
    let mut restored = record(&live, 1, 3, 4, true);
    restored.position = Position { epoch: 900, offset: 1 };
    restored.jobs[0].state = State::Queued;
    live.reading();
    live.adopt(restored.clone());
    let shown = &live.view().jobs[0];
    assert_eq!((shown.state, shown.attempt, live.log().unwrap().total()), (State::Queued, 1, 4));
    assert_eq!(live.lost(), []);
    live.reading();
    live.adopt(restored);
    assert_eq!(live.need(), Read::No);
    // What comes is of the new epoch, whatever its offsets are.
    let executor = ExecutorId(uuid::Uuid::nil());
    let event = Event::JobStarted { job, attempt: 900, executor, executor_name: "here".into() };
    let mut begins = frame_of_build(1, 2, event);
    begins.epoch = 900;
    live.event(begins);
    live.event(log_frame(job, 900, 0, 0..1));
    assert_eq!((live.view().jobs[0].attempt, texts(&live)), (900, vec![Some("line 0".to_owned())]));
}
