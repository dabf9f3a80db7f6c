//! The callback gateway under load: a message is published for a client's server id, and its frame comes on that client's
//! socket. Beside Stepcast, two others do the same in the same run, since only ratios hold: the bare loop (`bare`), and
//! the peer in `bench/peer`. The figures themselves are in `figures`.

pub(crate) mod bare;
pub(crate) mod contender;
pub(crate) mod field;
pub(crate) mod fleet;
pub(crate) mod member;
pub(crate) mod producer;
pub(crate) mod tally;
pub(crate) mod web_socket;

/// Microseconds since this program first asked: what a message says about when it was sent.
pub(crate) fn micros() -> u64 {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let since = BEGUN.get_or_init(std::time::Instant::now).elapsed();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
