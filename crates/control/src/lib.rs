//! Control: what may happen, and to whom. Pipelines are read ([`pipeline`]) and builds planned ([`plan`]) here; the graph
//! decides ([`graph`]), executors claim, renew and finish ([`service`]), dead leases are taken back, hints are topped up,
//! callbacks that nobody took are kept ([`callbacks`]), and so is what nobody could process ([`dead_letters`]).
//!
//! Any number of processes may run control over one store and one broker: every decision is a transaction of the store,
//! and what control remembers by itself only saves it questions. It holds no socket and speaks no HTTP.
//!
//! # Errors
//!
//! | function | error |
//! |---|---|
//! | what a person wrote ([`pipeline::parse`], [`plan::plan`]) | [`wire::Problem`] |
//! | handing a dead letter in again ([`dead_letters::retry`]) | [`dead_letters::RetryError`] |
//! | a rule of the graph | [`store::model::Refusal`] |
//! | what runs ([`service::run`], [`ensure_queues`]) | [`ControlError`] |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod attached;
pub mod callbacks;
mod claims;
pub mod dead_letters;
mod expression;
pub mod gateways;
pub mod graph;
mod groups;
pub mod pipeline;
pub mod plan;
mod queues;
mod reaper;
mod receipts;
mod registry;
pub mod restored;
pub mod secrets;
pub mod service;
pub mod waiting;

use broker::BrokerError;
use store::StoreError;

pub use queues::ensure_queues;

/// Why control cannot go on with something. Trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`BrokerError`].
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
