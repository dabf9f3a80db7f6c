//! The lines of one attempt that the page holds: pages of a fixed number of lines, the least recently shown given up
//! first. Pure; who fetches a missing page is the log view.

use std::{collections::HashMap, ops::Range, sync::Arc};

use wire::{
    Timestamp,
    log::{LogLine, RecordedLine},
};

/// Lines in a page.
pub const PAGE_LINES: u64 = 500;
/// At most so many pages are held (20,000 lines).
pub const PAGES_MAX: usize = 40;

/// A line that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The step that printed it.
    pub step: u32,
    /// When its first byte was read.
    pub t: Timestamp,
    /// Its text, ANSI sequences included.
    pub text: Arc<str>,
    /// Another one whenever another line takes its place, even one that was forgotten in between.
    pub version: u64,
    /// It has no end yet.
    pub open: bool,
    /// It goes on in the next one.
    pub split: bool,
    /// It was printed to stderr, where the step's two streams are told apart.
    pub err: bool,
    /// It will never be recorded: the event stream has lost it. It has no text.
    pub missing: bool,
    /// No step printed it: the executor says it of the log.
    pub note: bool,
}

#[derive(Clone, Debug, Default)]
struct Page {
    lines: Vec<Option<Line>>,
    used: u64,
}

/// The log of one attempt.
#[derive(Clone, Debug, Default)]
pub struct JobLog {
    attempt: u32,
    total: u64,
    pages: HashMap<u64, Page>,
    clock: u64,
    widest: usize,
}

impl JobLog {
    /// An empty log of an attempt.
    #[must_use]
    pub fn new(attempt: u32) -> Self {
        Self { attempt, ..Self::default() }
    }

    /// Whose log it is.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many lines it has, held or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Columns of the widest line seen, at least: what the horizontal scroll must allow.
    #[must_use]
    pub fn widest(&self) -> usize {
        self.widest
    }

    /// The line, if it is held.
    #[must_use]
    pub fn get(&self, n: u64) -> Option<&Line> {
        self.pages.get(&(n / PAGE_LINES))?.lines.get(place(n))?.as_ref()
    }

    /// Puts a line that was printed. It takes the place of one without end; a line that has its end stays.
    pub fn put(&mut self, step: u32, line: &LogLine) {
        self.put_line(step, line, false);
    }

    fn put_line(&mut self, step: u32, line: &LogLine, missing: bool) {
        self.total = self.total.max(line.n + 1);
        if line.text.len() * TAB > self.widest {
            self.widest = self.widest.max(width(&line.text));
        }
        self.clock += 1;
        let clock = self.clock;
        let page = self.pages.entry(line.n / PAGE_LINES).or_default();
        page.used = clock;
        let place = place(line.n);
        if page.lines.len() <= place {
            page.lines.resize(place + 1, None);
        }
        let slot = &mut page.lines[place];
        let is_known =
            |old: &Line| missing || (!old.open && line.open) || (*old.text == *line.text && old.open == line.open);
        if slot.as_ref().is_some_and(is_known) {
            return;
        }
        let text = Arc::from(line.text.as_str());
        let LogLine { t, open, split, err, note, .. } = *line;
        *slot = Some(Line { step, t, text, version: clock, open, split, err, note, missing });
        self.give_up();
    }

    /// Puts what the record gave. It may lag: a line without end does not take the place of what was heard since.
    pub fn put_recorded(&mut self, lines: &[RecordedLine]) {
        for line in lines {
            if !line.line.open || self.get(line.line.n).is_none() {
                self.put_line(line.step, &line.line, line.missing);
            }
        }
    }

    /// The record has `total` lines. Gives back how many of them are new. A line without end is forgotten, for the
    /// record may hold its end.
    pub fn reach(&mut self, total: u64) -> u64 {
        if let Some(last) = self.total.checked_sub(1)
            && let Some(slot) =
                self.pages.get_mut(&(last / PAGE_LINES)).and_then(|page| page.lines.get_mut(place(last)))
            && slot.as_ref().is_some_and(|line| line.open)
        {
            *slot = None;
        }
        let new = total.saturating_sub(self.total);
        self.total = self.total.max(total);
        new
    }

    /// The first line of a page that is not here. An answer may end before the page does where lines are very long.
    #[must_use]
    pub fn first_missing(&self, page: u64) -> Option<u64> {
        (page * PAGE_LINES..(page + 1) * PAGE_LINES).find(|n| self.get(*n).is_none())
    }

    /// The first line and the number of lines to ask for, for each page of `shown` in which something is missing.
    #[must_use]
    pub fn missing(&self, shown: Range<u64>) -> Vec<u64> {
        self.missing_of(shown.start..shown.end.min(self.total))
    }

    /// The same for lines that need not follow each other, in order.
    #[must_use]
    pub fn missing_of(&self, shown: impl Iterator<Item = u64>) -> Vec<u64> {
        let is_missing = |n: &u64| *n < self.total && self.get(*n).is_none();
        let mut pages: Vec<u64> = shown.filter(is_missing).map(|n| n / PAGE_LINES).collect();
        pages.dedup();
        pages
    }

    /// Marks the pages of `shown` as used, so that they are given up last.
    pub fn touch(&mut self, shown: Range<u64>) {
        self.clock += 1;
        let (first, last) = (shown.start / PAGE_LINES, shown.end.saturating_sub(1) / PAGE_LINES);
        for index in first..=last {
            if let Some(page) = self.pages.get_mut(&index) {
                page.used = self.clock;
            }
        }
    }

    fn give_up(&mut self) {
        while self.pages.len() > PAGES_MAX {
            let oldest = self.pages.iter().min_by_key(|(_, page)| page.used).map(|(index, _)| *index);
            if let Some(index) = oldest {
                self.pages.remove(&index);
            }
        }
    }
}

/// Columns that a tab takes at most.
const TAB: usize = 8;

/// Columns of a line, colour sequences left out; wide characters count by their bytes, which is never too little.
fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\t' => columns += TAB,
            // A control sequence: ESC, a bracket, then up to its final letter.
            0x1b => drop(bytes.find(|byte| (b'@'..=b'~').contains(byte) && *byte != b'[')),
            _ => columns += 1,
        }
    }
    columns
}

/// Where a line stands in its page.
fn place(n: u64) -> usize {
    usize::try_from(n % PAGE_LINES).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::line;

    #[test]
    fn a_line_without_end_is_replaced_in_place() {
        let mut log = JobLog::new(1);
        log.put(0, &LogLine { open: true, ..line(0, "10 %") });
        log.put(0, &line(0, "100 %"));
        assert_eq!(log.total(), 1);
        let held = log.get(0).unwrap();
        assert_eq!((&*held.text, held.open), ("100 %", false));
    }

    #[test]
    fn a_page_that_came_in_part_is_asked_from_its_first_missing_line() {
        let mut log = JobLog::new(1);
        log.reach(2 * PAGE_LINES);
        assert_eq!(log.first_missing(1), Some(PAGE_LINES));
        log.put_recorded(&[wire::log::RecordedLine { step: 0, line: line(PAGE_LINES, "long"), missing: false }]);
        assert_eq!((log.missing(0..2 * PAGE_LINES), log.first_missing(1)), (vec![0, 1], Some(PAGE_LINES + 1)));
    }

    #[test]
    fn a_line_that_was_forgotten_in_between_comes_back_as_another_version() {
        let mut log = JobLog::new(1);
        log.put(0, &LogLine { open: true, ..line(0, "10 %") });
        let before = log.get(0).unwrap().version;
        log.reach(1);
        log.put(0, &line(0, "100 %"));
        assert_ne!(log.get(0).unwrap().version, before, "rows are told apart by it");
    }

    #[test]
    fn p3_a_record_that_lags_does_not_take_a_line_back_to_what_it_was() {
        let mut log = JobLog::new(1);
        let older = LogLine { open: true, ..line(0, "10 %") };
        log.put(0, &LogLine { open: true, ..line(0, "70 %") });
        log.put_recorded(&[RecordedLine { step: 0, line: older.clone(), missing: false }]);
        assert_eq!(&*log.get(0).unwrap().text, "70 %");
        log.put_recorded(&[RecordedLine { step: 0, line: line(0, "done"), missing: false }]);
        log.put(0, &older);
        assert_eq!(&*log.get(0).unwrap().text, "done");
    }

    #[test]
    fn colours_do_not_make_a_line_wider_but_tabs_do() {
        assert_eq!(width("\u{1b}[1;31mab\u{1b}[0m\tc"), 2 + 8 + 1);
        assert_eq!(width("\u{1b}["), 0);
    }

    #[test]
    fn a_million_lines_hold_a_bounded_number_of_pages() {
        let mut log = JobLog::new(1);
        for n in 0..1_000_000 {
            log.put(0, &line(n, "x"));
        }
        assert_eq!(log.total(), 1_000_000);
        assert!(log.pages.len() <= PAGES_MAX);
        assert!(log.get(999_999).is_some() && log.get(0).is_none());
        assert_eq!(log.missing(0..40), [0]);
        assert_eq!(log.missing(480..520), [0, 1]);
        assert_eq!(log.missing(999_990..1_000_030), [] as [u64; 0]);
    }

    #[test]
    fn p3_the_record_says_how_many_lines_were_missed_and_an_unfinished_line_is_read_again() {
        let mut log = JobLog::new(1);
        log.put(0, &line(0, "a"));
        log.put(0, &LogLine { open: true, ..line(1, "b") });
        assert_eq!(log.reach(214), 212);
        assert_eq!((log.get(0).is_some(), log.get(1).is_some()), (true, false));
        assert_eq!(log.reach(200), 0, "a record that lags takes nothing away");
        assert_eq!(log.total(), 214);
    }
}
