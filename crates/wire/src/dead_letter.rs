//! Dead letters: messages that could not be processed and jobs that were given up, as readers are shown them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{BuildId, DeadLetterId, JobId, PipelineName, Timestamp};

/// Dead letters in one answer: at most.
pub const DEAD_LETTERS_LIMIT_MAX: u32 = 200;

/// What kind of reason it died for; the reason itself is a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A message whose body is not JSON.
    NotJson,
    /// A message of a version that its reader does not know.
    UnknownVersion,
    /// A message that its reader refused for another reason: its shape, its signature.
    Refused,
    /// A message that its consumers were given too often without settling it.
    NeverSettled,
    /// A job whose executors were lost as often as it may be run for that.
    JobLost,
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterState {
    /// Nobody has decided yet.
    Open,
    /// It was handed in again.
    Retried,
    /// Somebody has said that it is not needed.
    Discarded,
}

/// The words of an enumeration, as on the wire, and back.
macro_rules! words {
    ($type:ident, $what:literal: $($variant:ident = $word:literal),*) => {
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word, as on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let known = Self::ALL.iter().copied().find(|known| known.as_str() == text);
                known.ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|known| known.as_str()).collect();
                    format!("{} {text:?} must be one of {}", $what, words.join(", "))
                })
            }
        }
    };
}

words!(Cause, "cause": NotJson = "not_json", UnknownVersion = "unknown_version", Refused = "refused",
    NeverSettled = "never_settled", JobLost = "job_lost");
words!(DeadLetterState, "state": Open = "open", Retried = "retried", Discarded = "discarded");

impl Cause {
    /// What a message's body alone tells of why nobody could read it.
    #[must_use]
    pub fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Head {
            version: u16,
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
            return Self::NotJson;
        }
        match serde_json::from_slice::<Head>(body) {
            Ok(head) if head.version != crate::VERSION => Self::UnknownVersion,
            _ => Self::Refused,
        }
    }
}

/// The name of a dead letter whose message has none, or has one that not all who read it are told: made of the body, so
/// that it is the same whoever buries it, and whenever.
#[must_use]
pub fn name_of(body: &[u8]) -> Uuid {
    let digest = Sha256::digest(body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Where a message was handed in, or where it waited when it died: there it can be handed in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterOrigin {
    /// The exchange; empty for the default one, whose keys are names of queues and streams.
    pub exchange: String,
    /// The routing key.
    pub key: String,
}

/// A dead letter, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// Its id. Version 7: ids sort by when it first died.
    pub id: DeadLetterId,
    /// The message's id; a job's letter is named by the job.
    pub message_id: Uuid,
    /// What kind of reason it died for.
    pub cause: Cause,
    /// Why it died the last time. One sentence.
    pub reason: String,
    /// How often it died.
    pub deaths: u32,
    /// When it was first taken into the list.
    pub first_at: Timestamp,
    /// When it was last.
    pub died_at: Timestamp,
    /// Where it came from, if that is known; none for a job.
    pub origin: Option<DeadLetterOrigin>,
    /// What its body looks like.
    pub content_type: String,
    /// The message's own.
    pub correlation_id: Option<String>,
    /// Bytes of its body.
    pub size: u64,
    /// The build that it is of, if it names one.
    pub build: Option<BuildId>,
    /// The build's pipeline, if the build is known here.
    pub pipeline: Option<PipelineName>,
    /// The build's number within it.
    pub number: Option<u64>,
    /// The job that it is of, if it names one.
    pub job: Option<JobId>,
    /// What became of it.
    pub state: DeadLetterState,
    /// Who has decided.
    pub settled_by: Option<String>,
    /// When.
    pub settled_at: Option<Timestamp>,
    /// Why it cannot be retried; none if it can. One sentence.
    pub not_retriable: Option<String>,
}

/// A dead letter with its body: as text where it is text, else in base64. Both are absent for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterBody {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetterView,
    /// Its body, or the beginning of it if it is too large to be kept whole.
    pub body: Option<String>,
    /// The same, where it is no text.
    pub body_base64: Option<String>,
    /// Whether all of the body is here.
    pub whole: bool,
}

/// What the page shows: those that nobody has decided on, and the last ones that somebody has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLettersPage {
    /// How many are open.
    pub open_total: u64,
    /// The newest of them.
    pub open: Vec<DeadLetterView>,
    /// Newest first.
    pub settled: Vec<DeadLetterView>,
}

/// Which dead letters, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersQuery {
    /// What became of them.
    #[serde(default)]
    pub state: Option<DeadLetterState>,
    /// Older than this one.
    #[serde(default)]
    pub before: Option<DeadLetterId>,
    /// 50 unless given, at most [`DEAD_LETTERS_LIMIT_MAX`].
    #[serde(default)]
    pub limit: Option<u32>,
}

/// How many dead letters there are of one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterCount {
    /// The cause.
    pub cause: Cause,
    /// Those that nobody has decided on.
    pub open: u64,
    /// How often it was met since the installation began.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_why_it_cannot_be_read() {
        for (body, cause) in [
            (&b"nonsense"[..], Cause::NotJson),
            (b"\xff\xfe", Cause::NotJson),
            (b"", Cause::NotJson),
            (b"{\"version\":9,\"what\":{}}", Cause::UnknownVersion),
            (b"{\"version\":1}", Cause::Refused),
            (b"{\"no\":\"version\"}", Cause::Refused),
            (b"7", Cause::Refused),
        ] {
            assert_eq!(Cause::of_body(body), cause, "{body:?}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for cause in Cause::ALL {
            assert_eq!(cause.as_str().parse(), Ok(*cause));
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
        for state in DeadLetterState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        let refused = "lost".parse::<DeadLetterState>().unwrap_err();
        assert_eq!(refused, "state \"lost\" must be one of open, retried, discarded");
    }
}
