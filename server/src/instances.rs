//! Gateway instances tell each other of themselves, through the store.

use std::time::Duration;

use gateway::Gateway;
use store::Store;
use tokio_util::sync::CancellationToken;

/// Each tells this often.
const EVERY: Duration = Duration::from_secs(5);
/// How long the last word may take.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(500);

/// Tells of this instance until `shutdown`, then that it is gone.
pub(crate) async fn announce(store: &dyn Store, gateway: &Gateway, instance: &str, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = timer.tick() => {}
        }
        if let Err(failure) = store.put_gateway(instance, &gateway.workers().await).await {
            tracing::debug!(%failure, "this instance cannot be told of now");
        }
    }
    // Without it the others notice the silence.
    let _ = tokio::time::timeout(GOODBYE_PATIENCE, store.gateway_left(instance)).await;
}
