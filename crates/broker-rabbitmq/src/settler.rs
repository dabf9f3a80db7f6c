//! What becomes of deliveries: one task for each consumer carries out what it is told, in order, on the consumer's channel,
//! and closes that when the consumer goes, which gives back what is not settled.
//!
//! - Acks that leave no gap travel as one, and where many messages are given ahead, those of some milliseconds do.
//! - RabbitMQ cannot carry the reason of a rejection. So the settler publishes the dead letter itself and acks the message when
//!   that is confirmed: in between there are two rather than none. Where that fails, RabbitMQ makes the dead letter, without
//!   the sentence.
//! - Messages that are given back are counted here, by this process ([`Refusals`]): RabbitMQ has one count for these and for
//!   consumers that went. So several processes may give one back up to [`topology::DELIVERY_LIMIT`] times each.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker::{BoxFuture, BrokerError, Incoming, NEVER_SETTLED, Settlement, topology};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions},
    types::ShortString,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{message::Parcel, publisher::Intake};

/// How long a consumer that went waits for the confirms of its dead letters.
const BURIAL_PATIENCE: Duration = Duration::from_secs(5);
/// How many verdicts are taken together.
const TAKE_MAX: usize = 4096;
/// So long acks are gathered for a consumer that was given many messages ahead: each ack alone would wake three threads and
/// cost a system call. What it delays is that the broker forgets them and sends further ones, of which there are enough.
const GATHER: Duration = Duration::from_millis(5);
/// From this prefetch on.
const GATHER_PREFETCH_MIN: u16 = 1000;
/// Of so many messages it is known how often they were given back; the one that was first given back is forgotten first.
const REFUSALS_MAX: usize = 10_000;

/// What a consumer decided about a delivery.
pub(crate) struct Verdict {
    pub(crate) tag: u64,
    pub(crate) settlement: Settlement,
    pub(crate) message: Incoming,
}

/// How often this process gave messages back.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    by_id: HashMap<Uuid, u32>,
    order: VecDeque<Uuid>,
}

impl Refusals {
    /// Counts one more, and says how many there were.
    fn count(&self, id: Uuid) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.by_id.contains_key(&id) {
            counts.order.push_back(id);
            if counts.order.len() > REFUSALS_MAX
                && let Some(oldest) = counts.order.pop_front()
            {
                counts.by_id.remove(&oldest);
            }
        }
        let count = counts.by_id.entry(id).or_default();
        *count += 1;
        *count
    }
}

/// See the module.
pub(crate) struct Settler {
    channel: Channel,
    consumer_tag: ShortString,
    intake: Arc<Intake>,
    refusals: Arc<Refusals>,
    queue: String,
    /// The exchange for what dies in the queue; none where it just goes.
    grave: Option<&'static str>,
    /// How long verdicts are gathered.
    gather: Duration,
    /// All up to this tag are settled.
    settled_to: u64,
    /// Those behind it that are settled as well.
    settled: BTreeSet<u64>,
    burials: FuturesUnordered<BoxFuture<'static, (u64, Result<(), BrokerError>)>>,
}

impl Settler {
    pub(crate) fn new(
        channel: Channel,
        consumer_tag: ShortString,
        intake: Arc<Intake>,
        refusals: Arc<Refusals>,
        (queue, grave): (String, Option<&'static str>),
        prefetch: u16,
    ) -> Self {
        let (settled, burials) = (BTreeSet::new(), FuturesUnordered::new());
        let gather = if prefetch >= GATHER_PREFETCH_MIN { GATHER } else { Duration::ZERO };
        Self { channel, consumer_tag, intake, refusals, queue, grave, gather, settled_to: 0, settled, burials }
    }

    /// Works until the consumer is gone and all it said before is carried out. Errors mean that the channel went: then
    /// RabbitMQ gives everything back, and the consumer has heard of it.
    pub(crate) async fn run(mut self, mut verdicts: mpsc::UnboundedReceiver<Verdict>, gone: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = gone.cancelled() => break,
                Some((tag, buried)) = self.burials.next() => self.buried(tag, buried).await,
                count = verdicts.recv_many(&mut batch, TAKE_MAX) => {
                    if count == 0 {
                        break;
                    }
                    if !self.gather.is_zero() {
                        tokio::select! {
                            () = gone.cancelled() => {}
                            () = tokio::time::sleep(self.gather) => {}
                        }
                        while batch.len() < TAKE_MAX
                            && let Ok(verdict) = verdicts.try_recv()
                        {
                            batch.push(verdict);
                        }
                    }
                    self.carry_out(batch.drain(..)).await;
                }
            }
        }
        // Before the last acks, which would make room for messages that nobody takes.
        let _ = self.channel.basic_cancel(self.consumer_tag.clone(), BasicCancelOptions::default()).await;
        verdicts.close();
        while let Ok(verdict) = verdicts.try_recv() {
            batch.push(verdict);
        }
        self.carry_out(batch.drain(..)).await;
        let burials = async {
            while let Some((tag, buried)) = self.burials.next().await {
                self.buried(tag, buried).await;
            }
        };
        if tokio::time::timeout(BURIAL_PATIENCE, burials).await.is_err() {
            tracing::warn!("dead letters were not confirmed in time; their messages come again");
        }
        let _ = self.channel.close(200, "OK".into()).await;
    }

    async fn carry_out(&mut self, verdicts: impl Iterator<Item = Verdict>) {
        let mut acked = Vec::new();
        for Verdict { tag, settlement, message } in verdicts {
            match settlement {
                Settlement::Ack => acked.push(tag),
                Settlement::Dead(reason) => self.bury(tag, message, &reason).await,
                Settlement::Requeue => {
                    let count = self.refusals.count(message.message_id);
                    if count < topology::DELIVERY_LIMIT {
                        self.nack(tag, true).await;
                    } else {
                        self.bury(tag, message, &format!("it was given back {count} times and {NEVER_SETTLED}")).await;
                    }
                }
            }
        }
        self.ack(acked).await;
    }

    async fn ack(&mut self, mut tags: Vec<u64>) {
        tags.sort_unstable();
        self.settled.extend(&tags);
        while self.settled.remove(&(self.settled_to + 1)) {
            self.settled_to += 1;
        }
        let behind = tags.split_off(tags.partition_point(|tag| *tag <= self.settled_to));
        let together = tags.last().map(|last| (*last, true));
        let acks = together.into_iter().chain(behind.into_iter().map(|tag| (tag, false)));
        let channel = &self.channel;
        join_all(acks.map(|(tag, multiple)| channel.basic_ack(tag, BasicAckOptions { multiple }))).await;
    }

    async fn nack(&mut self, tag: u64, requeue: bool) {
        // Before any ack that covers it.
        let _ = self.channel.basic_nack(tag, BasicNackOptions { requeue, ..BasicNackOptions::default() }).await;
        self.settled.insert(tag);
    }

    async fn bury(&mut self, tag: u64, message: Incoming, reason: &str) {
        let Some(grave) = self.grave else { return self.nack(tag, false).await };
        let confirm = self.intake.send(Parcel::buried(message, &self.queue, grave, reason));
        self.burials.push(Box::pin(async move { (tag, confirm.await) }));
    }

    async fn buried(&mut self, tag: u64, buried: Result<(), BrokerError>) {
        match buried {
            Ok(()) => self.ack(vec![tag]).await,
            Err(error) => {
                tracing::warn!(%error, "a dead letter goes without its reason");
                self.nack(tag, false).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_for_a_bounded_number_of_messages() {
        let refusals = Refusals::default();
        let first = Uuid::new_v4();
        assert_eq!((refusals.count(first), refusals.count(first)), (1, 2));
        for _ in 0..REFUSALS_MAX {
            assert_eq!(refusals.count(Uuid::new_v4()), 1);
        }
        assert_eq!(refusals.count(first), 1, "the oldest is forgotten first");
        assert_eq!(refusals.0.lock().unwrap().by_id.len(), REFUSALS_MAX);
    }
}
