//! The relay: publishes what the outbox holds, in order, until the broker confirms; then the rows are forgotten. A row
//! that was published but not forgotten is published again after a restart: readers drop what they have (P1).

use std::{collections::HashSet, sync::Arc, time::Duration};

use broker::{
    Broker, BrokerError, Confirm, Outgoing,
    topology::{self, Exchange},
};
use store::{
    Store,
    model::{Outbound, OutboxRow},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;
use wire::{LabelSet, mac::EventKey, task};

use crate::replies;

/// Rows that are read at once.
const ROWS_MAX: u32 = 500;
/// Published rows whose confirm is still awaited: with more than that the relay reads no further.
const UNCONFIRMED_MAX: usize = 5_000;
/// The wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Runs the relay until `shutdown`. `key` is control's: it signs what is said of builds.
pub(crate) async fn run(broker: Arc<dyn Broker>, store: Arc<dyn Store>, key: EventKey, shutdown: CancellationToken) {
    loop {
        let failure = tokio::select! {
            () = shutdown.cancelled() => return,
            failure = relay(&broker, &store, &key) => failure,
        };
        error!(%failure, "the relay stands still and tries again from the first row that is not confirmed");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// A row on its way.
struct Published {
    row: i64,
    /// It is published again until it is confirmed.
    must_arrive: bool,
    confirm: Confirm,
}

/// Publishes from the oldest row on, until something fails. Rows are forgotten as their confirms come.
async fn relay(broker: &Arc<dyn Broker>, store: &Arc<dyn Store>, key: &EventKey) -> String {
    let (published, confirms) = mpsc::channel(UNCONFIRMED_MAX);
    let publishing = publish_all(&**broker, &**store, key, published);
    let forgetting = forget_confirmed(&**store, confirms);
    tokio::select! {
        failure = publishing => failure,
        failure = forgetting => failure,
    }
}

async fn publish_all(
    broker: &dyn Broker,
    store: &dyn Store,
    key: &EventKey,
    published: mpsc::Sender<Published>,
) -> String {
    let mut changed = store.outbox_changed();
    let mut known = HashSet::new();
    let mut last = 0;
    loop {
        changed.mark_unchanged();
        let rows = match store.outbox(last, ROWS_MAX).await {
            Ok(rows) => rows,
            Err(failure) => return failure.to_string(),
        };
        if rows.is_empty() && changed.changed().await.is_err() {
            return "the store was closed".to_owned();
        }
        for row in rows {
            last = row.id;
            // Control tops hints up, a renewal tells what a notice would have, and a callback without a receipt is sent
            // again from the record of replies: they need not come again from here.
            let must_arrive = matches!(row.outbound, Outbound::Event { .. });
            let confirm = match publish(broker, key, &mut known, row.outbound).await {
                Ok(confirm) => confirm,
                Err(failure) => return failure.to_string(),
            };
            if published.send(Published { row: row.id, must_arrive, confirm }).await.is_err() {
                return "the relay's confirms are not read any more".to_owned();
            }
        }
    }
}

/// Publishes one row. The queue of a label set is declared before the first hint for it, so that none is lost.
async fn publish(
    broker: &dyn Broker,
    key: &EventKey,
    known: &mut HashSet<LabelSet>,
    outbound: Outbound,
) -> Result<Confirm, BrokerError> {
    let message = match outbound {
        Outbound::Event { server_id, mut message } => {
            message.mac = Some(key.sealed(&message));
            Outgoing::event(server_id.as_ref(), message.topic, message.encode())
        }
        Outbound::Hint { label_set } => {
            if !known.contains(&label_set) {
                broker.declare(&topology::tasks(&label_set)).await?;
                known.insert(label_set.clone());
            }
            Outgoing::new(Exchange::Tasks, label_set.to_string(), task::to_bytes(task::Hint { label_set }))
        }
        Outbound::Notice { executor, notice } => {
            Outgoing::new(Exchange::Direct, topology::executor(executor).name, task::to_bytes(notice))
        }
        Outbound::Callback { server_id, message_id, body } => replies::callback(&server_id, message_id, body),
    };
    Ok(broker.publish(message))
}

async fn forget_confirmed(store: &dyn Store, mut confirms: mpsc::Receiver<Published>) -> String {
    let mut batch = Vec::new();
    let mut done = Vec::new();
    loop {
        if confirms.recv_many(&mut batch, ROWS_MAX as usize).await == 0 {
            return "the relay publishes no more".to_owned();
        }
        for Published { row, must_arrive, confirm } in batch.drain(..) {
            match confirm.await {
                Err(failure) if must_arrive => return failure.to_string(),
                Err(_) | Ok(()) => done.push(row),
            }
        }
        if let Err(failure) = store.outbox_done(&done).await {
            return failure.to_string();
        }
        done.clear();
    }
}

/// Rows that still wait, for `/metrics`.
pub(crate) async fn waiting(store: &dyn Store) -> Result<usize, store::StoreError> {
    let rows: Vec<OutboxRow> = store.outbox(0, ROWS_MAX).await?;
    Ok(rows.len())
}
