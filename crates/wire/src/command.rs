//! Commands and queries: what the socket and HTTP accept alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BuildId, ExecutorId, PipelineName, SocketMeta};

/// A request to change. It is answered 202 once it cannot be lost any more (P1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Start a build.
    Trigger {
        /// Of this pipeline.
        pipeline: PipelineName,
        /// As the body of `POST /pipelines/{name}/builds`.
        #[serde(default)]
        trigger: Trigger,
        /// As the header `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
    },
    /// End a build.
    Cancel {
        /// Which.
        build: BuildId,
    },
    /// Run a finished build again.
    Retry {
        /// Which.
        build: BuildId,
        /// As the body of `POST /builds/{id}/retry`.
        #[serde(default)]
        retry: Retry,
    },
}

/// What a trigger may say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// By name. A file's is its claim check, or the `ref` of it alone; kept as text: see [`crate::payload::input_values`].
    #[serde(default, deserialize_with = "crate::payload::input_values")]
    pub inputs: BTreeMap<String, String>,
    /// Added to the priority of each of its jobs: -[`crate::concurrency::PRIORITY_MAX`] to that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Where the one who asks sits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<SocketMeta>,
    /// How the result is told; a callback if `socket` is given, else nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyMode>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// How the result of a command is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReplyMode {
    /// To the client that the socket meta names.
    Callback {},
    /// Not at all: it is polled for, or not.
    None {},
    /// By a POST, signed as Standard Webhooks says.
    Webhook {
        /// http or https.
        url: String,
    },
    /// By a message to a queue.
    Queue {
        /// Its name: see [`crate::reply::QUEUE_PREFIXES`].
        reply_to: String,
        /// Handed back with the message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        correlation_id: Option<String>,
    },
}

/// What a retry may say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Only jobs that did not succeed, and what needs them.
    #[serde(default)]
    pub failed_only: bool,
}

/// A request to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// Builds, newest first. Result: a list of [`crate::view::BuildSummary`].
    Builds(BuildsQuery),
    /// Pipelines with their last builds. Result: a list of [`crate::view::PipelineSummary`].
    Pipelines {},
    /// One build. Result: a [`crate::view::BuildView`].
    Build {
        /// Which.
        id: BuildId,
    },
    /// How the result of a build is told. Result: a list of [`crate::reply::ReplyView`], empty or with one.
    Reply {
        /// Which build.
        build: BuildId,
    },
    /// Executors. Result: a list of [`crate::view::ExecutorView`].
    Executors {},
    /// What one executor runs now. Result: a [`crate::task::ExecutorNow`].
    ExecutorNow {
        /// Which.
        id: ExecutorId,
    },
    /// What the installation is made of. Result: a [`crate::view::InstallationView`].
    Installation {},
    /// Whether what every build needs is there. Result: a [`crate::view::HealthView`].
    Health {},
    /// Dead letters. Result: a [`crate::dead_letter::DeadLettersPage`].
    DeadLetters {},
    /// Consumer groups. Result: a list of [`crate::group::GroupView`].
    Groups {},
}

/// Which builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildsQuery {
    /// Of this pipeline only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineName>,
    /// The one with this number; of each pipeline, unless `pipeline` says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// In this state only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<crate::view::State>,
    /// That ended so; `failed` covers those that timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<crate::Outcome>,
    /// Older than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BuildId>,
    /// Newer than this one: those next to it, where the limit cuts; newest first as ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BuildId>,
    /// At most so many: 1 to [`BUILDS_LIMIT_MAX`], 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// At most so many builds in one answer.
pub const BUILDS_LIMIT_MAX: u32 = 500;
