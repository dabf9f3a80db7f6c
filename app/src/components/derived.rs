//! What short-lived views derive from what outlives them, as rows do from the clock.

use leptos::{
    prelude::*,
    reactive::graph::{Subscriber as _, ToAnySubscriber as _},
};

/// A memo that is forgotten by what it listened to when its owner goes. A plain one is not: a signal keeps an entry of every
/// subscriber that it ever had, and tells them all, until they say that they have left.
pub fn derived<T: PartialEq + Send + Sync + 'static>(value: impl Fn() -> T + Send + Sync + 'static) -> Signal<T> {
    let memo = ArcMemo::new(move |_| value());
    let subscriber = memo.to_any_subscriber();
    on_cleanup(move || subscriber.clear_sources(&subscriber));
    memo.into()
}
