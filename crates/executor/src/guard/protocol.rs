//! What executor and guard say to each other: one JSON object on each line. Who speaks when stands in the parent module.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use wire::{ImageName, Limits};

/// From the executor, on the guard's stdin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Run a script. One at a time, and only under a deadline.
    Start {
        /// A file for `bash -eo pipefail`.
        script: PathBuf,
        /// Where it runs.
        cwd: PathBuf,
        /// Its whole environment.
        env: BTreeMap<String, String>,
        /// A named pipe for its standard error; the job's output pipe otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr: Option<PathBuf>,
    },
    /// Make the container that every script runs in from now on. It is answered as a script is: the container is there, or
    /// not. Only to a guard that was told of an engine ([`super::container`]).
    Contain {
        /// Which.
        container: Container,
    },
    /// The lease is trusted until this point of the boot clock, in milliseconds. A point and not a span, so that a
    /// command that was read late extends nothing.
    Extend {
        /// See [`crate::clock::boot_millis`].
        until_ms: u64,
    },
    /// What the job may use, before its first step.
    Limit {
        /// Of each kind; those of the system hold besides.
        limits: Limits,
    },
    /// SIGTERM to every process of the tree, SIGKILL to what is left after a while; then the guard ends.
    Terminate {
        /// The while.
        kill_after_ms: u64,
    },
    /// SIGKILL to every process of the tree; then the guard ends.
    End {},
}

/// The container of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// No other one's; known before it is there, so that it can be removed whatever is known of its making.
    pub(crate) name: String,
    /// What it is made of.
    pub(crate) image: ImageName,
    /// Tell whose it is.
    pub(crate) labels: BTreeMap<String, String>,
    /// Mounted by the same path, to be written. Steps start there.
    pub(crate) workspace: PathBuf,
    /// Mounted by the same paths, to be read.
    pub(crate) read: Vec<PathBuf>,
    /// A named pipe below one of these, which its steps print into.
    pub(crate) output: PathBuf,
    /// Whether it has a network.
    pub(crate) network: bool,
    /// What it may use.
    pub(crate) limits: Limits,
}

/// From the guard, on its stdout.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Status {
    /// It holds its share of the lock and takes commands.
    Ready {},
    /// It cannot guard; it ends.
    Refused {
        /// One sentence.
        reason: String,
    },
    /// The script runs.
    Started {
        /// Its shell, the leader of its process group.
        pid: i32,
    },
    /// The script could not be started.
    NotStarted {
        /// One sentence.
        reason: String,
    },
    /// The shell of the script ended. What it left in the background may still run.
    Exited {
        /// Its exit status, if it exited.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// Which limit it seems to have run into, if it failed: one sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
    },
    /// No process of the tree is left, or none that could be ended. The last word.
    Ended {
        /// Why.
        why: EndReason,
        /// What could not be ended, if anything: one sentence that names process and user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
}

/// Why a guard ended its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndReason {
    /// The executor said so.
    Told,
    /// The lease's deadline passed.
    Deadline,
    /// The executor died.
    Orphaned,
}
