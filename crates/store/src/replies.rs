//! The part of the contract for results that are told to who asked: see [`wire::reply`] for their states.
//!
//! - **A result is due when its build has ended** (P1): in the same transaction. A callback goes into the outbox there,
//!   behind the events of the build; what else is told is found by [`Replies::due_replies`].
//! - **A try counts for the end that it told**: when the build was retried meanwhile, what is said of it changes nothing.

use uuid::Uuid;
use wire::{BuildId, ClientId, PipelineName, reply::ReplyView, view::BuildSummary};

use crate::{
    Answer,
    audit::NewEntry,
    model::reply::{Acknowledged, DueReplies, Tried, TryNow},
};

/// How results are told.
pub trait Replies: Send + Sync + 'static {
    /// What is to be tried now, at most `limit`, without what goes to a receiver in `busy`.
    fn due_replies<'a>(&'a self, busy: &'a [String], limit: u32) -> Answer<'a, DueReplies>;
    /// Writes what became of a try.
    fn reply_tried(&self, build: BuildId, message_id: Uuid, tried: Tried) -> Answer<'_, ()>;
    /// A client says that the callback with this id arrived: whose result it is, if it is one and this is the first word.
    fn receipt(&self, message_id: Uuid) -> Answer<'_, Option<(BuildId, PipelineName)>>;
    /// Who asked says that the result of a build arrived. Again changes nothing.
    fn acknowledge<'a>(&'a self, build: BuildId, asked_by: &'a str) -> Answer<'a, Acknowledged>;
    /// Callbacks of these clients whose receipt is missing are due now: they have come back.
    fn resend_replies<'a>(&'a self, clients: &'a [ClientId]) -> Answer<'a, ()>;
    /// Makes a result due now, though it was given up, or is to be tried later.
    fn try_reply_now(&self, build: BuildId, entry: NewEntry) -> Answer<'_, TryNow>;
    /// How the result of a build is told, if somebody wanted it told.
    fn reply(&self, build: BuildId) -> Answer<'_, Option<ReplyView>>;
    /// Builds that ended within 7 days whose result `asked_by` has not received, the last one first.
    fn not_received<'a>(&'a self, asked_by: &'a str, limit: u32) -> Answer<'a, Vec<BuildSummary>>;
}
