//! How a process hears that another one has written to the outbox.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

use super::address::Address;

const CHANNEL: &str = "stepcast_outbox";

/// How long is waited after a connection that could not be made: the first time, and at most.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Notifies and commits: who listens hears of it after the commit. A store does not listen to itself.
pub(super) fn commit(store: Uuid) -> String {
    format!("NOTIFY {CHANNEL}, '{store}'; COMMIT")
}

/// Raises `announced` for what others notify, and after each time in which something may have been missed.
pub(super) async fn listen(address: Address, own: Uuid, announced: watch::Sender<u64>) {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(address.options().clone());
    let own = own.to_string();
    let raise = || announced.send_modify(|count| *count = count.wrapping_add(1));
    let mut back_off = BACK_OFF;
    loop {
        let failure = match hear(&pool, &own, &raise, &mut back_off).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if back_off == BACK_OFF {
            tracing::warn!(%failure, "the database's signals are not heard: they are listened for again");
        }
        sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

async fn hear(
    pool: &sqlx::PgPool,
    own: &str,
    raise: &impl Fn(),
    back_off: &mut Duration,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    *back_off = BACK_OFF;
    raise();
    loop {
        match listener.try_recv().await? {
            Some(notification) if notification.payload() == own => {}
            // Nothing means that the connection was lost and made anew.
            Some(_) | None => raise(),
        }
    }
}
