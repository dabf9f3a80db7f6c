//! Consumer groups as they are shown, and what a person may wish of one.

use serde::{Deserialize, Serialize};

/// Why a group without members stands still.
pub const NOBODY: &str = "no process reads for it: start one with the role projections";

/// What a group does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// It reads the stream.
    #[default]
    Running,
    /// A person has paused it.
    Paused,
    /// It makes what it keeps anew from the record.
    Rebuilding,
    /// It stands still: something failed, and is tried again.
    Failing,
}

impl GroupState {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GroupState::Running => "running",
            GroupState::Paused => "paused",
            GroupState::Rebuilding => "rebuilding",
            GroupState::Failing => "failing",
        }
    }
}

impl std::str::FromStr for GroupState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [GroupState::Running, GroupState::Paused, GroupState::Rebuilding, GroupState::Failing]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("state {text:?} must be running, paused, rebuilding or failing"))
    }
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Builds of the record that were read.
    pub done: u64,
    /// Builds that there were when it began.
    pub total: u64,
}

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The last offset of the stream that it has applied.
    pub offset: Option<u64>,
    /// How many messages it is behind; approximate.
    pub lag: u64,
    /// How often it has lost its place: the stream was trimmed beyond it, or made anew.
    #[serde(default)]
    pub losses: u64,
    /// Events that it applied a second, over the last 10 s.
    #[serde(default)]
    pub speed: u64,
    /// What it does.
    #[serde(default)]
    pub state: GroupState,
    /// Why it is failing, in a sentence without its full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far a rebuild is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The process that reads for it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// All processes that may, by name.
    #[serde(default)]
    pub members: Vec<String>,
    /// Whether what it keeps can be made anew from the record.
    #[serde(default)]
    pub can_rebuild: bool,
}
