//! Sessions, kept in the store under the hash of their id: who reads the database cannot sign in by it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use store::{Store, StoreError};
use tower_sessions::{
    SessionStore,
    cookie::time::OffsetDateTime,
    session::{Id, Record},
    session_store::{Error, Result},
};
use wire::Timestamp;

use crate::secret;

/// A session store in ours.
#[derive(Clone)]
pub(crate) struct Sessions(pub(crate) Arc<dyn Store>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// The key of a session's row.
pub(crate) fn key(id: &Id) -> String {
    secret::sha256(&id.to_string())
}

fn data(record: &Record) -> Result<Vec<u8>> {
    serde_json::to_vec(&record.data).map_err(|failure| Error::Encode(failure.to_string()))
}

fn until(record: &Record) -> Timestamp {
    Timestamp(i64::try_from(record.expiry_date.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
}

fn backend(failure: StoreError) -> Error {
    Error::Backend(failure.to_string())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // Ids are random: a collision does not happen, but an existing session must never be written over.
        let (data, until) = (data(record)?, until(record));
        while !self.0.create_session(&key(&record.id), &data, until).await.map_err(backend)? {
            record.id = Id::default();
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // A session that ended meanwhile stays ended.
        self.0.put_session(&key(&record.id), &data(record)?, until(record)).await.map(|_is_there| ()).map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.0.session(&key(id)).await.map_err(backend)?;
        let Some((data, expires_at)) = found else { return Ok(None) };
        let data = serde_json::from_slice(&data).map_err(|failure| Error::Decode(failure.to_string()))?;
        let expiry_date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(expires_at.0) * 1000)
            .map_err(|failure| Error::Decode(failure.to_string()))?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.0.delete_session(&key(id)).await.map_err(backend)
    }
}
