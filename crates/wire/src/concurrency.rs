//! What must not run at the same time: concurrency groups, and how urgent a job is.

use serde::{Deserialize, Serialize};

/// Priorities that a pipeline, a job or a trigger can give: from minus this to this.
pub const PRIORITY_MAX: i32 = 100;
/// How many of a group can be allowed to run at once.
pub const CONCURRENCY_LIMIT_MAX: u32 = 1_000;
/// Characters of a group's name.
pub const GROUP_CHARS_MAX: usize = 200;

/// A group of builds, or of jobs, of which only so many run at a time. Groups of builds and groups of jobs are apart, and
/// each reaches across pipelines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcurrencySpec {
    /// Its name. May hold `${{ }}`, until the build is planned.
    pub group: String,
    /// How many run at once.
    pub limit: u32,
    /// What becomes of those that come while as many run.
    #[serde(default, skip_serializing_if = "WhenFull::is_queue")]
    pub when_full: WhenFull,
}

/// What becomes of a build or job whose group is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It waits; the oldest build goes first.
    #[default]
    Queue,
    /// It waits, and those of older builds of its pipeline that wait too are cancelled.
    NewestWins,
    /// As `newest_wins`, and of those of its pipeline that run the oldest is cancelled too.
    CancelRunning,
}

impl WhenFull {
    fn is_queue(&self) -> bool {
        *self == WhenFull::Queue
    }
}

/// Whether a priority can be given.
///
/// # Errors
/// When it cannot. One sentence, without its subject.
pub fn check_priority(priority: i64) -> Result<i32, String> {
    let fits = i32::try_from(priority).ok().filter(|priority| priority.abs() <= PRIORITY_MAX);
    fits.ok_or_else(|| format!("must be a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_bounded_on_both_sides() {
        assert_eq!((check_priority(-100), check_priority(100)), (Ok(-100), Ok(100)));
        for bad in [-101, 101, i64::MIN, i64::MAX] {
            assert!(check_priority(bad).is_err(), "{bad} was accepted");
        }
    }
}
