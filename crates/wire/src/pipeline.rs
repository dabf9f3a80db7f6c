//! What a person wrote, once it has been found valid. Reading the YAML is `control`'s business.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    ImageName, Limits,
    concurrency::ConcurrencySpec,
    isolation::{is_network_on, network_by_default},
    secret::SecretUse,
};

/// The `ETag` of a pipeline's text: its SHA-256, in quotes.
#[must_use]
pub fn etag(text: &str) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes())))
}

/// The name of a pipeline: 1 to 100 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PipelineName(String);

impl PipelineName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PipelineName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=100).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "pipeline name {text:?} must be 1 to 100 letters, digits, `-`, `_` or `.`, beginning with a letter or digit"
            ))
        }
    }
}

impl TryFrom<String> for PipelineName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PipelineName> for String {
    fn from(name: PipelineName) -> String {
        name.0
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a step, a job or a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every command exited with 0.
    Succeeded,
    /// Never ran: its condition was not met.
    Skipped,
    /// A command exited with another status, or could not be started.
    Failed,
    /// Its time was up.
    TimedOut,
    /// A person stopped it.
    Cancelled,
}

impl Outcome {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed_out",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Succeeded, Self::Skipped, Self::Failed, Self::TimedOut, Self::Cancelled]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("outcome {text:?} must be succeeded, failed, cancelled, timed_out or skipped"))
    }
}

/// The labels that a job asks of its executor: sorted, without repeats. Its text is the end of a queue's name and a
/// routing key: labels joined by `+`, or `any` when none is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelSet(Vec<String>);

impl LabelSet {
    /// From labels in any order.
    ///
    /// # Errors
    /// When a label is not 1 to 40 letters, digits, `-` or `_`, is `any`, or when there are more than 16.
    pub fn new(labels: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut labels: Vec<String> = labels.into_iter().collect();
        let fits = |label: &String| {
            (1..=40).contains(&label.len())
                && label != "any"
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if let Some(bad) = labels.iter().find(|label| !fits(label)) {
            return Err(format!("label {bad:?} must be 1 to 40 letters, digits, `-` or `_`, and not `any`"));
        }
        labels.sort();
        labels.dedup();
        if labels.len() > 16 {
            return Err(format!("{} labels are too many: at most 16 may be asked", labels.len()));
        }
        Ok(Self(labels))
    }

    /// The labels, sorted.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.0
    }

    /// Whether an executor with `offered` can run what asks for these.
    #[must_use]
    pub fn is_served_by(&self, offered: &LabelSet) -> bool {
        self.0.iter().all(|label| offered.0.binary_search(label).is_ok())
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("any") } else { f.write_str(&self.0.join("+")) }
    }
}

impl TryFrom<String> for LabelSet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "any" { Ok(Self::default()) } else { Self::new(text.split('+').map(str::to_owned)) }
    }
}

impl From<LabelSet> for String {
    fn from(set: LabelSet) -> String {
        set.to_string()
    }
}

/// How long builds of a pipeline are kept. What is not said goes by the installation's default; 0 is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionSpec {
    /// Builds that finished longer ago go, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// So many builds stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds: Option<u32>,
    /// Artifacts of builds that finished longer ago go, in days; the builds stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts_days: Option<u32>,
    /// Logs and artifacts of all of its builds together, in bytes: the oldest builds go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

impl RetentionSpec {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is said here, and by `default` what is not.
    #[must_use]
    pub fn or(self, default: Self) -> Self {
        Self {
            days: self.days.or(default.days),
            builds: self.builds.or(default.builds),
            artifacts_days: self.artifacts_days.or(default.artifacts_days),
            size_bytes: self.size_bytes.or(default.size_bytes),
        }
    }
}

/// A valid pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// Its name.
    pub name: PipelineName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What a trigger may or must give, by name, in the order of the file.
    #[serde(default)]
    pub inputs: Vec<InputSpec>,
    /// Cloned into each job's workspace. May hold `${{ }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// What builds it by itself, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<OnSpec>,
    /// How long its builds are kept, where it says so itself.
    #[serde(default, skip_serializing_if = "RetentionSpec::is_default")]
    pub retention: RetentionSpec,
    /// Which of its builds, and of other pipelines', do not run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// The jobs in the order of the file, matrices not yet expanded; needs name jobs of this list and make no cycle.
    pub jobs: Vec<JobSpec>,
}

/// One input of a pipeline. Without a default it must be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Letters, digits and `_`; scripts see it as `INPUT_<NAME>`, in capitals.
    pub name: String,
    /// What is given.
    #[serde(default, rename = "type", skip_serializing_if = "InputKind::is_text")]
    pub kind: InputKind,
    /// Taken when a trigger does not give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What an input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Text, which scripts see as it was given.
    #[default]
    Text,
    /// A file of any size, uploaded before the trigger: scripts see the path of it. It has no default.
    File,
}

impl InputKind {
    fn is_text(&self) -> bool {
        *self == InputKind::Text
    }
}

/// What a hook's deliveries must be for the pipeline to be built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnSpec {
    /// Something was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushSpec>,
    /// A pull request was opened, or its commits changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestSpec>,
}

/// Which pushes. If neither is named: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSpec {
    /// Patterns of branches ([`matches_ref`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Patterns of tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Which pull requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestSpec {
    /// Patterns of the branch that it is to be merged into; all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
}

/// Whether a branch or a tag fits a pattern: `*` is any text without `/`, `**` any text.
#[must_use]
pub fn matches_ref(pattern: &str, name: &str) -> bool {
    // All places that are reached so far at once, so that no pattern takes long.
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let deep = pattern[at..].starts_with(b"**");
        let mut next = vec![false; name.len() + 1];
        if pattern[at] == b'*' {
            let mut open = false;
            for place in 0..=name.len() {
                open = reached[place] || (open && place > 0 && (deep || name[place - 1] != b'/'));
                next[place] = open;
            }
        } else {
            for place in 0..name.len() {
                next[place + 1] = reached[place] && name[place] == pattern[at];
            }
        }
        at += if deep { 2 } else { 1 };
        reached = next;
    }
    reached[name.len()]
}

/// A Git source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// URL or path of the repository.
    pub git: String,
    /// Branch, tag or commit; the remote's default branch if absent.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// When a job runs, once all its needs are finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// When all have succeeded.
    #[default]
    Success,
    /// When at least one of those before it has failed or timed out (`if: failure()`).
    Failure,
    /// Whatever they did (`if: always()`).
    Always,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// One job of a pipeline, its matrix not yet expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its key in the file.
    pub name: String,
    /// What it asks of an executor.
    #[serde(default)]
    pub labels: LabelSet,
    /// Names of jobs that must be finished before.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What their outcomes must be.
    #[serde(default, rename = "if")]
    pub condition: Condition,
    /// Axis name to its values, in the order of the file; one job for each combination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrix: Vec<(String, Vec<String>)>,
    /// Seconds for one attempt.
    pub timeout_seconds: u64,
    /// How often it may run when it fails.
    pub attempts: u32,
    /// How often it may run because its executor was lost.
    pub lost_attempts: u32,
    /// Greater goes first; its own, or the pipeline's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Which jobs do not run at the same time as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// Bytes of log that one attempt keeps at most; none: as many as its executor keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<u64>,
    /// The image whose containers its steps run in, its own or the pipeline's; none: they run on the executor's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Whether its steps may use the network.
    #[serde(default = "network_by_default", skip_serializing_if = "is_network_on")]
    pub network: bool,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// Environment of its steps: the pipeline's and its own. May hold `${{ }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Secrets that its steps see as variables: the pipeline's and its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// At least one, run in order.
    pub steps: Vec<StepSpec>,
    /// Paths or `*` patterns relative to the workspace, kept when the job has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Given, or the first line of `run`.
    pub name: String,
    /// The script, for `bash -eo pipefail`. Holds no `${{ }}`.
    pub run: String,
    /// Environment of this step alone. May hold `${{ }}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Whether what it prints to stderr is told apart.
    #[serde(default, skip_serializing_if = "Stderr::is_merged")]
    pub stderr: Stderr,
}

/// What becomes of a step's standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stderr {
    /// It shares one pipe with standard output: lines keep their exact order, and nothing tells them apart.
    #[default]
    Merged,
    /// It has a pipe of its own: its lines are marked, and within a burst they may come before or after lines of standard
    /// output that were printed within the same moment.
    Marked,
}

impl Stderr {
    fn is_merged(&self) -> bool {
        *self == Stderr::Merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_set_reads_the_same_in_any_order() {
        let set = |labels: &[&str]| LabelSet::new(labels.iter().map(|l| (*l).to_owned())).unwrap();
        assert_eq!(set(&["x86_64", "linux", "linux"]).to_string(), "linux+x86_64");
        assert_eq!(LabelSet::try_from("linux+x86_64".to_owned()).unwrap(), set(&["x86_64", "linux"]));
        assert!(set(&["linux"]).is_served_by(&set(&["linux", "gpu"])));
        assert!(!set(&["linux", "arm"]).is_served_by(&set(&["linux"])));
        assert_eq!(set(&[]).to_string(), "any");
    }

    #[test]
    fn patterns_of_branches_know_a_star_and_two() {
        for (pattern, name, fits) in [
            ("main", "main", true),
            ("main", "maine", false),
            ("release/*", "release/1.x", true),
            ("release/*", "release/1/x", false),
            ("release/**", "release/1/x", true),
            ("v*", "v1.0", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("*-rc*", "v1-rc2", true),
            ("*/*", "a/b", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches_ref(pattern, name), fits, "{pattern} {name}");
        }
        assert!(!matches_ref(&"*a".repeat(100), &"a".repeat(99)));
    }

    #[test]
    fn pipeline_names_refuse_what_a_path_or_a_routing_key_would_read_otherwise() {
        for bad in ["", "a/b", "..", "a b", ".hidden", "é", "*"] {
            assert!(bad.parse::<PipelineName>().is_err(), "{bad:?} was accepted");
        }
        assert!("site-2.1_x".parse::<PipelineName>().is_ok());
    }
}
