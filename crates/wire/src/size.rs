//! Numbers as people read them, and sizes in bytes as they write and read them: `4096`, `500KB`, `64MiB`, `1.5 GiB`. Which size is right for what is said elsewhere.

use std::fmt;

/// Units that are read, each with its bytes: those of 1000 and those of 1024.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Units that are shown, from the greatest.
const SHOWN: [(u64, &str); 7] = [
    (1 << 30, "GiB"),
    (1_000_000_000, "GB"),
    (1 << 20, "MiB"),
    (1_000_000, "MB"),
    (1 << 10, "KiB"),
    (1000, "kB"),
    (1, "bytes"),
];

/// A whole number and a unit, capitals or not, with or without a space between; a number alone counts bytes. None where it is
/// neither, or above 2^63.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let count: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*bytes).filter(|bytes| *bytes <= 1 << 63)
}

/// Shows a number of bytes: exactly where it is a whole number of a unit (`64 MiB`, `100 MB`), else with one decimal of the
/// greatest unit of 1024 that it reaches (`1.5 GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        if bytes == 1 {
            return f.write_str("1 byte");
        }
        // Not 9120 KiB.
        let is_short = |unit: u64| unit == 1 << 30 || bytes / unit < if unit.is_power_of_two() { 1024 } else { 1000 };
        let is_whole = |unit: u64| bytes >= unit && bytes.is_multiple_of(unit) && is_short(unit);
        let whole = SHOWN.iter().find(|(unit, _)| *unit > 1 && is_whole(*unit));
        if let Some((unit, name)) = whole {
            return write!(f, "{} {name}", bytes / unit);
        }
        let of_1024 = SHOWN.iter().find(|(unit, _)| unit.is_power_of_two() && bytes >= *unit && *unit > 1);
        match of_1024 {
            Some((unit, name)) => {
                // Rounded down: what is said to be free is there.
                let tenths = u128::from(bytes) * 10 / u128::from(*unit);
                write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{bytes} bytes"),
        }
    }
}

/// A number with its thousands set apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("4096", 4096),
            ("1B", 1),
            ("500KB", 500_000),
            ("100MB", 100_000_000),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TB", 2_000_000_000_000),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for bad in ["", "MB", "-1", "1.5GB", "1 M", "1e3", "99999999999GiB", "1GiB2"] {
            assert_eq!(parse(bad), None, "{bad:?} was accepted");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_they_were_written_in() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1024, "1 KiB"),
            (100_000_000, "100 MB"),
            (64 << 20, "64 MiB"),
            (1 << 30, "1 GiB"),
            (3 << 29, "1.5 GiB"),
            (9120 << 10, "8.9 MiB"),
            (2000 << 30, "2000 GiB"),
            (12_345_678, "11.7 MiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), shown);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
