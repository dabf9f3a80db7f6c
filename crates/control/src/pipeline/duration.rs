//! Durations as people write them: `90s`, `30m`, `1h30m`, `2d`, or a plain number of seconds.

/// An attempt may not last longer, in seconds: 7 days.
pub(super) const TIMEOUT_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

const UNITS: [(char, u64); 4] = [('d', 24 * 60 * 60), ('h', 60 * 60), ('m', 60), ('s', 1)];

/// Seconds, if the text is a duration from 1 second to [`TIMEOUT_SECONDS_MAX`]. Each unit stands at most once, the
/// greater before the smaller.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let total = if is_plain { text.parse().ok()? } else { with_units(text)? };
    (1..=TIMEOUT_SECONDS_MAX).contains(&total).then_some(total)
}

fn with_units(mut text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    for (unit, seconds) in UNITS {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 && text[digits..].starts_with(unit) {
            let count: u64 = text[..digits].parse().ok()?;
            total = total.checked_add(count.checked_mul(seconds)?)?;
            text = &text[digits + 1..];
        }
    }
    text.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in
            [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("7d", TIMEOUT_SECONDS_MAX)]
        {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for bad in ["", "0", "0s", "-1", "1.5h", "30m1h", "1h1h", "8d", "h", "5 m", "99999999999999999999d", "1w", "+5"]
        {
            assert_eq!(seconds(bad), None, "{bad:?} was accepted");
        }
    }
}
