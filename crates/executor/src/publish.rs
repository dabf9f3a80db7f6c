//! The event writer of one attempt: masks, counts the offsets, signs, and keeps what the broker has not confirmed. No event
//! of an executor leaves it by another way.
//!
//! Confirms come in the order of the calls, and confirmed means that all before are confirmed. So the window is a queue:
//! its front is taken away by each confirm, and when one fails, everything from the front on is published again under
//! the same message ids. Readers drop what they have (P3).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::{Broker, Confirm, Outgoing};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use wire::{Event, EventMessage, Position, Timestamp, Topic, VERSION, event::raw, executor_now::StepNow, task::Grant};

use crate::{clock::now, lease::Lease, mask::Masker};

/// Bytes of unconfirmed events above which a job's output is not read any further: its steps wait, nothing is dropped.
pub const UNCONFIRMED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The first pause before what failed is published again.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// The longest one.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// The lease is not trusted any more: nothing may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseLost;

/// Writes the events of one attempt.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    _keeper: AbortOnDropHandle<()>,
}

/// What is known of an attempt while it runs, for who asks.
pub(crate) struct Insight {
    shared: Arc<Shared>,
    since: Timestamp,
}

impl Insight {
    /// What it was granted for.
    pub(crate) fn grant(&self) -> &Grant {
        &self.shared.grant
    }

    /// When it was taken up.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// The last step that has begun.
    pub(crate) fn step(&self) -> Option<StepNow> {
        self.shared.window().step.clone()
    }

    /// The bodies of the events that the broker has not confirmed, in order.
    pub(crate) fn unconfirmed(&self) -> Vec<Arc<[u8]>> {
        self.shared.window().unconfirmed.iter().map(|unconfirmed| Arc::clone(&unconfirmed.message.body)).collect()
    }
}

struct Shared {
    broker: Arc<dyn Broker>,
    lease: Arc<Lease>,
    grant: Arc<Grant>,
    masker: Masker,
    // A std mutex: held to publish (a broker takes a message at once), never across an await.
    window: Mutex<Window>,
    published: Notify,
    load: watch::Sender<Load>,
}

#[derive(Default)]
struct Window {
    next_offset: u64,
    step: Option<StepNow>,
    unconfirmed: VecDeque<Unconfirmed>,
    /// A confirm failed: what comes meanwhile waits for its turn behind what is published again.
    broken: bool,
}

struct Unconfirmed {
    message: Outgoing,
    /// None while the keeper awaits it, or while the window is broken.
    confirm: Option<Confirm>,
}

#[derive(Clone, Copy, Default)]
struct Load {
    events: usize,
    bytes: usize,
}

impl Publisher {
    pub(crate) fn start(broker: Arc<dyn Broker>, lease: Arc<Lease>, grant: Arc<Grant>, masker: Masker) -> Self {
        let shared = Arc::new(Shared {
            broker,
            lease,
            grant,
            masker,
            window: Mutex::default(),
            published: Notify::new(),
            load: watch::Sender::new(Load::default()),
        });
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&shared))));
        Self { shared, _keeper: keeper }
    }

    /// What is known of the attempt, for who asks.
    pub(crate) fn insight(&self) -> Arc<Insight> {
        Arc::new(Insight { shared: Arc::clone(&self.shared), since: now() })
    }

    /// Hands an event over, at once, without the attempt's secrets.
    ///
    /// # Errors
    /// When the lease is not trusted any more.
    pub(crate) fn publish(&self, event: &Event) -> Result<(), LeaseLost> {
        let shared = &self.shared;
        if !shared.lease.is_trusted() {
            return Err(LeaseLost);
        }
        let event = &*shared.masker.event(event);
        let step = match event {
            Event::StepStarted { step, name, .. } => Some(StepNow { step: *step, name: name.clone(), since: now() }),
            _ => None,
        };
        let event = raw(event);
        let mut window = shared.window();
        window.step = step.or_else(|| window.step.take());
        let message = shared.message(window.next_offset, event);
        window.next_offset += 1;
        let bytes = message.body.len();
        let confirm = (!window.broken).then(|| shared.broker.publish(message.clone()));
        window.unconfirmed.push_back(Unconfirmed { message, confirm });
        shared.load.send_modify(|load| {
            load.events += 1;
            load.bytes += bytes;
        });
        drop(window);
        shared.published.notify_one();
        Ok(())
    }

    /// Whether more output may be read now.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.load.borrow().bytes < UNCONFIRMED_BYTES_MAX
    }

    /// Resolves when more output may be read.
    pub(crate) async fn room(&self) {
        let mut load = self.shared.load.subscribe();
        let _ = load.wait_for(|load| load.bytes < UNCONFIRMED_BYTES_MAX).await; // The sender is ours.
    }

    /// Waits until everything is confirmed, and tells the last offset; none if nothing was said.
    ///
    /// # Errors
    /// When the lease is lost before.
    pub(crate) async fn flushed(&self) -> Result<Option<u64>, LeaseLost> {
        let mut load = self.shared.load.subscribe();
        tokio::select! {
            () = self.shared.lease.lost() => Err(LeaseLost),
            _ = load.wait_for(|load| load.events == 0) => Ok(self.shared.window().next_offset.checked_sub(1)),
        }
    }
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, offset: u64, event: Box<serde_json::value::RawValue>) -> Outgoing {
        let grant = &self.grant;
        let topic = Topic::Job(grant.lease.job);
        let epoch = grant.lease.attempt;
        let mac = Some(grant.event_key.seal(topic, Position { epoch, offset }, event.get()));
        let client_id = grant.reply.as_ref().map(|reply| reply.client_id);
        let (version, build, at) = (VERSION, grant.build, now());
        let body = EventMessage { version, topic, build, epoch, offset, at, client_id, mac, event }.encode();
        Outgoing::event(grant.reply.as_ref().map(|reply| &reply.server_id), topic, body)
    }
}

/// Takes confirms in order, and publishes again from the first one that fails, for as long as the lease is trusted.
async fn keep(shared: Arc<Shared>) {
    let mut pause = BACK_OFF_MIN;
    loop {
        let confirm = shared.window().unconfirmed.front_mut().and_then(|front| front.confirm.take());
        let Some(confirm) = confirm else {
            shared.published.notified().await;
            continue;
        };
        let Err(error) = confirm.await else {
            pause = BACK_OFF_MIN;
            let bytes = shared.window().unconfirmed.pop_front().map_or(0, |front| front.message.body.len());
            shared.load.send_modify(|load| {
                load.events -= 1;
                load.bytes -= bytes;
            });
            continue;
        };
        if pause == BACK_OFF_MIN {
            let job = shared.grant.lease.job;
            tracing::warn!(%job, %error, "an event was not confirmed; it is published again until it is");
        }
        shared.window().broken = true;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.lease.lost() => return,
        }
        pause = (pause * 2).min(BACK_OFF_MAX);
        let mut window = shared.window();
        for unconfirmed in &mut window.unconfirmed {
            unconfirmed.confirm = Some(shared.broker.publish(unconfirmed.message.clone()));
        }
        window.broken = false;
    }
}
