//! Opens the broker and the store that were chosen: the only place that names concrete ones.

use std::{sync::Arc, time::Duration};

use broker::{Broker, embedded::EmbeddedBroker};
use broker_rabbitmq::{RabbitBroker, rights::Rights};
use store::{Store, postgres::PostgresStore, sqlite::SqliteStore};
use tokio_util::sync::CancellationToken;
use wire::mac::InstallationKey;

use crate::{
    config::{
        ServeOptions,
        backend::{BrokerChoice, StoreChoice},
        data_dir::DataDir,
    },
    journal::StoreJournal,
    turn::Turns,
};

/// How long what was handed to RabbitMQ may take to be confirmed at the end.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(5);

/// The broker of this process, and what only its kind has.
pub(crate) enum OpenBroker {
    /// In this process.
    Embedded(Arc<EmbeddedBroker>),
    /// RabbitMQ.
    Rabbit(Arc<RabbitBroker>),
}

impl OpenBroker {
    /// Opens it, at RabbitMQ as a user with these rights. The embedded one keeps its messages in `store`.
    pub(crate) async fn open(
        choice: &BrokerChoice,
        store: Option<&Arc<dyn Store>>,
        rights: Rights,
        shutdown: CancellationToken,
    ) -> Result<Self, String> {
        match (choice, store) {
            (BrokerChoice::Rabbit(url), _) => {
                let opened = RabbitBroker::start_with(url.reveal(), rights, shutdown).await;
                opened.map(Self::Rabbit).map_err(|failure| failure.to_string())
            }
            (BrokerChoice::Embedded, Some(store)) => {
                let journal = Arc::new(StoreJournal(Arc::clone(store)));
                let opened = EmbeddedBroker::start(journal, shutdown).await;
                opened.map(Self::Embedded).map_err(|failure| failure.to_string())
            }
            (BrokerChoice::Embedded, None) => Err("the embedded broker needs a store".to_owned()),
        }
    }

    /// As every part uses it.
    pub(crate) fn as_broker(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(embedded) => Arc::clone(embedded) as Arc<dyn Broker>,
            Self::Rabbit(rabbit) => Arc::clone(rabbit) as Arc<dyn Broker>,
        }
    }

    /// The embedded one.
    pub(crate) fn embedded(&self) -> Option<&Arc<EmbeddedBroker>> {
        match self {
            Self::Embedded(embedded) => Some(embedded),
            Self::Rabbit(_) => None,
        }
    }

    /// Resolves with the reason when this process cannot go on with it. RabbitMQ is waited for, however long it is away.
    pub(crate) async fn failed(&self) -> String {
        match self {
            Self::Embedded(embedded) => format!("the embedded broker failed: {}", embedded.failed().await),
            Self::Rabbit(_) => std::future::pending().await,
        }
    }

    /// After the shutdown: waits until what was handed over is confirmed.
    pub(crate) async fn finished(&self) {
        if let Self::Rabbit(rabbit) = self
            && tokio::time::timeout(CONFIRM_PATIENCE, rabbit.finished()).await.is_err()
        {
            tracing::warn!("RabbitMQ has not confirmed everything: what matters is published again from the store");
        }
    }
}

/// The store of this process; none where no part needs one.
pub(crate) async fn open_store(options: &ServeOptions, data_dir: &DataDir) -> Result<Option<Arc<dyn Store>>, String> {
    if !options.roles.need_store() {
        return Ok(None);
    }
    open_store_alone(&options.store, data_dir).await.map(Some)
}

/// The store of an installation, for this process alone where that can be had.
pub(crate) async fn open_store_alone(choice: &StoreChoice, data_dir: &DataDir) -> Result<Arc<dyn Store>, String> {
    let opened: Result<Arc<dyn Store>, _> = match choice {
        StoreChoice::Sqlite => SqliteStore::open(&data_dir.database()).await.map(|store| store as _),
        StoreChoice::Postgres(url) => PostgresStore::open(url.reveal()).await.map(|store| store as _),
    };
    opened.map_err(|failure| failure.to_string())
}

/// The store of an installation, beside its server.
pub(crate) async fn open_store_beside(choice: &StoreChoice, data_dir: &DataDir) -> Result<Arc<dyn Store>, String> {
    let opened: Result<Arc<dyn Store>, _> = match choice {
        StoreChoice::Sqlite => SqliteStore::open_beside(&data_dir.database()).await.map(|store| store as _),
        StoreChoice::Postgres(url) => PostgresStore::open(url.reveal()).await.map(|store| store as _),
    };
    opened.map_err(|failure| failure.to_string())
}

/// How this process comes to its turns.
pub(crate) fn turns(choice: &StoreChoice, store: &Arc<dyn Store>, data_dir: &DataDir) -> Result<Turns, String> {
    match choice {
        StoreChoice::Sqlite => Ok(Turns::Alone),
        StoreChoice::Postgres(_) => Ok(Turns::Leased { store: Arc::clone(store), holder: data_dir.holder()? }),
    }
}

/// The key that all processes of an installation share: in the data folder, or in the database that they share. There the
/// first one to come offers its own.
pub(crate) async fn installation_key(
    choice: &StoreChoice,
    store: &dyn Store,
    data_dir: &DataDir,
) -> Result<InstallationKey, String> {
    let own = data_dir.installation_key()?;
    match choice {
        StoreChoice::Sqlite => Ok(own),
        StoreChoice::Postgres(_) => {
            let kept = store.installation_key(&own.0).await.map_err(|failure| failure.to_string())?;
            Ok(InstallationKey(kept))
        }
    }
}
