//! How much memory the limits allow: what `stepcast serve` says at its start and `GET /metrics` has. Each part is a limit that
//! is kept where it is named; here they are only added up.
//!
//! Not in it: what one request holds while it is answered (a part of a log up to 4 MiB; an upload, and a file that comes over the
//! broker, two parts of 8 MiB), callbacks whose client sends no receipts
//! (up to 4 MiB for each such socket), pages of the program's own file.

use broker::topology;
use executor::UNCONFIRMED_BYTES_MAX;
use gateway::Limits;

use crate::{
    commands::PLANNED_AT_ONCE,
    config::{ServeOptions, backend::BrokerChoice, roles::Role},
};

const MIB: u64 = 1 << 20;

/// The runtime, its threads, and what the allocator keeps for later.
const BASE: u64 = 96 * MIB;
/// One socket: its tasks, its buffers, its places in the worker's maps, and what the system's buffers do not take.
const SOCKET: u64 = 64 << 10;
/// An event with its lines, 64 KiB each: see the executor's batches.
const EVENT: u64 = 128 << 10;
/// A batch of the recorder, as it came, as it was read, and as it is written.
const RECORDER: u64 = 3 * 256 * EVENT;
/// The database's caches: five connections with 4 MB each, and their statements.
const STORE: u64 = 32 * MIB;
/// A build while it is planned: its text, its specification, its jobs, and their rows, up to 4 MiB each.
const PLANNING: u64 = 4 * 4 * MIB;

/// Bytes that the limits of this process allow without any socket, and for each socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// However little or much is done.
    pub(crate) fixed: u64,
    /// For each socket that is open.
    pub(crate) per_socket: u64,
}

impl Bound {
    /// With so many sockets.
    pub(crate) fn with(self, sockets: u64) -> u64 {
        self.fixed + self.per_socket * sockets
    }
}

/// Adds up the limits of what the options let this process do.
pub(crate) fn bound(options: &ServeOptions, limits: &Limits) -> Bound {
    let is_embedded = options.broker == BrokerChoice::Embedded;
    let mut fixed = BASE;
    if options.roles.has(Role::Gateway) {
        fixed += u64::from(options.workers) * worker(limits, is_embedded);
    }
    if options.roles.has(Role::Executor) {
        fixed += u64::from(options.slots()) * slot();
    }
    if options.roles.has(Role::Gateway) || options.roles.has(Role::Control) {
        fixed += PLANNED_AT_ONCE as u64 * PLANNING;
    }
    if options.roles.has(Role::Projections) {
        fixed += RECORDER;
    }
    if options.roles.need_store() {
        fixed += STORE;
    }
    fixed += if is_embedded {
        embedded()
    } else {
        (broker_rabbitmq::MEMORY_BYTES_MAX + 4 * topology::PRIVATE_BYTES_MAX) as u64
    };
    Bound { fixed, per_socket: SOCKET }
}

/// What a worker remembers and what waits for it and its sockets.
fn worker(limits: &Limits, is_embedded: bool) -> u64 {
    // As they came and as they are decoded.
    let deliveries =
        if is_embedded { 2 * topology::GATEWAY_BYTES_MAX as u64 } else { 2 * u64::from(limits.prefetch) * EVENT };
    let replay = (limits.replay_bytes_max + limits.replay_frames_max * 100 + limits.replay_topics_max * 200) as u64;
    deliveries + replay + limits.send_queues_bytes_max as u64
}

/// What one job's output takes on its way.
fn slot() -> u64 {
    // What waits for its confirm, kept to be repeated; and what is read while the last of it is handed over.
    2 * UNCONFIRMED_BYTES_MAX as u64 + MIB
}

/// The embedded broker: what waits for the journal and is written, the stream's end, its graves, queues of this process.
fn embedded() -> u64 {
    let graves = topology::DEAD_BYTES_MAX + topology::UNROUTED_BYTES_MAX;
    let private = 4 * topology::PRIVATE_BYTES_MAX;
    (broker::embedded::MEMORY_BYTES_MAX + graves + private) as u64
}
