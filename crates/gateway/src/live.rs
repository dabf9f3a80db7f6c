//! Live queries of one socket: the result at once, and again whenever it changes, until the client or the desk ends it.
//! A client that reads slowly gets the newest result only: that is all a live query promises. One that applies patches is
//! told what has changed since the last result that it was sent, and the whole result where that is not known or shorter.

use std::{collections::HashMap, sync::Arc};

use tokio_util::task::AbortOnDropHandle;
use wire::{Authority, Position, command::Query};

use crate::{Desk, frames, send_queue::SendQueue};

/// How a client wants to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Telling {
    /// Each result whole.
    Whole,
    /// What has changed, since this result if it is still known.
    Patches(Option<Position>),
}

/// See the module. Dropping it ends them all.
pub(crate) struct LiveQueries {
    running: HashMap<String, AbortOnDropHandle<()>>,
    max: usize,
}

impl LiveQueries {
    pub(crate) fn new(max: usize) -> Self {
        Self { running: HashMap::new(), max }
    }

    /// Begins one; one with the same id ends. False if there are too many.
    pub(crate) fn start(
        &mut self,
        id: String,
        query: Query,
        telling: Telling,
        desk: Arc<dyn Desk>,
        authority: Authority,
        queue: Arc<SendQueue>,
    ) -> bool {
        self.running.remove(&id);
        self.running.retain(|_, task| !task.is_finished());
        if self.running.len() >= self.max {
            return false;
        }
        let task = tokio::spawn(run(id.clone(), query, telling, desk, authority, queue));
        self.running.insert(id, AbortOnDropHandle::new(task));
        true
    }

    /// Ends one. False if there is none.
    pub(crate) fn end(&mut self, id: &str) -> bool {
        self.running.remove(id).is_some()
    }
}

async fn run(
    id: String,
    query: Query,
    telling: Telling,
    desk: Arc<dyn Desk>,
    authority: Authority,
    queue: Arc<SendQueue>,
) {
    let mut results = match desk.live(&authority, query).await {
        Ok(results) => results,
        Err(problem) => return queue.push_plain(frames::problem(Some(id), &problem.title, problem.detail)),
    };
    let mut sent = match telling {
        Telling::Whole => None,
        Telling::Patches(position) => position,
    };
    loop {
        let result = Arc::clone(&results.borrow_and_update());
        let change = sent.and_then(|sent| {
            let change = frames::change(&id, result.position, sent.offset, result.since(sent)?);
            (change.len() <= result.body.get().len()).then_some(change)
        });
        queue.push_result(&id, change, || frames::result(&id, &result));
        if matches!(telling, Telling::Patches(_)) {
            sent = Some(result.position);
        }
        if results.changed().await.is_err() {
            let detail = "the live query cannot be served any more: subscribe to it again";
            return queue.push_plain(frames::problem(Some(id), "live query ended", detail));
        }
    }
}
