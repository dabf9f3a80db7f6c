//! Statistics of builds as they are shown, and the histogram that durations are counted in.
//!
//! A histogram has fixed buckets: 16 for each power of two, so a value is known to [`RELATIVE_ERROR`], and the histograms
//! of two days are added bucket by bucket. Only whole numbers decide on a bucket: it is the same on every machine.

use serde::{Deserialize, Serialize};

use crate::{Outcome, PipelineName};

/// How far a value that is read from a histogram may be from the real one, as a part of it.
pub const RELATIVE_ERROR: f64 = 1.0 / 32.0;
/// Days that are kept, and shown at most.
pub const DAYS_MAX: u32 = 400;
/// Days that are shown unless asked otherwise.
pub const DAYS: u32 = 30;
/// Rows of steps, and of jobs, in one answer.
pub const ROWS_MAX: u32 = 10;
/// Microseconds of a day.
pub const DAY_MICROS: i64 = 24 * 3_600_000_000;

const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;

/// The bucket of a number of microseconds.
#[must_use]
pub fn bucket(micros: u64) -> u32 {
    if micros < SUBS {
        return u32::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - SUB_BITS;
    let sub = u32::try_from((micros >> shift) - SUBS).unwrap_or(0);
    (shift + 1) * (1 << SUB_BITS) + sub
}

/// The value that stands for a bucket: its middle, in microseconds.
#[must_use]
pub fn middle(bucket: u32) -> u64 {
    let (row, sub) = (bucket >> SUB_BITS, u64::from(bucket) & (SUBS - 1));
    match row.checked_sub(1) {
        None => sub,
        Some(shift) => {
            let shift = shift.min(58);
            ((SUBS + sub) << shift) + ((1 << shift) >> 1)
        }
    }
}

/// The value below which `percent` of what was counted lies, in microseconds; none where nothing was. `counts` is by bucket,
/// rising.
#[must_use]
pub fn percentile(counts: &[(u32, u64)], percent: u64) -> Option<u64> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let wanted = total.saturating_mul(percent).div_ceil(100).max(1);
    let mut seen = 0;
    for (bucket, count) in counts {
        seen += count;
        if seen >= wanted {
            return Some(middle(*bucket));
        }
    }
    None
}

/// Lengths of time of which some were counted, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Half of them were shorter.
    pub p50: Option<u64>,
    /// Nine of ten were.
    pub p90: Option<u64>,
    /// Ninety-nine of a hundred were.
    pub p99: Option<u64>,
}

impl Spread {
    /// Of a histogram, by bucket, rising.
    #[must_use]
    pub fn of(counts: &[(u32, u64)]) -> Self {
        let at = |percent| percentile(counts, percent);
        Self { count: counts.iter().map(|(_, count)| count).sum(), p50: at(50), p90: at(90), p99: at(99) }
    }
}

/// Ends of builds by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Every command exited with 0.
    pub succeeded: u64,
    /// At least one job failed.
    pub failed: u64,
    /// The time was up.
    pub timed_out: u64,
    /// A person stopped it.
    pub cancelled: u64,
    /// No job ran.
    pub skipped: u64,
}

impl Ends {
    /// The one of this outcome.
    pub fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Failed => &mut self.failed,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Skipped => &mut self.skipped,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.succeeded + self.failed + self.timed_out + self.cancelled + self.skipped
    }

    /// Of those that succeeded, failed or timed out, how many in a hundred succeeded; none where there were none.
    #[must_use]
    pub fn success_percent(&self) -> Option<u64> {
        let counted = self.succeeded + self.failed + self.timed_out;
        (counted > 0).then(|| self.succeeded * 100 / counted)
    }
}

/// A day (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// `2026-11-28`.
    pub day: String,
    /// Builds that ended on it; one that was retried counts by its last end.
    pub builds: Ends,
    /// How long these ran, from their first job's start.
    pub duration_micros: Spread,
    /// How long attempts of jobs that began on it had waited for an executor.
    pub queue_micros: Spread,
}

/// A step over all days that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStats {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The job, with its matrix values.
    pub job: String,
    /// The step.
    pub step: String,
    /// On the average, in microseconds.
    pub mean_micros: u64,
    /// How long it took.
    pub duration_micros: Spread,
}

/// A job that did not do the same twice, over all days that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStats {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The job, with its matrix values.
    pub job: String,
    /// How often it succeeded.
    pub succeeded: u64,
    /// How often of these an attempt before had failed.
    pub flaky: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Attempts whose executor was lost.
    pub lost_attempts: u64,
}

/// What `GET /pipelines/{name}/stats` and `GET /stats` answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsView {
    /// Every day up to today, those without builds too.
    pub days: Vec<DayStats>,
    /// All of these days together.
    pub builds: Ends,
    /// The same.
    pub duration_micros: Spread,
    /// The same.
    pub queue_micros: Spread,
    /// Those with the greatest mean, at most [`ROWS_MAX`].
    pub slowest_steps: Vec<StepStats>,
    /// Those that were flaky or lost most often, at most [`ROWS_MAX`].
    pub flaky_jobs: Vec<JobStats>,
}

/// A day, counted from 1970-01-01, as it is written.
#[must_use]
pub fn day_text(day: i64) -> String {
    // Days of years that begin in March: the leap day is the last one (Howard Hinnant, `civil_from_days`).
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_to_the_stated_error_and_buckets_rise() {
        let mut last = 0;
        for exponent in 0..50 {
            for step in 0..40_u64 {
                let value = (1_u64 << exponent) + (step << exponent) / 40;
                let (found, middle) = (bucket(value), middle(bucket(value)));
                assert!(found >= last || value < 64, "{value}");
                last = found;
                let off = value.abs_diff(middle) as f64 / value as f64;
                assert!(off <= RELATIVE_ERROR, "{value} is told as {middle}");
            }
        }
        assert_eq!([0, 1, 15, 16, 17].map(bucket), [0, 1, 15, 16, 17]);
        assert!(middle(u32::MAX) > 0, "whatever a table holds");
    }

    #[test]
    fn percentiles_are_those_of_the_counts() {
        let counts = [(bucket(1_000_000), 90), (bucket(2_000_000), 9), (bucket(8_000_000), 1)];
        let spread = Spread::of(&counts);
        assert_eq!(spread.count, 100);
        let near = |value: Option<u64>, real: u64| value.unwrap().abs_diff(real) as f64 <= real as f64 * RELATIVE_ERROR;
        assert!(near(spread.p50, 1_000_000) && near(spread.p90, 1_000_000) && near(spread.p99, 2_000_000));
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn days_are_written_by_the_calendar() {
        let days = [(0, "1970-01-01"), (-1, "1969-12-31"), (19_782, "2024-02-29"), (20_785, "2026-11-28")];
        for (day, text) in days {
            assert_eq!(day_text(day), text);
        }
    }

    #[test]
    fn cancelled_builds_say_nothing_of_success() {
        let ends = Ends { succeeded: 3, failed: 1, cancelled: 9, ..Ends::default() };
        assert_eq!((ends.success_percent(), ends.total()), (Some(75), 13));
        assert_eq!(Ends::default().success_percent(), None);
    }
}
