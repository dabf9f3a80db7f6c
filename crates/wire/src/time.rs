//! Points in time as they cross borders: whole microseconds. Reading a clock is the caller's business.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds from `earlier` to this point; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// This point moved by `micros` microseconds into the future.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(micros))
    }

    /// Whole milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// As RFC 3339 writes it, in UTC: `2026-11-20T10:04:19.123Z`. Days by Howard Hinnant's `civil_from_days`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (days, millis) = (self.millis().div_euclid(86_400_000), self.millis().rem_euclid(86_400_000));
        let z = days + 719_468;
        let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, millis) = (millis / 1_000 % 60, millis % 1_000);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_rightly_on_leap_days_and_at_year_ends() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000 + 123_456).rfc3339();
        assert_eq!(at(0), "1970-01-01T00:00:00.123Z");
        assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00.123Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.123Z");
        assert_eq!(Timestamp(-1_000_000).rfc3339(), "1969-12-31T23:59:59.000Z");
    }
}
