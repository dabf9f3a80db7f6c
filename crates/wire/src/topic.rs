//! What a socket can watch, and where a reader stands in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BuildId, JobId};

/// `build.<id>` or `job.<id>`: the key that events carry beside the server id of the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topic {
    /// What control says of a build and its jobs.
    Build(BuildId),
    /// What the lease holder says of a job: steps, lines, artifacts.
    Job(JobId),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Build(id) => write!(f, "build.{id}"),
            Topic::Job(id) => write!(f, "job.{id}"),
        }
    }
}

impl FromStr for Topic {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once('.') {
            Some(("build", id)) => id.parse().ok().map(Topic::Build),
            Some(("job", id)) => id.parse().ok().map(Topic::Job),
            _ => None,
        };
        parsed.ok_or_else(|| format!("topic {text:?} must be build.<id> or job.<id>"))
    }
}

impl TryFrom<String> for Topic {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> String {
        topic.to_string()
    }
}

/// The last event of a topic that a reader has applied. Offsets count from 0 and have no gaps within an epoch;
/// a job's epoch is its attempt (from 1), a build's is raised by a restore (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which numbering the offset belongs to.
    pub epoch: u32,
    /// The last offset applied.
    pub offset: u64,
}

/// A position together with its topic, as a returning client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPosition {
    /// What was watched.
    pub topic: Topic,
    /// The last event applied, if any was.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}
