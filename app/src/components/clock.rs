//! The time that pages show durations against: the server's, so that a person's wrong clock changes nothing. It stands
//! still until the page is hydrated, so that the first render is equal on both sides.

use std::time::Duration;

use leptos::prelude::*;
use wire::Timestamp;

use crate::browser;

/// How often counting durations are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often the way from executor to screen is measured, in microseconds: a number that flickers is not read.
const DELAY_MICROS: i64 = 1_000_000;
/// A longer way, in microseconds, is a difference between two clocks.
const DELAY_MICROS_MAX: u64 = 5_000_000;

/// The page's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: RwSignal<Timestamp>,
    /// Microseconds that the person's clock is ahead of the server's.
    ahead: StoredValue<i64>,
    hydrated: RwSignal<bool>,
    /// Milliseconds from the writing of an event to the frame that shows it, looked at once a second.
    delay: RwSignal<Option<u64>>,
    delay_at: StoredValue<i64>,
}

impl Clock {
    /// Provides the clock.
    #[must_use]
    pub fn provide() -> Self {
        let clock = Self {
            now: RwSignal::new(Timestamp(0)),
            ahead: StoredValue::new(0),
            hydrated: RwSignal::new(false),
            delay: RwSignal::new(None),
            delay_at: StoredValue::new(0),
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

    /// An event that was written at `at` has arrived: the person's clock cannot be further ahead than that.
    pub fn heard(self, at: Timestamp) {
        let came = micros();
        self.ahead.update_value(|ahead| *ahead = (*ahead).min(came - at.0));
        if came - self.delay_at.get_value() >= DELAY_MICROS {
            self.delay_at.set_value(came);
            browser::next_frame(move || {
                // By both clocks: where they disagree by more than events ever take, it would say nothing true.
                let delay = u64::try_from(micros() - at.0).ok().filter(|delay| *delay < DELAY_MICROS_MAX);
                let _ = self.delay.try_set(delay.map(|delay| delay / 1_000));
            });
        }
    }

    /// Milliseconds that the last event took from executor to screen, if the two clocks agree; tracked.
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

    /// Whether the browser has taken the page over; tracked.
    #[must_use]
    pub fn is_hydrated(self) -> bool {
        self.hydrated.get()
    }
}

fn micros() -> i64 {
    (browser::now_millis() * 1_000.0) as i64
}
