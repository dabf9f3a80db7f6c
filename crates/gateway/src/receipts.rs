//! Callbacks that were handed to a socket and wait for its receipt. What a socket has not acknowledged when it goes is
//! passed on, so that a callback written to a dead connection still reaches its client (P4). Pure.

use std::{collections::VecDeque, sync::Arc};

use uuid::Uuid;

use crate::Limits;

/// A callback on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unacknowledged {
    pub(crate) message_id: Uuid,
    pub(crate) correlation_id: Option<String>,
    /// Who wants the receipt.
    pub(crate) reply_to: Option<String>,
    /// The message as it came.
    pub(crate) body: Arc<[u8]>,
}

/// See the module.
pub(crate) struct Receipts {
    waiting: VecDeque<Unacknowledged>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Receipts {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (count_max, bytes_max) = (limits.receipts_per_socket_max, limits.receipts_bytes_per_socket_max);
        Self { waiting: VecDeque::new(), bytes: 0, count_max, bytes_max }
    }

    /// A callback was handed over. Gives what is not waited for any longer, because the limits are passed.
    pub(crate) fn sent(&mut self, callback: Unacknowledged) -> Vec<Unacknowledged> {
        self.received(callback.message_id);
        self.bytes += callback.body.len();
        self.waiting.push_back(callback);
        let mut given_up = Vec::new();
        while self.waiting.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.body.len();
            given_up.push(oldest);
        }
        given_up
    }

    /// The receipt came; none if nothing waits for it.
    pub(crate) fn received(&mut self, message_id: Uuid) -> Option<Unacknowledged> {
        let index = self.waiting.iter().position(|callback| callback.message_id == message_id)?;
        let callback = self.waiting.remove(index)?;
        self.bytes -= callback.body.len();
        Some(callback)
    }

    /// Everything that waits, oldest first.
    pub(crate) fn take(&mut self) -> VecDeque<Unacknowledged> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback(n: u128, bytes: usize) -> Unacknowledged {
        let body = vec![b' '; bytes].into();
        Unacknowledged { message_id: Uuid::from_u128(n), correlation_id: None, reply_to: None, body }
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes_and_the_oldest_goes_first() {
        let limits = Limits { receipts_per_socket_max: 3, receipts_bytes_per_socket_max: 100, ..Limits::default() };
        let mut receipts = Receipts::new(&limits);
        for n in 0..3 {
            assert!(receipts.sent(callback(n, 10)).is_empty());
        }
        assert_eq!(receipts.sent(callback(3, 10)), [callback(0, 10)]);
        assert_eq!(receipts.sent(callback(4, 95)).len(), 3);
        assert_eq!(receipts.received(Uuid::from_u128(1)), None);
        assert_eq!(receipts.received(Uuid::from_u128(4)), Some(callback(4, 95)));
        assert!(receipts.take().is_empty() && receipts.bytes == 0);
    }
}
