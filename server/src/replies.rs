//! The loop that tells results to who asked for them ([`wire::reply`] has the states). The record of replies says what is due;
//! a try that was not written down is made again, under the same message id (P1). A callback is first sent by the outbox,
//! with the event that tells the same; here it is sent again until its receipt is there.
//!
//! Tries of one receiver have few slots, so a slow one holds nobody else up.

pub(crate) mod destination;
pub(crate) mod wanted;
mod webhook;

use std::{collections::HashMap, sync::Arc, time::Duration};

use broker::{
    Broker, BrokerError, Outgoing,
    topology::{self, Exchange},
};
use store::{
    Store,
    model::reply::{DueReply, FIRST_RECEIPT, Tried},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;
use wire::{
    BuildId, ServerId,
    callback::Callback,
    mac::InstallationKey,
    reply::{CallbackPayload, QueueReply, ReplyKind},
};

use self::destination::Destinations;
use crate::retention;

/// Tries at the same time, and those of them to one receiver.
const AT_ONCE: usize = 16;
const AT_ONCE_PER_RECEIVER: usize = 4;
/// After a change so long others are gathered: under load the record is looked at ten times a second, not at each change.
const GATHER: Duration = Duration::from_millis(100);
/// Even without a change it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// The wait after the store could not be used.
const RETRY: Duration = Duration::from_secs(1);
/// The first wait after a try that failed; each one after it is twice as long, up to [`PAUSE_MAX`], and each is shortened or
/// lengthened by up to a fifth so that many do not come together.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
/// After this no try follows.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// A callback without a receipt is sent again when its build's end is four times as long ago as the last time, up to this; then
/// when its client comes back.
const CALLED_BACK_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The broker may take so long for a message before it is tried again: a slot must become free.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(15);

/// Tells results until `shutdown`.
pub(crate) async fn run(
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
    destinations: Destinations,
    shutdown: CancellationToken,
) {
    let agent = webhook::agent(destinations);
    let teller = Arc::new(Teller { broker, store: Arc::clone(&store), key, agent });
    let mut changed = store.outbox_changed();
    let mut tries = Tries { running: JoinSet::new(), under_way: HashMap::new() };
    loop {
        changed.mark_unchanged();
        let wait = match tries.begin(&teller).await {
            Ok(next) => next.unwrap_or(LOOK).min(LOOK),
            Err(failure) => {
                warn!(%failure, "which results are to be told cannot be read now: trying again");
                RETRY
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(ended) = tries.running.join_next() => match ended {
                Ok(build) => drop(tries.under_way.remove(&build)),
                Err(failure) => {
                    // Which one it was is not known any more: those that run are asked for once they have ended.
                    warn!(%failure, "a try to tell a result panicked");
                    tries.running.abort_all();
                    while tries.running.join_next().await.is_some() {}
                    tries.under_way.clear();
                    sleep(RETRY).await;
                }
            },
            woken = gathered(&mut changed) => if !woken { return },
            () = sleep(wait) => {}
        }
    }
}

/// Resolves some time after a change; false when there will be none.
async fn gathered(changed: &mut watch::Receiver<u64>) -> bool {
    let is_open = changed.changed().await.is_ok();
    if is_open {
        sleep(GATHER).await;
    }
    is_open
}

/// Tries that are under way.
struct Tries {
    running: JoinSet<BuildId>,
    /// With their receivers, and whether those have failed before.
    under_way: HashMap<BuildId, (String, bool)>,
}

impl Tries {
    /// Begins what is due and has a slot; tells when the next one is due.
    async fn begin(&mut self, teller: &Arc<Teller>) -> Result<Option<Duration>, store::StoreError> {
        loop {
            let free = AT_ONCE.saturating_sub(self.under_way.len());
            if free == 0 {
                return Ok(None);
            }
            let limit = u32::try_from(AT_ONCE + free).unwrap_or(u32::MAX);
            let found = teller.store.due_replies(&self.busy(), limit).await?;
            let mut has_begun = false;
            for due in found.due {
                let receiver = due.reply.receiver.clone();
                if self.under_way.len() >= AT_ONCE
                    || self.under_way.contains_key(&due.build.id)
                    || self.busy().contains(&receiver)
                {
                    continue;
                }
                has_begun = true;
                let has_failed = due.reply.mode != ReplyKind::Callback && due.attempts > 0;
                self.under_way.insert(due.build.id, (receiver, has_failed));
                let teller = Arc::clone(teller);
                self.running.spawn(async move { teller.tell(due).await });
            }
            // A receiver with all of its slots taken may have hidden others.
            if !has_begun {
                return Ok(found.next);
            }
        }
    }

    /// Receivers that have no free slot. One that fails has a single one: it must not take those of others.
    fn busy(&self) -> Vec<String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (receiver, has_failed) in self.under_way.values() {
            *counts.entry(receiver).or_default() += if *has_failed { AT_ONCE_PER_RECEIVER } else { 1 };
        }
        let full = counts.into_iter().filter(|(_, count)| *count >= AT_ONCE_PER_RECEIVER);
        full.map(|(receiver, _)| receiver.to_owned()).collect()
    }
}

/// Why a try failed.
enum Failure {
    /// Another one may work.
    ForNow(String),
    /// The receiver wants no other.
    ForGood(String),
}

/// What tries are made with.
struct Teller {
    broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    key: InstallationKey,
    agent: ureq::Agent,
}

impl Teller {
    /// One try, and the word of what became of it.
    async fn tell(&self, due: DueReply) -> BuildId {
        let (build, message_id) = (due.build.id, due.message_id);
        let result = match due.reply.mode {
            ReplyKind::Callback => self.call_back(&due).await,
            ReplyKind::Webhook => webhook::post(&self.agent, &self.key, &due).await,
            ReplyKind::Queue => self.to_queue(&due).await,
        };
        let tried = judged(&due, result);
        if let Tried::Stopped(why) = &tried {
            warn!(%build, mode = due.reply.mode.as_str(), receiver = due.reply.receiver, why, "a result could not be told and is not tried any more");
        }
        // It stays under way until that is written: else it would be told again and again while the disk is full.
        while let Err(failure) = self.store.reply_tried(build, message_id, tried.clone()).await {
            warn!(%build, %failure, "what became of a result cannot be written down now: trying again");
            sleep(RETRY).await;
        }
        retention::tell(&*self.broker, &due.build.pipeline);
        build
    }

    async fn call_back(&self, due: &DueReply) -> Result<(), Failure> {
        let Some(socket) = &due.socket else {
            return Err(Failure::ForGood("the build does not say which client asked".to_owned()));
        };
        let payload = CallbackPayload::BuildFinished { build: due.build.clone() };
        let payload = serde_json::value::to_raw_value(&payload).map_err(|error| Failure::ForGood(error.to_string()))?;
        let body = Callback { client_id: socket.client_id, payload, claim_check: false }.encode();
        let mut message = callback(&socket.server_id, due.message_id, body);
        // It may be elsewhere by now; who gets it twice knows it by its id.
        message.cc.push(topology::client_key(socket.client_id));
        self.publish(message).await.map_err(|failure| Failure::ForNow(failure.reason()))
    }

    async fn publish(&self, message: Outgoing) -> Result<(), BrokerError> {
        let published = tokio::time::timeout(PUBLISH_PATIENCE, self.broker.publish(message)).await;
        published.unwrap_or_else(|_| Err(BrokerError::Unavailable("the broker does not take it".to_owned())))
    }

    async fn to_queue(&self, due: &DueReply) -> Result<(), Failure> {
        let queue = &due.reply.address;
        let mut message = Outgoing::new(Exchange::Direct, queue, QueueReply::new(due.build.clone()).encode());
        message.message_id = due.message_id;
        message.correlation_id.clone_from(&due.reply.correlation_id);
        message.mandatory = true;
        self.publish(message).await.map_err(|failure| match failure {
            BrokerError::Unroutable(_) | BrokerError::NoQueue(_) => {
                Failure::ForNow(format!("there is no queue {queue}"))
            }
            other => Failure::ForNow(other.reason()),
        })
    }
}

/// The message that tells a client the end of its build. Its receipt goes to [`topology::RECEIPTS`].
pub(crate) fn callback(server_id: &ServerId, message_id: Uuid, body: Vec<u8>) -> Outgoing {
    let mut message = Outgoing::new(Exchange::Utils, server_id.as_str(), body);
    message.message_id = message_id;
    message.reply_to = Some(topology::RECEIPTS.to_owned());
    message
}

/// What follows from a try.
fn judged(due: &DueReply, result: Result<(), Failure>) -> Tried {
    match (result, due.reply.mode) {
        (Ok(()), ReplyKind::Callback) => {
            // By its age, not by how often: it is sent to a client that comes back, too.
            let wait = (due.age * 3).max(FIRST_RECEIPT);
            Tried::Sent((due.age + wait <= CALLED_BACK_FOR).then_some(wait))
        }
        (Ok(()), ReplyKind::Webhook | ReplyKind::Queue) => Tried::Delivered,
        (Err(Failure::ForGood(why)), _) => Tried::Stopped(why),
        (Err(Failure::ForNow(why)), _) => {
            let wait = pause(due.attempts, Uuid::new_v4().as_u128());
            if due.age + wait > GIVE_UP { Tried::Stopped(why) } else { Tried::Again(why, wait) }
        }
    }
}

/// The wait behind so many tries that failed and one more.
fn pause(failed_before: u32, chance: u128) -> Duration {
    let whole = PAUSE.saturating_mul(2_u32.saturating_pow(failed_before.min(16))).min(PAUSE_MAX);
    // From 80 to 120 percent.
    whole * (80 + u32::try_from(chance % 41).unwrap_or(20)) / 100
}

#[cfg(test)]
mod tests;
