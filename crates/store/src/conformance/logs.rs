//! Log lines: what was recorded is what is read, line by line.

use uuid::Uuid;
use wire::{Event, JobId, LogLine, Topic, log::RecordedLine};

use super::{
    Fixture,
    samples::{LONG, find},
    samples::{build, claim, create, granted, job, line, log, message, record, step_started},
};
use crate::{LOG_PAGE_BYTES_MAX, Store};

/// A job that runs its first attempt.
async fn running(store: &dyn Store) -> JobId {
    create(store, build("p", vec![job("a")])).await;
    let claimed = granted(store, &claim("linux", LONG)).await;
    assert_eq!(find(&claimed.build, claimed.job).attempt, 1);
    claimed.job
}

/// Line `n` of the long log: some empty, some long, some split.
fn sample(n: u64) -> LogLine {
    let text = match n % 97 {
        0 => String::new(),
        1 => format!("{n} {}", "long ".repeat(400)),
        _ => format!("line {n} \u{1b}[32mgrün\u{1b}[0m"),
    };
    LogLine { split: n % 97 == 1, ..line(n, &text) }
}

/// In batches of all sizes, over three steps, read by ranges that begin and end anywhere.
pub async fn p3_a_hundred_thousand_lines_come_back_exactly(fixture: &dyn Fixture) {
    const LINES: u64 = 100_000;
    let store = fixture.open().await;
    let job = running(&*store).await;
    let (mut n, mut offset, mut size) = (0, 0, 1);
    while n < LINES {
        let mut events = Vec::new();
        for _ in 0..(1 + size % 5) {
            let to = (n + size % 900 + 1).min(LINES);
            let step = u32::try_from(n * 3 / LINES).unwrap();
            let event = Event::Log { step, lines: (n..to).map(sample).collect() };
            events.push(message(Topic::Job(job), 1, offset, &event));
            (n, offset, size) = (to, offset + 1, size + 131);
            if n == LINES {
                break;
            }
        }
        let recording = record(&*store, offset, events).await;
        assert!(recording.refused.is_empty(), "{:?}", recording.refused);
    }
    let ranges = [(0, 10), (0, 1), (999, 3), (12_345, 2_000), (99_990, 100), (50_000, 5_000), (LINES, 10), (1, 0)];
    for (from, limit) in ranges {
        let page = store.log(job, None, from, limit).await.unwrap().unwrap();
        let expected: Vec<LogLine> = (from..(from + u64::from(limit)).min(LINES)).map(sample).collect();
        assert_eq!((page.attempt, page.total, page.sealed), (1, LINES, false));
        let lines: Vec<LogLine> = page.lines.into_iter().map(|one| one.line).collect();
        assert!(lines == expected, "lines from {from}, at most {limit}, are not what was written");
    }
    let mut from = 0;
    let store = fixture.after_kill().await;
    while from < LINES {
        let page = store.log(job, Some(1), from, 10_000).await.unwrap().unwrap();
        for RecordedLine { line, .. } in page.lines {
            assert!(line == sample(from), "line {from} is not what was written");
            from += 1;
        }
    }
}

/// While it has no end it is shown as open; later it is the line, once.
pub async fn p3_an_open_line_is_replaced_by_the_line_with_its_number(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let job = running(&*store).await;
    let open = |n, text: &str| LogLine { open: true, ..line(n, text) };
    let read = async || {
        let page = store.log(job, Some(1), 0, 100).await.unwrap().unwrap();
        (page.total, page.lines.into_iter().map(|one| one.line).collect::<Vec<_>>())
    };
    let started = message(Topic::Job(job), 1, 0, &step_started(0));
    record(&*store, 1, vec![started, log(job, 1, 1, vec![line(0, "done"), open(1, "10%")])]).await;
    assert_eq!(read().await, (2, vec![line(0, "done"), open(1, "10%")]));
    record(&*store, 2, vec![log(job, 1, 2, vec![open(1, "50%")])]).await;
    assert_eq!(read().await, (2, vec![line(0, "done"), open(1, "50%")]));
    record(&*store, 3, vec![log(job, 1, 3, vec![line(1, "100%"), line(2, "next"), open(3, "?")])]).await;
    assert_eq!(read().await, (4, vec![line(0, "done"), line(1, "100%"), line(2, "next"), open(3, "?")]));
    let both = vec![log(job, 1, 4, vec![open(3, "??")]), log(job, 1, 5, vec![line(3, "!"), line(4, "end")])];
    record(&*store, 5, both).await;
    let all = vec![line(0, "done"), line(1, "100%"), line(2, "next"), line(3, "!"), line(4, "end")];
    assert_eq!(read().await, (5, all));
    let part = store.log(job, None, 1, 2).await.unwrap().unwrap();
    assert_eq!(part.lines.into_iter().map(|one| one.line).collect::<Vec<_>>(), [line(1, "100%"), line(2, "next")]);
}

/// A page holds as much text as is promised, to the byte, and the next one begins behind it; a longer line comes alone.
pub async fn p3_a_page_of_a_log_is_bounded_in_bytes(fixture: &dyn Fixture) {
    const QUARTER: usize = LOG_PAGE_BYTES_MAX / 4;
    let store = fixture.open().await;
    let job = running(&*store).await;
    let long = |n: u64, size: usize| line(n, &char::from(b'a' + (n % 26) as u8).to_string().repeat(size));
    let open = |n, size| LogLine { open: true, ..long(n, size) };
    let lines = vec![
        long(0, QUARTER),
        open(1, QUARTER),
        long(2, QUARTER),
        long(3, QUARTER),
        line(4, ""),
        line(5, "one byte too much"),
        open(6, QUARTER * 2),
        long(7, QUARTER * 3),
        long(8, LOG_PAGE_BYTES_MAX + 1),
        open(9, LOG_PAGE_BYTES_MAX + 1),
        open(10, QUARTER),
        line(11, "end"),
    ];
    let events = lines.iter().zip(0..).map(|(line, offset)| log(job, 1, offset, vec![line.clone()])).collect();
    assert!(record(&*store, 12, events).await.refused.is_empty());
    let (mut read, mut pages) = (Vec::new(), Vec::new());
    while read.len() < lines.len() {
        let page = store.log(job, None, read.len() as u64, 10_000).await.unwrap().unwrap();
        assert_eq!(page.total, 12);
        assert!(!page.lines.is_empty(), "no line from {} on", read.len());
        pages.push(page.lines.len());
        read.extend(page.lines.into_iter().map(|one| one.line));
    }
    assert!(read == lines, "the pages together are not what was written");
    assert_eq!(pages, [5, 2, 1, 1, 1, 2]);
}

/// A writer that numbers a line a second time changes nothing.
pub async fn p3_a_line_that_has_its_end_is_never_replaced(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let job = running(&*store).await;
    record(&*store, 1, vec![log(job, 1, 0, vec![line(0, "a"), line(1, "b")])]).await;
    let recording = record(&*store, 2, vec![log(job, 1, 1, vec![line(1, "other"), line(2, "c")])]).await;
    assert!(recording.refused.is_empty());
    let page = store.log(job, None, 0, 10).await.unwrap().unwrap();
    let texts: Vec<&str> = page.lines.iter().map(|one| one.line.text.as_str()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
}

/// No job, no page; a job without lines has an empty one.
pub async fn a_log_that_does_not_exist_is_told_apart_from_an_empty_one(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.log(JobId(Uuid::new_v4()), None, 0, 10).await.unwrap(), None);
    let made = create(&*store, build("p", vec![job("a")])).await;
    let page = store.log(made.jobs[0].id, None, 0, 10).await.unwrap().unwrap();
    assert_eq!((page.attempt, page.total, page.position, page.sealed, page.lines.len()), (0, 0, None, false, 0));
}
