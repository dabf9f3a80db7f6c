//! Rows that come and go for as long as a page is open.

use std::hash::Hash;

use leptos::{
    prelude::*,
    tachys::{
        reactive_graph::OwnedView,
        view::keyed::{SerializableKey, keyed},
    },
};

use super::clock::Clock;
use crate::live::Live;

/// As `<For>`, for lists that new rows replace old ones in without end: an owner keeps an entry of each child that it ever
/// had, so the rows are nobody's children. Of the contexts they have the clock and the socket.
pub fn rows<T, I, K, N>(
    each: impl Fn() -> I + Send + 'static,
    key: impl Fn(&T) -> K + Send + Clone + 'static,
    row: impl Fn(T) -> N + Send + Clone + 'static,
) -> impl IntoView
where
    T: Send + 'static,
    I: IntoIterator<Item = T> + Send + 'static,
    K: Eq + Hash + SerializableKey + 'static,
    N: IntoView + 'static,
{
    let (clock, live) = (Clock::get(), use_context::<Live>());
    let row = move |_, item| {
        let owner = owner_of_row();
        let view = owner.with(|| {
            provide_context(clock);
            if let Some(live) = live {
                provide_context(live);
            }
            row(item)
        });
        (drop, OwnedView::new_with_owner(view, owner))
    };
    move || keyed(each(), key.clone(), row.clone())
}

#[cfg(target_arch = "wasm32")]
fn owner_of_row() -> Owner {
    let present = Owner::current();
    let root = Owner::new_root(Owner::current_shared_context());
    // A new root takes the place of the present owner, which is to go on.
    if let Some(present) = present {
        present.set();
    }
    root
}

/// A page on the server is rendered once, and its signals are in an arena that only children have.
#[cfg(not(target_arch = "wasm32"))]
fn owner_of_row() -> Owner {
    Owner::new()
}
