//! Live queries of the page: each with its last result, which the socket's differences continue, also after a loss.

use std::rc::Rc;

use wire::{ClientFrame, Position, command::Query};

use super::{WatchId, pill::tell_refusal, with};

type OnResult = Rc<dyn Fn(serde_json::Value)>;

/// A live query, and the last result that was told of it.
pub(super) struct Querying {
    query: Query,
    arrive: OnResult,
    last: Option<(Position, serde_json::Value)>,
}

pub(in crate::live) fn query(query: Query, arrive: Box<dyn Fn(serde_json::Value)>) -> WatchId {
    with(|link| {
        let id = link.id();
        let querying = Querying { query, arrive: Rc::from(arrive), last: None };
        if link.ready {
            link.send(&querying.subscribe(id));
        }
        link.queries.insert(id, querying);
        id
    })
}

pub(in crate::live) fn unquery(id: WatchId) {
    with(|link| {
        link.refusals.unqueried(id.0);
        if link.queries.remove(&id).is_some() && link.ready {
            link.send(&ClientFrame::Unsubscribe { topic: "query".into(), id: Some(id.0.to_string()) });
        }
    });
    tell_refusal();
}

/// A live query was told of: `make` makes its result of the last one. Where that cannot be, the whole is asked for.
pub(super) fn told(
    id: u64,
    make: impl FnOnce(Option<(Position, serde_json::Value)>) -> Option<(Position, serde_json::Value)>,
) {
    let id = WatchId(id);
    let arrive = with(|link| {
        link.refusals.result(id.0);
        let querying = link.queries.get_mut(&id)?;
        querying.last = make(querying.last.take());
        let Some((_, body)) = &querying.last else {
            let ask = querying.subscribe(id);
            link.send(&ask);
            return None;
        };
        Some((querying.arrive.clone(), body.clone()))
    });
    tell_refusal();
    if let Some((arrive, body)) = arrive {
        arrive(body);
    }
}

impl Querying {
    /// Asks for it, or for what has changed since the last result.
    pub(super) fn subscribe(&self, id: WatchId) -> ClientFrame {
        ClientFrame::Subscribe {
            topic: "query".into(),
            position: self.last.as_ref().map(|(position, _)| *position),
            id: Some(id.0.to_string()),
            query: Some(self.query.clone()),
            patch: true,
        }
    }
}
