//! Questions to the broker and changes of its queues, one after the other on one channel of the consuming connection:
//! private queues belong to it. RabbitMQ ends a channel on which anything was refused; then the next one gets a new one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use broker::{
    BrokerError,
    topology::{self, Exchange, Queue, QueueKind},
};
use lapin::{
    Channel,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout},
};

use crate::{
    failure::{about, unavailable},
    link::Link,
    rights::Rights,
    setup::{self, short},
};

/// How long an answer may take. RabbitMQ 4 looks for a minute for a queue whose node is gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for the declaration of a gateway's queue: its worker takes another one instead.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Desk {
    link: Arc<Link>,
    channel: Mutex<Option<Channel>>,
    known: SyncMutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Queues that were declared here, and which declaration that was.
    kinds: HashMap<String, (QueueKind, u64)>,
    declarations: u64,
    /// When a gateway's queue was last seen without a consumer, and how many messages it had.
    unused: HashMap<String, (Instant, u64)>,
    /// Something was refused for an unexpected reason: an operator may have deleted an exchange.
    is_in_doubt: bool,
    /// Work queues that are consumed exclusively from here.
    exclusive: HashSet<String>,
}

/// The channel, lent for one operation.
struct Lent<'a> {
    desk: &'a Desk,
    place: MutexGuard<'a, Option<Channel>>,
    channel: Channel,
}

impl Lent<'_> {
    /// Gives the channel back if it is good for another operation.
    fn end<T>(mut self, outcome: Result<T, BrokerError>) -> Result<T, BrokerError> {
        match &outcome {
            Ok(_) => *self.place = Some(self.channel),
            Err(BrokerError::Unavailable(_)) => self.desk.known().is_in_doubt = true,
            Err(_) => {}
        }
        outcome
    }
}

impl Desk {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, channel: Mutex::new(None), known: SyncMutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lent(&self) -> Result<Lent<'_>, BrokerError> {
        let mut place = self.channel.lock().await;
        let channel = match place.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.fresh().await?,
        };
        Ok(Lent { desk: self, place, channel })
    }

    async fn fresh(&self) -> Result<Channel, BrokerError> {
        let connection = self.link.connection().await?;
        let channel = connection.create_channel().await.map_err(|error| unavailable(&error))?;
        if std::mem::take(&mut self.known().is_in_doubt) && self.link.rights() == Rights::All {
            setup::base(&channel).await?;
        }
        Ok(channel)
    }

    /// What a queue is for, and the number of its declaration, if it was declared here.
    pub(crate) fn kind(&self, queue: &str) -> Option<(QueueKind, u64)> {
        self.known().kinds.get(queue).cloned()
    }

    /// A private queue ended with its consumer, unless it was declared again meanwhile.
    pub(crate) fn forget(&self, queue: &str, declaration: u64) {
        let mut known = self.known();
        if known.kinds.get(queue).is_some_and(|(_, last)| *last == declaration) {
            known.kinds.remove(queue);
        }
    }

    pub(crate) async fn declare(&self, queue: &Queue) -> Result<(), BrokerError> {
        if self.link.rights() == Rights::Executor && queue.kind != QueueKind::Private {
            // Others declare it: it stands, or will.
            if self.look(&queue.name).await?.is_none() {
                return Err(BrokerError::NoQueue(queue.name.clone()));
            }
        } else if matches!(queue.kind, QueueKind::Gateway { .. }) {
            // On a channel of its own: nobody else has to wait for a queue that is away.
            let channel = self.fresh().await?;
            let declared = within(GATEWAY_PATIENCE, setup::queue(&channel, queue)).await;
            if matches!(declared, Err(BrokerError::Unavailable(_) | BrokerError::Differs(_))) {
                self.known().is_in_doubt = true;
            }
            declared?;
        } else {
            let lent = self.lent().await?;
            let outcome = within(PATIENCE, setup::queue(&lent.channel, queue)).await;
            lent.end(outcome)?;
        }
        let mut known = self.known();
        known.declarations += 1;
        let declaration = known.declarations;
        known.kinds.insert(queue.name.clone(), (queue.kind.clone(), declaration));
        Ok(())
    }

    pub(crate) async fn delete(&self, queue: &str) -> Result<(), BrokerError> {
        let lent = self.lent().await?;
        let name = short(queue)?;
        let deleting = async {
            let deleted = lent.channel.queue_delete(name, QueueDeleteOptions::default()).await;
            deleted.map(drop).map_err(|error| about(queue, &error))
        };
        let deleted = within(PATIENCE, deleting).await;
        lent.end(deleted)
    }

    pub(crate) async fn bind(&self, queue: &str, key: &str) -> Result<(), BrokerError> {
        let lent = self.lent().await?;
        let bound = within(PATIENCE, setup::bind(&lent.channel, queue, Exchange::Utils.name(), key)).await;
        lent.end(bound)
    }

    pub(crate) async fn unbind(&self, queue: &str, key: &str) -> Result<(), BrokerError> {
        let (name, key) = (short(queue)?, short(key)?);
        let lent = self.lent().await?;
        let exchange = Exchange::Utils.name().into();
        let unbinding = async {
            let unbound = lent.channel.queue_unbind(name, exchange, key, FieldTable::default()).await;
            unbound.map_err(|error| about(queue, &error))
        };
        let unbound = within(PATIENCE, unbinding).await;
        lent.end(unbound)
    }

    /// How many messages wait; none if there is no such queue.
    ///
    /// RabbitMQ takes this question for a use of the queue, which puts off its expiry. So a gateway's queue that was seen
    /// without a consumer is not asked again before it has had the time to expire: whether it is still there is told by
    /// its own binding, and how many messages it had is remembered.
    pub(crate) async fn length(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        let Some((QueueKind::Gateway { expires, .. }, _)) = self.kind(queue) else {
            return Ok(self.look(queue).await?.map(|(messages, _)| messages));
        };
        let own_key = queue.strip_prefix("gateway.").unwrap_or(queue);
        match self.bind(queue, own_key).await {
            Ok(()) => {}
            Err(BrokerError::NoQueue(_)) => {
                self.known().unused.remove(queue);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let remembered = self.known().unused.get(queue).copied();
        if let Some((since, messages)) = remembered
            && since.elapsed() < expires * 2 + Duration::from_secs(1)
        {
            return Ok(Some(messages));
        }
        let Some((messages, consumers)) = self.look(queue).await? else { return Ok(None) };
        if consumers == 0 {
            self.known().unused.insert(queue.to_owned(), (Instant::now(), messages));
        } else {
            self.known().unused.remove(queue);
        }
        Ok(Some(messages))
    }

    /// Messages that wait, and consumers.
    async fn look(&self, queue: &str) -> Result<Option<(u64, u32)>, BrokerError> {
        let lent = self.lent().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = short(queue)?;
        let looking = async {
            let looked = lent.channel.queue_declare(name, options, FieldTable::default()).await;
            looked.map_err(|error| about(queue, &error))
        };
        let looked = within(PATIENCE, looking).await;
        match lent.end(looked) {
            Ok(found) => Ok(Some((u64::from(found.message_count()), found.consumer_count()))),
            Err(BrokerError::NoQueue(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a work queue may be consumed. RabbitMQ lets others in where a quorum queue is consumed exclusively, so who
    /// does that holds a queue of its own meanwhile. Two that begin in the same moment may both get in, one of them shared.
    pub(crate) async fn admit(&self, queue: &str, exclusive: bool) -> Result<(), BrokerError> {
        let in_use = || BrokerError::InUse(queue.to_owned());
        let lock = topology::exclusive_lock(queue);
        if !exclusive {
            if self.known().exclusive.contains(queue) {
                return Err(in_use());
            }
            // What another connection holds cannot be deleted, and deleting what is not there is no error.
            return match self.delete(&lock).await {
                Err(BrokerError::InUse(_)) => Err(in_use()),
                other => other,
            };
        }
        if !self.known().exclusive.insert(queue.to_owned()) {
            return Err(in_use());
        }
        let admitted = async {
            let lent = self.lent().await?;
            let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            let locked = lent.channel.queue_declare(short(&lock)?, options, FieldTable::default()).await;
            lent.end(locked.map(drop).map_err(|error| about(queue, &error)))?;
            match self.look(queue).await? {
                Some((_, 0)) => Ok(()),
                Some(_) => Err(in_use()),
                None => Err(BrokerError::NoQueue(queue.to_owned())),
            }
        };
        let admitted = admitted.await;
        if admitted.is_err() {
            self.dismiss(queue).await;
        }
        admitted
    }

    /// An exclusive consumer of a work queue went.
    pub(crate) async fn dismiss(&self, queue: &str) {
        let _ = self.delete(&topology::exclusive_lock(queue)).await; // It goes with the connection otherwise.
        self.known().exclusive.remove(queue);
    }
}

/// An operation that RabbitMQ does not end in time has failed; its channel is of no more use.
async fn within<T>(
    patience: Duration,
    operation: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let unanswered = |_| Err(BrokerError::Unavailable(format!("RabbitMQ did not answer within {patience:?}")));
    timeout(patience, operation).await.unwrap_or_else(unanswered)
}
