//! Which rows of a long log are in view. Pure: pixels in, rows out.
//!
//! Browsers limit how high an element may be. Beyond [`SPACER_MAX`] the spacer no longer grows with the log: the
//! scroll bar then stands for a share of the log, while small movements (wheel, keys) still move by their own pixels.

use std::ops::Range;

/// The height of a row in pixels; the style sheet says the same.
pub const ROW: f64 = 20.0;
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

fn content(total: u64) -> f64 {
    total as f64 * ROW
}

impl Scroll {
    /// The height of the spacer for so many rows.
    #[must_use]
    pub fn spacer(total: u64) -> f64 {
        content(total).min(SPACER_MAX)
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
    pub fn moved(&mut self, top: f64, total: u64) {
        let (last, bar_last) = (self.last_place(total), (Self::spacer(total) - self.view).max(0.0));
        let step = top - self.top;
        self.place = if content(total) <= SPACER_MAX {
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
    pub fn go_to(&mut self, row: u64, total: u64) -> f64 {
        self.place_at((row as f64 * ROW - 2.0 * ROW).max(0.0), total)
    }

    /// Goes to the end.
    pub fn go_to_end(&mut self, total: u64) -> f64 {
        self.place_at(f64::MAX, total)
    }

    /// The browser moved its scroll bar there on our behalf, as near as it could.
    pub fn settled(&mut self, top: f64, total: u64) {
        self.top = top;
        if content(total) <= SPACER_MAX {
            self.place = top;
        }
        self.place = self.place.clamp(0.0, self.last_place(total));
    }

    /// Whether the end is in view.
    #[must_use]
    pub fn is_at_end(&self, total: u64) -> bool {
        self.place >= self.last_place(total) - ROW
    }

    /// The rows to draw.
    #[must_use]
    pub fn rows(&self, total: u64) -> Range<u64> {
        let first = ((self.place / ROW) as u64).saturating_sub(OVERSCAN).min(total);
        let seen = (self.view / ROW).ceil() as u64 + 1 + 2 * OVERSCAN;
        first..(first + seen.min(ROWS_MAX)).min(total)
    }

    /// Where the first drawn row stands in the spacer.
    #[must_use]
    pub fn offset(&self, first: u64) -> f64 {
        self.top + first as f64 * ROW - self.place
    }

    fn last_place(&self, total: u64) -> f64 {
        (content(total) - self.view).max(0.0)
    }

    fn place_at(&mut self, place: f64, total: u64) -> f64 {
        let last = self.last_place(total);
        self.place = place.min(last);
        if content(total) <= SPACER_MAX || last <= 0.0 {
            return self.place;
        }
        self.place / last * (SPACER_MAX - self.view).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION: u64 = 1_000_000;

    fn at(top: f64, total: u64) -> Scroll {
        let mut scroll = Scroll::default();
        scroll.resize(600.0);
        scroll.moved(top, total);
        scroll
    }

    #[test]
    fn a_short_log_scrolls_by_pixels() {
        let scroll = at(1_000.0, 500);
        assert_eq!(scroll.rows(500), 20..111);
        assert_eq!(scroll.offset(20), 400.0);
        assert_eq!(at(0.0, 3).rows(3), 0..3);
    }

    #[test]
    fn a_million_lines_reach_their_first_and_last_row_within_the_browsers_limit() {
        assert_eq!(Scroll::spacer(MILLION), SPACER_MAX);
        assert_eq!(at(0.0, MILLION).rows(MILLION).start, 0);
        let end = at(SPACER_MAX - 600.0, MILLION);
        assert_eq!(end.rows(MILLION).end, MILLION);
        assert!(end.is_at_end(MILLION));
        let half = at((SPACER_MAX - 600.0) / 2.0, MILLION).rows(MILLION);
        assert!(half.contains(&(MILLION / 2)), "{half:?}");
    }

    #[test]
    fn a_wheel_moves_by_its_own_pixels_even_where_the_bar_is_scaled() {
        let mut scroll = at((SPACER_MAX - 600.0) / 2.0, MILLION);
        let before = scroll.rows(MILLION).start;
        scroll.moved(scroll.top() + 100.0, MILLION);
        assert_eq!(scroll.rows(MILLION).start, before + 5);
        scroll.moved(scroll.top() - 2_000.0, MILLION);
        assert_eq!(scroll.rows(MILLION).start, before + 5 - 100, "a quick turn is further than the view is high");
    }

    #[test]
    fn a_row_that_was_gone_to_is_in_view_and_drawn_where_the_bar_stands() {
        for total in [1_000, MILLION] {
            let mut scroll = at(0.0, total);
            let top = scroll.go_to(total / 2, total);
            scroll.settled(top.floor(), total);
            let rows = scroll.rows(total);
            assert!(rows.contains(&(total / 2)));
            let shown_at = scroll.offset(total / 2) - scroll.top();
            assert!((0.0..=3.0 * ROW).contains(&shown_at), "{shown_at}");
        }
    }

    #[test]
    fn never_more_rows_than_allowed_are_drawn() {
        let mut scroll = Scroll::default();
        scroll.resize(100_000.0);
        let rows = scroll.rows(MILLION);
        assert!(rows.end - rows.start <= ROWS_MAX);
    }
}
