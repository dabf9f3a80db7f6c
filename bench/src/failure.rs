//! The one error type of this program: a sentence for the person at the terminal. Nothing here runs or prints.

use std::fmt;

/// What failed, where, and what would be right.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// What every fallible function here returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Puts the sentence's beginning before an error of another library.
pub(crate) trait Explain<T> {
    /// The error becomes "`what`: error".
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Explain<T> for std::result::Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", what())))
    }
}
