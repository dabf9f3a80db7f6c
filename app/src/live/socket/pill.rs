//! What the pill says once the socket can be used: how much was recovered, and what the server refuses.

use leptos::prelude::*;

use super::with;
use crate::{
    browser,
    live::{Connection, Live, Recovered},
};

/// How long "resumed" is shown, in milliseconds.
const RESUMED_SHOWN_MILLIS: u64 = 6_000;

pub(in crate::live) fn recovered(live: Live, recovered: Recovered) {
    if live.connection.get_untracked() != Connection::Resuming {
        return;
    }
    with(|link| link.away.clear());
    live.connection.set(Connection::Resumed(recovered));
    tell_refusal();
    browser::after(RESUMED_SHOWN_MILLIS, move || {
        if matches!(live.connection.get_untracked(), Connection::Resumed(_)) {
            live.connection.set(Connection::Live);
        }
    });
}

/// What the server refuses stands in the pill in the place of `live`, until it is refused no more.
pub(super) fn tell_refusal() {
    let (live, told) = with(|link| (link.live, link.refusals.told().cloned()));
    let Some(live) = live else { return };
    let connection = match (live.connection.get_untracked(), &told) {
        (Connection::Live | Connection::Resumed(_), Some(_)) => Connection::Partial,
        (Connection::Partial, None) => Connection::Live,
        (unchanged, _) => unchanged,
    };
    if live.refusal.with_untracked(|known| *known != told) {
        live.refusal.set(told);
    }
    if live.connection.get_untracked() != connection {
        live.connection.set(connection);
    }
}
