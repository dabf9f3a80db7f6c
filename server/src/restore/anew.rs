//! What a restored installation must forget, so that nobody takes what comes for what they have.
//!
//! After the backup was taken its installation went on: builds got further events, jobs ran further attempts, and pages
//! may have seen them. None of that happened here, and other things will happen under the same names. So each topic begins
//! a new epoch: greater than any that a reader can know, because it counts the seconds of this moment. A second
//! restore of the same backup has a later one.
//!
//! - **Builds.** First the record takes in what the backup's stream and outbox hold, so that a build's topic is whole; then all
//!   of it moves to the new epoch, and goes on behind its last offset there. A page that comes back with a position of the
//!   former epoch is told of a gap, whatever its offset, and reads the record.
//! - **Jobs.** Attempts stay as they are recorded. The next one of every job, one that was queued or finished included,
//!   is at least the new epoch: attempt 2 may have been seen already, with other lines. What ran is closed where the backup
//!   knows it and runs again; it does not count as lost.
//! - **The stream** is another one, and empty: consumer groups begin with it, the record being whole. Messages for
//!   sockets, executors and control are dropped: nobody waits for them. Dead letters and callbacks that nobody took stay.
//! - **The outbox** stays, under the new epoch: what is published once more is a repeat to the record.

use std::{path::PathBuf, time::Duration};

use broker::topology;
use clap::Args;
use projections::{
    recorder::{GROUP, genuine},
    restate,
};
use store::{
    Store,
    model::{Outbound, RecordBatch},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use wire::{EventMessage, Timestamp, mac::InstallationKey};

use crate::{
    backend::{self, open_store_alone},
    config::{
        backend::{self as choice, StoreChoice},
        data_dir::DataDir,
    },
};

/// Events that are recorded at once.
const BATCH: u32 = 256;
/// 2026-01-01T00:00:00Z in seconds: epochs count from there, so that they stay short.
const EPOCHS_FROM_SECONDS: i64 = 1_767_225_600;
/// Named leases that whoever works holds.
const PARTS: [&str; 4] = ["control", "relay", "recorder", "retention"];
/// How long they are held here.
const HOLD: Duration = Duration::from_secs(60);
/// The turn of a process that was killed a moment ago takes less to run out; one that lives goes on.
const FORMER: Duration = Duration::from_secs(8);
/// It is asked for this often.
const LOOK: Duration = Duration::from_millis(200);

/// Options of `stepcast begin-anew`.
#[derive(Args)]
pub(crate) struct AnewOptions {
    /// The data folder of the server.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// The store of the server, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = choice::parse::<StoreChoice>)]
    store: StoreChoice,
}

/// `stepcast begin-anew`: for a database that was restored by other means than `stepcast restore`. Nothing of Stepcast may
/// run on it.
pub(crate) async fn begin(options: AnewOptions) -> Result<(), String> {
    let data_dir = match options.store {
        StoreChoice::Sqlite => DataDir::existing(&options.data_dir)?,
        StoreChoice::Postgres(_) => DataDir::open(&options.data_dir)?,
    };
    let store = open_store_alone(&options.store, &data_dir).await?;
    let (holder, until) = (Uuid::new_v4(), Instant::now() + FORMER);
    for part in PARTS {
        while store.hold(part, holder, HOLD).await.map_err(|failure| failure.to_string())?.is_none() {
            if Instant::now() > until {
                return Err("a process of Stepcast works with this database: stop all of them first".to_owned());
            }
            sleep(LOOK).await;
        }
    }
    let key = backend::installation_key(&options.store, &*store, &data_dir).await?;
    println!("{}", of(&*store, &key, crate::restore::clock()).await?);
    Ok(())
}

/// Lets a restored store begin anew, and tells what that came to in one sentence or two.
pub(super) async fn of(store: &dyn Store, key: &InstallationKey, now: Timestamp) -> Result<String, String> {
    let told = |failure: store::StoreError| format!("the restored database cannot be used: {failure}");
    record_stream(store, key).await.map_err(told)?;
    record_outbox(store).await.map_err(told)?;
    let kept = [topology::DEAD, topology::UNROUTED];
    let epoch = store.begin_anew(epoch(now), &kept).await.map_err(told)?;
    // What the stream of another broker held and the record had not read is not here: nothing may wait for it.
    restate::make_good(store, GROUP).await.map_err(told)?;
    let again = control::restored::take_back_all(store).await.map_err(|failure| failure.to_string())?;
    let jobs = match again {
        0 => "No job was running then.".to_owned(),
        1 => "A job that was running then runs again.".to_owned(),
        many => format!("{many} jobs that were running then run again."),
    };
    Ok(format!("{jobs} Attempts go on from number {epoch}, so that no page takes one for another that it has seen."))
}

/// Whole seconds of `now`, from the year 2026 on; above the first epoch in any case.
fn epoch(now: Timestamp) -> u32 {
    u32::try_from(now.millis() / 1000 - EPOCHS_FROM_SECONDS).unwrap_or(0).max(2)
}

/// Events for the record. The place goes with the groups, a moment later.
fn batch(events: Vec<EventMessage>) -> RecordBatch {
    RecordBatch { group: "restore".to_owned(), incarnation: Uuid::nil(), offset: 0, events }
}

/// What the embedded broker's stream holds. Most of it is recorded already, and a repeat has no effect.
async fn record_stream(store: &dyn Store, key: &InstallationKey) -> Result<(), store::StoreError> {
    let mut from = 0;
    loop {
        let entries = store.journal_read(from, BATCH).await?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        from = last + 1;
        // What is not genuine was refused by the recorder, or would have been.
        let events = entries.iter().filter_map(|(_, body)| genuine(key, body).ok()).collect();
        store.record(batch(events)).await?;
    }
}

/// What was not published yet.
async fn record_outbox(store: &dyn Store) -> Result<(), store::StoreError> {
    let mut after = 0;
    loop {
        let rows = store.outbox(after, BATCH).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        let event = |row: store::model::OutboxRow| match row.outbound {
            Outbound::Event { message, .. } => Some(*message),
            Outbound::Hint { .. } | Outbound::Notice { .. } | Outbound::Callback { .. } => None,
        };
        store.record(batch(rows.into_iter().filter_map(event).collect())).await?;
    }
}
