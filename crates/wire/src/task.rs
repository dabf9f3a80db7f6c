//! The conversation between executors and control.
//!
//! The executor speaks first, over the queue `control` with `reply_to`: it registers, claims on a hint, renews, finishes.
//! Every request may be repeated: a claim by its id and a finish by its lease get the same answer again, so a lost
//! answer is asked for anew. Control speaks first only over `executor.<id>` ([`ExecutorNotice`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AccountId, BuildId, ClientId, DecodeError, ExecutorId, ImageName, Isolation, JobId, LabelSet, Limits, Outcome,
    PipelineName, ServerId, VERSION,
    event::encode,
    isolation::{is_network_on, network_by_default},
    mac::EventKey,
    payload::InputFile,
    pipeline::{SourceSpec, StepSpec},
    secret::SealedSecrets,
};

pub use crate::executor_now::ExecutorNow;

/// A body with the version that every message has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`VERSION`].
    pub version: u16,
    /// What it says.
    #[serde(flatten)]
    pub body: T,
}

/// The bytes of a message.
#[must_use]
pub fn to_bytes<T: Serialize>(body: T) -> Vec<u8> {
    encode(&Versioned { version: VERSION, body })
}

/// Under the key `pipelines` at the exchange `utils`: a pipeline was created or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineChanged {
    /// Which.
    pub pipeline: PipelineName,
}

/// Under the key `access` at the exchange `utils`: what somebody may do has changed, or their session or token has ended.
/// A hint: gateways look at it by themselves now and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessChanged {
    /// Of this account, with its sessions and its tokens.
    Account(AccountId),
    /// Of this account, which has another password: of its sessions one goes on.
    Password {
        /// Which account.
        account: AccountId,
        /// The session that goes on.
        session: Uuid,
    },
    /// Of the token with this id.
    Token(String),
    /// Of this session alone.
    Session(Uuid),
}

/// A message from its bytes.
///
/// # Errors
/// When they are not JSON, of another version, or not what `T` asks for.
pub fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    #[derive(Deserialize)]
    struct Head {
        version: u16,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.version != VERSION {
        return Err(DecodeError::Version { found: head.version });
    }
    Ok(serde_json::from_slice::<Versioned<T>>(bytes)?.body)
}

/// Work waits under these labels. Stale, doubled, lost: harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Which queue's work.
    pub label_set: LabelSet,
}

/// One attempt of one job, as its holder names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseRef {
    /// The job.
    pub job: JobId,
    /// The attempt: the term of the lease.
    pub attempt: u32,
}

/// What an executor shows at each registration: made once, kept with its id, 32 to 200 characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecutorSecret(String);

impl std::fmt::Debug for ExecutorSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExecutorSecret(..)")
    }
}

impl TryFrom<String> for ExecutorSecret {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if (32..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err("the secret of an executor must have 32 to 200 letters, digits and signs".to_owned())
        }
    }
}

impl From<ExecutorSecret> for String {
    fn from(secret: ExecutorSecret) -> String {
        secret.0
    }
}

impl ExecutorSecret {
    /// How control keeps it: SHA-256 in lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        use sha2::Digest as _;
        crate::chunks::hex(&sha2::Sha256::digest(self.0.as_bytes()))
    }
}

/// From an executor, to the queue `control`, with `reply_to`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// I am here (first, and again every lease period). Answer: [`ControlReply::Registered`].
    /// A new incarnation says that what the former one ran has ended: control takes its leases back at once.
    Register {
        /// Who.
        executor: ExecutorId,
        /// A new one for each start of the process.
        incarnation: Uuid,
        /// For people.
        name: String,
        /// What it offers.
        labels: LabelSet,
        /// How many jobs it runs at once.
        slots: u32,
        /// How it keeps steps from the rest of its machine; plain from an executor that does not tell.
        #[serde(default)]
        isolation: Isolation,
        /// Shows that it is who it was: control keeps the hash of the first one that it hears and answers no other start under
        /// this id. Absent where an executor has none; then anybody with the broker's credentials can take its place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<ExecutorSecret>,
    },
    /// A hint came and a slot is free. Answer: [`ControlReply::Granted`] or [`ControlReply::Nothing`].
    Claim {
        /// A repeat with the same id gets the same answer.
        claim_id: Uuid,
        /// Who.
        executor: ExecutorId,
        /// Which start of it.
        incarnation: Uuid,
        /// The queue whose hint it was.
        label_set: LabelSet,
        /// Milliseconds for which the requester waits. Control does not grant what has waited for longer.
        patience_ms: u64,
        /// The public key that secrets are sealed with, new for each claim: see [`SealedSecrets`]. Who sends it promises to take
        /// them out of all that it prints and says. Without it no job that has secrets is granted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secrets_key: Option<String>,
    },
    /// I still run these. Answer: [`ControlReply::Renewed`].
    Renew {
        /// Who.
        executor: ExecutorId,
        /// Which start of it.
        incarnation: Uuid,
        /// What it runs.
        leases: Vec<LeaseRef>,
    },
    /// An attempt has ended and all its events are confirmed. Answer: [`ControlReply::Done`] or
    /// [`ControlReply::Refused`].
    Finish {
        /// Who.
        executor: ExecutorId,
        /// Which start of it: nobody else knows. It may be absent only where the executor has no secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Uuid>,
        /// Which attempt.
        lease: LeaseRef,
        /// How it ended.
        outcome: Outcome,
        /// The last offset of its topic; none if it said nothing.
        last_offset: Option<u64>,
        /// Why, where the steps do not tell: one sentence.
        reason: Option<String>,
    },
    /// I stop taking work and run nothing any more. Answer: [`ControlReply::Done`].
    Deregister {
        /// Who.
        executor: ExecutorId,
        /// Which start of it.
        incarnation: Uuid,
    },
}

/// Control's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ControlReply {
    /// Consume these queues; renew leases and register again within a third of the lease.
    Registered {
        /// Label sets whose queues the executor's labels serve.
        label_sets: Vec<LabelSet>,
        /// How long a lease lasts, in milliseconds.
        lease_ms: u64,
    },
    /// Run this.
    Granted(Box<Grant>),
    /// No work waits for these labels: the hint was stale.
    Nothing {},
    /// What still holds.
    Renewed {
        /// Extended by the lease period from the moment that control handled the request.
        held: Vec<LeaseRef>,
        /// No longer the executor's: end their steps, publish nothing more.
        lost: Vec<LeaseRef>,
        /// Still held, and to be cancelled.
        cancelled: Vec<LeaseRef>,
        /// How long a lease lasts, in milliseconds.
        lease_ms: u64,
        /// The record is far behind, or has no room: read no more of what the steps print until a later answer says so.
        /// They wait; nothing is dropped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hold: bool,
    },
    /// Taken note of.
    Done {},
    /// It is not yours to say (the term is stale), or the request is not valid.
    Refused {
        /// One sentence.
        reason: String,
    },
}

/// Everything that an executor needs to run one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The job and the attempt: the lease.
    pub lease: LeaseRef,
    /// How long the lease lasts from the moment of the claim, in milliseconds.
    pub lease_ms: u64,
    /// The build.
    pub build: BuildId,
    /// Its number within the pipeline.
    pub number: u64,
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The job's name, its matrix values included: `check (unit)`.
    pub job_name: String,
    /// Cloned into the workspace before the first step; expressions already replaced.
    pub source: Option<SourceSpec>,
    /// The environment of every step: the pipeline's, the job's, `INPUT_*`, `MATRIX_*`; expressions already replaced.
    /// `STEPCAST_*` and `CI` are added by the executor.
    pub env: BTreeMap<String, String>,
    /// Inputs that are files: `GET <url>/api/v1/payloads/<ref>` with the job token, verified, then put beside the workspace.
    /// Steps see their paths as `INPUT_<NAME>`, which the executor adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InputFile>,
    /// Run in order.
    pub steps: Vec<StepSpec>,
    /// Paths or `*` patterns to keep.
    pub artifacts: Vec<String>,
    /// Seconds until the attempt is ended.
    pub timeout_seconds: u64,
    /// Bytes of log that the attempt keeps at most, where the pipeline says so. An executor may have a lower limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<u64>,
    /// The image whose containers its steps run in. An executor that has no containers must refuse the job; the checkout is
    /// the executor's own business and needs nothing of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// Whether its steps may use the network. An executor that cannot keep them from it must refuse the job.
    #[serde(default = "network_by_default", skip_serializing_if = "is_network_on")]
    pub network: bool,
    /// What it may use. An executor has limits of its own; the lower ones count.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// What its events are signed with.
    pub event_key: EventKey,
    /// Bearer token for uploads of this attempt.
    pub job_token: String,
    /// Base of the URL for uploads: `PUT <url>/api/v1/jobs/<job>/artifacts/<name>`, the name percent-encoded.
    pub upload_url: String,
    /// The job's secrets, as variables of its steps: only for who claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SealedSecrets>,
    /// The worker and the client that asked, if any: the routing key of the attempt's events, and `client_id` in them.
    pub reply: Option<Reply>,
}

/// Whom to call back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The routing key.
    pub server_id: ServerId,
    /// In the body.
    pub client_id: ClientId,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none_asked(lines: &u32) -> bool {
    *lines == 0
}

/// From control, to the queue `executor.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum ExecutorNotice {
    /// Another list of queues serves you now.
    Queues {
        /// The whole list.
        label_sets: Vec<LabelSet>,
    },
    /// This attempt is to be cancelled: renew now, the answer says whether that is so. Then SIGTERM, after 10 s SIGKILL; finish
    /// it as cancelled.
    Cancel {
        /// Which.
        lease: LeaseRef,
    },
    /// What do you run now? With `reply_to`; answer: [`ExecutorNow`].
    Now {
        /// The last lines of each attempt that the broker has not confirmed: so many, at most
        /// [`crate::executor_now::NOW_LINES_MAX`].
        #[serde(default, skip_serializing_if = "is_none_asked")]
        lines: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_comes_back_as_it_was_written() {
        let lease = LeaseRef { job: JobId(Uuid::nil()), attempt: 2 };
        let key = crate::mac::InstallationKey([1; 32]);
        let client_id = ClientId(Uuid::nil());
        let server_id = ServerId::new("gw", 1).unwrap();
        let grant = ControlReply::Granted(Box::new(Grant {
            lease,
            lease_ms: 1000,
            build: BuildId(Uuid::nil()),
            number: 3,
            pipeline: "site".parse().unwrap(),
            job_name: "a".to_owned(),
            source: Some(SourceSpec { git: "x".to_owned(), reference: None }),
            env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            files: Vec::new(),
            steps: Vec::new(),
            artifacts: Vec::new(),
            timeout_seconds: 60,
            log_limit: Some(1 << 20),
            image: Some("rust:1.95".parse().unwrap()),
            network: false,
            limits: Limits { processes: Some(500), ..Limits::default() },
            event_key: key.event_key(lease.job, 2),
            job_token: key.job_token(lease.job, 2),
            upload_url: "http://127.0.0.1:1".to_owned(),
            secrets: None,
            reply: Some(Reply { server_id, client_id }),
        }));
        assert_eq!(from_bytes::<ControlReply>(&to_bytes(&grant)).unwrap(), grant);
    }

    #[test]
    fn a_request_comes_back_as_it_was_written_and_another_version_is_refused() {
        let request = ControlRequest::Deregister { executor: ExecutorId(Uuid::nil()), incarnation: Uuid::nil() };
        let bytes = to_bytes(&request);
        assert_eq!(from_bytes::<ControlRequest>(&bytes).unwrap(), request);
        let other = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(matches!(from_bytes::<ControlRequest>(other.as_bytes()), Err(DecodeError::Version { found: 2 })));
    }
}
