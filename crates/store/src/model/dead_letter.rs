//! Dead letters, as they are kept.

use std::time::Duration;

use uuid::Uuid;
use wire::{
    BuildId, JobId,
    dead_letter::{Cause, DeadLetterOrigin, DeadLetterView},
};

/// Of a body that is larger only the beginning is kept. What is larger than 256 KiB travels as a claim check, so nobody
/// but a program gone wrong writes as much.
pub const DEAD_BODY_BYTES_MAX: usize = 1024 * 1024;
/// So much of a body that is too large to be kept whole: enough to tell what it was.
pub const DEAD_BODY_BYTES_CUT: usize = 64 * 1024;

/// A message to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// The message's name: one row for each.
    pub message_id: Uuid,
    /// What kind of reason it died for.
    pub cause: Cause,
    /// One sentence.
    pub reason: String,
    /// Where it came from, if that is known.
    pub origin: Option<DeadLetterOrigin>,
    /// The message's own.
    pub correlation_id: Option<String>,
    /// The message's own.
    pub reply_to: Option<String>,
    /// What the body looks like.
    pub content_type: String,
    /// All of it; see [`DEAD_BODY_BYTES_MAX`].
    pub body: Vec<u8>,
    /// The build that it names.
    pub build: Option<BuildId>,
    /// The job that it names.
    pub job: Option<JobId>,
    /// The dead letter was delivered before: perhaps it is kept already.
    pub redelivered: bool,
}

/// A dead letter with all that it takes to hand it in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What readers are shown.
    pub view: DeadLetterView,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// The body, or its beginning: [`DeadLetter::is_whole`].
    pub body: Vec<u8>,
    /// Rises whenever it dies again.
    pub changes: u64,
}

impl DeadLetter {
    /// Whether all of the body was kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.view.size == self.body.len() as u64
    }
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was handed in again.
    Retried,
    /// It is not needed.
    Discarded,
}

/// How many dead letters are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Rows: the first to go are those that were decided on, then the oldest.
    pub letters_max: u64,
    /// Bytes of all bodies: as with the rows.
    pub bytes_max: u64,
    /// For so long after somebody decided on it.
    pub settled: Duration,
    /// For so long after it died.
    pub open: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Retention {
    /// 10,000 rows, 256 MiB, a week, 90 days.
    fn default() -> Self {
        Self { letters_max: 10_000, bytes_max: 256 << 20, settled: 7 * DAY, open: 90 * DAY }
    }
}
