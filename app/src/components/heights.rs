//! How high the rows of a log are: all the same, except those that were wrapped and measured, and those that are folded
//! away. Pure: what was measured comes in, pixels come out.

use std::{collections::BTreeMap, ops::Range};

/// The height of a row of one line in pixels; the style sheet says the same.
pub const ROW: f64 = 20.0;
/// Rows whose measures are summed together.
const PAGE_ROWS: u64 = 256;

/// The heights of the rows of one log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heights {
    /// Pixels beyond [`ROW`] of the rows that were measured, by page.
    pages: BTreeMap<u64, Page>,
    /// Rows that are folded away: the first, and the one behind the last. None meets another.
    folds: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Page {
    more: BTreeMap<u64, f64>,
    sum: f64,
}

impl Heights {
    /// All rows together.
    #[must_use]
    pub fn content(&self, total: u64) -> f64 {
        self.above(total)
    }

    /// Pixels above a row.
    #[must_use]
    pub fn above(&self, row: u64) -> f64 {
        let page = row / PAGE_ROWS;
        let pages: f64 = self.pages.range(..page).map(|(_, page)| page.sum).sum();
        let rows: f64 = self.pages.get(&page).map_or(0.0, |page| page.more.range(..row).map(|(_, more)| more).sum());
        (row - self.folded_before(row)) as f64 * ROW + pages + rows
    }

    /// The row that stands at so many pixels: the one of rows that are not folded away.
    #[must_use]
    pub fn row_at(&self, place: f64, total: u64) -> u64 {
        // The last row that begins at `place` or before: behind folded ones, which begin where the next one does.
        let (mut low, mut high) = (0, total);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.above(middle) <= place {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Notes how high rows are, as the browser has laid them out. Says whether anything is new.
    pub fn measure(&mut self, rows: impl IntoIterator<Item = (u64, f64)>) -> bool {
        let mut changed = false;
        for (row, height) in rows {
            let more = (height - ROW).max(0.0);
            let known = self.pages.get(&(row / PAGE_ROWS)).and_then(|page| page.more.get(&row)).copied();
            if (known.unwrap_or(0.0) - more).abs() < 0.5 || self.is_folded(row) {
                continue;
            }
            changed = true;
            let page = self.pages.entry(row / PAGE_ROWS).or_default();
            if more > 0.0 {
                page.more.insert(row, more);
            } else {
                page.more.remove(&row);
            }
            page.sum = page.more.values().sum();
        }
        changed
    }

    /// Forgets what was measured: the width is another one, or nothing is wrapped any more.
    pub fn forget(&mut self) {
        self.pages.clear();
    }

    /// Folds rows away.
    pub fn fold(&mut self, rows: Range<u64>) {
        if rows.is_empty() {
            return;
        }
        // What is folded already becomes part of it.
        let (mut first, mut end) = (rows.start, rows.end);
        let met: Vec<_> =
            self.folds.range(..=end).filter(|(_, known)| **known >= first).map(|(a, b)| (*a, *b)).collect();
        for (from, until) in met {
            self.folds.remove(&from);
            (first, end) = (first.min(from), end.max(until));
        }
        for (_, page) in self.pages.range_mut(first / PAGE_ROWS..=end / PAGE_ROWS) {
            page.more.retain(|row, _| !(first..end).contains(row));
            page.sum = page.more.values().sum();
        }
        self.folds.insert(first, end);
    }

    /// Shows again what a row hides, or what hides it. Says whether there was anything.
    pub fn unfold(&mut self, row: u64) -> bool {
        let fold = self.folds.range(..=row + 1).next_back().filter(|(first, end)| **first == row + 1 || row < **end);
        let first = fold.map(|(first, _)| *first);
        first.is_some_and(|first| self.folds.remove(&first).is_some())
    }

    /// How many rows are folded away right behind this one.
    #[must_use]
    pub fn hides(&self, row: u64) -> u64 {
        self.folds.get(&(row + 1)).map_or(0, |end| end - row - 1)
    }

    /// Whether a row is folded away.
    #[must_use]
    pub fn is_folded(&self, row: u64) -> bool {
        self.folds.range(..=row).next_back().is_some_and(|(_, end)| row < *end)
    }

    /// So many rows that are not folded away, from `first` on.
    #[must_use]
    pub fn shown(&self, first: u64, count: u64, total: u64) -> Vec<u64> {
        let mut rows = Vec::new();
        let mut row = first;
        while row < total && (rows.len() as u64) < count {
            match self.folds.range(..=row).next_back().filter(|(_, end)| row < **end) {
                Some((_, end)) => row = *end,
                None => {
                    rows.push(row);
                    row += 1;
                }
            }
        }
        rows
    }

    /// The row that stands so many rows before `row`, folded ones not counted.
    #[must_use]
    pub fn before(&self, row: u64, count: u64) -> u64 {
        let mut row = row;
        for _ in 0..count {
            let Some(previous) = row.checked_sub(1) else { break };
            let fold = self.folds.range(..=previous).next_back().filter(|(_, end)| previous < **end);
            row = match fold {
                Some((first, _)) => match first.checked_sub(1) {
                    Some(previous) => previous,
                    None => break,
                },
                None => previous,
            };
        }
        row
    }

    fn folded_before(&self, row: u64) -> u64 {
        self.folds.range(..row).map(|(first, end)| row.min(*end) - first).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION: u64 = 1_000_000;

    #[test]
    fn rows_that_nobody_measured_are_of_one_height() {
        let heights = Heights::default();
        assert_eq!((heights.content(10), heights.above(3)), (200.0, 60.0));
        assert_eq!([0.0, 19.9, 20.0, 199.0].map(|place| heights.row_at(place, 10)), [0, 0, 1, 9]);
    }

    #[test]
    fn a_wrapped_row_moves_all_that_stand_below_it() {
        let mut heights = Heights::default();
        assert!(heights.measure([(2, 60.0), (3, 20.0), (700_000, 40.0)]));
        assert!(!heights.measure([(2, 60.0), (3, 20.2)]), "nothing is new");
        assert_eq!([2, 3, 4].map(|row| heights.above(row)), [40.0, 100.0, 120.0]);
        assert_eq!([40.0, 99.0, 100.0].map(|place| heights.row_at(place, MILLION)), [2, 2, 3]);
        assert_eq!(heights.content(MILLION), MILLION as f64 * ROW + 40.0 + 20.0);
        assert!(heights.measure([(2, 20.0)]));
        assert_eq!(heights.above(3), 60.0);
        heights.forget();
        assert_eq!(heights.content(MILLION), MILLION as f64 * ROW);
    }

    #[test]
    fn folded_rows_take_no_room_and_are_not_shown() {
        let mut heights = Heights::default();
        heights.measure([(5, 100.0)]);
        heights.fold(4..8);
        assert_eq!([4, 6, 8, 9].map(|row| heights.above(row)), [80.0, 80.0, 80.0, 100.0]);
        assert_eq!(heights.row_at(80.0, 20), 8, "not one that is folded away");
        assert_eq!(heights.shown(2, 4, 20), [2, 3, 8, 9]);
        assert_eq!((heights.before(9, 3), heights.before(9, 100)), (2, 0));
        assert_eq!((heights.hides(3), heights.hides(4)), (4, 0));
        assert!(!heights.measure([(5, 100.0)]), "what nobody sees has no height");
        assert!(heights.unfold(3));
        assert!(!heights.unfold(3));
        assert_eq!(heights.above(9), 180.0);
    }

    #[test]
    fn folds_that_meet_become_one_and_any_row_inside_opens_it() {
        let mut heights = Heights::default();
        heights.fold(0..3);
        heights.fold(10..20);
        heights.fold(2..10);
        assert_eq!((heights.content(30), heights.shown(0, 2, 30)), (200.0, vec![20, 21]));
        assert_eq!(heights.before(20, 5), 20, "above it is nothing");
        assert!(heights.unfold(15));
        assert_eq!(heights.content(30), 600.0);
    }
}
