//! The two clocks of an executor: one that people read, and one by which leases are trusted.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use wire::Timestamp;

/// Milliseconds since the machine started, its sleep included: a laptop that slept through a lease must not trust it.
/// Executor and guard stand on one machine, so a point on this clock means the same to both.
pub(crate) fn boot_millis() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// What the wall clock says.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
