//! What came of what was sent: each message is counted, and how long it took.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::samples::Samples;

/// Arrivals of numbered messages.
#[derive(Default)]
pub(crate) struct Count {
    /// How often each came.
    times: Vec<u8>,
    /// How many came at least once.
    pub(crate) arrived: usize,
    /// How many came once more.
    pub(crate) doubled: usize,
    /// Milliseconds from being sent to being read.
    pub(crate) took: Samples,
    /// When the newest was read, as [`crate::gateway::micros`] tells it.
    pub(crate) last: u64,
}

impl Count {
    /// How many did not come.
    pub(crate) fn missing(&self) -> usize {
        self.times.len() - self.arrived
    }
}

/// One message that came.
pub(crate) struct Arrival {
    /// Its number.
    pub(crate) n: usize,
    /// When it was sent and read, in [`crate::gateway::micros`].
    pub(crate) sent: u64,
    pub(crate) read: u64,
}

/// A count that a reader writes while others wait for it.
#[derive(Default)]
pub(crate) struct Tally {
    count: Mutex<Count>,
    complete: Condvar,
}

impl Tally {
    /// Begins to count anew, up to `expected` messages.
    pub(crate) fn expect(&self, expected: usize) {
        *self.lock() = Count { times: vec![0; expected], ..Count::default() };
    }

    /// Counts what came. What does not belong to this count is left out.
    pub(crate) fn add(&self, arrivals: impl Iterator<Item = Arrival>) {
        let mut count = self.lock();
        for arrival in arrivals {
            let Some(times) = count.times.get_mut(arrival.n) else { continue };
            *times = times.saturating_add(1);
            if *times > 1 {
                count.doubled += 1;
                continue;
            }
            count.arrived += 1;
            count.last = arrival.read;
            count.took.add(Duration::from_micros(arrival.read.saturating_sub(arrival.sent)));
        }
        if count.missing() == 0 {
            self.complete.notify_all();
        }
    }

    /// The count, once all have come or nothing more is waited for.
    pub(crate) fn wait(&self, patience: Duration) -> Count {
        let deadline = Instant::now() + patience;
        let mut count = self.lock();
        while count.missing() > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            count = self.complete.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut count)
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_counts_once_and_strangers_do_not() {
        let tally = Tally::default();
        tally.expect(3);
        let arrival = |n| Arrival { n, sent: 1000, read: 3000 };
        tally.add([0, 2, 2, 7].into_iter().map(arrival));
        let count = tally.wait(Duration::ZERO);
        assert_eq!((count.arrived, count.missing(), count.doubled), (2, 1, 1));
        assert_eq!((count.took.percentile(50), count.last), (2.0, 3000));
    }
}
