//! Ask over the broker and wait for the answer: one private reply queue for each requester, answers matched by
//! correlation id. At most once each; whoever needs more repeats the request, which is why every request may be repeated.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

use crate::{Broker, BrokerError, ConsumeOptions, Incoming, Outgoing, topology};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody answered in time.
    #[error("nobody answered on {queue} within {patience:?}")]
    NoAnswer {
        /// Who was asked.
        queue: String,
        /// How long it waited.
        patience: Duration,
    },
    /// See [`BrokerError`].
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Incoming>>>>;

/// Asks, and matches answers to questions.
pub struct Requester {
    broker: Arc<dyn Broker>,
    reply_to: String,
    // A std mutex: held for a map operation, never across an await.
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Requester {
    /// Declares the reply queue and begins to read it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn start(broker: Arc<dyn Broker>) -> Result<Self, BrokerError> {
        let queue = topology::reply();
        broker.declare(&queue).await?;
        let options = ConsumeOptions { prefetch: 1000, exclusive: true };
        let mut consumer = broker.consume(&queue.name, options).await?;
        let waiting = Waiting::default();
        let reader = tokio::spawn({
            let waiting = Arc::clone(&waiting);
            async move {
                while let Some(delivery) = consumer.next().await {
                    let message = delivery.message.clone();
                    delivery.ack();
                    let asked = message
                        .correlation_id
                        .as_deref()
                        .and_then(|id| waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
                    if let Some(asked) = asked {
                        let _ = asked.send(message); // Fails when the requester's patience ended just now.
                    }
                }
            }
        });
        Ok(Self { broker, reply_to: queue.name, waiting, reader })
    }

    /// Sends `body` to `queue` and waits for the answer.
    ///
    /// # Errors
    /// When the broker cannot take it or nobody answers within `patience`.
    pub async fn request(&self, queue: &str, body: Vec<u8>, patience: Duration) -> Result<Incoming, RequestError> {
        let correlation_id = Uuid::new_v4().to_string();
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation_id.clone(), sender);
        let _forget = Forget { waiting: &self.waiting, id: &correlation_id };
        let mut message = Outgoing::new(topology::Exchange::Direct, queue, body);
        message.correlation_id = Some(correlation_id.clone());
        message.reply_to = Some(self.reply_to.clone());
        message.mandatory = true;
        let confirm = self.broker.publish(message);
        let answer = async {
            tokio::pin!(receiver);
            tokio::select! {
                answer = &mut receiver => return answer.map_err(|_| closed()),
                confirmed = confirm => confirmed?,
            }
            receiver.await.map_err(|_| closed())
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RequestError::NoAnswer { queue: queue.to_owned(), patience }),
        }
    }
}

fn closed() -> BrokerError {
    BrokerError::Unavailable("the reply queue was closed".to_owned())
}

/// Takes the place of a request away when it ends, however it ends.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Answers a request, if it asked for an answer.
pub fn answer(broker: &dyn Broker, request: &Incoming, body: Vec<u8>) {
    let Some(reply_to) = &request.reply_to else { return };
    let mut message = Outgoing::new(topology::Exchange::Direct, reply_to.clone(), body);
    message.correlation_id.clone_from(&request.correlation_id);
    // The requester asks again when this is lost.
    drop(broker.publish(message));
}
