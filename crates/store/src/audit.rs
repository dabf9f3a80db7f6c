//! The audit log's contract. Who changes something in the store hands the entry down with it, so that both stand or neither
//! does; [`Audit::note`] is for what changes nothing there.

use wire::{
    AccountId, Authority, BuildId, PipelineName, Timestamp,
    audit::{Action, AuditEntry, AuditQuery},
};

use crate::Answer;

/// Characters of a detail that are kept.
pub const DETAIL_CHARS_MAX: usize = 500;

/// An entry to be written; the store gives it its number and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What.
    pub action: Action,
    /// The session or token that asked; `system` or `machine` ([`AuditEntry::subject`]).
    pub subject: String,
    /// Of the person or the token.
    pub name: String,
    /// Whose.
    pub account: Option<AccountId>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The pipeline that it is about.
    pub pipeline: Option<PipelineName>,
    /// The build that it is about.
    pub build: Option<BuildId>,
    /// One sentence, never a secret. What is longer than [`DETAIL_CHARS_MAX`] is cut.
    pub detail: Option<String>,
}

impl NewEntry {
    /// Done by `who`, from where they are.
    #[must_use]
    pub fn by(who: &Authority, action: Action) -> Self {
        let new = Self::new(action, who.subject.as_str(), who.name.as_str());
        Self { account: who.account, ..new.from(who.address) }
    }

    /// Done by Stepcast itself.
    #[must_use]
    pub fn by_system(action: Action) -> Self {
        Self::new(action, "system", "Stepcast")
    }

    /// Done by a command on the server's machine.
    #[must_use]
    pub fn by_machine(action: Action) -> Self {
        Self::new(action, "machine", "the server's machine")
    }

    /// Done by `subject`, which is called `name`.
    #[must_use]
    pub fn new(action: Action, subject: impl Into<String>, name: impl Into<String>) -> Self {
        let (subject, name) = (subject.into(), name.into());
        Self { action, subject, name, account: None, address: None, pipeline: None, build: None, detail: None }
    }

    /// From where.
    #[must_use]
    pub fn from(mut self, address: Option<impl ToString>) -> Self {
        self.address = address.map(|address| address.to_string());
        self
    }

    /// About a pipeline.
    #[must_use]
    pub fn pipeline(mut self, pipeline: &PipelineName) -> Self {
        self.pipeline = Some(pipeline.clone());
        self
    }

    /// About a build.
    #[must_use]
    pub fn build(mut self, build: BuildId) -> Self {
        self.build = Some(build);
        self
    }

    /// With more to say: one sentence, never a secret.
    #[must_use]
    pub fn detail(mut self, sentence: impl Into<String>) -> Self {
        self.detail = Some(sentence.into());
        self
    }
}

/// See the module.
pub trait Audit: Send + Sync + 'static {
    /// Writes an entry, now by the database's clock.
    fn note(&self, entry: NewEntry) -> Answer<'_, ()>;
    /// Newest first.
    fn entries<'a>(&'a self, query: &'a AuditQuery) -> Answer<'a, Vec<AuditEntry>>;
    /// Forgets entries that were written before, at most `limit`; how many were.
    fn forget_entries(&self, before: Timestamp, limit: u32) -> Answer<'_, u64>;
}
