//! How long builds are kept: `retention` of a pipeline.

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

/// What a database can count with.
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

/// A size in bytes, at least 1. Its unit must be named: bytes are meant by nobody who writes a number alone, and builds go by it.
///
/// # Errors
/// When the text is none. One sentence.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let has_unit = text.contains(|c: char| c.is_ascii_alphabetic());
    let bytes = wire::size::parse(text).filter(|bytes| has_unit && (1..=SIZE_MAX).contains(bytes));
    bytes.ok_or_else(|| "it must be a size such as `500MB`, `5GB` or `2GiB`".to_owned())
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
    fn a_size_is_at_least_a_byte_and_at_most_what_a_database_counts() {
        assert_eq!(size_bytes("5 GB"), Ok(5_000_000_000));
        for bad in ["", "0GB", "much", "5000000", "8589934592 GiB"] {
            assert!(size_bytes(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
