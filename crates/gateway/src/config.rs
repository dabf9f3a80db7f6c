//! What a gateway is told at its start, and every limit that it keeps. Nothing is read from the environment here.

use std::time::Duration;

use wire::mac::InstallationKey;

/// How a gateway instance is set up.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Names this process: letters, digits and `_`. Two processes with one name are refused.
    pub instance: String,
    /// How many workers, at least 1.
    pub workers: usize,
    /// How long a client that went away keeps its place: its queue, its id and the replay.
    pub affinity: Duration,
    /// How often a socket is pinged; one that is silent for two periods is closed.
    pub ping: Duration,
    /// Signs resume tokens and verifies events.
    pub key: InstallationKey,
    /// Of the program, for `hello`.
    pub version: String,
    /// See [`Limits`].
    pub limits: Limits,
}

/// Every bound of the gateway. The defaults suit 10,000 sockets on one machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Frames that wait for one socket. A full queue first turns its busiest log into a gap, then closes the socket.
    pub send_queue_frames_max: usize,
    /// Bytes that wait for one socket; a single larger frame passes when nothing else waits.
    pub send_queue_bytes_max: usize,
    /// Bytes that wait for all sockets of one worker together. Once half of them do, a socket may have no more waiting than its
    /// equal part of the rest. A frame that many wait for counts for each.
    pub send_queues_bytes_max: usize,
    /// Bytes of recent frames that one worker remembers.
    pub replay_bytes_max: usize,
    /// Recent frames that one worker remembers.
    pub replay_frames_max: usize,
    /// Topics whose newest position one worker remembers.
    pub replay_topics_max: usize,
    /// Topics that one socket may subscribe to.
    pub topics_per_socket_max: usize,
    /// Live queries of one socket.
    pub live_queries_per_socket_max: usize,
    /// Sockets of one worker; one more is closed with 1013.
    pub sockets_per_worker_max: usize,
    /// Commands and queries of one socket that are not answered yet.
    pub in_flight_per_socket_max: usize,
    /// Frames of one socket that cannot be understood; one more closes it with 1008.
    pub bad_frames_max: u32,
    /// Clients without a socket that one worker remembers.
    pub clients_remembered_max: usize,
    /// Topics that one client was addressed with, remembered for its return.
    pub addressed_topics_per_client_max: usize,
    /// Callbacks to one socket that wait for its receipt; the oldest is taken as received beyond that. Until then the
    /// broker keeps them.
    pub receipts_per_socket_max: usize,
    /// Bytes of those callbacks.
    pub receipts_bytes_per_socket_max: usize,
    /// Callbacks of one worker that the broker keeps until their receipt, at most half of `prefetch`; beyond that the oldest
    /// is kept in memory only.
    pub unsettled_callbacks_max: usize,
    /// Events that wait for a worker's loop. Who brings more waits.
    pub inbox_events_max: usize,
    /// Deliveries that a worker takes at once.
    pub delivery_batch_max: usize,
    /// Deliveries that the broker hands out before any is settled.
    pub prefetch: u16,
    /// How long a socket that is being closed may take to read what is left.
    pub close_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            send_queue_frames_max: 2048,
            send_queue_bytes_max: 4 << 20,
            send_queues_bytes_max: 128 << 20,
            replay_bytes_max: 32 << 20,
            replay_frames_max: 100_000,
            replay_topics_max: 20_000,
            topics_per_socket_max: 1000,
            live_queries_per_socket_max: 32,
            sockets_per_worker_max: 10_000,
            in_flight_per_socket_max: 32,
            bad_frames_max: 20,
            clients_remembered_max: 20_000,
            addressed_topics_per_client_max: 1000,
            receipts_per_socket_max: 256,
            receipts_bytes_per_socket_max: 4 << 20,
            unsettled_callbacks_max: 2000,
            inbox_events_max: 1024,
            delivery_batch_max: 256,
            prefetch: 4000,
            close_patience: Duration::from_secs(5),
        }
    }
}
