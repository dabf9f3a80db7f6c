//! Live queries: one evaluation for each distinct query and each burst of changes, however many sockets watch it. The
//! gateway knows no store, so it asks for them here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::watch;
use wire::{Authority, Problem, authority::Role, command::Query};

use crate::{core::Core, queries};

/// The shortest time between two evaluations of one query: a burst of events costs one.
const PAUSE: Duration = Duration::from_millis(50);
/// Even without an event a query is looked at again this often: what depends on time alone (an executor that is not heard)
/// shows too.
const REFRESH: Duration = Duration::from_secs(10);
/// What no event of a build tells of is looked at so often.
const REFRESH_WITHOUT_EVENTS: Duration = Duration::from_secs(2);

fn refresh(query: &Query) -> Duration {
    match query {
        Query::Executors {} | Query::Installation {} | Query::Health {} | Query::DeadLetters {} | Query::Groups {} => {
            REFRESH_WITHOUT_EVENTS
        }
        _ => REFRESH,
    }
}

/// A result and those who watch it.
pub(crate) type Results = watch::Receiver<Arc<RawValue>>;

/// The end that a query's evaluation writes to. Weak: a query that nobody watches any more ends by itself.
type Evaluation = Weak<watch::Sender<Arc<RawValue>>>;

/// The queries that are watched now.
#[derive(Default)]
pub(crate) struct LiveQueries {
    // A std mutex: held for a map operation, never across an await.
    running: Mutex<HashMap<(Role, Query), Evaluation>>,
}

impl LiveQueries {
    fn find(&self, key: &(Role, Query)) -> Option<Results> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, sender| sender.strong_count() > 0);
        running.get(key).and_then(Weak::upgrade).map(|sender| sender.subscribe())
    }
}

/// The result now, and again whenever it changes.
pub(crate) async fn watch(core: Arc<Core>, authority: Authority, query: Query) -> Result<Results, Problem> {
    let key = (authority.role, query);
    if let Some(results) = core.live.find(&key) {
        return Ok(results);
    }
    let mut changes = core.hub.changes();
    changes.mark_unchanged();
    let first = evaluate(&core, &authority, &key.1).await?;
    let (sender, results) = watch::channel(first);
    let sender = Arc::new(sender);
    core.live.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::downgrade(&sender));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(refresh(&key.1)) => {}
            }
            // A failed evaluation is told when the query is asked directly; here the last result stands until one succeeds.
            if let Ok(result) = evaluate(&core, &authority, &key.1).await {
                sender.send_if_modified(|last| {
                    let differs = last.get() != result.get();
                    if differs {
                        *last = result;
                    }
                    differs
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    Ok(results)
}

async fn evaluate(core: &Core, authority: &Authority, query: &Query) -> Result<Arc<RawValue>, Problem> {
    let result = queries::answer(core, authority, query).await?;
    let raw = serde_json::value::to_raw_value(&result)
        .map_err(|failure| Problem::new(500, "Internal error", failure.to_string()))?;
    Ok(Arc::from(raw))
}
