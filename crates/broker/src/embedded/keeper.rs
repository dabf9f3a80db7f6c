//! What time changes: messages of gateways' queues that get too old, gateways' queues that nobody uses, and messages
//! that were kept for a gateway which did not come back. One task for all of them, woken at the next deadline.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::{Core, state::State};
use crate::topology::QueueKind;

/// Runs until the broker ends.
pub(super) async fn run(core: Arc<Core>) {
    let timers = Arc::clone(&core.lock().timers);
    loop {
        let next = core.lock().sweep(Instant::now());
        let deadline = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deadline => {}
            () = timers.notified() => {}
            () = core.shutdown.cancelled() => return,
        }
    }
}

impl State {
    /// Does what is due and tells when to look again.
    fn sweep(&mut self, now: Instant) -> Option<Instant> {
        self.wakes_at = None;
        let mut due = Vec::new();
        let mut unused = Vec::new();
        for queue in self.queues.values_mut() {
            let QueueKind::Gateway { expires, message_ttl } = queue.kind else { continue };
            let reason = format!("it waited longer than {} s for its gateway", message_ttl.as_secs_f64());
            due.extend(queue.expired(now).into_iter().map(|kept| (kept, reason.clone())));
            if queue.ends_at().is_some_and(|at| at <= now) {
                // Whatever still waits dies first, so that nothing goes with the queue.
                let reason = format!("its gateway was away for {} s", expires.as_secs_f64());
                due.extend(queue.drain().into_iter().map(|kept| (kept, reason.clone())));
                unused.push(Arc::clone(&queue.name));
            }
        }
        for (kept, reason) in due {
            self.bury_unrouted(kept, reason);
        }
        for name in unused {
            tracing::info!(queue = &*name, "a gateway's queue was not used and was deleted");
            self.delete(&name);
        }
        if self.orphans_until.is_some_and(|at| at <= now) {
            self.orphans_until = None;
            self.bury_orphans();
        }
        let next = self.queues.values().filter_map(|queue| queue.deadline()).chain(self.orphans_until).min();
        self.wakes_at = next;
        next
    }

    /// What waits for a gateway that did not come back goes where control finds it. Work waits on: its queue is declared
    /// when an executor with its labels comes.
    fn bury_orphans(&mut self) {
        for (name, orphans) in std::mem::take(&mut self.orphans) {
            let (lost, waiting): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|orphan| orphan.gateway);
            for orphan in lost {
                self.bury_unrouted(orphan.kept, format!("queue {name} did not come back after a restart"));
            }
            if !waiting.is_empty() {
                self.orphans.insert(name, waiting);
            }
        }
    }
}
