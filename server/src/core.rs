//! What every part of the server shares: the store, the broker, the keys, the hub. No HTTP here.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use broker::{Broker, rpc::Requester};
use control::attached::Attachments;
use object_store::ObjectStore;
use store::Store;
use tokio::sync::{Notify, Semaphore};
use wire::mac::InstallationKey;

use crate::{
    access::Access, allowance::Allowance, backoff::Backoff, config::secrets_key::SecretsKey, hooks::Refusals, hub::Hub,
    live::LiveQueries, memory::Bound, openid::Openid, places::Places, replies::destination::Destinations, room::Room,
};

/// Shared by handlers, the desk and the pages.
pub(crate) struct Core {
    /// The database.
    pub(crate) store: Arc<dyn Store>,
    /// The broker.
    pub(crate) broker: Arc<dyn Broker>,
    /// Questions over the broker.
    pub(crate) requester: Requester,
    /// Whose turn it is to plan a build: see [`crate::commands::PLANNED_AT_ONCE`].
    pub(crate) planning: Semaphore,
    /// Bytes of memory that the limits allow.
    pub(crate) memory: Bound,
    /// Whether the disk has room for more.
    pub(crate) room: Room,
    /// Files that jobs left behind, and payloads.
    pub(crate) artifacts: Arc<dyn ObjectStore>,
    /// What attempts may leave behind.
    pub(crate) allowance: Arc<Allowance>,
    /// A payload may have so many bytes.
    pub(crate) payload_limit: u64,
    /// Who was refused at hooks lately.
    pub(crate) hook_refusals: Refusals,
    /// Where webhooks may go.
    pub(crate) webhook_destinations: Destinations,
    /// The secret that tokens and signatures are derived from.
    pub(crate) key: InstallationKey,
    /// What secrets of jobs are encrypted with.
    pub(crate) secrets_key: SecretsKey,
    /// Events of builds, for those who wait in this process.
    pub(crate) hub: Arc<Hub>,
    /// Live queries of sockets.
    pub(crate) live: LiveQueries,
    /// Clients that came back.
    pub(crate) attachments: Attachments,
    /// Who may do what, and what is open under whose authority.
    pub(crate) access: Arc<Access>,
    /// Sign-ins that fail.
    pub(crate) backoff: Backoff,
    /// Answers of the provider that were refused. They keep nobody from signing in by a password.
    pub(crate) answers: Backoff,
    /// The provider of OpenID Connect that people may sign in by.
    pub(crate) openid: Option<Openid>,
    /// Which pipelines builds and jobs are of.
    pub(crate) places: Places,
    /// Told whenever a person has deleted a build: what it has left is to be swept.
    pub(crate) deleted: Arc<Notify>,
    /// The offset behind the last entry of the event stream, as it was a moment ago.
    pub(crate) stream_end: Arc<AtomicU64>,
    /// How many events the recorder is behind.
    pub(crate) recorder_lag: Arc<AtomicU64>,
    /// How long a job's lease lasts.
    pub(crate) lease: Duration,
    /// Within it a returning tab gets its former worker.
    pub(crate) affinity: Duration,
    /// How people reach this server: `http://host:port`.
    pub(crate) public_url: String,
    /// This gateway instance.
    pub(crate) instance: String,
    /// Proxies whose word on a client's address counts.
    pub(crate) trusted_proxies: Vec<std::net::IpAddr>,
}
