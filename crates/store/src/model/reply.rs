//! Results and how they are told.

use std::time::Duration;

use uuid::Uuid;
use wire::{Timestamp, reply::ReplyKind, task::Reply, view::BuildSummary};

/// How long a callback's receipt is waited for before it is sent once more; the times after that are the caller's.
pub const FIRST_RECEIPT: Duration = Duration::from_secs(60);

/// What who asks for a build wants of its result: written with the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReply {
    /// The way.
    pub mode: ReplyKind,
    /// A client's id, a URL or a queue's name.
    pub address: String,
    /// Who takes it: host and port, or the queue.
    pub receiver: String,
    /// Handed back with a message to a queue.
    pub correlation_id: Option<String>,
    /// The authority's subject.
    pub asked_by: String,
}

/// A result that is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueReply {
    /// The build, which has ended.
    pub build: BuildSummary,
    /// How, and to whom.
    pub reply: NewReply,
    /// Where a callback's client sat when it asked.
    pub socket: Option<Reply>,
    /// The same whenever this end of the build is told.
    pub message_id: Uuid,
    /// Tries since then.
    pub attempts: u32,
    /// How long ago the build ended.
    pub age: Duration,
}

/// What is due, and what is not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueReplies {
    /// The one that has waited longest first.
    pub due: Vec<DueReply>,
    /// When the next one is, from now.
    pub next: Option<Duration>,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The receiver, or its queue, has it.
    Delivered,
    /// The broker has the callback. Without a receipt it is sent again after this, or when its client comes back.
    Sent(Option<Duration>),
    /// Another try follows after this time.
    Again(String, Duration),
    /// No other try follows.
    Stopped(String),
}

/// What became of a person's word that a result arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It is written, now or before.
    Done,
    /// The build has not ended.
    NotYet,
    /// It is nobody's result, or another one's.
    NotTheirs,
    /// There is no such build.
    NoBuild,
}

/// What became of the wish to be told once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryNow {
    /// It is due now.
    Due,
    /// The build has not ended.
    NotYet,
    /// Who asked has it.
    Received(Timestamp),
    /// Nobody asked to be told.
    NoReply,
    /// There is no such build.
    NoBuild,
}
