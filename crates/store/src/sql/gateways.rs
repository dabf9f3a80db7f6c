//! Gateway instances, as they tell of themselves.

use std::time::Duration;

use wire::view::{GatewayView, WorkerView};

use super::{Details, SqlStore, connection::query, micros, now, rows, writer::Rank};
use crate::{Answer, Gateways, StoreError};

impl<D: Details> Gateways for SqlStore<D> {
    fn put_gateway<'a>(&'a self, instance: &'a str, workers: &'a [WorkerView]) -> Answer<'a, ()> {
        let instance = instance.to_owned();
        let workers = serde_json::to_string(workers).map_err(|failure| StoreError::Corrupt(failure.to_string()));
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?;
                query(
                    "INSERT INTO gateways (instance, workers, heard_at) VALUES (?, ?, ?) ON CONFLICT (instance) \
                     DO UPDATE SET workers = excluded.workers, heard_at = excluded.heard_at",
                )
                .bind(&instance)
                .bind(workers?)
                .bind(now.0)
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn gateway_left<'a>(&'a self, instance: &'a str) -> Answer<'a, ()> {
        let instance = instance.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("UPDATE gateways SET heard_at = 0 WHERE instance = ?")
                    .bind(&instance)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        }))
    }

    fn forget_gateway<'a>(&'a self, instance: &'a str) -> Answer<'a, ()> {
        let instance = instance.to_owned();
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                query("DELETE FROM gateways WHERE instance = ?").bind(&instance).execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn gateways(&self, period: Duration) -> Answer<'_, Vec<GatewayView>> {
        Box::pin(async move {
            let mut snapshot = self.snapshot().await?;
            let heard_since = now(&mut snapshot).await?.plus_micros(-micros(period)).0;
            let found = query("SELECT instance, workers, heard_at FROM gateways ORDER BY instance")
                .fetch_all(&mut snapshot)
                .await?;
            found
                .iter()
                .map(|row| {
                    let workers: String = row.try_get(1)?;
                    let heard_at = rows::time(row, 2)?;
                    Ok(GatewayView {
                        instance: row.try_get(0)?,
                        workers: serde_json::from_str(&workers)
                            .map_err(|failure| StoreError::Corrupt(format!("the workers of a gateway: {failure}")))?,
                        heard_at,
                        alive: heard_at.0 >= heard_since,
                    })
                })
                .collect()
        })
    }
}
