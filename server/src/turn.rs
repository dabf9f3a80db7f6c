//! Parts that many processes run and one at a time works at: control, the relay, the recorder. Whose turn it is says a
//! lease in the store. A process that loses it stops before another one can have it: it trusts the lease by its own clock,
//! and shorter than the database does.

use std::{future::Future, sync::Arc, time::Duration};

use store::Store;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

/// How long a turn lasts unless it is extended: so long nobody works when the one who had it was killed on another host.
const LEASE: Duration = Duration::from_secs(5);
/// How long it is trusted after it was asked for.
const TRUST: Duration = Duration::from_secs(4);
/// It is extended, or asked for, this often.
const EVERY: Duration = Duration::from_secs(1);
/// How long giving it back at the end may take: it runs out by itself.
const RELEASE_PATIENCE: Duration = Duration::from_millis(500);

/// How this process comes to its turns.
#[derive(Clone)]
pub(crate) enum Turns {
    /// The store is this process's alone, so every turn is its own.
    Alone,
    /// By leases in the store.
    Leased {
        /// Where they are.
        store: Arc<dyn Store>,
        /// Who this process is, the same after a restart.
        holder: Uuid,
    },
}

impl Turns {
    /// Does `work` whenever it is this process's turn, until `shutdown`. Work that ends by itself ends this too; where there
    /// are turns, work that fails is tried again with the next one: the broker may be away just now.
    pub(crate) async fn run<F>(
        self,
        name: &'static str,
        shutdown: CancellationToken,
        work: impl Fn(CancellationToken) -> F,
    ) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let Self::Leased { store, holder } = self else { return work(shutdown).await };
        let mut has_failed = false;
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            match store.hold(name, holder, LEASE).await {
                Ok(Some(lease)) => {
                    has_failed = false;
                    info!(part = name, term = lease.term, "it is this process's turn");
                    tokio::select! {
                        ended = work(shutdown.child_token()) => {
                            let _ = tokio::time::timeout(RELEASE_PATIENCE, store.release(name, holder)).await;
                            match ended {
                                Err(failure) if !shutdown.is_cancelled() => {
                                    warn!(part = name, %failure, "this process cannot use its turn");
                                }
                                ended => return ended,
                            }
                        }
                        () = until_lost(&*store, name, holder, asked + TRUST) => {
                            warn!(part = name, "this process has lost its turn");
                        }
                    }
                }
                Ok(None) => has_failed = false,
                Err(failure) => {
                    if !has_failed {
                        warn!(part = name, %failure, "whose turn it is cannot be asked: it is tried until it can");
                    }
                    has_failed = true;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(EVERY) => {}
            }
        }
        Ok(())
    }
}

/// Extends the turn until it is somebody else's, or cannot be trusted any more.
async fn until_lost(store: &dyn Store, name: &str, holder: Uuid, mut trusted: Instant) {
    loop {
        sleep(EVERY).await;
        let asked = Instant::now();
        match timeout_at(trusted, store.hold(name, holder, LEASE)).await {
            Ok(Ok(Some(_))) => trusted = asked + TRUST,
            Ok(Err(_)) if Instant::now() < trusted => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use store::{Leases as _, sqlite::SqliteStore};
    use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

    use super::*;

    /// Far longer than a turn.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Takes turns; says when its work begins, and works until it is stopped. The first attempts fail.
    fn start(
        store: &Arc<SqliteStore>,
        failing: u32,
    ) -> (CancellationToken, mpsc::UnboundedReceiver<()>, JoinHandle<Result<(), String>>) {
        let (begun, begins) = mpsc::unbounded_channel();
        let turns = Turns::Leased { store: Arc::clone(store) as _, holder: Uuid::new_v4() };
        let (stop, attempts) = (CancellationToken::new(), AtomicU32::new(0));
        let work = move |shutdown: CancellationToken| {
            let fails = attempts.fetch_add(1, Ordering::Relaxed) < failing;
            let begun = begun.clone();
            async move {
                if fails {
                    return Err("not now".to_owned());
                }
                begun.send(()).unwrap();
                shutdown.cancelled().await;
                Ok(())
            }
        };
        let running = tokio::spawn(turns.run("part", stop.clone(), work));
        (stop, begins, running)
    }

    #[tokio::test]
    async fn one_works_at_a_time_and_the_next_one_when_the_turn_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let (stop_first, mut first, first_ends) = start(&store, 1);
        timeout(PATIENCE, first.recv()).await.expect("what failed is not tried again").unwrap();
        let (stop_second, mut second, second_ends) = start(&store, 0);
        // Longer than the lease: it is extended.
        assert!(timeout(LEASE + EVERY, second.recv()).await.is_err(), "both work");
        stop_first.cancel();
        assert_eq!(first_ends.await.unwrap(), Ok(()));
        timeout(PATIENCE, second.recv()).await.expect("nobody has the turn").unwrap();
        stop_second.cancel();
        assert_eq!(second_ends.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn who_loses_the_turn_stops_working() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let holder = Uuid::new_v4();
        let turns = Turns::Leased { store: Arc::clone(&store) as _, holder };
        let (working, mut works) = mpsc::unbounded_channel::<()>();
        let (stop, begun) = (CancellationToken::new(), Arc::new(tokio::sync::Notify::new()));
        let work = {
            let begun = Arc::clone(&begun);
            // The sender goes with the work.
            let working = std::sync::Mutex::new(Some(working));
            move |_: CancellationToken| {
                let (working, begun) = (working.lock().unwrap().take(), Arc::clone(&begun));
                async move {
                    let _working = working;
                    begun.notify_one();
                    std::future::pending().await
                }
            }
        };
        let running = tokio::spawn(turns.run("part", stop.clone(), work));
        timeout(PATIENCE, begun.notified()).await.unwrap();
        store.release("part", holder).await.unwrap();
        let other = store.hold("part", Uuid::new_v4(), PATIENCE).await.unwrap();
        assert!(other.is_some());
        assert_eq!(timeout(PATIENCE, works.recv()).await.expect("it works on"), None);
        running.abort();
    }
}
