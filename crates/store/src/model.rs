//! What a store keeps, as types that cannot be wrong. What readers are shown stands in `wire::view`.

pub mod dead_letter;
mod executor;
mod journal;
pub mod reply;
pub mod retention;
pub mod secret;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::{
    AccountId, BuildId, ClientId, Event, EventMessage, ExecutorId, ImageName, JobId, LabelSet, Limits, Outcome,
    PayloadId, PipelineName, ServerId, Timestamp,
    authority::Grants,
    concurrency::ConcurrencySpec,
    event::Recorded,
    payload::InputFile,
    pipeline::{Condition, SourceSpec, StepSpec},
    secret::SecretUse,
    task::{ExecutorNotice, LeaseRef, Reply},
    trigger::TriggeredBy,
    view::LostAttempt,
};

use crate::audit::NewEntry;

pub use executor::{ExecutorRow, Registration};
pub use journal::{JournalChange, JournalContents, JournalMessage};

/// A build with all its jobs: what one decision sees and changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its id.
    pub id: BuildId,
    /// Counts from 1 within the pipeline.
    pub number: u64,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// What it was triggered with, defaults included.
    pub inputs: BTreeMap<String, String>,
    /// Who is called back.
    pub reply: Option<Reply>,
    /// Raised by a restore, and then greater than every one that readers can have met ([`crate::Anew`]); from 1.
    pub epoch: u32,
    /// The offset that the next event of its topic gets. Written by the store.
    pub revision: u64,
    /// When it was accepted.
    pub queued_at: Timestamp,
    /// A person asked for its end.
    pub cancelling: bool,
    /// Which builds it does not run with at the same time.
    pub concurrency: Option<Box<ConcurrencySpec>>,
    /// Who or what it was triggered by; none for one of before that was kept.
    pub triggered_by: Option<Box<TriggeredBy>>,
    /// Where it stands.
    pub state: BuildState,
    /// Its jobs, in the order of the plan; `needs` are indexes into this list.
    pub jobs: Vec<Job>,
}

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildState {
    /// No job was taken yet.
    Queued,
    /// At least one was.
    Running {
        /// When the first was.
        since: Timestamp,
    },
    /// All jobs are finished.
    Finished {
        /// The worst of its jobs' outcomes.
        outcome: Outcome,
        /// When the first was taken, if one was.
        since: Option<Timestamp>,
        /// When the last one ended.
        until: Timestamp,
    },
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Fixed when the build was planned.
    pub plan: Arc<JobPlan>,
    /// The last term of its lease; 0 if it was never granted.
    pub attempt: u32,
    /// Attempts that failed or timed out since it was last queued by a person.
    pub failures: u32,
    /// Attempts that were lost since it was last queued by a person.
    pub losses: u32,
    /// These, the first one first.
    pub lost: Vec<LostAttempt>,
    /// Where it stands.
    pub state: JobState,
}

impl Job {
    /// The term that its next lease gets in a build of this epoch. One more than the last, and after a restore none that
    /// may have been given after the backup was taken: an attempt is the epoch of its log, so two logs would share one.
    #[must_use]
    pub fn next_attempt(&self, epoch: u32) -> u32 {
        self.attempt.saturating_add(1).max(epoch)
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its needs are not met yet.
    Waiting,
    /// It may be claimed.
    Queued {
        /// From when.
        since: Timestamp,
    },
    /// It is leased.
    Running {
        /// Who may speak for it.
        lease: JobLease,
        /// When it was granted.
        since: Timestamp,
        /// Its end was asked for.
        cancelling: bool,
    },
    /// It ended, or will never run.
    Finished {
        /// How.
        outcome: Outcome,
        /// Who ran it last, if anyone.
        executor: Option<ExecutorId>,
        /// When the last attempt was granted, if one was.
        since: Option<Timestamp>,
        /// When it ended.
        until: Timestamp,
        /// Why, where the steps do not tell.
        reason: Option<String>,
        /// The last offset of its topic in its last attempt.
        last_offset: Option<u64>,
    },
}

/// Who may act for a job now. Its term is the job's attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLease {
    /// The holder.
    pub executor: ExecutorId,
    /// Which start of it.
    pub incarnation: Uuid,
    /// The claim that it was granted for.
    pub claim_id: Uuid,
    /// Until when, by the database's clock.
    pub expires_at: Timestamp,
}

/// What was planned for a job: expressions replaced, matrix expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// With its matrix values: `check (unit)`.
    pub name: String,
    /// What it asks of an executor.
    pub labels: LabelSet,
    /// Indexes of the jobs that it waits for.
    pub needs: Vec<usize>,
    /// What their outcomes must be.
    pub condition: Condition,
    /// Greater goes first; 0 unless said otherwise.
    pub priority: i32,
    /// Which jobs it does not run with at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// Seconds for one attempt.
    pub timeout_seconds: u64,
    /// How often it may run when it fails.
    pub attempts: u32,
    /// How often it may run because its executor was lost.
    pub lost_attempts: u32,
    /// Bytes of log that one attempt keeps at most; none: as many as its executor keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<u64>,
    /// The image whose containers its steps run in; none: they run on the executor's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Whether its steps may use the network.
    #[serde(default = "wire::isolation::network_by_default", skip_serializing_if = "wire::isolation::is_network_on")]
    pub network: bool,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// The environment of every step, `INPUT_*` and `MATRIX_*` included.
    pub env: BTreeMap<String, String>,
    /// Secrets that its steps see as variables: by name, for the answer to a claim to give their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Inputs that are files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InputFile>,
    /// Cloned into the workspace.
    pub source: Option<SourceSpec>,
    /// Run in order.
    pub steps: Vec<StepSpec>,
    /// Paths or patterns to keep.
    pub artifacts: Vec<String>,
}

/// What is announced, or written down, together with a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Announcement {
    /// An event of the build's topic: it gets the next revision.
    Event(Event),
    /// Work waits.
    Hint(LabelSet),
    /// To one executor.
    Notice {
        /// Which.
        executor: ExecutorId,
        /// What.
        notice: ExecutorNotice,
    },
    /// A job was lost as often as it may be: it becomes a dead letter.
    JobGivenUp {
        /// Which.
        job: JobId,
        /// Why. One sentence.
        reason: String,
    },
    /// An entry of the audit log, about the build's pipeline and the build.
    Noted(Box<NewEntry>),
    /// A person has retried the build: what was given up of it is taken up again.
    TakenUp {
        /// Who.
        by: String,
    },
}

/// A build to be written: its `number`, `revision` and `queued_at` are given by the store.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// The build.
    pub build: Build,
    /// The first announcements, in order.
    pub announcements: Vec<Announcement>,
    /// If the one who asked gave a key.
    pub idempotency: Option<Idempotency>,
    /// How the result is told, if it is.
    pub told: Option<reply::NewReply>,
    /// The delivery that asked for it, if one did: it makes one build.
    pub delivery: Option<crate::hooks::Delivery>,
}

/// A key under which a trigger may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// As given; unique within the pipeline.
    pub key: String,
    /// SHA-256 of what was asked: another body under the same key is refused.
    pub digest: String,
}

/// What became of a new build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was written.
    New(Build),
    /// The key was used before, for the same body: the build that was made then.
    Before(BuildId),
    /// The key was used before, for another body.
    OtherBody,
    /// The hook that asked is deleted, or its secret is another one now.
    NoHook,
    /// A file that is to be its input is not kept, or not any more.
    NoPayload(PayloadId),
}

/// What became of a pipeline that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none of its name.
    Created,
    /// There was one, which it replaces, or which had this text already.
    Replaced,
    /// The rule said no; nothing was changed.
    Refused {
        /// Whether there is one of its name.
        exists: bool,
    },
}

/// Why a rule says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The term is not the present one, or the lease has run out.
    #[error("attempt {attempt} of job {job} is not yours any more")]
    Stale {
        /// The job.
        job: JobId,
        /// The attempt that was named.
        attempt: u32,
    },
    /// A claim by a start of an executor that has not registered, has left, or was replaced by another one.
    #[error("this start of the executor is not known: it must register first")]
    Unregistered,
    /// It makes no sense in the state that the build is in. One sentence.
    #[error("{0}")]
    State(String),
}

/// A request for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// A repeat gets the same answer.
    pub claim_id: Uuid,
    /// Who asks.
    pub executor: ExecutorId,
    /// Which start of it.
    pub incarnation: Uuid,
    /// The queue whose hint it was.
    pub label_set: LabelSet,
    /// How long the lease lasts.
    pub lease: Duration,
}

/// A granted claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The build as it is then.
    pub build: Build,
    /// Which of its jobs.
    pub job: JobId,
}

/// What still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Extended; those in `cancelled` stand here too.
    pub held: Vec<LeaseRef>,
    /// Not the executor's any more.
    pub lost: Vec<LeaseRef>,
    /// Extended, and to be cancelled.
    pub cancelled: Vec<LeaseRef>,
}

/// A running job whose holder is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The build.
    pub build: BuildId,
    /// The job and the attempt.
    pub lease: LeaseRef,
}

/// How many jobs wait under a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJobs {
    /// The label set.
    pub label_set: LabelSet,
    /// How many.
    pub count: u64,
}

/// A lease by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedLease {
    /// Rises whenever the holder changes.
    pub term: u64,
    /// By the database's clock.
    pub expires_at: Timestamp,
}

/// A row of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Rising; not without gaps.
    pub id: i64,
    /// What is to be published.
    pub outbound: Outbound,
}

/// What is to be published.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outbound {
    /// An event of a build's topic.
    Event {
        /// The routing key of the one who asked.
        server_id: Option<ServerId>,
        /// The message, ready to be sent.
        message: Box<EventMessage>,
    },
    /// Work waits.
    Hint {
        /// Where.
        label_set: LabelSet,
    },
    /// To one executor.
    Notice {
        /// Which.
        executor: ExecutorId,
        /// What.
        notice: ExecutorNotice,
    },
    /// The end of a build, to the client that asked for it.
    Callback {
        /// The routing key of the one who asked.
        server_id: ServerId,
        /// The same whenever this end is told.
        message_id: Uuid,
        /// The message, ready to be sent.
        body: Vec<u8>,
    },
}

/// A batch of the stream for one group.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// The group.
    pub group: String,
    /// The stream that the offset belongs to.
    pub incarnation: Uuid,
    /// The place after the batch.
    pub offset: u64,
    /// In the order of the stream; genuine (MACs are verified by the caller).
    pub events: Vec<EventMessage>,
}

/// What a batch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// For each topic that moved or was sealed: how far it is recorded now.
    pub recorded: Vec<Recorded>,
    /// Events that were not applied though they are no repeats: from a sealed attempt, or behind a hole.
    pub refused: Vec<Refused>,
}

/// A build of which the record may lack the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Which.
    pub build: BuildId,
    /// Attempts of its jobs that have ended, and whose record is not sealed.
    pub attempts: Vec<(JobId, u32)>,
}

/// An event that was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its topic.
    pub topic: wire::Topic,
    /// Its place.
    pub position: wire::Position,
    /// One sentence.
    pub reason: String,
}

/// A token for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Lower-case hex of the token's hash.
    pub sha256: String,
    /// For people.
    pub name: String,
    /// What it may do; with an account, no more than that may.
    pub grants: Grants,
    /// Who made it; none when it was made on the server's machine.
    pub account: Option<AccountId>,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// A callback that nobody took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCallback {
    /// The message's name.
    pub message_id: Uuid,
    /// For whom.
    pub client: ClientId,
    /// Where an answer goes.
    pub reply_to: Option<String>,
    /// The message's body.
    pub body: Vec<u8>,
    /// How often it came to be kept, once it is: 1, unless it came back while it was handed over.
    pub times: u64,
}
