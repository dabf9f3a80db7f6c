//! One line of a job's log, as it is sent, recorded and shown.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A line longer than this is split, its parts marked [`LogLine::split`]. Bytes of UTF-8.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// One line. Numbers count from 0 through all steps of one attempt and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Line number within the attempt.
    pub n: u64,
    /// When its first byte was read.
    pub t: Timestamp,
    /// Without its line end; ANSI sequences kept; bytes that were not UTF-8 replaced by U+FFFD.
    pub text: String,
    /// The line has no end yet: a later line with the same number takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The line goes on in the next one: it was longer than [`LINE_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
}

/// A recorded line together with its step, as `GET /jobs/{id}/log` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedLine {
    /// Index of the step that printed it, from 0.
    pub step: u32,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}
