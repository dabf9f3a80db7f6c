//! Ask over the broker and wait for the answer: one private reply queue for each requester, answers matched by
//! correlation id. At most once each; whoever needs more repeats the request, which is why every request may be repeated.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{Broker, BrokerError, ConsumeOptions, Consumer, Incoming, Outgoing, topology};

/// The wait before a reply queue that went away is declared anew.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// Answers that are taken before the first of them is settled.
const PREFETCH: u16 = 1000;

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
    reply_to: watch::Receiver<String>,
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
        let mut queue = topology::reply();
        let mut consumer = open(&*broker, &queue).await?;
        let waiting = Waiting::default();
        let (renamed, reply_to) = watch::channel(queue.name.clone());
        let reader = tokio::spawn({
            let (broker, waiting) = (Arc::clone(&broker), Arc::clone(&waiting));
            async move {
                loop {
                    let Some(delivery) = consumer.next().await else {
                        // Answers that were in it are lost: whoever waits for one asks again.
                        consumer = reopen(&*broker, &mut queue).await;
                        renamed.send_replace(queue.name.clone());
                        continue;
                    };
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
        Ok(Self { broker, reply_to, waiting, reader })
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
        message.reply_to = Some(self.reply_to.borrow().clone());
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

async fn open(broker: &dyn Broker, queue: &topology::Queue) -> Result<Consumer, BrokerError> {
    broker.declare(queue).await?;
    broker.consume(&queue.name, ConsumeOptions { prefetch: PREFETCH, exclusive: true }).await
}

/// However often it takes: the requester ends it by going. Another queue takes the place of one that is held by the connection
/// that went: a cluster may keep that as long as the node is away on which it is.
async fn reopen(broker: &dyn Broker, queue: &mut topology::Queue) -> Consumer {
    let mut is_told = false;
    loop {
        match open(broker, queue).await {
            Ok(consumer) => return consumer,
            Err(BrokerError::InUse(_)) => *queue = topology::reply(),
            Err(error) if !is_told => {
                tracing::warn!(queue = queue.name, %error, "a reply queue went away and cannot be had again; it is tried again");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
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
