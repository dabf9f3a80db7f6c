//! Which rows of a long log are in view. Pure: pixels in, rows out.
//!
//! Browsers limit how high an element may be. Beyond [`SPACER_MAX`] the spacer no longer grows with the log: the
//! scroll bar then stands for a share of the log, while small movements (wheel, keys) still move by their own pixels.

use super::heights::{Heights, ROW};

/// The height of the spacer in pixels at most. Browsers allow about 16 million.
pub const SPACER_MAX: f64 = 8_000_000.0;
/// Wheels and keys move the bar by so many pixels at most in one event, however low the view; dragging the bar of a log
/// beyond [`SPACER_MAX`] by one pixel moves it by more.
pub const HAND_STEP_MAX: f64 = 3_000.0;
/// Rows drawn beyond each edge of the view.
pub const OVERSCAN: u64 = 30;
/// Rows drawn at most, however high the view.
pub const ROWS_MAX: u64 = 290;

/// Where a log is scrolled to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scroll {
    /// Pixels of the log above the view, as if nothing were limited.
    place: f64,
    /// What the browser says of its scroll bar.
    top: f64,
    /// Height of the view.
    view: f64,
}

impl Scroll {
    /// The height of the spacer for content of such a height.
    #[must_use]
    pub fn spacer(content: f64) -> f64 {
        content.min(SPACER_MAX)
    }

    /// What the scroll bar last said.
    #[must_use]
    pub fn top(&self) -> f64 {
        self.top
    }

    /// The height of the view has changed.
    pub fn resize(&mut self, view: f64) {
        self.view = view;
    }

    /// The scroll bar stands at `top` because the person moved it.
    pub fn moved(&mut self, top: f64, content: f64) {
        let (last, bar_last) = (self.last_place(content), (Self::spacer(content) - self.view).max(0.0));
        let step = top - self.top;
        self.place = if content <= SPACER_MAX {
            top
        } else if top <= 0.0 {
            0.0
        } else if top >= bar_last - 1.0 {
            last
        } else if step.abs() <= self.view.max(HAND_STEP_MAX) {
            self.place + step
        } else {
            top / bar_last * last
        };
        self.place = self.place.clamp(0.0, last);
        self.top = top;
    }

    /// Goes to a row, so that it stands near the top of the view. Gives back where the scroll bar has to stand.
    pub fn go_to(&mut self, row: u64, heights: &Heights, total: u64) -> f64 {
        self.place_at((heights.above(row) - 2.0 * ROW).max(0.0), heights.content(total))
    }

    /// Goes to the end.
    pub fn go_to_end(&mut self, content: f64) -> f64 {
        self.place_at(f64::MAX, content)
    }

    /// The browser moved its scroll bar there on our behalf, as near as it could.
    pub fn settled(&mut self, top: f64, content: f64) {
        self.top = top;
        if content <= SPACER_MAX {
            self.place = top;
        }
        self.place = self.place.clamp(0.0, self.last_place(content));
    }

    /// Whether the end is in view.
    #[must_use]
    pub fn is_at_end(&self, content: f64) -> bool {
        self.place >= self.last_place(content) - ROW
    }

    /// The row at the upper edge of the view, and how many of its pixels are above it: what stands still while heights
    /// change.
    #[must_use]
    pub fn anchor(&self, heights: &Heights, total: u64) -> (u64, f64) {
        let row = heights.row_at(self.place, total);
        (row, self.place - heights.above(row))
    }

    /// Heights have changed: goes to where `anchor` stands now. Gives back where the scroll bar has to stand.
    pub fn hold(&mut self, (row, into): (u64, f64), heights: &Heights, total: u64) -> f64 {
        self.place_at(heights.above(row) + into, heights.content(total))
    }

    /// The rows to draw, folded ones left out.
    #[must_use]
    pub fn rows(&self, heights: &Heights, total: u64) -> Vec<u64> {
        let first = heights.before(heights.row_at(self.place, total), OVERSCAN);
        let seen = (self.view / ROW).ceil() as u64 + 1 + 2 * OVERSCAN;
        heights.shown(first, seen.min(ROWS_MAX), total)
    }

    /// Where the first drawn row stands in the spacer.
    #[must_use]
    pub fn offset(&self, first: u64, heights: &Heights) -> f64 {
        self.top + heights.above(first) - self.place
    }

    fn last_place(&self, content: f64) -> f64 {
        (content - self.view).max(0.0)
    }

    fn place_at(&mut self, place: f64, content: f64) -> f64 {
        let last = self.last_place(content);
        self.place = place.clamp(0.0, last);
        if content <= SPACER_MAX || last <= 0.0 {
            return self.place;
        }
        self.place / last * (SPACER_MAX - self.view).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION: u64 = 1_000_000;

    fn even(total: u64) -> f64 {
        Heights::default().content(total)
    }

    fn at(top: f64, total: u64) -> Scroll {
        let mut scroll = Scroll::default();
        scroll.resize(600.0);
        scroll.moved(top, even(total));
        scroll
    }

    fn first_and_last(scroll: &Scroll, total: u64) -> (u64, u64) {
        let rows = scroll.rows(&Heights::default(), total);
        (rows[0], *rows.last().unwrap())
    }

    #[test]
    fn a_short_log_scrolls_by_pixels() {
        let scroll = at(1_000.0, 500);
        assert_eq!(first_and_last(&scroll, 500), (20, 110));
        assert_eq!(scroll.offset(20, &Heights::default()), 400.0);
        assert_eq!(first_and_last(&at(0.0, 3), 3), (0, 2));
        assert!(at(0.0, 0).rows(&Heights::default(), 0).is_empty());
    }

    #[test]
    fn a_million_lines_reach_their_first_and_last_row_within_the_browsers_limit() {
        assert_eq!(Scroll::spacer(even(MILLION)), SPACER_MAX);
        assert_eq!(first_and_last(&at(0.0, MILLION), MILLION).0, 0);
        let end = at(SPACER_MAX - 600.0, MILLION);
        assert_eq!(first_and_last(&end, MILLION).1, MILLION - 1);
        assert!(end.is_at_end(even(MILLION)));
        let (first, last) = first_and_last(&at((SPACER_MAX - 600.0) / 2.0, MILLION), MILLION);
        assert!((first..=last).contains(&(MILLION / 2)), "{first} {last}");
    }

    #[test]
    fn a_wheel_moves_by_its_own_pixels_even_where_the_bar_is_scaled() {
        let mut scroll = at((SPACER_MAX - 600.0) / 2.0, MILLION);
        let before = first_and_last(&scroll, MILLION).0;
        scroll.moved(scroll.top() + 100.0, even(MILLION));
        assert_eq!(first_and_last(&scroll, MILLION).0, before + 5);
        scroll.moved(scroll.top() - 2_000.0, even(MILLION));
        let first = first_and_last(&scroll, MILLION).0;
        assert_eq!(first, before + 5 - 100, "a quick turn is further than the view is high");
    }

    #[test]
    fn a_row_that_was_gone_to_is_in_view_and_drawn_where_the_bar_stands() {
        let heights = Heights::default();
        for total in [1_000, MILLION] {
            let mut scroll = at(0.0, total);
            let top = scroll.go_to(total / 2, &heights, total);
            scroll.settled(top.floor(), even(total));
            assert!(scroll.rows(&heights, total).contains(&(total / 2)));
            let shown_at = scroll.offset(total / 2, &heights) - scroll.top();
            assert!((0.0..=3.0 * ROW).contains(&shown_at), "{shown_at}");
        }
    }

    #[test]
    fn what_is_in_view_stands_still_while_rows_above_it_are_measured() {
        for total in [1_000, MILLION] {
            let mut heights = Heights::default();
            let mut scroll = at(10_010.0, total);
            let anchor = scroll.anchor(&heights, total);
            let on_screen = |scroll: &Scroll, heights: &Heights| scroll.offset(anchor.0, heights) - scroll.top();
            let before = on_screen(&scroll, &heights);
            heights.measure([(anchor.0 - 5, 80.0), (anchor.0 - 4, 40.0), (anchor.0 + 3, 60.0)]);
            let top = scroll.hold(anchor, &heights, total);
            scroll.settled(top, heights.content(total));
            assert!((on_screen(&scroll, &heights) - before).abs() < 0.01);
            assert_eq!(scroll.anchor(&heights, total).0, anchor.0);
        }
    }

    #[test]
    fn a_fold_takes_its_rows_out_of_the_view() {
        let mut heights = Heights::default();
        heights.fold(10..900);
        let mut scroll = Scroll::default();
        scroll.resize(600.0);
        scroll.moved(0.0, heights.content(1_000));
        let rows = scroll.rows(&heights, 1_000);
        assert_eq!((rows[9], rows[10]), (9, 900));
        assert_eq!(heights.content(1_000), 110.0 * ROW);
    }

    #[test]
    fn never_more_rows_than_allowed_are_drawn() {
        let mut scroll = Scroll::default();
        scroll.resize(100_000.0);
        assert_eq!(scroll.rows(&Heights::default(), MILLION).len() as u64, ROWS_MAX);
    }
}
