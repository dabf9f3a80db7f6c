//! The time that pages show durations against: the server's, so that a person's wrong clock changes nothing. It stands
//! still until the page is hydrated, so that the first render is equal on both sides.

use std::time::Duration;

use leptos::prelude::*;
use wire::Timestamp;

use crate::browser;

/// How often counting durations are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The page's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: RwSignal<Timestamp>,
    /// Microseconds that the person's clock is ahead of the server's.
    ahead: StoredValue<i64>,
    hydrated: RwSignal<bool>,
}

impl Clock {
    /// Provides the clock.
    #[must_use]
    pub fn provide() -> Self {
        let clock =
            Self { now: RwSignal::new(Timestamp(0)), ahead: StoredValue::new(0), hydrated: RwSignal::new(false) };
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
        self.ahead.update_value(|ahead| *ahead = (*ahead).min(micros() - at.0));
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
