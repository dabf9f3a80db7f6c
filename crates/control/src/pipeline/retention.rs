//! How long builds are kept: `retention` of a pipeline, and sizes as people write them: `500MB`, `5GB`, `2GiB`.

use wire::{Problem, pipeline::RetentionSpec};

use super::{
    fields::{Fields, text},
    yaml::Node,
};

/// Days that can be named: ten years and more.
pub const DAYS_MAX: u32 = 3_660;
/// Builds that can be named.
pub const BUILDS_MAX: u32 = 1_000_000;
/// What a pipeline writes where the installation's default is not to count.
const UNLIMITED: &str = "unlimited";

const UNITS: [(&str, u64); 8] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A size in bytes, at least 1.
///
/// # Errors
/// When the text is none. One sentence.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let bytes = unit.and_then(|(_, bytes)| count.parse::<u64>().ok()?.checked_mul(*bytes));
    // What a database can count with.
    bytes
        .filter(|bytes| *bytes > 0 && i64::try_from(*bytes).is_ok())
        .ok_or_else(|| "it must be a size such as `500MB`, `5GB` or `2GiB`".to_owned())
}

/// Reads the mapping.
pub(super) fn read(node: &Node) -> Result<RetentionSpec, Problem> {
    let parts = Fields::of(node, node.at, "`retention`", &["days", "builds", "artifacts_days", "size"])?;
    let size = match parts.get("size") {
        None => None,
        Some(node) => match text(node, &parts.name_of("size"))? {
            UNLIMITED => Some(0),
            size => Some(size_bytes(size).map_err(|_| {
                let what = parts.name_of("size");
                node.at.problem(format!("{what} must be a size such as `500MB` or `5GB`, or `{UNLIMITED}`"))
            })?),
        },
    };
    Ok(RetentionSpec {
        days: limit(&parts, "days", DAYS_MAX)?,
        builds: limit(&parts, "builds", BUILDS_MAX)?,
        artifacts_days: limit(&parts, "artifacts_days", DAYS_MAX)?,
        size_bytes: size,
    })
}

fn limit(parts: &Fields<'_>, key: &str, max: u32) -> Result<Option<u32>, Problem> {
    let Some(node) = parts.get(key) else { return Ok(None) };
    let what = parts.name_of(key);
    let text = text(node, &what)?;
    if text == UNLIMITED {
        return Ok(Some(0));
    }
    let number = text.parse::<u32>().ok().filter(|number| (1..=max).contains(number));
    let wrong = || node.at.problem(format!("{what} must be a whole number from 1 to {max}, or `{UNLIMITED}`"));
    number.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [("500MB", 500_000_000), ("5 GB", 5_000_000_000), ("2GiB", 2 << 30), ("1KB", 1_000)] {
            assert_eq!(size_bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "5", "GB", "0GB", "5gb", "1.5GB", "-1GB", "99999999999TB", "9999999TiB"] {
            assert!(size_bytes(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
