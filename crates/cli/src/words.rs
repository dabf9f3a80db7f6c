//! States and durations as a terminal shows them.

use wire::{Outcome, Timestamp, view::State};

/// A mark and a word.
pub(crate) fn standing(state: State, outcome: Option<Outcome>) -> &'static str {
    match (state, outcome) {
        (_, Some(outcome)) => ended(outcome),
        (State::Queued, None) => "· queued",
        (State::Running, None) => "▶ running",
        (State::Finished, None) => "· finished",
    }
}

/// A mark and a word for how something ended.
pub(crate) fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "✓ succeeded",
        Outcome::Skipped => "– skipped",
        Outcome::Failed => "✗ failed",
        Outcome::TimedOut => "✗ timed out",
        Outcome::Cancelled => "■ cancelled",
    }
}

/// `  1.2 s`, or nothing while one of the ends is not known.
pub(crate) fn duration(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    format!("  {}", spelled(to.since(from)))
}

/// Microseconds as people read them: milliseconds below a second, tenths below a minute.
pub(crate) fn spelled(micros: u64) -> String {
    let millis = micros / 1000;
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// As [`spelled`], for a time that counts on: in tenths from the start, so that it does not flicker.
pub(crate) fn counting(micros: u64) -> String {
    let tenths = micros / 100_000;
    if tenths < 600 { format!("{}.{} s", tenths / 10, tenths % 10) } else { spelled(micros) }
}

#[cfg(test)]
mod tests {
    use super::{counting, spelled};

    #[test]
    fn a_time_that_counts_is_in_tenths_below_a_minute() {
        let cases = [(0, "0.0 s"), (350_000, "0.3 s"), (59_999_999, "59.9 s"), (60_000_000, "1 min 0 s")];
        for (micros, text) in cases {
            assert_eq!(counting(micros), text);
        }
    }

    #[test]
    fn short_durations_are_in_milliseconds_and_long_ones_in_hours() {
        let cases = [(12_999, "12 ms"), (1_250_000, "1.2 s"), (61_000_000, "1 min 1 s"), (7_260_000_000, "2 h 1 min")];
        for (micros, text) in cases {
            assert_eq!(spelled(micros), text);
        }
    }
}
