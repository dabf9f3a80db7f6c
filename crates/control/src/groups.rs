//! What control does for concurrency groups: it ends those whose turn a newer build has taken. Who has a place, and who was
//! superseded, is decided in the store's transactions ([`store::concurrency`]); that such a one is still there for a moment
//! is harmless, because it gets no place.

use store::{ChangeError, Store, concurrency::Superseded};

use crate::{ControlError, graph};

/// Ended in one transaction each, between two looks at the rest.
const BATCH: u32 = 100;

/// Ends all that were superseded, here or by another process.
pub(crate) async fn end_superseded(store: &dyn Store) -> Result<(), ControlError> {
    loop {
        let superseded = store.superseded(BATCH).await?;
        for Superseded { build, job, by } in &superseded {
            let (job, reason) = (*job, by.clone());
            let decide = move |build: &mut store::model::Build, now| graph::supersede(build, job, &reason, now);
            match store.change_build(*build, Box::new(decide)).await {
                Ok(ended) => {
                    let (number, pipeline) = (ended.number, &ended.pipeline);
                    tracing::info!(%build, %pipeline, number, by, "a build or job was superseded");
                }
                // It has ended by itself meanwhile, or another process has asked for its end.
                Err(ChangeError::Refused(_) | ChangeError::NoBuild(_)) => {}
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
        if superseded.len() < BATCH as usize {
            return Ok(());
        }
    }
}
