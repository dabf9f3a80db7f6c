//! The suite that proves a [`Broker`]: one function for each promise of the crate's documentation, over any
//! implementation. A function panics with a sentence when a promise is broken. How a broker is started lives with its
//! [`Fixture`], not here.
//!
//! The functions assume nothing about speed: they wait for signals, [`PATIENCE`] at most. Names are new in each run. The
//! queues `unrouted` and `dead` are shared, so functions do not run side by side on one broker; what another run left in
//! these two is thrown away. [`conformance_tests!`](crate::conformance_tests) makes one test of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite of tests: a broken promise is a panic"
)]

mod delivery;
mod durability;
mod graves;
mod probe;
mod requests;
mod routing;
mod stream;

use std::{sync::Arc, time::Duration};

use crate::{BoxFuture, Broker};

pub use delivery::*;
pub use durability::*;
pub use graves::*;
pub use requests::*;
pub use routing::*;
pub use stream::*;

/// How long anything may take before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that the suite may use and kill.
pub trait Fixture: Send + Sync {
    /// The broker, as it runs now.
    fn broker(&self) -> Arc<dyn Broker>;
    /// Kills the broker (kill -9) and starts it anew on the same data; afterwards [`Fixture::broker`] gives the new one.
    fn restart(&self) -> BoxFuture<'_, ()>;
    /// The shortest time to live of a message, and of an unused queue, that tests should ask for.
    fn time_to_live(&self) -> Duration;
    /// Whether what comes back to a queue is delivered before what waits there. The crate's promises leave it open.
    fn gives_back_to_the_front(&self) -> bool;
    /// Lets go of the stream's entries up to `offset`, where the broker can be told to; none where it cannot.
    fn trim_stream(&self, offset: u64) -> Option<BoxFuture<'_, ()>>;
}

/// One `#[tokio::test]` for each promise. The argument is an expression, evaluated in each test, whose future gives the
/// [`Fixture`](crate::conformance::Fixture).
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::conformance_tests! { @each $fixture;
            confirmed_work_is_kept,
            a_confirmed_callback_is_kept,
            what_was_acked_does_not_come_back,
            confirmed_events_are_kept,
            unsettled_work_comes_back_after_a_crash,
            a_queue_keeps_the_order,
            confirms_come_in_order,
            unsettled_deliveries_come_again_in_order,
            a_requeued_message_comes_first,
            nothing_is_taken_by_two,
            prefetch_bounds_what_is_held,
            an_ack_makes_room_for_one_who_waits,
            exclusive_is_exclusive,
            a_consumer_gives_its_queue_free,
            a_private_queue_goes_with_its_consumer,
            a_private_queue_that_nobody_reads_ends,
            an_unused_gateway_queue_goes,
            declaring_again_changes_nothing,
            deleting_ends_consumers,
            what_is_missing_is_told,
            one_copy_whatever_matches,
            topics_match_words,
            an_unbound_key_is_not_routed,
            what_nobody_watches_is_not_unrouted,
            tasks_route_by_label_set,
            one_publish_reaches_asker_watchers_and_stream,
            what_nobody_takes_is_unrouted,
            an_event_that_nobody_watches_is_in_the_stream_alone,
            mandatory_is_refused_without_a_queue,
            rejected_work_is_dead_with_its_reason,
            a_dead_letter_can_be_published_with_its_reason,
            a_rejected_callback_is_unrouted_with_its_reason,
            a_callback_that_waited_too_long_is_unrouted,
            work_that_is_never_settled_dies,
            work_survives_consumers_that_go,
            the_stream_keeps_the_order,
            a_reader_begins_where_it_asks,
            the_streams_end_is_told,
            the_stream_is_published_to_by_its_name,
            readers_are_independent,
            offsets_and_incarnation_survive_a_restart,
            another_incarnation_is_told,
            a_trimmed_place_is_told,
            a_request_is_answered,
            a_requester_outlives_its_reply_queue,
            a_request_to_nobody_fails_at_once,
            a_request_without_an_answer_ends,
        }
    };
    (@each $fixture:expr; $($promise:ident,)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let fixture = $fixture.await;
                $crate::conformance::$promise(&fixture).await;
            }
        )+
    };
}
