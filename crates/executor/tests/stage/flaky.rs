//! A broker that loses events on the way in and says so, as one does whose connection breaks. All else goes through.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use broker::{
    BoxFuture, Broker, BrokerError, Confirm, ConsumeOptions, Consumer, Outgoing, StreamError, StreamFrom, StreamReader,
    topology,
};

pub(crate) struct Flaky {
    pub(crate) inner: Arc<dyn Broker>,
    /// Events that were published.
    pub(crate) events: AtomicUsize,
    /// Whether the n-th of them is lost.
    pub(crate) loses: fn(usize) -> bool,
}

impl Broker for Flaky {
    fn publish(&self, message: Outgoing) -> Confirm {
        if message.stream && (self.loses)(self.events.fetch_add(1, Ordering::Relaxed)) {
            let (settle, confirm) = Confirm::new();
            settle.send(Err(BrokerError::Unavailable("the connection broke".to_owned()))).unwrap();
            return confirm;
        }
        self.inner.publish(message)
    }

    fn declare<'a>(&'a self, queue: &'a topology::Queue) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.inner.declare(queue)
    }

    fn delete<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.inner.delete(queue)
    }

    fn bind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.inner.bind(queue, key)
    }

    fn unbind<'a>(&'a self, queue: &'a str, key: &'a str) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.inner.unbind(queue, key)
    }

    fn consume<'a>(&'a self, queue: &'a str, options: ConsumeOptions) -> BoxFuture<'a, Result<Consumer, BrokerError>> {
        self.inner.consume(queue, options)
    }

    fn stream_end(&self) -> BoxFuture<'_, Result<Option<u64>, BrokerError>> {
        self.inner.stream_end()
    }
    fn read_stream(&self, from: StreamFrom) -> BoxFuture<'_, Result<StreamReader, StreamError>> {
        self.inner.read_stream(from)
    }

    fn queue_length<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<u64>, BrokerError>> {
        self.inner.queue_length(queue)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.health()
    }
}
