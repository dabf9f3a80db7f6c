//! What crosses a process border: ids, events, frames, tasks, views. No I/O and no clock lives here, and the crate
//! compiles for browsers. It knows none of the other crates.
//!
//! Every message on the broker has a `version` ([`VERSION`]); a reader that meets another one refuses the message
//! with a reason ([`DecodeError`]) and never guesses.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod about;
pub mod account;
pub mod artifact;
pub mod audit;
pub mod authority;
pub mod callback;
pub mod chunks;
pub mod command;
pub mod concurrency;
pub mod dead_letter;
pub mod event;
pub mod executor_now;
pub mod frame;
pub mod git;
pub mod group;
pub mod hook;
pub mod id;
pub mod image;
pub mod isolation;
pub mod log;
pub mod mac;
pub mod patch;
pub mod payload;
pub mod pipeline;
pub mod problem;
pub mod reply;
pub mod search;
pub mod secret;
pub mod size;
pub mod statistics;
pub mod task;
pub mod text;
pub mod time;
pub mod topic;
pub mod trigger;
pub mod view;
pub mod webhook;

pub use authority::Authority;
pub use callback::Callback;
pub use event::{Event, EventMessage, GatewayMessage};
pub use frame::{ClientFrame, CloseCode, ServerFrame};
pub use id::{
    AccountId, ArtifactId, BuildId, ClientId, DeadLetterId, ExecutorId, HookId, JobId, PayloadId, ServerId, SocketMeta,
};
pub use image::ImageName;
pub use isolation::{Isolation, Limits};
pub use log::LogLine;
pub use payload::ClaimCheck;
pub use pipeline::{LabelSet, Outcome, PipelineName};
pub use problem::Problem;
pub use time::Timestamp;
pub use topic::{Position, Topic};

/// The version of every message on the broker that this build writes and reads.
pub const VERSION: u16 = 1;

/// The WebSocket subprotocol that both sides name.
pub const SUBPROTOCOL: &str = "stepcast.v1";

/// Why a message could not be read. The sentence goes to the dead letter and to the log.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not the JSON that the message's type asks for.
    #[error("the message is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The message was written by a newer or older Stepcast.
    #[error("the message has version {found}, this Stepcast reads version {VERSION}")]
    Version {
        /// The version that the message names.
        found: u16,
    },
    /// A message to a gateway holds neither an event, nor a hint, nor a payload for a client.
    #[error("the message holds neither `event` nor `recorded` nor `payload` with `client_id`")]
    Shape,
    /// A callback is too large for a message.
    #[error(
        "the payload has {bytes} bytes, {max} are allowed: bring it to POST /api/v1/payloads, and send the claim check that it \
         answers with as `payload`, with `\"claim_check\": true` beside it",
        max = payload::INLINE_BYTES_MAX
    )]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// A callback says that it has a claim check.
    #[error(
        "the message has `claim_check`, and its `payload` is no claim check: it must be what POST /api/v1/payloads answered with"
    )]
    NoClaimCheck,
    /// A batch is longer than [`callback::CALLBACKS_MAX`].
    #[error("the message holds {found} callbacks, {max} are allowed", max = callback::CALLBACKS_MAX)]
    Many {
        /// How many it holds.
        found: usize,
    },
}
