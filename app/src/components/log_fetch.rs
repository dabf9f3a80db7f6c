//! Fetching the lines that are not held: what is in view first, then what the scroll is about to reach.

use std::collections::{BTreeSet, HashSet};

use leptos::{prelude::*, task::spawn_local};
use wire::JobId;

use crate::{
    browser,
    live::{follow::Followed, log::PAGE_LINES},
    rest,
};

/// At most so many pages are asked for at one time: more than that a browser lets wait anyway.
const FETCHES_MAX: usize = 6;
/// While so many are asked for, nothing is fetched ahead: what comes into view has room.
const AHEAD_MAX: usize = 4;
/// So many pages are fetched ahead at most: far fewer than are held, or they would give up each other.
const AHEAD_PAGES_MAX: usize = 8;
/// So many moves of the view are looked ahead.
const MOVES_AHEAD: i64 = 4;
/// How long to wait before a page is asked for again that the record did not give, in milliseconds.
const FETCH_AGAIN_MILLIS: u64 = 500;

/// A page of an attempt's log.
type Key = (JobId, u32, u64);

/// The pages that are being asked for.
#[derive(Clone, Copy)]
pub(super) struct Fetches {
    followed: Followed,
    under_way: StoredValue<HashSet<Key>>,
    /// The first row that was in view at the last look: what the view moved by since tells where it goes.
    before: StoredValue<u64>,
}

impl Fetches {
    pub(super) fn new(followed: Followed) -> Self {
        Self { followed, under_way: StoredValue::default(), before: StoredValue::new(0) }
    }

    /// `missing` pages are in view and not held; the rows `shown` are in view.
    pub(super) fn want(self, (job, attempt): (JobId, u32), missing: Vec<u64>, shown: Shown, total: u64) {
        let moved = shown.first.cast_signed() - self.before.get_value().cast_signed();
        self.before.set_value(shown.first);
        for page in missing {
            self.fetch((job, attempt, page), FETCHES_MAX);
        }
        let held = |page: u64| {
            let lines = page * PAGE_LINES..((page + 1) * PAGE_LINES).min(total);
            self.followed.model.with_value(|model| model.log().is_none_or(|log| log.missing(lines).is_empty()))
        };
        for page in ahead(shown, moved, total).into_iter().filter(|page| !held(*page)) {
            self.fetch((job, attempt, page), AHEAD_MAX);
        }
    }

    fn fetch(self, key: Key, most: usize) {
        let (job, attempt, page) = key;
        let is_new = self.under_way.try_update_value(|under_way| under_way.len() < most && under_way.insert(key));
        if is_new != Some(true) || attempt == 0 {
            return;
        }
        let first = self.followed.model.try_update_value(|model| model.log_mut()?.first_missing(page)).flatten();
        let from = first.unwrap_or(page * PAGE_LINES);
        spawn_local(async move {
            let answer = rest::log_lines(job, attempt, from, (page + 1) * PAGE_LINES - from).await;
            let is_whole = self.followed.model.try_update_value(|model| {
                if let Ok(fetched) = &answer {
                    model.fetched(job, attempt, fetched);
                }
                let is_shown = model.chosen() == Some(job);
                let Some(log) = model.log().filter(|log| is_shown && log.attempt() == attempt) else { return true };
                answer.is_ok() && log.missing(page * PAGE_LINES..(page + 1) * PAGE_LINES).is_empty()
            });
            let again = move || {
                if self.under_way.try_update_value(|under_way| under_way.remove(&key)).is_some() {
                    self.followed.log_fetched();
                }
            };
            // The record lags behind what the page has heard, or cannot be reached: placeholders stay meanwhile.
            match is_whole {
                Some(true) => again(),
                Some(false) => browser::after(FETCH_AGAIN_MILLIS, again),
                None => {}
            }
        });
    }
}

/// The rows in view: fewer than lie between the first and the last where some are folded away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
}

/// The pages that come into view if the view goes on as it moved: nearest first. A view that stands has its neighbours.
fn ahead(shown: Shown, moved: i64, total: u64) -> Vec<u64> {
    let Some(last_page) = total.checked_sub(1).map(|last| last / PAGE_LINES) else { return Vec::new() };
    let pages_of = |start: i64| {
        let start = u64::try_from(start).unwrap_or(0);
        let end = start + shown.count.max(1) - 1;
        (start / PAGE_LINES)..=(end / PAGE_LINES).min(last_page)
    };
    let (first, last) = (shown.first.cast_signed(), shown.last.cast_signed());
    let moves =
        (1..=MOVES_AHEAD).filter(|_| moved != 0).flat_map(|n| pages_of(first.saturating_add(n.saturating_mul(moved))));
    // Half a page beside what is shown, on the side it goes to; then on the other.
    let half = PAGE_LINES.cast_signed() / 2;
    let (below, above) = (last + half, first - half - shown.count.cast_signed());
    let beside = if moved < 0 { [above, below] } else { [below, above] };
    let mut seen: BTreeSet<u64> = [shown.first / PAGE_LINES, shown.last / PAGE_LINES].into();
    moves.chain(beside.into_iter().flat_map(pages_of)).filter(|page| seen.insert(*page)).take(AHEAD_PAGES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(first: u64, end: u64) -> Shown {
        Shown { first, last: end - 1, count: end - first }
    }

    #[test]
    fn a_view_that_stands_has_its_neighbours_and_nothing_beyond_the_ends() {
        assert_eq!(ahead(rows(480, 560), 0, 10_000), Vec::<u64>::new(), "both are in view");
        assert_eq!(ahead(rows(600, 690), 0, 10_000), [2, 0]);
        assert_eq!(ahead(rows(900, 990), 0, 10_000), [2]);
        assert_eq!(ahead(rows(0, 90), 0, 100), Vec::<u64>::new());
        assert_eq!(ahead(Shown { first: 0, last: 0, count: 0 }, 0, 0), Vec::<u64>::new());
    }

    #[test]
    fn a_view_that_moves_finds_the_places_where_it_will_be() {
        assert_eq!(ahead(rows(10_000, 10_090), 833, 100_000), [21, 23, 24, 25, 26, 19]);
        assert_eq!(ahead(rows(10_000, 10_090), -5_000, 100_000), [10, 0, 19]);
        assert_eq!(ahead(rows(99_800, 99_890), 900, 100_000), [198], "nothing follows the end");
    }

    #[test]
    fn what_is_folded_away_is_not_fetched() {
        let shown = Shown { first: 0, last: 30_079, count: 90 };
        assert_eq!(ahead(shown, 0, 100_000), Vec::<u64>::new(), "its last row stands in the middle of a page");
        assert_eq!(ahead(Shown { last: 30_400, ..shown }, 0, 100_000), [61]);
        assert!(ahead(shown, i64::MAX, 100_000).len() <= AHEAD_PAGES_MAX);
    }
}
