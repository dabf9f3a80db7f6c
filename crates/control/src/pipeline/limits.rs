//! What a job may use of the machine that it runs on: `network` and `limits`.

use std::ops::RangeInclusive;

use wire::{Limits, Problem, size};

use super::fields::{Fields, shown, text};

/// Bytes of memory that can be named: below, no shell starts; above, it is a mistake.
const MEMORY: RangeInclusive<u64> = 16 << 20..=1 << 44;
/// Processes that can be named: a shell and what it starts at least.
const PROCESSES: RangeInclusive<u64> = 8..=1_000_000;
/// Bytes of a file.
const FILE_SIZE: RangeInclusive<u64> = 1_000..=1 << 50;
/// Open files: a shell needs a few.
const OPEN_FILES: RangeInclusive<u64> = 16..=1_000_000;

/// Reads `network`.
pub(super) fn network(fields: &Fields<'_>) -> Result<bool, Problem> {
    let Some(node) = fields.get("network") else { return Ok(true) };
    let what = fields.name_of("network");
    match text(node, &what)? {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(node.at.problem(format!("{what} must be `true` or `false`, not `{}`", shown(other)))),
    }
}

/// Reads `limits`.
pub(super) fn read(fields: &Fields<'_>) -> Result<Limits, Problem> {
    let Some(node) = fields.get("limits") else { return Ok(Limits::default()) };
    let known = ["memory", "processes", "file_size", "open_files"];
    let parts = Fields::of(node, node.at, fields.name_of("limits"), &known)?;
    let bytes = |key: &str, range: RangeInclusive<u64>, right: &str| {
        let may_be = |written: &str| size::parse(written).filter(|bytes| range.contains(bytes));
        number(&parts, key, may_be, &format!("a size from {right}"))
    };
    let count = |key: &str, range: RangeInclusive<u64>| {
        let right = format!("a whole number from {} to {}", range.start(), range.end());
        number(&parts, key, |written| written.parse().ok().filter(|count| range.contains(count)), &right)
    };
    Ok(Limits {
        memory: bytes("memory", MEMORY, "16MiB to 16TiB, such as `500MB` or `2GiB`")?,
        processes: count("processes", PROCESSES)?,
        file_size: bytes("file_size", FILE_SIZE, "1KB to 1024TiB, such as `500MB` or `5GiB`")?,
        open_files: count("open_files", OPEN_FILES)?,
    })
}

fn number(
    parts: &Fields<'_>,
    key: &str,
    read: impl Fn(&str) -> Option<u64>,
    right: &str,
) -> Result<Option<u64>, Problem> {
    let Some(node) = parts.get(key) else { return Ok(None) };
    let what = parts.name_of(key);
    let written = text(node, &what)?;
    let wrong = || node.at.problem(format!("{what} must be {right}, not `{}`", shown(written)));
    read(written).map(Some).ok_or_else(wrong)
}
