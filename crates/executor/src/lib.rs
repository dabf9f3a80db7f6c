//! Takes jobs and runs them. It sits behind the broker alone: no store, no shared disk, and of HTTP only artifacts and the
//! files that are inputs.
//!
//! A hint comes ([`claim`]), control names the job, a guard ([`guard`]) owns its steps, and what they print becomes events
//! ([`log`], [`publish`]) under a lease ([`lease`]) that this process stops trusting before control does.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod again;
mod artifact;
mod chunks;
mod claim;
mod clock;
mod engine;
mod environment;
pub mod guard;
mod host;
mod inputs;
mod job;
mod lease;
mod lockfile;
mod log;
mod mask;
mod now;
mod publish;
mod runner;
mod secrets;
mod source;
mod step;
mod upload;
mod workspace;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use broker::Broker;
use tokio_util::sync::CancellationToken;
use wire::{ExecutorId, LabelSet, Limits, task::ExecutorSecret};

pub use host::container::{ContainersChoice, containers_work, engine_sockets};
pub use host::sandbox::{IsolationChoice, SandboxOptions, sandbox_works};
pub use lease::trusted_until;
#[doc(hidden)]
pub use mask::fuzz;
pub use publish::UNCONFIRMED_BYTES_MAX;
pub use source::GitAllowed;

/// Between SIGTERM and SIGKILL, when a job is cancelled or its time is up.
pub const KILL_AFTER: Duration = Duration::from_secs(10);

/// Bytes of log that one attempt keeps unless the executor is told otherwise: 1 GiB.
pub const LOG_LIMIT: u64 = 1 << 30;

/// Processes and threads that a job in a sandbox or a container has at most unless the executor is told otherwise: enough for what builds
/// start side by side, and too few for a fork bomb to be felt.
pub const SANDBOX_PROCESSES: u64 = 2048;

/// What one executor is.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// Kept across restarts.
    pub id: ExecutorId,
    /// Shown at each registration; kept with the id.
    pub secret: Option<ExecutorSecret>,
    /// For people.
    pub name: String,
    /// What it offers.
    pub labels: LabelSet,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// Bytes of log that one attempt keeps at most; a job may ask for less. What is printed beyond is read and not kept.
    pub log_limit: u64,
    /// How artifacts reach the server.
    pub upload: UploadBy,
    /// What is wanted between steps and machine.
    pub isolation: IsolationChoice,
    /// Where jobs that name an image get their containers from.
    pub containers: ContainersChoice,
    /// What gets into sandboxes, and what does not.
    pub sandbox: SandboxOptions,
    /// What a job may use at most; a job may ask for less. Where it names no number of processes, a sandbox has
    /// [`SANDBOX_PROCESSES`].
    pub limits: Limits,
    /// Where sources may come from besides https and ssh.
    pub git_allowed: Vec<GitAllowed>,
    /// The soft limit of open files for steps, where this process has raised its own.
    pub step_files: Option<u64>,
    /// Workspaces and locks live here; one executor at a time uses it.
    pub work_dir: PathBuf,
    /// Once cancelled, no further job is taken, and the executor ends with the last one that it runs.
    pub draining: CancellationToken,
    /// Started as `<program> guard`; it must call [`guard::main`]. In the server its own executable.
    pub guard_program: PathBuf,
}

/// How artifacts reach the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadBy {
    /// By HTTP, and over the broker where nobody is reached so.
    #[default]
    Auto,
    /// By HTTP alone.
    Http,
    /// Over the broker alone.
    Broker,
}

/// Why an executor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The work directory, or a lock in it, cannot be used.
    #[error("the executor's directory {0} cannot be used: {1}")]
    WorkDir(PathBuf, #[source] io::Error),
    /// Another executor runs there.
    #[error("the executor's directory {0} is used by another executor; give each its own")]
    InUse(PathBuf),
    /// A sandbox is wanted, and none works.
    #[error("`--isolation sandbox` is wanted, but no sandbox works here: {0}")]
    NoSandbox(String),
    /// Containers are wanted, and there are none.
    #[error("`--containers {0}` is wanted, but {1}")]
    NoContainers(PathBuf, String),
    /// Whether a sandbox works could not be found out. To run without one for that would be the wrong way round.
    #[error("whether a sandbox works here could not be found out: {0}; start again, or say `--isolation plain`")]
    Untried(String),
}

/// Runs an executor until `shutdown`. Then what it runs is ended at once and handed back: it runs again as the next attempt.
///
/// # Errors
/// When the work directory cannot be used. A broker or a control that does not answer is waited for.
pub async fn run(
    broker: Arc<dyn Broker>,
    config: ExecutorConfig,
    shutdown: CancellationToken,
) -> Result<(), ExecutorError> {
    run_with(broker, config, KILL_AFTER, shutdown).await
}

/// As [`run`], with another time between SIGTERM and SIGKILL than [`KILL_AFTER`].
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    broker: Arc<dyn Broker>,
    config: ExecutorConfig,
    kill_after: Duration,
    shutdown: CancellationToken,
) -> Result<(), ExecutorError> {
    runner::run(broker, config, kill_after, shutdown).await
}
