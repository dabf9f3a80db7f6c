//! Publishing: one task, one channel, many confirms in flight.
//!
//! What is handed over waits in a backlog with a limit; beyond it, messages are refused at once. The task keeps a window of
//! messages on the way and settles their confirms in the order of the calls. When the channel goes, with its connection or
//! alone, all that is not confirmed is published again, in order and under the same ids: readers drop what they have.
//!
//! - lapin gives a returned message to whichever confirm comes next. So from the first mandatory message on, confirms are held
//!   until all on the way have come, and nothing more is sent meanwhile: by then every returned message was seen, and each is
//!   found by its id and key.
//! - A message that RabbitMQ answers by closing the channel (it is too large, or not permitted) must not do that for ever:
//!   after such an end, messages are sent one at a time until the culprit is found, and it alone is refused.
//! - When a node of a cluster goes, channels of the others can be left behind: one keeps to the leader that a queue had, so that
//!   its messages are refused for ever, or never confirmed. A new channel finds the new leader. So one on which something was
//!   refused is replaced when what is on the way has come, and one on which nothing comes any more at once.
//! - RabbitMQ 4 keeps the classic queues of a node that is gone, and refuses what is routed to one of them, also where all
//!   others took it. An event is safe when the stream has it: from the first one that is refused on, each is published to the
//!   stream by name as well, and that confirm is enough ([`DETOUR`]). The stream has it twice then; readers drop what they have.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker::{BoxFuture, BrokerError, Confirm, Outgoing, topology};
use futures_util::{FutureExt, StreamExt, future::OptionFuture, join, poll, stream::FuturesOrdered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{failure, link::Link, message::Parcel, rights::Rights};

/// At most so many messages wait for their confirm, sent or not; more are refused.
const BACKLOG_MESSAGES_MAX: usize = 200_000;
/// The same in bytes of bodies.
pub(crate) const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// At most so many messages are on the way: below it, quorum queues lose speed (RabbitMQ's blog of 2024-08-21: 3,000).
const WINDOW_MESSAGES_MAX: usize = 4_000;
/// The same in bytes of bodies; one message alone is always sent.
pub(crate) const WINDOW_BYTES_MAX: usize = 16 << 20;
/// How many are taken from the backlog at once.
const TAKE_MAX: usize = 256;
/// The wait before a channel is opened again where that failed while the connection stands.
const PAUSE: Duration = Duration::from_millis(200);
/// How long nothing may be confirmed while something is on the way, before a new channel is tried. It doubles while that
/// does not help: RabbitMQ may only be slow, and everything is published again.
const CONFIRM_PATIENCE_MIN: Duration = Duration::from_secs(5);
/// It doubles up to here.
const CONFIRM_PATIENCE_MAX: Duration = Duration::from_secs(60);
/// A channel is this old before it is replaced because something was refused: a full queue refuses all the time.
const REFUSING_AGE_MIN: Duration = Duration::from_secs(1);
/// How long events go to the stream by name as well, after the last that a queue refused.
const DETOUR: Duration = Duration::from_secs(60);
/// How long what was handed over may take after a shutdown.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

type Settled = oneshot::Sender<Result<(), BrokerError>>;

/// Where messages are handed in.
pub(crate) struct Intake {
    sender: mpsc::UnboundedSender<Pending>,
    backlog: Arc<Backlog>,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct Backlog {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// A message whose confirm is owed. It counts in the backlog as long as it lives.
struct Pending {
    parcel: Parcel,
    settled: Option<Settled>,
    backlog: Arc<Backlog>,
}

impl Intake {
    /// Begins to publish over `link`. Ends some time after `shutdown`: then `finished` is cancelled.
    pub(crate) fn start(link: Arc<Link>, shutdown: CancellationToken, finished: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = VecDeque::new();
        let publisher = Publisher {
            link,
            intake: receiver,
            waiting,
            careful: 0,
            confirm_patience: CONFIRM_PATIENCE_MIN,
            detour_until: None,
        };
        let ending = shutdown.clone();
        tokio::spawn(async move {
            let _finished = finished.drop_guard();
            publisher.run(&ending).await;
        });
        Self { sender, backlog: Arc::default(), shutdown }
    }

    /// Hands a message over.
    pub(crate) fn publish(&self, message: Outgoing) -> Confirm {
        self.send(Parcel::new(message))
    }

    /// The same for one that is ready.
    pub(crate) fn send(&self, parcel: Result<Parcel, BrokerError>) -> Confirm {
        let (settled, confirm) = Confirm::new();
        let refused = match parcel {
            Err(error) => error,
            Ok(_) if self.shutdown.is_cancelled() => BrokerError::Unavailable("it is shut down".to_owned()),
            Ok(_) if self.backlog.is_full() => {
                BrokerError::Unavailable("too many messages wait for RabbitMQ already".to_owned())
            }
            Ok(parcel) => {
                let pending = Pending::new(parcel, settled, &self.backlog);
                // Fails after the end: then the message goes, and its confirm says so.
                let _ = self.sender.send(pending);
                return confirm;
            }
        };
        let _ = settled.send(Err(refused)); // The receiver is right here.
        confirm
    }
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.messages.load(Ordering::Relaxed) >= BACKLOG_MESSAGES_MAX
            || self.bytes.load(Ordering::Relaxed) >= BACKLOG_BYTES_MAX
    }
}

impl Pending {
    fn new(parcel: Parcel, settled: Settled, backlog: &Arc<Backlog>) -> Self {
        backlog.messages.fetch_add(1, Ordering::Relaxed);
        backlog.bytes.fetch_add(parcel.body.len(), Ordering::Relaxed);
        Self { parcel, settled: Some(settled), backlog: Arc::clone(backlog) }
    }

    fn settle(mut self, outcome: Result<(), BrokerError>) {
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(outcome); // Fails when nobody waits for it.
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.backlog.messages.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.parcel.body.len(), Ordering::Relaxed);
    }
}

/// The task. `waiting` are those to be sent next, in order.
struct Publisher {
    link: Arc<Link>,
    intake: mpsc::UnboundedReceiver<Pending>,
    waiting: VecDeque<Pending>,
    /// So many of the next messages are sent one at a time.
    careful: usize,
    /// See [`CONFIRM_PATIENCE_MIN`].
    confirm_patience: Duration,
    /// See [`DETOUR`].
    detour_until: Option<Instant>,
}

/// What RabbitMQ says of a message.
struct Answer {
    confirmation: Confirmation,
    /// Of the same message, published to the stream by name.
    of_stream: Option<Confirmation>,
}

impl Answer {
    fn is_refusal(&self) -> bool {
        [Some(&self.confirmation), self.of_stream.as_ref()]
            .into_iter()
            .flatten()
            .all(|confirmation| matches!(confirmation, Confirmation::Nack(_)))
    }

    /// Not every queue took it.
    fn is_partial(&self) -> bool {
        matches!(self.confirmation, Confirmation::Nack(_))
    }
}

/// Those on the way, in the order of the calls, and their confirms.
#[derive(Default)]
struct Window {
    flying: VecDeque<Pending>,
    confirms: FuturesOrdered<BoxFuture<'static, lapin::Result<Answer>>>,
    /// Confirmed, and held until all are.
    held: VecDeque<(Pending, Answer)>,
    /// Id and key of those that no queue takes.
    returned: HashSet<(String, String)>,
    /// Of those on the way and held.
    bytes: usize,
    has_mandatory: bool,
    /// Nothing more is sent until all are confirmed.
    is_closed: bool,
}

impl Window {
    fn has_room_for(&self, next: &Parcel, alone: bool) -> bool {
        self.flying.is_empty()
            || !alone
                && !self.is_closed
                && self.flying.len() < WINDOW_MESSAGES_MAX
                && self.bytes + next.body.len() <= WINDOW_BYTES_MAX
    }

    async fn send(&mut self, channel: &Channel, pending: Pending, by_detour: bool) {
        let parcel = &pending.parcel;
        let options = BasicPublishOptions { mandatory: parcel.mandatory, immediate: false };
        let publish = |exchange: ShortString, key: ShortString, properties: BasicProperties| {
            let (channel, body) = (channel.clone(), Arc::clone(&parcel.body));
            async move { channel.basic_publish(exchange, key, options, &body, properties).await?.await }
        };
        let routed = publish(parcel.exchange.clone(), parcel.key.clone(), parcel.properties.clone());
        let of_stream = (by_detour && parcel.is_event).then(|| {
            // Without the keys that it was routed by.
            let properties = parcel.properties.clone().with_headers(FieldTable::default());
            publish("".into(), topology::EVENTS.into(), properties)
        });
        let mut sending: BoxFuture<'static, _> = Box::pin(async move {
            let (confirmation, of_stream) = join!(routed, OptionFuture::from(of_stream));
            Ok(Answer { confirmation: confirmation?, of_stream: of_stream.transpose()? })
        });
        // The first look hands the message to lapin: that has to happen in the order of the calls.
        if let std::task::Poll::Ready(outcome) = poll!(sending.as_mut()) {
            sending = Box::pin(std::future::ready(outcome));
        }
        self.confirms.push_back(sending);
        self.bytes += parcel.body.len();
        self.has_mandatory |= parcel.mandatory;
        self.flying.push_back(pending);
    }

    /// The first on the way is confirmed.
    fn landed(&mut self, mut answer: Answer) {
        for confirmation in [Some(&mut answer.confirmation), answer.of_stream.as_mut()].into_iter().flatten() {
            if let Confirmation::Ack(message) | Confirmation::Nack(message) = confirmation
                && let Some(message) = message.take()
            {
                let id = message.delivery.properties.message_id().as_ref().map(ToString::to_string);
                self.returned.insert((id.unwrap_or_default(), message.delivery.routing_key.to_string()));
            }
        }
        let Some(pending) = self.flying.pop_front() else { return };
        if pending.parcel.mandatory || !self.held.is_empty() {
            self.held.push_back((pending, answer));
        } else {
            self.bytes -= pending.parcel.body.len();
            pending.settle(outcome(&answer));
        }
        if self.flying.is_empty() {
            for (pending, answer) in std::mem::take(&mut self.held) {
                let (id, key) = pending.parcel.name();
                let is_returned = pending.parcel.mandatory && self.returned.contains(&(id, key.clone()));
                pending.settle(if is_returned { Err(BrokerError::Unroutable(key)) } else { outcome(&answer) });
            }
            self.returned.clear();
            (self.bytes, self.has_mandatory, self.is_closed) = (0, false, false);
        }
    }
}

fn outcome(answer: &Answer) -> Result<(), BrokerError> {
    if answer.is_refusal() {
        return Err(BrokerError::Unavailable("a queue that should take it is full or cannot be reached".to_owned()));
    }
    Ok(())
}

impl Publisher {
    async fn run(mut self, shutdown: &CancellationToken) {
        let given_up = async {
            shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_PATIENCE).await;
        };
        let mut given_up = std::pin::pin!(given_up);
        loop {
            let round = async {
                let channel = self.open().await?;
                self.carry(&channel, shutdown).await
            };
            let ended = tokio::select! {
                () = &mut given_up => break,
                ended = round => ended,
            };
            match ended {
                Ok(()) => break,
                // Told by the link where the connection is away, and by `carry` where a channel ended.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        self.intake.close();
    }

    async fn open(&self) -> Result<Channel, BrokerError> {
        let connection = self.link.connection().await?;
        let channel = connection.create_channel().await.map_err(|error| failure::unavailable(&error))?;
        if self.careful > 0 && self.link.rights() == Rights::All {
            // The exchange may have been deleted by an operator.
            crate::setup::base(&channel).await?;
        }
        let confirming = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirming.map(|()| channel).map_err(|error| failure::unavailable(&error))
    }

    /// Publishes until the channel goes, or until all is confirmed after a shutdown. What is on the way when this is
    /// dropped goes with the program.
    async fn carry(&mut self, channel: &Channel, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let mut window = Window::default();
        let mut taken = Vec::new();
        let opened = Instant::now();
        let mut last_confirm = opened;
        let mut has_refused = false;
        loop {
            if window.flying.is_empty() {
                if has_refused {
                    return Err(BrokerError::Unavailable("a message was refused: a new channel is taken".to_owned()));
                }
                last_confirm = Instant::now();
            }
            while let Some(next) = self.waiting.front()
                && window.has_room_for(&next.parcel, self.careful > 0)
                && let Some(next) = self.waiting.pop_front()
            {
                window.send(channel, next, self.detour_until.is_some_and(|until| Instant::now() < until)).await;
            }
            window.is_closed = window.has_mandatory || has_refused;
            let is_idle = window.flying.is_empty() && self.waiting.is_empty();
            tokio::select! {
                biased;
                Some(confirmed) = window.confirms.next() => match confirmed {
                    Ok(answer) => {
                        (last_confirm, self.confirm_patience) = (Instant::now(), CONFIRM_PATIENCE_MIN);
                        let is = |what: fn(&Parcel) -> bool| window.flying.front().is_some_and(|first| what(&first.parcel));
                        if answer.is_partial() && is(|parcel| parcel.is_event) {
                            self.detour_until = Some(Instant::now() + DETOUR);
                            if answer.of_stream.is_none() {
                                // With all behind it, so that the stream has them in order.
                                let reason = "an event was refused: the stream is asked by name";
                                tracing::warn!(unconfirmed = window.flying.len(), "{reason}");
                                self.reclaim(window);
                                let _ = channel.close(200, "OK".into()).now_or_never(); // As below.
                                return Err(BrokerError::Unavailable(reason.to_owned()));
                            }
                        }
                        let is_old = opened.elapsed() >= REFUSING_AGE_MIN;
                        has_refused |= answer.is_refusal() && is_old && !is(Parcel::is_hint);
                        self.careful = self.careful.saturating_sub(1);
                        window.landed(answer);
                    }
                    Err(error) => return Err(self.take_back(window, &error)),
                },
                () = tokio::time::sleep_until(last_confirm + self.confirm_patience), if !window.flying.is_empty() => {
                    if self.link.is_blocked() {
                        // An alarm: they are confirmed when it ends.
                        last_confirm = Instant::now();
                        continue;
                    }
                    let reason = format!("nothing was confirmed within {:?}", self.confirm_patience);
                    tracing::warn!(unconfirmed = window.flying.len(), reason, "a new channel is tried");
                    self.confirm_patience = (self.confirm_patience * 2).min(CONFIRM_PATIENCE_MAX);
                    self.reclaim(window);
                    let _ = channel.close(200, "OK".into()).now_or_never(); // The look hands it over; the answer is of no use.
                    return Err(BrokerError::Unavailable(reason));
                }
                count = self.intake.recv_many(&mut taken, TAKE_MAX), if self.waiting.is_empty() => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.waiting.extend(taken.drain(..));
                }
                () = shutdown.cancelled(), if is_idle => {
                    self.intake.close();
                    // The rest of what was handed over before; none when there is no more.
                    match self.intake.recv().await {
                        Some(pending) => self.waiting.push_back(pending),
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    /// The channel went: all that is not confirmed is sent again, before what waits.
    fn take_back(&mut self, mut window: Window, error: &lapin::Error) -> BrokerError {
        let reason = failure::unavailable(error);
        if error.is_amqp_soft_error() {
            if self.careful > 0
                && window.flying.len() == 1
                && let Some(culprit) = window.flying.pop_front()
            {
                tracing::warn!(key = %culprit.parcel.key, %reason, "RabbitMQ refuses a message");
                culprit.settle(Err(reason.clone()));
                self.careful -= 1;
            } else {
                self.careful = window.held.len() + window.flying.len();
            }
        }
        tracing::debug!(unconfirmed = window.flying.len(), %reason, "a channel ended; what was not confirmed is published again");
        self.reclaim(window);
        reason
    }

    /// What is not confirmed is sent again, before what waits.
    fn reclaim(&mut self, mut window: Window) {
        // Whether those that are held were taken by a queue is not known.
        let held = window.held.drain(..).map(|(pending, _)| pending);
        self.waiting = held.chain(window.flying.drain(..)).chain(std::mem::take(&mut self.waiting)).collect();
    }
}
