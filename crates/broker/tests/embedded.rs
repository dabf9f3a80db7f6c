//! The conformance suite over the embedded broker, with a journal in memory. What is particular to this broker is
//! in `embedded_journal.rs` and `embedded_time.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{
    BoxFuture, Broker,
    conformance::Fixture,
    embedded::{EmbeddedBroker, MemoryJournal},
};
use tokio_util::sync::CancellationToken;

struct Embedded {
    running: Mutex<(Arc<EmbeddedBroker>, Arc<MemoryJournal>)>,
}

impl Embedded {
    async fn start() -> Self {
        Self { running: Mutex::new(Self::begin(Arc::default()).await) }
    }

    async fn begin(journal: Arc<MemoryJournal>) -> (Arc<EmbeddedBroker>, Arc<MemoryJournal>) {
        let broker = EmbeddedBroker::start(Arc::clone(&journal) as _, CancellationToken::new()).await.unwrap();
        (broker, journal)
    }

    fn embedded(&self) -> Arc<EmbeddedBroker> {
        Arc::clone(&self.running.lock().unwrap().0)
    }
}

impl Fixture for Embedded {
    fn broker(&self) -> Arc<dyn Broker> {
        self.embedded()
    }

    fn restart(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The old broker lives on as far as someone holds it, but nothing of it reaches the data any more.
            let journal = Arc::new(self.running.lock().unwrap().1.reopen());
            let anew = Self::begin(journal).await;
            *self.running.lock().unwrap() = anew;
        })
    }

    fn time_to_live(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn gives_back_to_the_front(&self) -> bool {
        true
    }

    fn trim_stream(&self, offset: u64) -> Option<BoxFuture<'_, ()>> {
        let broker = self.embedded();
        Some(Box::pin(async move { broker.trim_stream(offset + 1).await.unwrap() }))
    }
}

broker::conformance_tests!(Embedded::start());
