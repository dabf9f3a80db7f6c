//! Callbacks that no worker took: kept by client id until the client attaches somewhere, for at most [`KEEP`].
//!
//! Events that nobody took need no keeping: they are in the stream and in the record, where a returning client reads what
//! it missed.

use std::{sync::Arc, time::Duration};

use broker::{Broker, BrokerError, Delivery, Incoming, Origin, Outgoing, topology};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use store::{Store, model::KeptCallback};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{Callback, ClientId, GatewayMessage, dead_letter::name_of};

use crate::{ControlError, attached, dead_letters, service::Consumers};

/// How long a callback waits for its client: a day, so that a laptop may sleep over night.
pub const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages that are looked at before the first of them is settled.
const PREFETCH: u16 = 64;

/// Keeps callbacks until `shutdown`.
pub(crate) async fn run(broker: &dyn Broker, store: &dyn Store, shutdown: &CancellationToken) {
    let mut later = FuturesUnordered::new();
    let mut consumers = Consumers::of(broker, topology::unrouted(), PREFETCH, shutdown);
    while let Some(mut consumer) = consumers.next().await {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => return,
                Some(_) = later.next() => continue,
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            if let Some(notice) = attached::notice(&delivery.message) {
                if !attached::hand_over(&notice, broker, store).await {
                    break;
                }
                delivery.ack();
                later.push(async move {
                    tokio::time::sleep(attached::LOOK_AGAIN).await;
                    attached::hand_over(&notice, broker, store).await
                });
                continue;
            }
            if !keep(broker, store, delivery).await {
                break;
            }
        }
    }
}

/// Keeps one message; false when the store cannot: then the consumer is dropped, and the message comes again later.
pub(crate) async fn keep(broker: &dyn Broker, store: &dyn Store, delivery: Delivery) -> bool {
    let message = &delivery.message;
    let callbacks = match GatewayMessage::decode(&message.body) {
        Ok(GatewayMessage::Callback(callback)) => vec![(message.message_id, callback, message.body.to_vec())],
        Ok(GatewayMessage::Callbacks(batch)) => {
            let mut callbacks = Vec::new();
            for (n, element) in batch.into_iter().enumerate() {
                let id = Callback::id_in_batch(message.message_id, n);
                match element {
                    Ok(callback) => {
                        let body = callback.encode();
                        callbacks.push((id, callback, body));
                    }
                    Err(refused) => {
                        let origin = origin(message);
                        if !bury(broker, id, refused.body.get().as_bytes().into(), refused.reason, origin).await {
                            return false;
                        }
                    }
                }
            }
            callbacks
        }
        Ok(GatewayMessage::Event(_) | GatewayMessage::Recorded(_)) => {
            delivery.ack();
            return true;
        }
        Err(error) => {
            tracing::warn!(%error, key = message.key, "a message that nobody took cannot be read and goes to the dead letters");
            // Published, not rejected: this queue is where others' rejected messages come, and what is rejected here is lost.
            let reason = format!("nobody took it under the key {}, and it cannot be kept: {error}", message.key);
            let (id, origin) = if dead_letters::names_a_topic(message) {
                // The recorder cannot read it either: one letter, and its way back leads to the stream.
                (name_of(&message.body), Origin::named(topology::EVENTS))
            } else {
                (message.message_id, origin(message))
            };
            let is_buried = bury(broker, id, Arc::clone(&message.body), reason, origin).await;
            if is_buried {
                delivery.ack();
            }
            return is_buried;
        }
    };
    let mut elsewhere = Vec::new();
    for (message_id, callback, body) in callbacks {
        let (client, reply_to) = (callback.client_id, message.reply_to.clone());
        let kept = KeptCallback { message_id, client, reply_to, body, times: 1 };
        if let Err(error) = store.keep_callback(&kept, KEEP).await {
            tracing::warn!(%error, %client, "a callback cannot be kept now: trying again");
            return false;
        }
        tracing::debug!(%client, "nobody took a callback: it is kept");
        // Addressed to a worker that is gone: its client may have come back elsewhere by now. What was sent to the client
        // itself has found nobody; it waits.
        if ![topology::client_key(client).as_str(), topology::UNROUTED].contains(&&*message.key) {
            elsewhere.push(client);
        }
    }
    delivery.ack();
    for client in elsewhere {
        deliver_kept(broker, store, client, &topology::client_key(client)).await;
    }
    true
}

/// Where what came to this queue came from: it died in a gateway's queue, or `utils` knew no queue for its key, or it was
/// published to this queue by name.
fn origin(message: &Incoming) -> Origin {
    let here = || match &*message.key {
        topology::UNROUTED => Origin::named(topology::UNROUTED),
        key => Origin::utils(key),
    };
    message.origin.clone().unwrap_or_else(here)
}

/// Makes a dead letter of what is no callback; false when the broker does not take it now.
async fn bury(broker: &dyn Broker, id: Uuid, body: Arc<[u8]>, reason: String, origin: Origin) -> bool {
    let mut letter = Outgoing::dead(body, reason, origin);
    letter.message_id = id;
    let buried = broker.publish(letter).await;
    buried.inspect_err(|error| tracing::warn!(%error, "a dead letter is not taken now: trying again")).is_ok()
}

/// Hands everything that is kept for `client` to the exchange `utils` under `key`, oldest first, and forgets what the
/// broker has taken. A failure is logged; what was not confirmed stays kept, and may arrive twice under the same message id.
pub async fn deliver_kept(broker: &dyn Broker, store: &dyn Store, client: ClientId, key: &str) {
    if let Err(error) = hand_over(broker, store, client, key).await {
        tracing::warn!(%error, %client, "kept callbacks cannot be handed over now: they stay until the client attaches again");
    }
}

async fn hand_over(broker: &dyn Broker, store: &dyn Store, client: ClientId, key: &str) -> Result<(), ControlError> {
    for kept in store.kept_callbacks(client).await? {
        let mut message = Outgoing::new(topology::Exchange::Utils, key, kept.body.clone());
        message.message_id = kept.message_id;
        message.reply_to.clone_from(&kept.reply_to);
        message.mandatory = true;
        match broker.publish(message).await {
            // What no socket takes comes back through `unrouted`: if it was kept anew by now, it stays.
            Ok(()) => store.forget_callback(&kept).await?,
            Err(BrokerError::Unroutable(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
