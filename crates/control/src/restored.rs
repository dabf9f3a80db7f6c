//! Attempts that ran when a backup was taken, once the store was restored from it: nobody runs them any more. Who held
//! them may have gone on after the backup, in a time that did not come back, so their topics are closed where the backup
//! knows them, and the next attempts are of the new epoch.

use std::time::Duration;

use store::Store;

use crate::{
    ControlError,
    claims::take_back,
    graph::{Loss, LossCause},
};

/// Attempts looked for at once.
const BATCH: u32 = 100;

/// Takes back every attempt that the store has as running; its jobs are queued again, and no loss counts. Gives how many
/// there were. All leases must have run out, as [`store::Anew::begin_anew`] leaves them, and no executor may run.
///
/// # Errors
/// See [`ControlError`].
pub async fn take_back_all(store: &dyn Store) -> Result<u64, ControlError> {
    let executors = store.executors(Duration::ZERO).await?;
    let mut count = 0;
    loop {
        let running = store.expired_jobs(BATCH).await?;
        for attempt in &running {
            let holder = executors.iter().find(|executor| executor.running.contains(&attempt.lease.job));
            let loss = Loss {
                cause: LossCause::Restored,
                executor_name: holder.map_or_else(|| "unknown".to_owned(), |executor| executor.name.clone()),
                reason: "the installation was restored from a backup that was taken while it ran".to_owned(),
            };
            take_back(store, attempt.build, attempt.lease, loss).await?;
        }
        count += running.len() as u64;
        if running.len() < BATCH as usize {
            return Ok(count);
        }
    }
}
