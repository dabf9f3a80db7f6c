//! Registering, and again every third of a lease, together with the renewal of what runs. What is not trusted any more is
//! not renewed: it is about to end here, and control may give it to another.

use std::{sync::Arc, time::Duration};

use wire::{
    LabelSet,
    image::CONTAINERS_LABEL,
    secret::MASKS_LABEL,
    task::{ControlReply, ControlRequest, LeaseRef},
};

use super::Executor;
use crate::{clock::boot_millis, lease::Lease};

/// How long an answer is awaited before control has told how long a lease is, and the least at any time.
const PATIENCE_MIN: Duration = Duration::from_millis(1000);
/// The pause before what failed is asked again, and the shortest one at any time.
const BACK_OFF: Duration = Duration::from_millis(250);

/// Keeps this executor and its leases known to control until the shutdown.
pub(super) async fn keep(executor: Arc<Executor>) {
    let work = async {
        let mut lease = Duration::ZERO;
        let mut failed = false;
        loop {
            let asked = ask(&executor, lease).await;
            let pause = match asked {
                Ok(lease_now) => {
                    if lease.is_zero() || failed {
                        tracing::info!(executor = %executor.config.id, name = executor.config.name, "registered with control");
                    }
                    lease = lease_now;
                    failed = false;
                    (lease / 3).max(BACK_OFF)
                }
                Err(reason) => {
                    if !failed {
                        tracing::warn!(reason, "control does not answer; it is asked again");
                        failed = true;
                    }
                    executor.ask_anew().await;
                    BACK_OFF
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = executor.renew_now.notified() => {}
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = executor.shutdown.cancelled() => {}
    }
}

/// What this executor offers: what it was told to, that it masks secrets, and that it has containers, if so.
fn labels(configured: &LabelSet, has_containers: bool) -> LabelSet {
    let own = [Some(MASKS_LABEL), has_containers.then_some(CONTAINERS_LABEL)];
    own.into_iter().flatten().fold(configured.clone(), |labels, own| {
        // With as many labels as there may be, it serves no jobs that ask for one more.
        LabelSet::new(labels.labels().iter().cloned().chain([own.to_owned()])).unwrap_or(labels)
    })
}

/// Tells how long a lease is.
async fn ask(executor: &Arc<Executor>, lease: Duration) -> Result<Duration, String> {
    let config = &executor.config;
    let (id, incarnation) = (config.id, executor.incarnation);
    let register = ControlRequest::Register {
        executor: id,
        incarnation,
        name: config.name.clone(),
        labels: labels(&config.labels, executor.containers.is_some()),
        slots: config.slots,
        isolation: executor.isolation(),
        secret: config.secret.clone(),
    };
    let patience = (lease / 3).max(PATIENCE_MIN);
    let trusted = executor.running.leases().into_iter().filter(|lease| lease.is_trusted());
    let leases: Vec<LeaseRef> = trusted.map(|lease| lease.holder).collect();
    let renewal = async {
        if leases.is_empty() {
            return Ok(());
        }
        let sent_at = boot_millis();
        let reply = executor.ask(&ControlRequest::Renew { executor: id, incarnation, leases }, patience).await?;
        renewed(executor, reply, sent_at)
    };
    let (registered, renewed) = tokio::join!(executor.ask(&register, patience), renewal);
    renewed?;
    match registered? {
        ControlReply::Registered { label_sets, lease_ms } => {
            executor.serve_also(label_sets);
            Ok(Duration::from_millis(lease_ms))
        }
        ControlReply::Refused { reason } => Err(reason),
        other => Err(format!("control answered a registration with {other:?}")),
    }
}

fn renewed(executor: &Executor, reply: ControlReply, sent_at: u64) -> Result<(), String> {
    let (held, lost, cancelled, lease_ms, hold) = match reply {
        ControlReply::Renewed { held, lost, cancelled, lease_ms, hold } => (held, lost, cancelled, lease_ms, hold),
        ControlReply::Refused { reason } => return Err(reason),
        other => return Err(format!("control answered a renewal with {other:?}")),
    };
    let running = |holders: &[LeaseRef]| -> Vec<Arc<Lease>> {
        holders.iter().filter_map(|holder| executor.running.get(*holder)).collect()
    };
    for lease in running(&held).into_iter().chain(running(&cancelled)) {
        lease.extend(sent_at, lease_ms);
        lease.hold(hold);
    }
    for lease in running(&lost) {
        lease.lose();
    }
    for lease in running(&cancelled) {
        lease.cancel();
    }
    Ok(())
}
