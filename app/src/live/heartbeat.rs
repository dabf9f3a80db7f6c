//! When to try again and when to give a silent socket up. Pure: times are milliseconds that the caller read.

/// The first new try comes within so many milliseconds.
pub const FIRST_RETRY_MILLIS_MAX: f64 = 100.0;
/// The longest wait between two tries, in milliseconds.
pub const RETRY_MILLIS_MAX: f64 = 5_000.0;
/// The wait that doubles, in milliseconds.
const RETRY_MILLIS_BASE: f64 = 250.0;

/// Milliseconds to wait before try number `tries` (from 0); `random` is from 0 to 1, so that a thousand tabs do not
/// come back in one moment.
#[must_use]
pub fn retry_millis(tries: u32, random: f64) -> f64 {
    if tries == 0 {
        return FIRST_RETRY_MILLIS_MAX * random;
    }
    let cap = (RETRY_MILLIS_BASE * f64::from(1u32 << tries.min(10))).min(RETRY_MILLIS_MAX);
    cap * (0.5 + random / 2.0)
}

/// What a look at the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Rest,
    /// Nothing was heard for a period: ask.
    Ping,
    /// Nothing was heard for a period after asking: the socket is dead.
    GiveUp,
}

/// `heard` and `pinged` are when something was last heard and asked. It counts from the question, not from the last
/// word, because the timers of a hidden tab may come a minute late.
#[must_use]
pub fn beat(now: f64, heard: f64, pinged: f64, period: f64) -> Beat {
    if pinged > heard {
        if now - pinged >= period { Beat::GiveUp } else { Beat::Rest }
    } else if now - heard >= period {
        Beat::Ping
    } else {
        Beat::Rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_and_the_wait_is_capped() {
        assert!(retry_millis(0, 1.0) <= FIRST_RETRY_MILLIS_MAX);
        for tries in 1..100 {
            assert!((250.0..=RETRY_MILLIS_MAX).contains(&retry_millis(tries, 0.0)), "try {tries}");
            assert!(retry_millis(tries, 1.0) <= RETRY_MILLIS_MAX);
        }
    }

    #[test]
    fn two_silent_periods_end_a_socket_but_a_late_timer_does_not() {
        assert_eq!(beat(24.0, 0.0, -1.0, 25.0), Beat::Rest);
        assert_eq!(beat(25.0, 0.0, -1.0, 25.0), Beat::Ping);
        assert_eq!(beat(49.0, 0.0, 25.0, 25.0), Beat::Rest);
        assert_eq!(beat(50.0, 0.0, 25.0, 25.0), Beat::GiveUp);
        assert_eq!(beat(600.0, 0.0, -1.0, 25.0), Beat::Ping, "asked first, however late the timer");
    }
}
