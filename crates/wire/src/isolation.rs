//! How an executor keeps the steps of a job from everything else on its machine, and what a job may use of it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What stands between the steps of a job and the machine that they run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing but the executor's user: what an executor of a former version says by its silence.
    #[default]
    Plain,
    /// A sandbox for each job: namespaces of its own, and of the file system only what is listed.
    Sandbox,
}

impl Isolation {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::Plain => "plain",
            Isolation::Sandbox => "sandbox",
        }
    }

    /// What it means for people, in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Isolation::Plain => "Steps run without a sandbox: they can read what the executor's user can read.",
            Isolation::Sandbox => "Each job runs in a sandbox of its own.",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Isolation {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Isolation {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Plain, Self::Sandbox]
            .into_iter()
            .find(|isolation| isolation.as_str() == text)
            .ok_or_else(|| format!("isolation {text:?} must be plain or sandbox"))
    }
}

/// What a job may use. What is absent is not limited here; an executor has limits of its own, and the lower one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes: of the whole job where the executor has control groups, else of each of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The size of any file that it writes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
    /// Files that each of its processes has open at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Of each kind the lower one.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        let lower = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            memory: lower(self.memory, other.memory),
            processes: lower(self.processes, other.processes),
            file_size: lower(self.file_size, other.file_size),
            open_files: lower(self.open_files, other.open_files),
        }
    }
}

/// Whether a job may use the network, for serde: it may unless it says otherwise.
#[must_use]
pub fn network_by_default() -> bool {
    true
}

/// Whether it may, for serde: then nothing is written.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
#[must_use]
pub fn is_network_on(network: &bool) -> bool {
    *network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_never_gets_more_than_its_executor_gives() {
        let asked = Limits { memory: Some(4), processes: Some(9), ..Limits::default() };
        let given = Limits { memory: Some(7), processes: Some(3), file_size: Some(5), open_files: None };
        let both = Limits { memory: Some(4), processes: Some(3), file_size: Some(5), open_files: None };
        assert_eq!((asked.within(given), given.within(asked)), (both, both));
    }

    #[test]
    fn isolation_is_read_by_the_word_that_it_is_written_by() {
        for isolation in [Isolation::Plain, Isolation::Sandbox] {
            assert_eq!(isolation.to_string().parse(), Ok(isolation));
        }
        assert!("none".parse::<Isolation>().unwrap_err().contains("plain or sandbox"));
    }
}
