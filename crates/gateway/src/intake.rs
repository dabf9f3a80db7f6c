//! A worker's queue at the broker: declared, consumed exclusively, and brought to the worker in batches.
//!
//! **Queues that cannot be had.** Two processes with one name are noticed at once, because a queue is consumed
//! exclusively. If the queue cannot be declared (its node is down, its arguments changed), another one with the same
//! bindings takes its place: the server id from its declaration, the rest by the worker as soon as it hears
//! [`Event::Consuming`]. If its consumer ends, everything begins anew, with a pause that grows.

use std::{sync::Arc, time::Duration};

use broker::{Broker, BrokerError, ConsumeOptions, Consumer, Incoming, Outgoing, topology};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    bindings::Step,
    worker::{Context, Event},
};

/// The first pause before something is tried again at the broker.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Pauses double up to this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The correlation id of fences: see [`carry_out`].
const FENCE: &str = "unbound";

/// Whether the worker has a queue.
#[derive(Clone, Debug)]
pub(crate) enum QueueState {
    /// Not tried yet.
    Starting,
    /// It consumes this one.
    Held {
        queue: String,
        /// The queue whose place it takes, where that can be unbound: it is kept by a node that is down, and would have the
        /// broker refuse what is routed to it.
        instead_of: Option<String>,
    },
    /// Not now; it is tried again.
    Refused(BrokerError),
}

/// Brings deliveries to the worker until its life ends.
pub(crate) async fn run(context: Arc<Context>, inbox: mpsc::Sender<Event>, life: CancellationToken) {
    let main = topology::gateway(&context.server_id, context.config.affinity);
    let mut spare = main.clone();
    spare.name = format!("{}.{}", main.name, Uuid::new_v4().simple());
    let mut pauses = Pauses::default();
    let work = async {
        let mut again = false;
        loop {
            match open(&*context.broker, &main, &spare, context.config.limits.prefetch).await {
                Ok((queue, instead_of, consumer)) => {
                    info!(server_id = %context.server_id, queue, "the worker consumes its queue");
                    context.queue.send_replace(QueueState::Held { queue, instead_of });
                    if inbox.send(Event::Consuming { again }).await.is_err() {
                        return;
                    }
                    again = true;
                    if consume(consumer, &inbox, context.config.limits.delivery_batch_max).await {
                        pauses = Pauses::default();
                    }
                    let gone = BrokerError::Unavailable("the consumer was ended by the broker".to_owned());
                    warn!(server_id = %context.server_id, "the broker ended the worker's consumer: it tries again");
                    context.queue.send_replace(QueueState::Refused(gone));
                }
                Err(error) => {
                    if pauses.is_first() {
                        warn!(server_id = %context.server_id, %error, "the worker cannot have its queue: it tries again");
                    }
                    context.queue.send_replace(QueueState::Refused(error));
                }
            }
            pauses.wait().await;
        }
    };
    tokio::select! {
        () = life.cancelled() => {}
        () = work => {}
    }
}

/// A consumer of the main queue, or of the spare one if the main one cannot be declared: if its node is down it is unbound where
/// the broker lets us. What is in it stays, and when its node is back reaches who keeps callbacks.
async fn open(
    broker: &dyn Broker,
    main: &topology::Queue,
    spare: &topology::Queue,
    prefetch: u16,
) -> Result<(String, Option<String>, Consumer), BrokerError> {
    let (queue, instead_of) = match broker.declare(main).await {
        Ok(()) => (main, None),
        // It lives, and somebody may consume it: who declared it so keeps what is bound to it.
        Err(error @ BrokerError::Differs(_)) => {
            broker.declare(spare).await.map_err(|_| error)?;
            (spare, None)
        }
        Err(error) => {
            // When nothing can be declared, the first reason tells more.
            broker.declare(spare).await.map_err(|_| error)?;
            let mut is_unbound = true;
            for key in &main.bindings {
                is_unbound &= broker.unbind(&main.name, key).await.is_ok();
            }
            (spare, is_unbound.then(|| main.name.clone()))
        }
    };
    let consumer = broker.consume(&queue.name, ConsumeOptions { prefetch, exclusive: true }).await?;
    Ok((queue.name.clone(), instead_of, consumer))
}

/// Batches until the consumer or the worker ends. Whether there was any.
async fn consume(mut consumer: Consumer, inbox: &mpsc::Sender<Event>, batch_max: usize) -> bool {
    let mut any = false;
    while let Some(first) = consumer.next().await {
        any = true;
        let mut batch = vec![first];
        while batch.len() < batch_max
            && let Some(next) = consumer.try_next()
        {
            batch.push(next);
        }
        if inbox.send(Event::Deliveries(batch)).await.is_err() {
            break;
        }
    }
    any
}

/// Binds or unbinds a key of the worker's queue, however often it takes, and reports it to the worker.
///
/// An unbinding is reported through the queue: a message of that name, the fence, is put there when the binding is gone.
/// What came by the key is in front of it. A report past the queue could overtake an event that was routed before the
/// unbinding; if the key was bound again meanwhile, the event would pass for one that came by the new binding, with
/// nothing missed in between.
pub(crate) async fn carry_out(
    context: Arc<Context>,
    step: Step,
    fence: Uuid,
    inbox: mpsc::Sender<Event>,
    era: CancellationToken,
) {
    let work = async {
        let mut pauses = Pauses::default();
        let mut state = context.queue.subscribe();
        loop {
            let (name, instead_of) =
                match state.wait_for(|state| matches!(state, QueueState::Held { .. })).await.as_deref() {
                    Ok(QueueState::Held { queue, instead_of }) => (queue.clone(), instead_of.clone()),
                    _ => return,
                };
            let result = if step.bind {
                let bound = context.broker.bind(&name, &step.key).await;
                if let (Ok(()), Some(main)) = (&bound, instead_of) {
                    let _ = context.broker.unbind(&main, &step.key).await; // It was bound by this key, or was not.
                }
                bound
            } else {
                unbind(&*context.broker, &name, &step.key, fence).await
            };
            match result {
                Ok(()) if step.bind => break,
                Ok(()) => return, // The worker hears of it from its queue.
                Err(BrokerError::NoQueue(_) | BrokerError::Unroutable(_)) if !step.bind => break,
                Err(error) if pauses.is_first() => {
                    warn!(queue = %name, key = %step.key, bind = step.bind, %error, "a binding cannot be changed: trying again");
                }
                Err(_) => {}
            }
            pauses.wait().await;
        }
        // Fails when the worker's life ended: then nobody waits for it.
        let _ = inbox.send(Event::Settled(step)).await;
    };
    // In this order: a step that waited for a queue must not begin when there is one, if the steps for that one have
    // begun. An unbinding would undo the binding that was made again, and nothing would tell.
    tokio::select! {
        biased;
        () = era.cancelled() => {}
        () = work => {}
    }
}

async fn unbind(broker: &dyn Broker, queue: &str, key: &str, fence: Uuid) -> Result<(), BrokerError> {
    broker.unbind(queue, key).await?;
    let mut message = Outgoing::new(topology::Exchange::Direct, queue, b"{}".to_vec());
    message.message_id = fence;
    message.correlation_id = Some(FENCE.to_owned());
    // In the form of a request it is not written to the disk: after a restart nobody needs it.
    message.reply_to = Some(queue.to_owned());
    message.mandatory = true;
    broker.publish(message).await
}

/// Whether a message is a fence: see [`carry_out`]. Others cannot be taken for one: they come by other keys.
pub(crate) fn is_fence(message: &Incoming) -> bool {
    message.correlation_id.as_deref() == Some(FENCE) && message.reply_to.as_ref() == Some(&message.key)
}

/// Pauses that double.
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(RETRY_PAUSE_MIN)
    }
}

impl Pauses {
    /// Whether nothing failed before.
    pub(crate) fn is_first(&self) -> bool {
        self.0 == RETRY_PAUSE_MIN
    }

    /// Waits, longer each time.
    pub(crate) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_PAUSE_MAX);
    }
}
