//! Deliveries of callbacks that were handed to a socket. They are acked when the client says that it has them, or when they
//! were passed on: until then the broker would deliver them again to the worker's next life (P4). Pure.
//!
//! The broker hands out so many messages that are not settled, and events need their share: beyond a bound the oldest
//! callback is acked early. Its worker still passes it on when its socket goes; only the worker's own end would lose it.

use std::collections::BTreeMap;

use broker::Delivery;

use crate::Limits;

/// Names a delivery that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// See the module. Dropping it settles nothing.
pub(crate) struct Unsettled {
    held: BTreeMap<Ticket, Delivery>,
    next: u64,
    max: usize,
}

impl Unsettled {
    pub(crate) fn new(limits: &Limits) -> Self {
        // Half of what the broker hands out stays for events, however the limits are set.
        let max = limits.unsettled_callbacks_max.min(usize::from(limits.prefetch / 2));
        Self { held: BTreeMap::new(), next: 0, max }
    }

    /// Holds a delivery. Gives the oldest one back if there are too many: it is to be acked.
    pub(crate) fn hold(&mut self, delivery: Delivery) -> (Ticket, Option<Delivery>) {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.held.insert(ticket, delivery);
        let is_full = self.held.len() > self.max;
        let oldest = if is_full { self.held.pop_first().map(|(_, oldest)| oldest) } else { None };
        (ticket, oldest)
    }

    /// Gives a delivery back to be settled; none if that was done early.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Delivery> {
        self.held.remove(&ticket)
    }
}
