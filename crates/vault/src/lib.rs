//! How secrets are sealed: at rest, under the installation's keys ([`Keyring`]), and on their way to the executor that
//! claimed a job ([`ClaimKey`], [`seal_for`]); and what somebody is to bring back ([`TicketKey`]). It knows no store, no broker and no file.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod claim;
mod keyring;
mod ticket;
mod value;

pub use claim::{ClaimError, ClaimKey, seal_for};
pub use keyring::{KEYS_BYTES_MAX, Keyring, KeyringError, OpenError, Scope, Sealed};
pub use ticket::TicketKey;
pub use value::SecretValue;
pub use zeroize::Zeroizing;

/// Random bytes cannot be had, which no system that runs anything else lets happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers, so nothing can be encrypted")]
pub struct NoRandomness;
