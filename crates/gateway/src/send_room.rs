//! What may wait for all sockets of a worker together, in bytes. While little waits nobody is asked; once half of it is used, a
//! socket may have no more waiting than its equal part of the other half, and a little in any case. Who reads too slowly gives way first. What a socket
//! does then is the send queue's business.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So much each socket may have waiting in any case, in bytes: an answer and some events. Who reads what it is sent must not be
/// closed for those who do not.
const OF_ONE_MIN: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct SendRoom {
    bytes_max: usize,
    bytes: AtomicUsize,
    sockets: AtomicUsize,
}

impl SendRoom {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0), sockets: AtomicUsize::new(0) }
    }

    /// So many sockets share it now.
    pub(crate) fn share_among(&self, sockets: usize) {
        self.sockets.store(sockets, Ordering::Relaxed);
    }

    /// A socket has `now` bytes waiting where it had `before`.
    pub(crate) fn changed(&self, before: usize, now: usize) {
        if now > before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Bytes that one socket may have waiting now.
    pub(crate) fn of_one(&self) -> usize {
        let half = self.bytes_max / 2;
        if self.bytes.load(Ordering::Relaxed) <= half {
            return usize::MAX;
        }
        (half / self.sockets.load(Ordering::Relaxed).max(1)).max(OF_ONE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_half_is_used_does_each_have_its_part_of_the_rest() {
        let room = SendRoom::new(20 * OF_ONE_MIN);
        room.share_among(5);
        room.changed(0, 10 * OF_ONE_MIN);
        assert_eq!(room.of_one(), usize::MAX);
        room.changed(0, 1);
        assert_eq!(room.of_one(), 2 * OF_ONE_MIN);
        room.share_among(10_000);
        assert_eq!(room.of_one(), OF_ONE_MIN, "a little is everybody's");
        room.changed(10 * OF_ONE_MIN, 0);
        assert_eq!(room.of_one(), usize::MAX);
    }
}
