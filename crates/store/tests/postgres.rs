//! PostgreSQL against the suite of every store, and what is PostgreSQL's own: several processes, a server that goes away,
//! a server that says no.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod instance;

use std::sync::Arc;

use store::{BoxFuture, Store, conformance::Fixture, postgres::PostgresStore};
use tokio::sync::OnceCell;

/// A database of the tests' server.
struct Postgres {
    name: OnceCell<String>,
}

impl Postgres {
    fn new() -> Self {
        Self { name: OnceCell::new() }
    }

    async fn url(&self) -> String {
        instance::shared().url(self.name.get_or_init(|| instance::shared().make_database()).await)
    }

    /// One process's store.
    async fn process(&self) -> Arc<PostgresStore> {
        PostgresStore::open(&self.url().await).await.unwrap()
    }
}

impl Fixture for Postgres {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { self.process().await as Arc<dyn Store> })
    }

    /// As another process finds it: the server outlives the one that was killed.
    fn after_kill(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        self.open()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let forget = async move { instance::shared().forget_database(&name).await };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || runtime.block_on(forget)).join().unwrap();
        }
    }
}

store::store_conformance!(Postgres::new());
