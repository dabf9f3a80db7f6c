//! Live queries: one evaluation for each distinct query and each burst of changes, however many sockets watch it. The
//! gateway knows no store, so it asks for them here.
//!
//! An evaluation has an epoch of its own, counts its results and keeps the last differences between them, so that who comes
//! back with a position is told what it has missed. It goes on being kept for a while when nobody watches, for those who
//! come back, and is not made meanwhile.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gateway::LiveResult;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::sync::{Notify, watch};
use uuid::Uuid;
use wire::{Authority, Position, Problem, authority::Grants, command::Query, patch};

use crate::{core::Core, hub::Waiter, queries};

/// The shortest time between two evaluations of one query: a burst of events costs one.
const PAUSE: Duration = Duration::from_millis(50);
/// Even without an event a query is looked at again this often: what depends on time alone (an executor that is not heard)
/// shows too.
const REFRESH: Duration = Duration::from_secs(10);
/// What no event of a build tells of is looked at so often.
const REFRESH_WITHOUT_EVENTS: Duration = Duration::from_secs(2);
/// An evaluation is kept for so long for those who come back: longer than a browser takes to find its network again.
const KEPT: Duration = Duration::from_secs(60);
/// So many are kept for those who come back; beyond it they end with their last watcher.
const KEPT_MAX: usize = 64;
/// Differences that are kept of one evaluation, and how many bytes they may have together.
const PATCHES_MAX: usize = 64;
const PATCHES_BYTES_MAX: usize = 64 * 1024;

fn refresh(query: &Query) -> Duration {
    match query {
        Query::Executors {} | Query::Installation {} | Query::Health {} | Query::DeadLetters {} | Query::Groups {} => {
            REFRESH_WITHOUT_EVENTS
        }
        _ => REFRESH,
    }
}

/// A result and those who watch it.
pub(crate) type Results = watch::Receiver<Arc<LiveResult>>;

/// What is asked, and by whose eyes it is seen.
type Key = (Grants, Query);

/// The queries that are watched, or were a moment ago.
#[derive(Default)]
pub(crate) struct LiveQueries {
    // A std mutex: held for a map operation, never across an await.
    running: Mutex<HashMap<Key, Arc<Evaluation>>>,
}

struct Evaluation {
    /// The last result, to compare the next one with.
    last: Mutex<Value>,
    results: watch::Sender<Arc<LiveResult>>,
    /// Somebody watches again.
    wanted: Notify,
}

impl LiveQueries {
    fn running(&self) -> MutexGuard<'_, HashMap<Key, Arc<Evaluation>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an evaluation unless somebody has begun to watch it. Whether it did.
    fn forget(&self, key: &Key, at_most: usize) -> bool {
        let mut running = self.running();
        let unwatched = |one: &Arc<Evaluation>| one.results.receiver_count() == 0;
        let forgets = running.get(key).is_none_or(unwatched)
            && (at_most == 0 || running.values().filter(|one| unwatched(one)).count() > at_most);
        if forgets {
            running.remove(key);
        }
        forgets
    }
}

/// The result now, and again whenever it changes.
pub(crate) async fn watch(core: Arc<Core>, authority: Authority, query: Query) -> Result<Results, Problem> {
    let key = (authority.grants().clone(), query);
    let found = {
        let running = core.live.running();
        // Under the lock, so that it is not forgotten meanwhile.
        running.get(&key).map(|found| (Arc::clone(found), found.results.subscribe()))
    };
    if let Some((evaluation, results)) = found {
        if evaluation.results.receiver_count() == 1 {
            // Nobody has looked while nobody watched.
            evaluation.put(queries::answer(&core, &authority, &key.1).await?);
            evaluation.wanted.notify_one();
        }
        return Ok(results);
    }
    let changes = Changes::of(&core, &key.1);
    let evaluation = Arc::new(Evaluation::new(queries::answer(&core, &authority, &key.1).await?)?);
    let results = {
        let mut running = core.live.running();
        // Another one may have been quicker.
        let kept = running.entry(key.clone()).or_insert_with(|| Arc::clone(&evaluation));
        if !Arc::ptr_eq(kept, &evaluation) {
            return Ok(kept.results.subscribe());
        }
        kept.results.subscribe()
    };
    tokio::spawn(async move { evaluation.run(&core, &authority, &key, changes).await });
    Ok(results)
}

/// What may change the result of a query.
enum Changes {
    /// Anything that happens to builds and pipelines.
    Any(watch::Receiver<u64>),
    /// What happens to one build.
    Build(Waiter),
}

impl Changes {
    /// From now on.
    fn of(core: &Core, query: &Query) -> Self {
        match query {
            Query::Build { id } => Self::Build(core.hub.build(*id)),
            _ => {
                let mut changes = core.hub.changes();
                changes.mark_unchanged();
                Self::Any(changes)
            }
        }
    }

    /// False when nothing is told any more.
    async fn next(&mut self) -> bool {
        match self {
            Self::Any(changes) => changes.changed().await.is_ok(),
            Self::Build(waiter) => waiter.change().await,
        }
    }
}

impl Evaluation {
    fn new(first: Value) -> Result<Self, Problem> {
        // Random: two evaluators of one query have the same one once in four billion times.
        let epoch = (Uuid::new_v4().as_u128() as u32).max(1);
        let body = raw(&first).map_err(|failure| Problem::new(500, "Internal error", failure.to_string()))?;
        let result = LiveResult { position: Position { epoch, offset: 0 }, body, patches: VecDeque::new() };
        let results = watch::Sender::new(Arc::new(result));
        Ok(Self { last: Mutex::new(first), results, wanted: Notify::new() })
    }

    /// Evaluates until nobody has watched for a while.
    async fn run(&self, core: &Core, authority: &Authority, key: &Key, mut changes: Changes) {
        loop {
            tokio::select! {
                () = self.results.closed() => {
                    if core.live.forget(key, KEPT_MAX) {
                        return;
                    }
                    tokio::select! {
                        () = self.wanted.notified() => {}
                        () = tokio::time::sleep(KEPT) => if core.live.forget(key, 0) { return },
                    }
                    continue;
                }
                told = changes.next() => if !told {
                    core.live.running().remove(key);
                    return;
                },
                () = tokio::time::sleep(refresh(&key.1)) => {}
            }
            // A failed evaluation is told when the query is asked directly; here the last result stands until one succeeds.
            if let Ok(result) = queries::answer(core, authority, &key.1).await {
                self.put(result);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tells of a result if it differs from the last one.
    fn put(&self, new: Value) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = patch::difference(&last, &new);
        if changes.is_empty() {
            return;
        }
        let (Ok(patch), Ok(body)) = (raw(&changes), raw(&new)) else { return };
        self.results.send_modify(|result| {
            let position = Position { offset: result.position.offset + 1, ..result.position };
            let mut patches = result.patches.clone();
            patches.push_back(patch);
            let mut bytes: usize = patches.iter().map(|patch| patch.get().len()).sum();
            while patches.len() > PATCHES_MAX || bytes > PATCHES_BYTES_MAX {
                bytes -= patches.pop_front().map_or(bytes, |patch| patch.get().len());
            }
            *result = Arc::new(LiveResult { position, body, patches });
        });
        *last = new;
    }
}

fn raw(value: &impl Serialize) -> serde_json::Result<Arc<RawValue>> {
    serde_json::value::to_raw_value(value).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_counted_only_when_they_differ_and_the_last_differences_are_kept() {
        let evaluation = Evaluation::new(json!([])).unwrap();
        let watched = evaluation.results.subscribe();
        evaluation.put(json!([]));
        assert_eq!(watched.borrow().position.offset, 0);
        let first = watched.borrow().position;
        for n in 1..=PATCHES_MAX {
            evaluation.put(json!([n]));
        }
        let result = Arc::clone(&watched.borrow());
        assert_eq!(result.position, Position { epoch: first.epoch, offset: PATCHES_MAX as u64 });
        let mut made = json!([]);
        for patch in result.since(first).unwrap() {
            patch::apply(&mut made, &mut serde_json::from_str::<Vec<Value>>(patch.get()).unwrap()).unwrap();
        }
        assert_eq!((made, result.body.get()), (json!([PATCHES_MAX]), format!("[{PATCHES_MAX}]").as_str()));
        evaluation.put(json!([0]));
        assert!(watched.borrow().since(first).is_none(), "one more than is kept");
        evaluation.put(json!(["x".repeat(PATCHES_BYTES_MAX)]));
        assert!(watched.borrow().patches.is_empty(), "longer than what is kept");
    }
}
