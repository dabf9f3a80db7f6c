//! Receipts for the results of builds: a client's word, carried back by its gateway, that the callback with its build's end
//! arrived. A receipt may come twice, or for a build that is gone: then nothing happens.

use broker::{Broker, Incoming, Outgoing, topology};
use store::Store;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::task::{PipelineChanged, to_bytes};

use crate::service::Consumers;

/// Receipts that are looked at before the first of them is settled.
const PREFETCH: u16 = 64;

/// Writes receipts down until `shutdown`.
pub(crate) async fn run(broker: &dyn Broker, store: &dyn Store, shutdown: &CancellationToken) {
    let mut consumers = Consumers::of(broker, topology::receipts(), PREFETCH, shutdown);
    while let Some(mut consumer) = consumers.next().await {
        loop {
            let delivery = tokio::select! {
                () = shutdown.cancelled() => return,
                delivery = consumer.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            let Some(message_id) = named(&delivery.message) else {
                delivery.reject("it is no receipt: its correlation id is not the id of a message");
                continue;
            };
            match store.receipt(message_id).await {
                Ok(received) => {
                    if let Some((build, pipeline)) = received {
                        tracing::debug!(%build, "the result has arrived");
                        // A hint: open pages look again.
                        let hint = to_bytes(PipelineChanged { pipeline });
                        drop(broker.publish(Outgoing::new(topology::Exchange::Utils, topology::PIPELINES, hint)));
                    }
                    delivery.ack();
                }
                Err(error) => {
                    tracing::warn!(%error, "a receipt cannot be written down now: trying again");
                    break;
                }
            }
        }
    }
}

/// The callback that a receipt is for.
fn named(message: &Incoming) -> Option<Uuid> {
    message.correlation_id.as_deref()?.parse().ok()
}
