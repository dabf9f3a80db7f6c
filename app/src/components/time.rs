//! A point in time. The server writes UTC; once the page is hydrated it follows the person's zone.

use leptos::prelude::*;
use wire::Timestamp;

use super::clock::Clock;
use crate::browser;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time in some zone, by parts.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
    millis: i64,
    zone_minutes: i32,
}

impl Civil {
    /// By the algorithm of Howard Hinnant's `civil_from_days`.
    fn new(at: Timestamp, zone_minutes: i32) -> Self {
        let millis = at.millis() + i64::from(zone_minutes) * 60_000;
        let days = millis.div_euclid(86_400_000);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day: millis.rem_euclid(86_400_000) / 1_000,
            millis: millis.rem_euclid(1_000),
            zone_minutes,
        }
    }

    fn clock(&self) -> String {
        let s = self.second_of_day;
        format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
    }

    fn month_name(&self) -> &'static str {
        usize::try_from(self.month - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default()
    }

    /// `20 Nov, 10:04:19`, with the zone when it is UTC because no other is known.
    fn short(&self, utc: bool) -> String {
        format!("{} {}, {}{}", self.day, self.month_name(), self.clock(), if utc { " UTC" } else { "" })
    }

    /// `2026-11-20 10:04:19.123 UTC+01:00`.
    fn exact(&self) -> String {
        let zone = match self.zone_minutes {
            0 => "UTC".to_owned(),
            m => format!("UTC{}{:02}:{:02}", if m < 0 { '-' } else { '+' }, m.abs() / 60, m.abs() % 60),
        };
        format!("{:04}-{:02}-{:02} {}.{:03} {zone}", self.year, self.month, self.day, self.clock(), self.millis)
    }
}

/// A line's time of day in the person's zone, `10:04:19.123`, and the exact time. Asked in a browser only.
#[must_use]
pub fn of_line(at: Timestamp) -> (String, String) {
    let civil = Civil::new(at, browser::zone_minutes(at.millis() as f64));
    (format!("{}.{:03}", civil.clock(), civil.millis), civil.exact())
}

/// A point in time, the exact one on hover.
#[component]
pub fn Time(
    /// When.
    at: Timestamp,
) -> impl IntoView {
    let clock = Clock::get();
    let utc = Civil::new(at, 0);
    let machine = format!("{:04}-{:02}-{:02}T{}.{:03}Z", utc.year, utc.month, utc.day, utc.clock(), utc.millis);
    let civil = move || {
        let local = clock.is_hydrated();
        (Civil::new(at, if local { browser::zone_minutes(at.millis() as f64) } else { 0 }), !local)
    };
    view! {
        <time datetime=machine title=move || civil().0.exact()>
            {move || {
                let (civil, utc) = civil();
                civil.short(utc)
            }}
        </time>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_on_leap_days_at_year_ends_and_in_zones() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000 + 123_000);
        assert_eq!(Civil::new(at(0), 0).exact(), "1970-01-01 00:00:00.123 UTC");
        assert_eq!(Civil::new(at(1_709_164_800), 0).exact(), "2024-02-29 00:00:00.123 UTC");
        assert_eq!(Civil::new(at(1_798_761_599), 60).exact(), "2027-01-01 00:59:59.123 UTC+01:00");
        assert_eq!(Civil::new(at(1_798_761_599), -210).exact(), "2026-12-31 20:29:59.123 UTC-03:30");
        assert_eq!(Civil::new(at(1_709_164_800), 0).short(true), "29 Feb, 00:00:00 UTC");
    }
}
