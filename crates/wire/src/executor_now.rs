//! What an executor says of itself when it is asked over the broker: what nobody else can know. Everything but the first
//! three is missing in the answer of an executor that does not tell it yet.

use serde::{Deserialize, Serialize};

use crate::{BuildId, ExecutorId, JobId, PipelineName, Timestamp, task::LeaseRef};

/// Bytes of one answer. What does not fit is left out, and the answer says so ([`ExecutorNow::left_out`]).
pub const NOW_BYTES_MAX: usize = 256 * 1024;
/// Lines of each attempt that can be asked for.
pub const NOW_LINES_MAX: u32 = 20;
/// Bytes of a line's text; the rest is cut.
pub const NOW_LINE_BYTES_MAX: usize = 4 * 1024;

/// An executor, now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorNow {
    /// Who.
    pub executor: ExecutorId,
    /// How many jobs it can run at once.
    pub slots: u32,
    /// What it runs.
    pub running: Vec<LeaseRef>,
    /// Slots that nothing runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_slots: Option<u32>,
    /// How far each of those is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptNow>,
    /// Bytes that are free on the disk of its work folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// The machine's load average of the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// What was left out, where the answer would have been too long. One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// One attempt, as its executor sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptNow {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// The build.
    pub build: BuildId,
    /// Its number within the pipeline.
    pub number: u64,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The job's name, its matrix values included.
    pub name: String,
    /// When it was taken up here.
    pub since: Timestamp,
    /// Its last step, once one has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNow>,
    /// Events that the broker has not confirmed yet: not recorded, and lost with the executor.
    pub unconfirmed_events: u64,
    /// Log lines in them.
    pub unconfirmed_lines: u64,
    /// The last of these, as many as were asked for, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepNow {
    /// From 0.
    pub step: u32,
    /// Its name.
    pub name: String,
    /// When it began.
    pub since: Timestamp,
}
