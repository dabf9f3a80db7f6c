//! The local trust in a lease. It ends before the lease does in the store: trust is counted from the moment before the
//! request was sent, by a clock that counts the machine's sleep, and for a part of the lease only. Whoever stops being
//! trusted stops by itself, without asking anyone (P2).

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use wire::task::LeaseRef;

use crate::clock::boot_millis;

/// The part of a lease for which its holder trusts it, in percent. The rest covers clocks that drift, and the time
/// that a guard needs to end a tree.
const TRUST_PERCENT: u64 = 80;
/// The longest time between two looks at the boot clock: the runtime's timers count no sleep of the machine.
const TICK: Duration = Duration::from_secs(1);

/// One lease that this executor holds.
pub(crate) struct Lease {
    /// The job and its attempt.
    pub(crate) holder: LeaseRef,
    /// On the boot clock, in milliseconds.
    until: watch::Sender<u64>,
    /// On the boot clock: when half of the trust that it began with is over.
    half: u64,
    /// What its steps print is not to be read now: they wait.
    held: watch::Sender<bool>,
    lost: CancellationToken,
    cancelled: CancellationToken,
}

impl Lease {
    /// A lease that was asked for at `sent_at` (boot clock, taken before the request was sent).
    pub(crate) fn new(holder: LeaseRef, sent_at: u64, lease_ms: u64) -> Arc<Self> {
        let (lost, cancelled) = (CancellationToken::new(), CancellationToken::new());
        let until = trusted_until(sent_at, lease_ms);
        let half = sent_at.midpoint(until);
        let (until, held) = (watch::Sender::new(until), watch::Sender::new(false));
        Arc::new(Self { holder, until, half, held, lost, cancelled })
    }

    /// It was renewed by a request sent at `sent_at`. What ran out already stays lost.
    pub(crate) fn extend(&self, sent_at: u64, lease_ms: u64) {
        if self.is_trusted() {
            let until = trusted_until(sent_at, lease_ms);
            self.until.send_if_modified(|known| {
                let later = until > *known;
                *known = until.max(*known);
                later
            });
        }
    }

    /// Until when it is trusted, and every change of that.
    pub(crate) fn until(&self) -> watch::Receiver<u64> {
        self.until.subscribe()
    }

    /// Whether its holder may still speak for the job.
    pub(crate) fn is_trusted(&self) -> bool {
        !self.lost.is_cancelled() && boot_millis() < *self.until.borrow()
    }

    /// Whether more than half of the trust that it began with is over.
    pub(crate) fn is_half_over(&self) -> bool {
        boot_millis() > self.half
    }

    /// Control says whether what the steps print may be read now.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// See [`Lease::hold`].
    pub(crate) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Resolves when it is not held back any more.
    pub(crate) async fn released(&self) {
        let _ = self.held.subscribe().wait_for(|held| !held).await; // The sender is ours.
    }

    /// It is another's now (control says so), or nobody works under it any more.
    pub(crate) fn lose(&self) {
        self.lost.cancel();
    }

    /// Resolves when it is lost or ran out.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Somebody wants the job to stop.
    pub(crate) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Resolves when somebody wants the job to stop.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Notices when the lease runs out, for as long as the handle is kept.
    pub(crate) fn watch(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let lease = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            while lease.is_trusted() {
                let left = lease.until.borrow().saturating_sub(boot_millis());
                tokio::time::sleep(Duration::from_millis(left).min(TICK)).await;
            }
            lease.lost.cancel();
        }))
    }
}

/// Until when a lease is trusted that was asked for at `sent_at`: milliseconds of the boot clock, read before the request was sent.
#[must_use]
pub fn trusted_until(sent_at: u64, lease_ms: u64) -> u64 {
    sent_at.saturating_add(lease_ms.saturating_mul(TRUST_PERCENT) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn lease(sent_at: u64, lease_ms: u64) -> Arc<Lease> {
        Lease::new(LeaseRef { job: wire::JobId(Uuid::nil()), attempt: 1 }, sent_at, lease_ms)
    }

    #[tokio::test]
    async fn p2_trust_ends_before_the_lease_does_and_counts_from_before_the_request() {
        assert!(lease(boot_millis(), 10_000).is_trusted());
        assert!(!lease(boot_millis().saturating_sub(8_000), 10_000).is_trusted());
        let late = lease(boot_millis(), 0);
        let _watch = late.watch();
        late.lost().await;
    }

    #[tokio::test]
    async fn p2_a_lease_that_ran_out_is_not_brought_back_by_a_late_renewal() {
        let lease = lease(boot_millis(), 0);
        lease.extend(boot_millis(), 10_000);
        assert!(!lease.is_trusted());
    }
}
