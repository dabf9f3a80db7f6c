//! The contract between Stepcast and its database, the types that it keeps ([`model`]), the default implementation
//! ([`sqlite`]), the one for more than one machine (`postgres`), what both share ([`sql`]) and the suite that proves any implementation ([`conformance`]). It knows no broker: what is to be
//! published stands in the outbox, and the journal's bytes are opaque.
//!
//! # Promises
//!
//! - **An answer is on the disk.** When a method that changes something has answered, the change survives kill -9 and,
//!   with SQLite's `synchronous = FULL` and PostgreSQL's `synchronous_commit`, loss of power.
//! - **A change and its announcements are one** ([`Builds::change_build`], P1): the outbox rows stand exactly when the
//!   change does, in the order of the build's revision, without gaps.
//! - **A lease has one holder** (P2): terms rise by one at each grant; renewing, finishing and reaping go by the database's
//!   clock and fail for a term that is not the present one, or one that has run out.
//! - **A group's effect happens once** (P5): [`Record::record`] applies only last + 1 of each topic's epoch, and keeps the
//!   group's place in the same transaction.
//! - **Commands go before projections**: a write of [`Record`] or [`Journal`] never delays one of the others by more than
//!   its own transaction, and none takes above 10 ms on a healthy disk.
//! - **Nothing is half done**: an error leaves everything as it was, and a full disk is told as [`StoreError::Full`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod analytics;
pub mod audit;
pub mod concurrency;
pub mod conformance;
pub mod groups;
pub mod hooks;
pub mod model;
pub mod payloads;
pub mod people;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod replies;
pub mod search;
pub mod secrets;
pub mod sql;
pub mod sqlite;
pub mod standing;

use std::{future::Future, pin::Pin, time::Duration};

pub use analytics::Analytics;
pub use audit::Audit;
pub use groups::Groups;
pub use hooks::Hooks;
use tokio::sync::watch;
use uuid::Uuid;
use wire::{
    BuildId, ClientId, DeadLetterId, EventMessage, ExecutorId, JobId, LabelSet, PipelineName, Timestamp,
    authority::Grants,
    command::BuildsQuery,
    dead_letter::{DeadLetterCount, DeadLetterView, DeadLettersQuery},
    event::Recorded,
    pipeline::PipelineSpec,
    task::LeaseRef,
    view::{
        ArtifactView, BuildSummary, BuildView, ExecutorView, GatewayView, GroupView, LogPage, PipelineSummary,
        PipelineView, WorkerView,
    },
};

use model::{
    Announcement, Build, Claim, Claimed, Created, ExecutorRow, Expired, JournalChange, JournalContents, KeptCallback,
    NamedLease, NewBuild, OutboxRow, Put, QueuedJobs, RecordBatch, Recording, Refusal, Registration, Renewal, TokenRow,
    dead_letter::{DeadLetter, NewDeadLetter, Retention, Settled},
    retention::{Deletion, Outlived, PipelineRetention, Swept},
};

pub use payloads::Payloads;
pub use people::People;
pub use secrets::Secrets;

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What every method answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Why the database could not do what was asked. Whatever it was, nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk. Nothing is accepted until there is; then everything goes on by itself.
    #[error("the disk that holds the database is full: free some space and try again")]
    Full,
    /// It cannot be reached or is in use by another process.
    #[error("the database cannot be used now: {0}")]
    Unavailable(String),
    /// It was written by a newer Stepcast.
    #[error(
        "the database has schema {found}, this Stepcast knows schemas up to {known}: start the newer Stepcast that wrote it"
    )]
    Newer {
        /// Found in the database.
        found: i64,
        /// The last one that this program knows.
        known: i64,
    },
    /// A row cannot be read as what it must be.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such build.
    #[error("there is no build {0}")]
    NoBuild(BuildId),
    /// The rule says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The rule for a change of a build: looks at the build as it is, at the database's time, changes it, and says what is to
/// be announced, in order. Pure, and may be called again if the transaction must be repeated.
pub type Decide = Box<dyn Fn(&mut Build, Timestamp) -> Result<Vec<Announcement>, Refusal> + Send + Sync>;

/// The rule for granting a claim: as [`Decide`], with the id of the job that was chosen; its state becomes running.
pub type Grant = Box<dyn Fn(&mut Build, JobId, Timestamp) -> Result<Vec<Announcement>, Refusal> + Send + Sync>;

/// The rule for writing a pipeline: whether it may be written, by the text that is there. Pure, as [`Decide`].
pub type MayPut = Box<dyn Fn(Option<&str>) -> bool + Send + Sync>;

/// Bytes of text in one page of [`Record::log`], unless a single line is longer: lines may be long, and a page is held in
/// memory as a whole, more than once on its way to the reader.
pub const LOG_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Former starts that are remembered of an executor: a message of one that is heard after so many restarts would be taken
/// for a new start.
pub const FORMER_STARTS_MAX: u32 = 100;

/// Everything that a database keeps for Stepcast.
pub trait Store:
    Pipelines
    + Builds
    + Leases
    + concurrency::Concurrency
    + Secrets
    + Outbox
    + Record
    + Executors
    + Gateways
    + Accounts
    + Callbacks
    + DeadLetters
    + Journal
    + Anew
    + Kept
    + search::Search
    + Groups
    + Analytics
    + Payloads
    + replies::Replies
    + Audit
    + People
    + Hooks
{
    /// Reads and writes something, to tell whether the database works.
    fn check(&self) -> Answer<'_, ()>;
    /// Bytes of a file that does not become smaller which are free in it: what comes is written there first. 0 where the
    /// database looks after its room by itself.
    fn free_inside(&self) -> Answer<'_, u64>;
    /// The database's clock.
    fn now(&self) -> Answer<'_, Timestamp>;
}

/// Pipelines, by name.
pub trait Pipelines: Send + Sync + 'static {
    /// Creates or replaces a pipeline if `may` says so of what is there in the same transaction. The same text again
    /// changes nothing.
    /// Whoever does it stands in `by`, whose action becomes what was done.
    fn put_pipeline<'a>(
        &'a self,
        spec: &'a PipelineSpec,
        yaml: &'a str,
        may: MayPut,
        by: Option<audit::NewEntry>,
    ) -> Answer<'a, Put>;
    /// What was written, and the valid form of it.
    fn pipeline<'a>(&'a self, name: &'a PipelineName) -> Answer<'a, Option<(PipelineView, PipelineSpec)>>;
    /// All, by name, each with its last 10 builds.
    fn pipelines(&self) -> Answer<'_, Vec<PipelineSummary>>;
}

/// Builds and their jobs.
pub trait Builds: Send + Sync + 'static {
    /// Writes a build with its jobs and its first announcements; gives it the next number of its pipeline.
    /// Its queued jobs have waited since then. With an idempotency key that was used before nothing is written.
    fn create_build(&self, build: NewBuild) -> Answer<'_, Created>;
    /// Loads a build, lets `decide` change it, and writes what changed together with the announcements; the revision
    /// rises by one for each event. Gives the build as it is then.
    fn change_build(&self, id: BuildId, decide: Decide) -> BoxFuture<'_, Result<Build, ChangeError>>;
    /// The build with its jobs, as control sees it.
    fn load_build(&self, id: BuildId) -> Answer<'_, Option<Build>>;
    /// Which build a job belongs to.
    fn build_of(&self, job: JobId) -> Answer<'_, Option<BuildId>>;
    /// Which pipeline a build is of.
    fn pipeline_of_build(&self, id: BuildId) -> Answer<'_, Option<PipelineName>>;
    /// Which pipeline a job is of.
    fn pipeline_of_job(&self, job: JobId) -> Answer<'_, Option<PipelineName>>;
    /// As readers see it: with the steps, lines and artifacts recorded of each job's last attempt. `waiting_for` is left
    /// empty: what a job waits for is control's to say.
    fn build_view(&self, id: BuildId) -> Answer<'_, Option<BuildView>>;
    /// Newest first. `limit` is 50 unless given and at most [`wire::command::BUILDS_LIMIT_MAX`].
    /// Those alone that `seen_by` lets see.
    fn builds<'a>(&'a self, query: &'a BuildsQuery, seen_by: &'a Grants) -> Answer<'a, Vec<BuildSummary>>;
}

/// Leases: of jobs, and by name for groups, the relay and control.
pub trait Leases: Send + Sync + 'static {
    /// Chooses a queued job of `claim.label_set`: one of the greatest priority, of the pipeline that has the fewest running under
    /// this label set (among equals, of the one that was served longest ago), and within the pipeline one that was lost, then
    /// the one that has waited longest. Grants it under a new
    /// lease (the term, its attempt, rises: [`model::Job::next_attempt`]) and lets `grant` change the build and say what is to be announced. A
    /// claim id that was granted before, and whose lease still holds, gets the same answer. None when no job waits.
    /// [`model::Refusal::Unregistered`] unless `claim.incarnation` is the executor's present start.
    fn claim_job(&self, claim: Claim, grant: Grant) -> BoxFuture<'_, Result<Option<Claimed>, ChangeError>>;
    /// Extends what `executor` still holds in this incarnation; tells what it lost and what is to be cancelled.
    fn renew_jobs<'a>(
        &'a self,
        executor: ExecutorId,
        incarnation: Uuid,
        leases: &'a [LeaseRef],
        lease: Duration,
    ) -> Answer<'a, Renewal>;
    /// Running jobs whose lease has run out by the database's clock, at most `limit`.
    fn expired_jobs(&self, limit: u32) -> Answer<'_, Vec<Expired>>;
    /// Running jobs that `executor` holds under another incarnation than this one.
    fn orphaned_jobs(&self, executor: ExecutorId, incarnation: Uuid) -> Answer<'_, Vec<Expired>>;
    /// How many jobs can be claimed, by label set.
    fn queued_jobs(&self) -> Answer<'_, Vec<QueuedJobs>>;
    /// Every label set that a job or a pipeline asks for.
    fn label_sets(&self) -> Answer<'_, Vec<LabelSet>>;
    /// Takes, or extends if `holder` has it, the lease `name`. None while another holds it. The term rises when the holder
    /// changes.
    fn hold<'a>(&'a self, name: &'a str, holder: Uuid, lease: Duration) -> Answer<'a, Option<NamedLease>>;
    /// Gives a lease back early; nothing happens if `holder` does not have it.
    fn release<'a>(&'a self, name: &'a str, holder: Uuid) -> Answer<'a, ()>;
}

/// What is to be published.
pub trait Outbox: Send + Sync + 'static {
    /// Rows with a greater id, in order, at most `limit`; empty only when there are none. A row that cannot be read is
    /// set aside and logged, once, and the others go on.
    fn outbox(&self, after: i64, limit: u32) -> Answer<'_, Vec<OutboxRow>>;
    /// The broker has confirmed these: forget them. Need not be on the disk when answered; a row that comes back is
    /// published twice, which is harmless.
    fn outbox_done<'a>(&'a self, ids: &'a [i64]) -> Answer<'a, ()>;
    /// Changes when there may be new rows.
    fn outbox_changed(&self) -> watch::Receiver<u64>;
}

/// The record: what the recorder made of the event stream.
pub trait Record: Send + Sync + 'static {
    /// Applies a batch of the stream for a group, and keeps the group's place, in one transaction. A large batch may be
    /// several short ones, the place being kept with the last: what was applied before a failure is a repeat next time.
    fn record(&self, batch: RecordBatch) -> Answer<'_, Recording>;
    /// Where a group stands: incarnation and offset.
    fn group_place<'a>(&'a self, group: &'a str) -> Answer<'a, Option<(Uuid, u64)>>;
    /// A group has lost its place in the stream: of every topic that is not recorded to its end, the next event is taken though
    /// others before it are missing, once. Gives what may never be recorded unless it is said again.
    fn lose_place<'a>(&'a self, group: &'a str) -> Answer<'a, Vec<model::Lacking>>;
    /// All groups, without lag and members: see [`Groups::group_views`].
    fn groups(&self) -> Answer<'_, Vec<GroupView>>;
    /// Lines `from..from + limit` of an attempt (the last one unless given). None if there is no such job. The page ends
    /// sooner where its text would exceed [`LOG_PAGE_BYTES_MAX`], with one line at least: who wants more asks from the line
    /// behind the last one given.
    fn log(&self, job: JobId, attempt: Option<u32>, from: u64, limit: u32) -> Answer<'_, Option<LogPage>>;
    /// Events of a build's own topic with `offset > after` in the present epoch, in order, at most `limit`.
    fn build_events(&self, build: BuildId, after: Option<u64>, limit: u32) -> Answer<'_, Vec<EventMessage>>;
    /// An artifact.
    fn artifact(&self, id: wire::ArtifactId) -> Answer<'_, Option<ArtifactView>>;
    /// How far a topic's epoch is recorded, and whether it is sealed.
    fn recorded(&self, topic: wire::Topic, epoch: u32) -> Answer<'_, Option<Recorded>>;
}

/// Executors that have registered.
pub trait Executors: Send + Sync + 'static {
    /// Writes what an executor said of itself; `heard_at` becomes the database's time. What a start says whose
    /// place another one has taken is not heard any more: the newest [`FORMER_STARTS_MAX`] of those are remembered. Nor is who
    /// shows another secret than the first that was shown under this id.
    fn put_executor<'a>(&'a self, executor: &'a ExecutorRow) -> Answer<'a, Registration>;
    /// Whether it shows a secret when it registers.
    fn has_secret(&self, executor: ExecutorId) -> Answer<'_, bool>;
    /// It has left: it is not alive any more.
    fn executor_left(&self, id: ExecutorId, incarnation: Uuid) -> Answer<'_, ()>;
    /// All, `alive` when heard within `lease`.
    fn executors(&self, lease: Duration) -> Answer<'_, Vec<ExecutorView>>;
}

/// Gateway instances.
pub trait Gateways: Send + Sync + 'static {
    /// Writes what an instance says of its workers, now by the database's time.
    fn put_gateway<'a>(&'a self, instance: &'a str, workers: &'a [WorkerView]) -> Answer<'a, ()>;
    /// The instance ends: it is not alive any more.
    fn gateway_left<'a>(&'a self, instance: &'a str) -> Answer<'a, ()>;
    /// Forgets an instance that is not alive.
    fn forget_gateway<'a>(&'a self, instance: &'a str) -> Answer<'a, ()>;
    /// All by name, `alive` when heard within `period`.
    fn gateways(&self, period: Duration) -> Answer<'_, Vec<GatewayView>>;
}

/// Sessions, tokens and sign-in links. Secrets are kept as SHA-256 only; hashing is the caller's business.
pub trait Accounts: Send + Sync + 'static {
    /// Writes a new session: false, and nothing is written, if there is one with this id.
    fn create_session<'a>(&'a self, id: &'a str, data: &'a [u8], expires_at: Timestamp) -> Answer<'a, bool>;
    /// Writes a session that is there: false, and nothing is written, if it was deleted or has expired. So a request
    /// that was under way when somebody signed out does not bring the session back.
    fn put_session<'a>(&'a self, id: &'a str, data: &'a [u8], expires_at: Timestamp) -> Answer<'a, bool>;
    /// A session that has not expired.
    fn session<'a>(&'a self, id: &'a str) -> Answer<'a, Option<(Vec<u8>, Timestamp)>>;
    /// Forgets a session.
    fn delete_session<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Writes a token.
    fn put_token<'a>(&'a self, token: &'a TokenRow) -> Answer<'a, ()>;
    /// The token with this hash.
    fn token<'a>(&'a self, sha256: &'a str) -> Answer<'a, Option<TokenRow>>;
    /// Writes a sign-in link that can be used once until it expires.
    fn put_sign_in_link<'a>(&'a self, sha256: &'a str, expires_at: Timestamp) -> Answer<'a, ()>;
    /// The key that all processes share: `offered` if there was none before.
    fn installation_key<'a>(&'a self, offered: &'a [u8; 32]) -> Answer<'a, [u8; 32]>;
}

/// Callbacks that no worker took, kept by client id until the client attaches or they are too old.
pub trait Callbacks: Send + Sync + 'static {
    /// Keeps one; the same message id again counts one more time. Those older than `keep` are forgotten.
    fn keep_callback<'a>(&'a self, callback: &'a KeptCallback, keep: Duration) -> Answer<'a, ()>;
    /// Those kept for a client, oldest first.
    fn kept_callbacks(&self, client: ClientId) -> Answer<'_, Vec<KeptCallback>>;
    /// Those of these clients for whom something is kept.
    fn clients_with_callbacks<'a>(&'a self, clients: &'a [ClientId]) -> Answer<'a, Vec<ClientId>>;
    /// It was handed over, as it was read: if it has come back meanwhile, it stays.
    fn forget_callback<'a>(&'a self, callback: &'a KeptCallback) -> Answer<'a, ()>;
}

/// Messages that could not be processed and jobs that were given up, until a person has decided. Jobs come by
/// [`Announcement::JobGivenUp`], in the transaction in which they are given up.
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps messages. One that is there already makes no second row: it has died once more and is open again. What is too
    /// old or too much by `retention` is forgotten; the number of those that nobody had decided on.
    fn bury(&self, letters: Vec<NewDeadLetter>, retention: Retention) -> Answer<'_, u64>;
    /// Newest first. `limit` is 50 unless given and at most [`wire::dead_letter::DEAD_LETTERS_LIMIT_MAX`].
    fn dead_letters<'a>(&'a self, query: &'a DeadLettersQuery) -> Answer<'a, Vec<DeadLetterView>>;
    /// One, with all that it takes to hand it in again.
    fn dead_letter(&self, id: DeadLetterId) -> Answer<'_, Option<DeadLetter>>;
    /// Writes what became of an open one, if it has not died again since it was read: whether it was so.
    fn settle_dead_letter<'a>(
        &'a self,
        letter: &'a DeadLetter,
        settled: Settled,
        by: &'a str,
        entry: audit::NewEntry,
    ) -> Answer<'a, bool>;
    /// By cause, for every cause.
    fn dead_letter_counts(&self) -> Answer<'_, Vec<DeadLetterCount>>;
}

/// Where the embedded broker keeps what must survive. The bytes are its own.
pub trait Journal: Send + Sync + 'static {
    /// What is there. Makes the stream's incarnation at the first call.
    fn journal_load(&self) -> Answer<'_, JournalContents>;
    /// Writes all changes in one transaction.
    fn journal_append(&self, changes: Vec<JournalChange>) -> Answer<'_, ()>;
    /// Stream entries with `offset >= from`, in order, at most `max`.
    fn journal_read(&self, from: u64, max: u32) -> Answer<'_, Vec<(u64, Vec<u8>)>>;
}

/// A database that was put back from a backup. What was written after the backup was taken never happened here, but
/// readers may have met it: positions and attempts of that time must never be met again with other contents.
pub trait Anew: Send + Sync + 'static {
    /// Raises every epoch, to `epoch` or what is greater than all that the database holds: of builds, and so of their
    /// jobs' next attempts ([`model::Job::next_attempt`]), and of the terms of named leases. All leases have run out; the
    /// journal's stream is empty and another one; of the journal's messages those of the queues `keep` stay. Sign-in links are
    /// gone. Gives the epoch. Nobody else may use the database meanwhile, and what the stream held must be recorded.
    fn begin_anew<'a>(&'a self, epoch: u32, keep: &'a [&'a str]) -> Answer<'a, u32>;
}

/// What is kept of builds that are over, and how it goes.
pub trait Kept: Send + Sync + 'static {
    /// Artifacts with a greater id, by id, at most `limit`.
    fn artifacts_behind(&self, after: Option<wire::ArtifactId>, limit: u32) -> Answer<'_, Vec<ArtifactView>>;
    /// Forgets artifacts whose files are gone.
    fn forget_artifacts<'a>(&'a self, ids: &'a [wire::ArtifactId]) -> Answer<'a, ()>;
    /// Those of these artifacts that have a row.
    fn known_artifacts<'a>(&'a self, ids: &'a [wire::ArtifactId]) -> Answer<'a, Vec<wire::ArtifactId>>;
    /// Deletes a finished build, in one short transaction: nobody finds it, its jobs or their dead letters any more. Its
    /// number does not come again. What it leaves behind goes by [`Kept::sweep`].
    fn delete_build(&self, id: BuildId, entry: Option<audit::NewEntry>) -> Answer<'_, Deletion>;
    /// One short step of sweeping what deleted builds have left: call again while there is more.
    fn sweep(&self) -> Answer<'_, Swept>;
    /// Every pipeline that ever had a build, with what it says of keeping them.
    fn retentions(&self) -> Answer<'_, Vec<PipelineRetention>>;
    /// Builds of a pipeline that have outlived their time, the oldest first, at most `limit`.
    fn outlived<'a>(&'a self, pipeline: &'a PipelineName, rule: Outlived, limit: u32) -> Answer<'a, Vec<BuildId>>;
    /// Artifacts of builds that finished before, but for the last one that succeeded, at most `limit`.
    fn outlived_artifacts<'a>(
        &'a self,
        pipeline: &'a PipelineName,
        before: Timestamp,
        limit: u32,
    ) -> Answer<'a, Vec<(JobId, wire::ArtifactId)>>;
    /// Counts the bytes of finished builds that are not counted yet, at most `limit` of them; how many were.
    fn count_bytes(&self, limit: u32) -> Answer<'_, u64>;
}
