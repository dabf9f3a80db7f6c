//! Clients that came back: what was kept for them is handed over.
//!
//! Who holds the client says so through the queue of what nobody took, behind every callback that was passed on before the
//! client could be reached: whoever reads that queue has kept those by then. Said past the queue, it could overtake them, and
//! they would wait until the client comes back once more. Several processes read the queue; so it is looked a second time, for
//! what another one had in hand.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker::{Broker, Incoming, Outgoing, topology};
use store::Store;
use wire::{ClientId, ServerId, SocketMeta, callback::Attached};

use crate::callbacks::deliver_kept;

/// The correlation id of the notice.
const ATTACHED: &str = "attached";
/// So long clients are gathered: ten thousand that come back at once are told of in few messages.
const GATHER: Duration = Duration::from_millis(20);
/// After this nothing is in hand any more that was taken before.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Clients in one notice.
const NOTICE_CLIENTS_MAX: usize = 1000;

/// Tells of clients that attached in this process.
pub struct Attachments {
    broker: Arc<dyn Broker>,
    /// Those that are gathered. A std mutex: held to push or take.
    waiting: Mutex<Vec<SocketMeta>>,
}

impl Attachments {
    /// Over this broker.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, waiting: Mutex::default() }
    }

    /// A client attached at a worker and can be reached there. Resolves when that was said, or will be by another call.
    pub async fn tell(&self, client_id: ClientId, server_id: ServerId) {
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(SocketMeta { client_id, server_id });
            waiting.len() == 1
        };
        if !is_first {
            return;
        }
        tokio::time::sleep(GATHER).await;
        let gathered = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for attached in gathered.chunks(NOTICE_CLIENTS_MAX) {
            let body = Attached::new(attached.to_vec()).encode();
            let mut message = Outgoing::new(topology::Exchange::Direct, topology::UNROUTED, body);
            message.correlation_id = Some(ATTACHED.to_owned());
            if let Err(error) = self.broker.publish(message).await {
                let clients = attached.len();
                tracing::warn!(%error, clients, "what is kept for clients that came back stays until they come again");
            }
        }
    }
}

/// The clients that a message tells of; none if it is not such a message.
pub(crate) fn notice(message: &Incoming) -> Option<Attached> {
    let is_notice = message.correlation_id.as_deref() == Some(ATTACHED);
    if is_notice { Attached::decode(&message.body).ok() } else { None }
}

/// Hands over what is kept for these clients; false when the store cannot say it now.
pub(crate) async fn hand_over(notice: &Attached, broker: &dyn Broker, store: &dyn Store) -> bool {
    let clients: Vec<ClientId> = notice.attached.iter().map(|at| at.client_id).collect();
    match store.clients_with_callbacks(&clients).await {
        Ok(waiting) => {
            for at in notice.attached.iter().filter(|at| waiting.contains(&at.client_id)) {
                deliver_kept(broker, store, at.client_id, at.server_id.as_str()).await;
            }
            // Their results whose receipt is missing come again, under the same ids.
            if let Err(error) = store.resend_replies(&clients).await {
                tracing::warn!(%error, "results without a receipt come again later than now");
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "what is kept for clients that came back cannot be read now: trying again");
            false
        }
    }
}
