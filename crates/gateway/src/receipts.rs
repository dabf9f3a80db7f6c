//! Callbacks that were handed to a socket and wait for its receipt. What a socket has not acknowledged when it goes is
//! passed on, so that a callback written to a dead connection still reaches its client (P4). Pure. The deliveries
//! themselves are in [`crate::unsettled`].

use std::collections::VecDeque;

use broker::Incoming;
use uuid::Uuid;

use crate::{Limits, unsettled::Ticket};

/// A callback on its way.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    /// The message as it came.
    pub(crate) message: Incoming,
    /// Its delivery.
    pub(crate) ticket: Ticket,
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

    /// A callback was handed over. Gives what is not waited for any longer: because the limits are passed, or because the
    /// same message came once more.
    pub(crate) fn sent(&mut self, callback: Unacknowledged) -> Vec<Unacknowledged> {
        let repeated = self.received(callback.message.message_id);
        self.bytes += callback.message.body.len();
        self.waiting.push_back(callback);
        let mut given_up: Vec<Unacknowledged> = repeated.into_iter().collect();
        while self.waiting.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.message.body.len();
            given_up.push(oldest);
        }
        given_up
    }

    /// The receipt came; none if nothing waits for it.
    pub(crate) fn received(&mut self, message_id: Uuid) -> Option<Unacknowledged> {
        let index = self.waiting.iter().position(|callback| callback.message.message_id == message_id)?;
        let callback = self.waiting.remove(index)?;
        self.bytes -= callback.message.body.len();
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use broker::{Delivery, Settlement};

    use super::*;
    use crate::unsettled::{Part, Unsettled};

    fn message(n: u128, bytes: usize) -> Incoming {
        Incoming {
            key: String::new(),
            message_id: Uuid::from_u128(n),
            correlation_id: None,
            reply_to: None,
            redelivered: false,
            death: None,
            origin: None,
            body: vec![b' '; bytes].into(),
        }
    }

    fn ids(callbacks: &[Unacknowledged]) -> Vec<u128> {
        callbacks.iter().map(|callback| callback.message.message_id.as_u128()).collect()
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes_and_the_oldest_goes_first() {
        let limits = Limits { receipts_per_socket_max: 3, receipts_bytes_per_socket_max: 100, ..Limits::default() };
        let (mut receipts, mut unsettled) = (Receipts::new(&limits), Unsettled::new(&limits));
        let mut sent = |n, bytes| {
            let delivery = Delivery::new(message(n, bytes), |_, _| {});
            let (ticket, _) = unsettled.hold(Part::Whole(delivery));
            ids(&receipts.sent(Unacknowledged { message: message(n, bytes), ticket }))
        };
        for n in 0..3 {
            assert!(sent(n, 10).is_empty());
        }
        assert_eq!(sent(3, 10), [0]);
        assert_eq!(sent(3, 10), [3], "its former delivery is not waited for any longer");
        assert_eq!(sent(4, 95), [1, 2, 3]);
        assert!(receipts.received(Uuid::from_u128(1)).is_none());
        assert_eq!(ids(receipts.received(Uuid::from_u128(4)).as_slice()), [4]);
        assert!(receipts.take().is_empty() && receipts.bytes == 0);
    }

    #[test]
    fn p6_deliveries_that_are_held_leave_half_of_the_prefetch_to_others() {
        let acked = Arc::new(AtomicUsize::new(0));
        let mut unsettled = Unsettled::new(&Limits { prefetch: 6, ..Limits::default() });
        let mut tickets = Vec::new();
        for n in 0..5 {
            let acked = Arc::clone(&acked);
            let delivery = Delivery::new(message(n, 0), move |settlement, _| {
                assert_eq!(settlement, Settlement::Ack);
                acked.fetch_add(1, Ordering::Relaxed);
            });
            let (ticket, oldest) = unsettled.hold(Part::Whole(delivery));
            assert_eq!(oldest.is_some(), n >= 3);
            oldest.into_iter().for_each(Part::ack);
            tickets.push(ticket);
        }
        assert_eq!(acked.load(Ordering::Relaxed), 2);
        assert!(unsettled.take(tickets[1]).is_none() && unsettled.take(tickets[2]).is_some());
    }
}
