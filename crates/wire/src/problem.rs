//! What went wrong, for people and programs: `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};

/// One clear sentence about what is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem in a few words, the same for every problem of the kind.
    pub title: String,
    /// The sentence.
    pub detail: String,
    /// Line in the submitted file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in that line, in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl Problem {
    /// A problem with its sentence.
    #[must_use]
    pub fn new(status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, title: title.into(), detail: detail.into(), line: None, column: None }
    }

    /// The same problem with its place in the submitted file.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (Some(line), Some(column));
        self
    }
}
