//! What is done when the server refuses something: asking again, or telling the watch. What a refusal means stands in
//! `refusals`.

use super::{Link, WatchId, pill::tell_refusal, with};
use crate::{
    browser,
    live::{
        Arrival,
        heartbeat::retry_millis,
        refusals::{Refusal, Step},
    },
};

/// The server cannot or will not do what it was asked.
pub(super) fn refused(id: Option<String>, refusal: Refusal) {
    let step = with(|link| {
        let Link { refusals, queries, .. } = link;
        refusals.problem(id.as_deref(), refusal, |query| queries.contains_key(&WatchId(query)))
    });
    match step {
        Step::Rest => {}
        Step::Again { query, failures } => {
            let (opened, wait) = (with(|link| link.opened), retry_millis(failures, browser::random()));
            browser::after(wait as u64, move || {
                with(|link| {
                    if let Some(wanted) = link.queries.get(&WatchId(query))
                        && link.ready
                        && link.opened == opened
                    {
                        link.send(&wanted.subscribe(WatchId(query)));
                    }
                });
            });
        }
        Step::Refused(topic) => {
            if let Some(watch) = with(|link| link.watch_of(topic)) {
                (watch.arrive)(Arrival::Refused(topic));
            }
        }
        Step::AskEach(topics) => {
            for topic in topics {
                let Some(watch) = with(|link| link.watch_of(topic)) else { continue };
                let place = (watch.positions)().into_iter().find(|(known, _)| *known == topic);
                with(|link| link.ask(topic, place.and_then(|(_, position)| position)));
            }
        }
    }
    tell_refusal();
}
