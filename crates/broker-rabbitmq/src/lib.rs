//! The contract of [`broker`] over RabbitMQ, for many processes on many hosts. Only this crate knows lapin.
//!
//! # How it stands
//!
//! - Two connections: what is published goes over one, and everything else over the other, so that an alarm that blocks
//!   publishers blocks no ack. Each is kept up by a loop of its own ([`link`]); a broker that is away is waited for, as long
//!   as it takes, and [`Broker::health`] says so.
//! - [`Broker::publish`] hands over to one task ([`publisher`]) that keeps many confirms in flight and publishes again what
//!   was not confirmed when the connection went.
//! - A consumer ends with its connection or its queue, as the contract says: whoever reads it declares and consumes anew,
//!   and finds the queue made again if an operator deleted it.
//!
//! # What RabbitMQ does not give
//!
//! Each is described where it is made up for: exclusive consumers of quorum queues and the length of a queue that may expire
//! ([`desk`]), the end of a private queue that is not read ([`consumer`]), reasons of dead letters and the two delivery
//! limits ([`settler`]), the stream's incarnation ([`incarnation`]). Not made up for:
//!
//! - `unrouted` refuses publishers when it is full; what dies in a gateway's queue then is lost, for RabbitMQ can let the oldest
//!   go or refuse, not both.
//! - Bindings that go because an operator deletes an exchange are made again when their queue is declared, not before.
//! - RabbitMQ writes down which quorum queues and streams there are a little after they were declared: one that was made in the
//!   last seconds before kill -9 may be empty afterwards, confirmed messages included.
//! - From RabbitMQ 4.2 on (Khepri), an exclusive queue of a node that is gone stays, and nobody can delete it or declare it
//!   anew: its owner takes another name or waits. Events that are routed there as well are safe all the same ([`publisher`]);
//!   another program that publishes them with confirms has to do as we do.
//! - A confirm from the stream says that it is replicated, not that it is on the disk: it survives kill -9, and on a single node
//!   not a loss of power.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod consumer;
mod desk;
mod failure;
mod incarnation;
mod link;
mod message;
mod publisher;
pub mod rights;
mod settler;
mod setup;
mod stream;
mod tls;

use std::sync::Arc;

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom, StreamReader,
    topology::{self, QueueKind},
};
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use address::Address;
use consumer::{PrivateSource, Source};
use desk::Desk;
pub use failure::StartError;
use incarnation::Incarnation;
use link::Link;
use publisher::Intake;
use rights::Rights;
use settler::{Refusals, Settler};

/// Bytes that are held at most for what waits to be confirmed, and for what is being written on the way there.
pub const MEMORY_BYTES_MAX: usize = publisher::BACKLOG_BYTES_MAX + 2 * publisher::WINDOW_BYTES_MAX;

/// See the crate. Dropping it is a shutdown; [`RabbitBroker::finished`] tells when what was left is confirmed.
pub struct RabbitBroker {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    intake: Arc<Intake>,
    desk: Arc<Desk>,
    incarnation: Arc<Incarnation>,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
    finished: CancellationToken,
}

impl RabbitBroker {
    /// Connects and declares the topology. The broker ends with `shutdown`: what was handed over before is still published,
    /// within a few seconds.
    ///
    /// # Errors
    /// When RabbitMQ cannot be had with this URL now: once it was there, it is waited for.
    pub async fn start(url: &str, shutdown: CancellationToken) -> Result<Arc<Self>, StartError> {
        Self::start_with(url, Rights::All, shutdown).await
    }

    /// The same as a user with these rights. Without [`Rights::All`] nothing is declared but private queues.
    ///
    /// # Errors
    /// As [`RabbitBroker::start`].
    pub async fn start_with(url: &str, rights: Rights, shutdown: CancellationToken) -> Result<Arc<Self>, StartError> {
        let address = Arc::new(Address::parse(url)?);
        let (shutdown, finished) = (shutdown.child_token(), CancellationToken::new());
        let incarnation = Arc::<Incarnation>::default();
        // The connections outlive the shutdown until what was handed over is confirmed.
        let started = async {
            let consuming = Link::start(&address, "consuming", rights, &incarnation, finished.clone()).await?;
            let publishing = Link::start(&address, "publishing", rights, &incarnation, finished.clone()).await?;
            Ok::<_, StartError>((Arc::new(consuming), Arc::new(publishing)))
        };
        let (consuming, publishing) = started.await.inspect_err(|_| finished.cancel())?;
        let intake = Intake::start(Arc::clone(&publishing), shutdown.clone(), finished.clone());
        Ok(Arc::new(Self {
            desk: Arc::new(Desk::new(Arc::clone(&consuming))),
            publishing,
            consuming,
            intake: Arc::new(intake),
            incarnation,
            refusals: Arc::default(),
            shutdown,
            finished,
        }))
    }

    /// Resolves when the broker has ended and all that it will ever publish is confirmed.
    pub async fn finished(&self) {
        self.finished.cancelled().await;
    }

    async fn consumer(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, BrokerError> {
        let (kind, declaration) = self.desk.kind(queue).unzip();
        let is_classic = matches!(kind, Some(QueueKind::Private | QueueKind::Gateway { .. }));
        // Hints are never consumed exclusively, and an executor may not look for the lock of who would.
        if !is_classic && self.consuming.rights() == Rights::All {
            self.desk.admit(queue, options.exclusive).await?;
        }
        let dismissed =
            (!is_classic && options.exclusive && self.consuming.rights() == Rights::All).then(|| queue.to_owned());
        let consumed = self.consume_as(queue, kind, declaration, options, dismissed.clone()).await;
        let has_failed = consumed.is_err();
        if let Some(queue) = dismissed.filter(|_| has_failed) {
            self.desk.dismiss(&queue).await;
        }
        consumed
    }

    async fn consume_as(
        &self,
        queue: &str,
        kind: Option<QueueKind>,
        declaration: Option<u64>,
        options: ConsumeOptions,
        dismissed: Option<String>,
    ) -> Result<Consumer, BrokerError> {
        let is_private = kind == Some(QueueKind::Private);
        let connection = self.consuming.connection().await?;
        let consuming = async {
            let channel = connection.create_channel().await?;
            if !is_private {
                channel.basic_qos(options.prefetch.max(1), BasicQosOptions::default()).await?;
            }
            let exclusive = BasicConsumeOptions { exclusive: options.exclusive, ..BasicConsumeOptions::default() };
            let consumer = channel.basic_consume(queue.into(), "".into(), exclusive, FieldTable::default()).await?;
            Ok::<_, lapin::Error>((channel, consumer))
        };
        let (channel, consumer) = consuming.await.map_err(|error| failure::about(queue, &error))?;

        let (verdicts, settling) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let grave = (queue.to_owned(), grave(queue, kind.as_ref()));
        // A private queue's consumer says at once what it has: its reader waits for room.
        let ahead = if is_private { 0 } else { options.prefetch };
        let (intake, refusals) = (Arc::clone(&self.intake), Arc::clone(&self.refusals));
        let settler = Settler::new(channel.clone(), consumer.tag(), intake, refusals, grave, ahead);
        let (desk, over) = (Arc::clone(&self.desk), gone.clone());
        tokio::spawn({
            let queue = queue.to_owned();
            async move {
                settler.run(settling, over).await;
                if let Some(declaration) = declaration.filter(|_| is_private) {
                    desk.forget(&queue, declaration);
                }
                if let Some(queue) = dismissed {
                    desk.dismiss(&queue).await;
                }
            }
        });
        Ok(if is_private {
            let prefetch = options.prefetch.max(1);
            Consumer::new(PrivateSource::start(queue.to_owned(), channel, consumer, prefetch, verdicts, gone))
        } else {
            Consumer::new(Source::new(consumer, verdicts, gone.drop_guard()))
        })
    }
}

/// The exchange for dead letters of a queue; what leaves a grave or a private queue goes nowhere.
fn grave(queue: &str, kind: Option<&QueueKind>) -> Option<&'static str> {
    match (queue, kind) {
        (topology::UNROUTED | topology::DEAD, _) | (_, Some(QueueKind::Private)) => None,
        (_, Some(QueueKind::Gateway { .. })) => Some(topology::UNROUTED),
        _ => Some(topology::DEAD),
    }
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Broker for RabbitBroker {
    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.desk.declare(queue))
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.desk.delete(queue))
    }

    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.desk.bind(queue, key))
    }

    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.desk.unbind(queue, key))
    }

    fn publish(&self, message: Outgoing) -> Confirm {
        self.intake.publish(message)
    }

    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        Box::pin(self.consumer(queue, options))
    }

    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        Box::pin(stream::end(&self.consuming))
    }

    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        Box::pin(stream::read(&self.consuming, &self.incarnation, from))
    }

    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        Box::pin(self.desk.length(queue))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.shutdown.is_cancelled() {
                return Err(BrokerError::Unavailable("it is shut down".to_owned()));
            }
            self.publishing.health()?;
            self.consuming.health()
        })
    }
}
