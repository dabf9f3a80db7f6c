//! Payloads that stand apart from their messages: what they are, and who refers to them. Their bytes are the server's
//! business. A build refers to what it has as an input ([`crate::Builds::create_build`]), a kept callback to what it claims.

use wire::{ClaimCheck, JobId, PayloadId, PipelineName, Timestamp};

use crate::Answer;

/// What is kept apart.
pub trait Payloads: Send + Sync + 'static {
    /// Writes one whose bytes are kept; it is kept from now on, by the database's time.
    fn put_payload<'a>(&'a self, check: &'a ClaimCheck) -> Answer<'a, ()>;
    /// One of them.
    fn payload(&self, id: PayloadId) -> Answer<'_, Option<ClaimCheck>>;
    /// Whether a job's build has it as an input.
    fn has_payload(&self, job: JobId, id: PayloadId) -> Answer<'_, bool>;
    /// The pipelines whose builds have it as an input, by name.
    fn pipelines_with(&self, id: PayloadId) -> Answer<'_, Vec<PipelineName>>;
    /// Those of these that have a row.
    fn known_payloads<'a>(&'a self, ids: &'a [PayloadId]) -> Answer<'a, Vec<PayloadId>>;
    /// Those with a greater id, by id, at most `limit`.
    fn payloads_behind(&self, after: Option<PayloadId>, limit: u32) -> Answer<'_, Vec<PayloadId>>;
    /// Forgets those that were brought, and used last, before, and that nobody refers to, at most `limit`: their bytes are to
    /// go.
    fn forget_unused_payloads(&self, before: Timestamp, limit: u32) -> Answer<'_, Vec<PayloadId>>;
    /// Forgets payloads whose bytes are gone.
    fn forget_payloads<'a>(&'a self, ids: &'a [PayloadId]) -> Answer<'a, ()>;
}
