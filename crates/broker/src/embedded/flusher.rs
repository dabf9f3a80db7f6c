//! The one task that writes to the journal. It takes all that has gathered, writes it in one call, settles the confirms
//! in order, and takes what has gathered meanwhile: the slower the disk, the larger the lots. While the journal fails,
//! the same lot is tried again, so that the order holds; confirms wait, and `health` says why.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    backlog::{ConfirmSender, Lot, Pending},
    journal::JournalEntry,
    stream::shut_down,
};
use crate::BrokerError;

/// The first wait after a failure of the journal; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long the last lots may take after the shutdown has begun.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(5);

/// Runs until the broker ends, then writes what is left.
pub(super) async fn run(core: Arc<Core>) {
    let work = Arc::clone(&core.lock().work);
    let unwritten = loop {
        let lot = core.lock().backlog.take();
        let Some(lot) = lot else {
            tokio::select! {
                () = work.notified() => continue,
                () = core.shutdown.cancelled() => break None,
            }
        };
        if !write_or_retry(&core, &lot).await {
            break Some(lot);
        }
        if core.shutdown.is_cancelled() {
            break None;
        }
    };
    // From here on nothing comes in, so what is left is finite.
    core.lock().close(shut_down());
    let written = tokio::time::timeout(LAST_FLUSH_MAX, write_the_rest(&core, unwritten)).await;
    let abandoned = abandon(&core);
    if !matches!(written, Ok(true)) {
        tracing::error!(confirms = abandoned, "the broker ended before the journal took everything");
    }
}

/// Nothing is written any more: tells those who still wait for a confirm, and how many they were.
pub(super) fn abandon(core: &Core) -> usize {
    let (abandoned, outcome) = {
        let mut state = core.lock();
        (state.backlog.abandon(), state.running())
    };
    let count = abandoned.len();
    settle(abandoned, &outcome);
    core.finished.cancel();
    count
}

async fn write_the_rest(core: &Core, unwritten: Option<Lot>) -> bool {
    let mut next = unwritten;
    loop {
        let lot = match next.take() {
            Some(lot) => lot,
            None => match core.lock().backlog.take() {
                Some(lot) => lot,
                None => return true,
            },
        };
        if write(core, &lot).await.is_err() {
            return false;
        }
    }
}

/// Writes a lot, however long it takes; false if the shutdown came first.
async fn write_or_retry(core: &Core, lot: &Lot) -> bool {
    let mut wait = RETRY_FIRST;
    let mut failures = 0_u64;
    loop {
        let outcome = tokio::select! {
            // A journal that hangs must not hang the shutdown. What it does with the lot is not known then; a
            // journal writes an entry under its own number, so writing the lot again changes nothing.
            outcome = write(core, lot) => outcome,
            () = async { core.shutdown.cancelled().await; tokio::time::sleep(LAST_FLUSH_MAX).await } => return false,
        };
        let Err(reason) = outcome else {
            if failures > 0 {
                tracing::info!(failures, "the journal writes again");
            }
            return true;
        };
        if failures == 0 {
            tracing::error!(reason, "the journal cannot write; confirms wait until it can");
        }
        failures += 1;
        core.lock().trouble = Some(reason);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.shutdown.cancelled() => return false,
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Writes a lot once. Readers of the stream see its entries before the confirms are settled.
async fn write(core: &Core, lot: &Lot) -> Result<(), String> {
    let entries: Result<Vec<JournalEntry>, String> =
        lot.entries.iter().filter_map(|pending| pending.encode().transpose()).collect();
    let entries = entries?;
    if !entries.is_empty() {
        core.journal.append(entries).await?;
    }
    let confirms = {
        let mut state = core.lock();
        state.trouble = None;
        let mut moved = false;
        for pending in &lot.entries {
            if let Pending::Stream { offset, body } = pending {
                state.stream.commit(*offset, Arc::clone(body));
                moved = true;
            }
        }
        if moved {
            state.stream.wake();
        }
        state.backlog.written(lot)
    };
    settle(confirms, &Ok(()));
    Ok(())
}

fn settle(confirms: Vec<ConfirmSender>, outcome: &Result<(), BrokerError>) {
    for confirm in confirms {
        let _ = confirm.send(outcome.clone()); // Fails when nobody waits for it.
    }
}
