//! How a process ends. SIGTERM drains it first: its executor takes no more jobs and brings to an end what it runs, then its
//! gateway sends its sockets elsewhere in small groups. SIGINT, a second signal, or the end of the time for draining ends it
//! at once: what runs is handed back and runs again.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The signals that this process was sent, and how far it has come with them.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// No more jobs are taken.
    pub(crate) draining: CancellationToken,
    /// The executor runs nothing any more, or there is none.
    pub(crate) executor_ended: CancellationToken,
    /// The gateway has sent its sockets away, or there is none.
    pub(crate) gateway_drained: CancellationToken,
    /// Everything ends now.
    pub(crate) shutdown: CancellationToken,
}

impl Stop {
    /// Listens to signals from now on. Draining takes at most `patience`.
    pub(crate) fn on_signals(patience: Duration) -> Result<Self, String> {
        let stop = Self::default();
        let failed = |failure| format!("signals cannot be received: {failure}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let listening = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => info!("a signal asks the server to stop at once"),
                _ = terminate.recv() => {
                    info!(seconds = patience.as_secs(), "a signal asks the server to stop: it ends what it runs first");
                    listening.draining.cancel();
                    tokio::select! {
                        ended = tokio::time::timeout(patience, listening.drained()) => if ended.is_err() {
                            info!("the time for draining is over: what still runs is handed back");
                        },
                        _ = interrupt.recv() => info!("a further signal asks the server to stop at once"),
                        _ = terminate.recv() => info!("a further signal asks the server to stop at once"),
                    }
                }
            }
            listening.shutdown.cancel();
        });
        Ok(stop)
    }

    async fn drained(&self) {
        self.executor_ended.cancelled().await;
        self.gateway_drained.cancelled().await;
    }
}
