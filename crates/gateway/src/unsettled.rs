//! Deliveries of callbacks that were handed to a socket. They are acked when the client says that it has them, or when they
//! were passed on: until then the broker would deliver them again to the worker's next life (P4). Pure.
//!
//! The broker hands out so many messages that are not settled, and events need their share: beyond a bound the oldest
//! callback is acked early. Its worker still passes it on when its socket goes; only the worker's own end would lose it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use broker::Delivery;
use wire::callback::CALLBACKS_MAX;

use crate::Limits;

/// Names a part that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What a callback has of its delivery. Dropping it settles nothing.
#[must_use = "a part is settled by ack or requeue"]
pub(crate) enum Part {
    /// All of it.
    Whole(Delivery),
    /// One callback of a batch: the delivery is acked with the last of them.
    One(Arc<Batch>),
}

/// A delivery of several callbacks.
pub(crate) struct Batch {
    count: usize,
    open: AtomicUsize,
    /// A std mutex: held to take it.
    delivery: Mutex<Option<Delivery>>,
}

impl Batch {
    fn take(&self) -> Option<Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Part {
    /// So many parts of a delivery. One of nothing is acked.
    pub(crate) fn split(delivery: Delivery, count: usize) -> impl Iterator<Item = Part> {
        let batch = Arc::new(Batch { count, open: AtomicUsize::new(count), delivery: Mutex::new(Some(delivery)) });
        if count == 0 {
            batch.take().into_iter().for_each(Delivery::ack);
        }
        std::iter::repeat_n(batch, count).map(Part::One)
    }

    /// Done.
    pub(crate) fn ack(self) {
        match self {
            Part::Whole(delivery) => delivery.ack(),
            Part::One(batch) => {
                if batch.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                    batch.take().into_iter().for_each(Delivery::ack);
                }
            }
        }
    }

    /// Back to the queue, the whole delivery: what is doubled by that has the same id again.
    pub(crate) fn requeue(self) {
        match self {
            Part::Whole(delivery) => delivery.requeue(),
            Part::One(batch) => batch.take().into_iter().for_each(Delivery::requeue),
        }
    }

    /// What it takes of the broker's patience, a whole delivery being [`CALLBACKS_MAX`].
    fn weight(&self) -> usize {
        match self {
            Part::Whole(_) => CALLBACKS_MAX,
            Part::One(batch) => CALLBACKS_MAX / batch.count.max(1),
        }
    }
}

/// See the module. Dropping it settles nothing.
pub(crate) struct Unsettled {
    held: BTreeMap<Ticket, Part>,
    next: u64,
    weight: usize,
    weight_max: usize,
}

impl Unsettled {
    pub(crate) fn new(limits: &Limits) -> Self {
        // Half of what the broker hands out stays for events, however the limits are set.
        let deliveries_max = limits.unsettled_callbacks_max.min(usize::from(limits.prefetch / 2));
        Self { held: BTreeMap::new(), next: 0, weight: 0, weight_max: deliveries_max * CALLBACKS_MAX }
    }

    /// Holds a part. Gives the oldest one back if there are too many: it is to be acked.
    pub(crate) fn hold(&mut self, part: Part) -> (Ticket, Option<Part>) {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.weight += part.weight();
        self.held.insert(ticket, part);
        let oldest = if self.weight > self.weight_max { self.held.first_key_value() } else { None };
        let oldest = oldest.map(|(oldest, _)| *oldest);
        (ticket, oldest.and_then(|oldest| self.take(oldest)))
    }

    /// Gives a part back to be settled; none if that was done early.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Part> {
        let part = self.held.remove(&ticket)?;
        self.weight -= part.weight();
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use broker::{Incoming, Settlement};
    use uuid::Uuid;

    use super::*;

    fn delivery(settled: &Arc<Mutex<Vec<Settlement>>>) -> Delivery {
        let message = Incoming {
            key: String::new(),
            message_id: Uuid::nil(),
            correlation_id: None,
            reply_to: None,
            redelivered: false,
            death: None,
            origin: None,
            body: Vec::new().into(),
        };
        let settled = Arc::clone(settled);
        Delivery::new(message, move |settlement, _| settled.lock().unwrap().push(settlement))
    }

    #[test]
    fn a_batch_is_acked_with_its_last_part_and_an_empty_one_at_once() {
        let settled = Arc::default();
        let mut parts: Vec<Part> = Part::split(delivery(&settled), 3).collect();
        parts.drain(1..).for_each(Part::ack);
        assert!(settled.lock().unwrap().is_empty());
        parts.into_iter().for_each(Part::ack);
        assert_eq!(*settled.lock().unwrap(), [Settlement::Ack]);
        assert_eq!(Part::split(delivery(&settled), 0).count(), 0);
        assert_eq!(settled.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_batch_goes_back_once_whatever_becomes_of_its_other_parts() {
        let settled = Arc::default();
        let mut parts = Part::split(delivery(&settled), 3);
        parts.next().unwrap().ack();
        parts.next().unwrap().requeue();
        parts.next().unwrap().ack();
        assert_eq!(*settled.lock().unwrap(), [Settlement::Requeue]);
    }

    #[test]
    fn p6_the_parts_of_a_batch_count_as_one_delivery() {
        let settled = Arc::default();
        let mut unsettled = Unsettled::new(&Limits { prefetch: 4, ..Limits::default() });
        for part in Part::split(delivery(&settled), 100).chain(Part::split(delivery(&settled), 100)) {
            assert!(unsettled.hold(part).1.is_none());
        }
        assert!(unsettled.hold(Part::Whole(delivery(&settled))).1.is_some());
    }
}
