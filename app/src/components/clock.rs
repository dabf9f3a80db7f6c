//! The time that pages show durations against: the server's, so that a person's wrong clock changes nothing. It stands
//! still until the page is hydrated, so that the first render is equal on both sides.

use std::time::Duration;

use leptos::{prelude::*, task::spawn_local};
use wire::Timestamp;

use crate::{api, browser};

/// How often counting durations are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often the way from executor to screen is measured, in microseconds: a number that flickers is not read.
const DELAY_MICROS: i64 = 1_000_000;
/// A longer way, in microseconds, is a difference between two clocks.
const DELAY_MICROS_MAX: u64 = 5_000_000;
/// The difference between the two clocks is known well when the question for it took no longer, in microseconds: it lies
/// within half of that.
const ASKED_MICROS_MAX: i64 = 200_000;
/// A question that took no longer needs no better one, in microseconds.
const ASKED_MICROS_GOOD: i64 = 20_000;
/// How soon it is asked again for a better answer, in microseconds; the wait doubles.
const ASK_AGAIN_MICROS: i64 = 1_000_000;
/// For so long a known difference is taken to hold, in microseconds: a person may set their clock.
const KNOWN_MICROS: i64 = 300_000_000;

/// What is known of the difference between the person's clock and the server's. Times are by the person's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Difference {
    known: Option<Known>,
    asked_at: Option<i64>,
    asks: u32,
}

/// The best answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Microseconds that the person's clock is ahead.
    ahead: i64,
    /// How long the question took.
    took: i64,
    at: i64,
}

impl Known {
    fn holds(&self, now: i64) -> bool {
        (0..KNOWN_MICROS).contains(&(now - self.at))
    }
}

impl Difference {
    /// The microseconds ahead, where they are known well enough to measure by.
    fn ahead(self, now: i64) -> Option<i64> {
        self.known.filter(|known| known.holds(now)).map(|known| known.ahead)
    }

    /// Whether it is time to ask for it, or for a better answer; noted as asked.
    fn ask(&mut self, now: i64) -> bool {
        let is_good = self.known.is_some_and(|known| known.holds(now) && known.took <= ASKED_MICROS_GOOD);
        let wait = ASK_AGAIN_MICROS.saturating_mul(1 << self.asks.min(10)).min(KNOWN_MICROS);
        let was_asked = self.asked_at.is_some_and(|asked| (0..wait).contains(&(now - asked)));
        if is_good || was_asked {
            return false;
        }
        (self.asked_at, self.asks) = (Some(now), self.asks + 1);
        true
    }

    /// The server's time stood at `server` somewhere between `asked` and `came`.
    fn answered(&mut self, asked: i64, came: i64, server: i64) {
        let took = came - asked;
        let is_better = self.known.is_none_or(|known| !known.holds(came) || took < known.took);
        if is_better && (0..=ASKED_MICROS_MAX).contains(&took) {
            self.known = Some(Known { ahead: asked + took / 2 - server, took, at: came });
        }
    }
}

/// The page's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: RwSignal<Timestamp>,
    /// Microseconds that the person's clock is ahead of the server's.
    ahead: StoredValue<i64>,
    /// The same, as far as it is known well enough to tell how long an event took.
    difference: StoredValue<Difference>,
    hydrated: RwSignal<bool>,
    /// Milliseconds from the writing of an event to the frame that shows it, looked at once a second.
    delay: RwSignal<Option<u64>>,
    delay_at: StoredValue<i64>,
    /// Events that are older than this, by the person's clock, are told again and not as they happen.
    fresh_from: StoredValue<i64>,
}

impl Clock {
    /// Provides the clock.
    #[must_use]
    pub fn provide() -> Self {
        let clock = Self {
            now: RwSignal::new(Timestamp(0)),
            ahead: StoredValue::new(0),
            difference: StoredValue::new(Difference::default()),
            hydrated: RwSignal::new(false),
            delay: RwSignal::new(None),
            delay_at: StoredValue::new(0),
            fresh_from: StoredValue::new(i64::MAX),
        };
        provide_context(clock);
        clock
    }

    /// The clock that the app provides; one that stands at zero where there is none.
    #[must_use]
    pub fn get() -> Self {
        use_context().unwrap_or_else(Self::provide)
    }

    /// Sets it by the time at which the server read a page.
    pub fn set(self, server: Timestamp) {
        if self.hydrated.get_untracked() {
            self.ahead.set_value(micros() - server.0);
        }
        self.now.set(server);
    }

    /// The page begins to listen, to something or again: only what is written from now on is heard as it happens.
    pub fn listens(self) {
        self.fresh_from.set_value(micros());
    }

    /// An event that was written at `at` has arrived: the person's clock cannot be further ahead than that. While the page
    /// `is_live`, the way of a fresh one to the screen is measured.
    pub fn heard(self, at: Timestamp, is_live: bool) {
        let came = micros();
        self.ahead.update_value(|ahead| *ahead = (*ahead).min(came - at.0));
        // A clock that was set back makes a difference below zero.
        if !is_live || (0..DELAY_MICROS).contains(&(came - self.delay_at.get_value())) {
            return;
        }
        self.ask_for_the_difference(came);
        let Some(ahead) = self.difference.with_value(|known| known.ahead(came)) else { return };
        if at.0 + ahead < self.fresh_from.get_value() {
            return;
        }
        self.delay_at.set_value(came);
        browser::next_frame(move || {
            let delay = u64::try_from(micros() - ahead - at.0).ok().filter(|delay| *delay < DELAY_MICROS_MAX);
            let _ = self.delay.try_set(delay.map(|delay| delay / 1_000));
        });
    }

    /// What was listened to is left: how long its events took says nothing any more.
    pub fn leaves(self) {
        let _ = self.delay.try_set(None);
    }

    /// Asks the server for its time, unless that was done a moment ago or is known as well as need be.
    fn ask_for_the_difference(self, now: i64) {
        if self.difference.try_update_value(|known| known.ask(now)) != Some(true) {
            return;
        }
        spawn_local(async move {
            let answer = api::read_clock().await;
            let came = micros();
            // Not reached: it is asked again, later.
            if let Ok(server) = answer
                && self.difference.try_update_value(|known| known.answered(now, came, server.0)).is_some()
                && let Some(ahead) = self.difference.with_value(|known| known.ahead(came))
            {
                self.ahead.set_value(ahead);
            }
        });
    }

    /// Milliseconds that the last fresh event took from executor to screen, where the difference between the two clocks
    /// is known; tracked.
    #[must_use]
    pub fn delay(self) -> Option<u64> {
        self.delay.get()
    }

    /// The page is hydrated: from now on it runs, and texts may follow the person's zone.
    pub fn hydrated(self) {
        let now = self.now.get_untracked();
        if now.0 > 0 {
            self.ahead.set_value(micros() - now.0);
        }
        self.hydrated.set(true);
        // Without a timer durations stand still, which is all that is lost.
        let _ = set_interval_with_handle(move || self.now.set(Timestamp(micros() - self.ahead.get_value())), TICK);
    }

    /// The server's time; tracked.
    #[must_use]
    pub fn now(self) -> Timestamp {
        self.now.get()
    }

    /// Whether the browser has taken the page over; tracked until it has. Then nothing changes any more, and who listened all
    /// the same would never be forgotten (see [`super::derived`]).
    #[must_use]
    pub fn is_hydrated(self) -> bool {
        self.hydrated.get_untracked() || self.hydrated.get()
    }
}

fn micros() -> i64 {
    (browser::now_millis() * 1_000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_known_by_how_much_and_only_by_a_quick_answer() {
        let mut difference = Difference::default();
        assert!(difference.ask(1_000_000));
        assert!(!difference.ask(1_000_001), "one question at a time");
        difference.answered(1_000_000, 1_000_000 + ASKED_MICROS_MAX + 1, 500_000);
        assert_eq!(difference.ahead(1_100_000), None, "it took too long to tell anything");
        assert!(!difference.ask(1_000_000 + ASK_AGAIN_MICROS) && difference.ask(1_000_000 + 2 * ASK_AGAIN_MICROS));
        difference.answered(20_000_000, 20_100_000, 17_040_000);
        assert_eq!(difference.ahead(20_100_000), Some(3_010_000));
        assert!(difference.ask(28_000_000), "a better answer is welcome");
        difference.answered(22_000_000, 22_010_000, 19_005_000);
        assert_eq!(difference.ahead(22_010_000), Some(3_000_000));
        difference.answered(23_000_000, 23_150_000, 20_000_000);
        assert_eq!(difference.ahead(23_150_000), Some(3_000_000), "a worse one changes nothing");
        assert!(!difference.ask(24_000_000), "this one is good");
        assert_eq!(difference.ahead(22_010_000 + KNOWN_MICROS), None, "clocks are set anew at times");
        assert_eq!(difference.ahead(22_000_000), None, "this one was, backwards");
    }
}
