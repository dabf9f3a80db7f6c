//! What a reader is shown: the bodies of HTTP answers, query results and pages. Times are in microseconds since the
//! Unix epoch, as in log lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::group::GroupView;
use crate::{
    ArtifactId, BuildId, ExecutorId, ImageName, Isolation, JobId, Outcome, PipelineName, Position, Timestamp,
    pipeline::{Condition, InputSpec, LabelSet},
};

/// Where a build, a job or a step stands; how it ended is its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; for a job also: its needs are not met yet, or no executor has taken it.
    Queued,
    /// At least one command was taken up.
    Running,
    /// Over.
    Finished,
}

impl State {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Finished => "finished",
        }
    }
}

impl std::str::FromStr for State {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [State::Queued, State::Running, State::Finished]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("state {text:?} must be queued, running or finished"))
    }
}

/// A build in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSummary {
    /// Its id.
    pub id: BuildId,
    /// Counts from 1 within the pipeline.
    pub number: u64,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// Where it stands.
    pub state: State,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it was accepted.
    pub queued_at: Timestamp,
    /// When its first job was taken.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Finished and all jobs, for a bar of progress.
    pub jobs_finished: u32,
    /// How many jobs it has.
    pub jobs_total: u32,
    /// Who or what it was triggered by, in few words: `Ada`, `push to main`; none for one of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
}

/// A build with its jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    /// What lists show.
    #[serde(flatten)]
    pub summary: BuildSummary,
    /// What it was triggered with, defaults included.
    pub inputs: BTreeMap<String, String>,
    /// A person asked for its end.
    pub cancelling: bool,
    /// The last event of the build's topic that this view includes.
    pub position: Position,
    /// In the order of the file, matrices expanded.
    pub jobs: Vec<JobView>,
    /// All that is known of who or what it was triggered by; none for one of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<crate::trigger::TriggeredBy>,
    /// How the result is told, if who asked wanted it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<crate::reply::ReplyView>,
}

/// A job with the steps of its last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// With its matrix values: `check (unit)`.
    pub name: String,
    /// Names (expanded) of the jobs that it waits for.
    pub needs: Vec<String>,
    /// What their outcomes must be.
    #[serde(rename = "if", default)]
    pub condition: Condition,
    /// What it asks of an executor.
    pub labels: LabelSet,
    /// Where it stands.
    pub state: State,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The last attempt, from 1; 0 if none has begun.
    pub attempt: u32,
    /// Greater goes first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// How many attempts may fail.
    pub attempts: u32,
    /// How many may be lost; 0 from a Stepcast that does not tell.
    #[serde(default)]
    pub lost_attempts: u32,
    /// Those that were lost since a person last queued it, the first one first.
    #[serde(default)]
    pub lost: Vec<LostAttempt>,
    /// What it waits for, while queued: other jobs, a free executor, or labels that nobody offers. One sentence.
    pub waiting_for: Option<String>,
    /// Why it ended so, where the steps do not tell. One sentence.
    pub reason: Option<String>,
    /// Who runs or ran it.
    pub executor: Option<String>,
    /// How that executor, as it last told, keeps steps from the rest of its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The image whose containers its steps run in; absent where they run on the executor's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// When its needs were met.
    pub queued_at: Option<Timestamp>,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The last event of the job's topic that this view and the record of its log include.
    pub position: Option<Position>,
    /// Lines recorded of the last attempt.
    pub lines: u64,
    /// The record of the last attempt is complete: nothing more will come.
    pub sealed: bool,
    /// Events of the last attempt that will never be recorded: the event stream has lost them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unrecorded: u64,
    /// In order.
    pub steps: Vec<StepView>,
    /// Files kept by the last attempt.
    pub artifacts: Vec<ArtifactView>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An attempt whose executor was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostAttempt {
    /// The attempt.
    pub attempt: u32,
    /// The executor's name, for people.
    pub executor: String,
    /// How that was noticed. One sentence.
    pub reason: String,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// From 0.
    pub step: u32,
    /// Its name.
    pub name: String,
    /// Its script.
    pub command: String,
    /// Where it stands.
    pub state: State,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Of its shell.
    pub exit_code: Option<i32>,
    /// Why it ended so, where code and outcome do not tell.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Number of its first line, once it has one.
    pub first_line: Option<u64>,
}

/// A file that a job left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its id.
    pub id: ArtifactId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Path relative to the workspace.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// A pipeline in the list of the home page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineSummary {
    /// Its name.
    pub name: PipelineName,
    /// For people.
    pub description: String,
    /// Whether a build can be started without asking for anything.
    pub needs_inputs: bool,
    /// Its last builds, newest first, at most 10.
    pub builds: Vec<BuildSummary>,
}

/// A pipeline with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineView {
    /// Its name.
    pub name: PipelineName,
    /// For people.
    pub description: String,
    /// Counts the texts that it has had, from 1.
    pub revision: u64,
    /// What a trigger may or must give.
    pub inputs: Vec<InputSpec>,
    /// As it was written.
    pub yaml: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// What its jobs will miss when they run, such as a secret that is not set: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A page of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The attempt.
    pub attempt: u32,
    /// Lines recorded so far.
    pub total: u64,
    /// The last event of the job's topic that the record includes.
    pub position: Option<Position>,
    /// Nothing more will be recorded.
    pub sealed: bool,
    /// From the line that was asked for.
    pub lines: Vec<crate::log::RecordedLine>,
}

/// An executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorView {
    /// Its id.
    pub id: ExecutorId,
    /// For people.
    pub name: String,
    /// What it offers.
    pub labels: LabelSet,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How it keeps steps from the rest of its machine; plain from a Stepcast that does not tell.
    #[serde(default)]
    pub isolation: Isolation,
    /// When it was last heard.
    pub heard_at: Timestamp,
    /// Whether it was heard within the lease period.
    pub alive: bool,
    /// What it runs.
    pub running: Vec<JobId>,
    /// The same jobs, told so that a reader finds them; empty from a Stepcast that does not tell.
    #[serde(default)]
    pub jobs: Vec<RunningJob>,
}

/// A job that an executor runs, with the build that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Its id.
    pub id: JobId,
    /// With its matrix values: `check (unit)`.
    pub name: String,
    /// The attempt that runs.
    pub attempt: u32,
    /// When that began.
    pub started_at: Timestamp,
    /// The build.
    pub build: BuildId,
    /// The build's pipeline.
    pub pipeline: PipelineName,
    /// The build's number within it.
    pub number: u64,
}

/// A worker of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub server_id: crate::ServerId,
    /// Sockets that it holds.
    pub sockets: u64,
    /// Topics that it watches.
    pub topics: u64,
    /// Messages that wait in its queue.
    pub queue_length: u64,
    /// How often it was started anew after a panic.
    pub restarts: u64,
}

/// A gateway instance, as it last told of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// Its name.
    pub instance: String,
    /// Its workers.
    pub workers: Vec<WorkerView>,
    /// When it last told.
    pub heard_at: Timestamp,
    /// Whether that was a moment ago.
    pub alive: bool,
}

/// What the installation is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationView {
    /// Executors that have registered, by name.
    pub executors: Vec<ExecutorView>,
    /// Gateway instances as they last told of themselves, by name.
    pub gateways: Vec<GatewayView>,
}

/// Whether what every build needs is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Whether the broker takes and gives messages. While it does not, builds are accepted, and wait.
    pub broker: bool,
    /// Why it does not, in a sentence without its full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The sentence for a disk that is full. While it is, builds are read and none are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Dead letters that nobody has decided on.
    #[serde(default)]
    pub dead_letters: u64,
}
