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
    /// Does `work` whenever it is this process's turn, until `shutdown`. Work that ends by itself ends this too.
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
                            return ended;
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
