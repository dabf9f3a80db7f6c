//! Where the server is, and what is said when it cannot be had there: one sentence, which never holds the password.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::session::{self, Role};
use crate::StoreError;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept ready by one connection.
const STATEMENTS_MAX: usize = 200;

/// A database of a server.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    /// `host:port`, or the path of the socket.
    place: String,
}

impl Address {
    /// From a URL. What it leaves out comes from `PGHOST`, `PGPASSWORD` and their like, and from `~/.pgpass`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let reason = "the address of a PostgreSQL database begins with postgres:// and this one does not";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        let options: PgConnectOptions = url.parse().map_err(|failure: sqlx::Error| {
            StoreError::Unavailable(format!(
                "its address cannot be read ({failure}): write postgres://user@host/database"
            ))
        })?;
        let options =
            options.application_name("stepcast").statement_cache_capacity(STATEMENTS_MAX).disable_statement_logging();
        let (host, port) = (options.get_host(), options.get_port());
        let place = match options.get_socket() {
            Some(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
            None if host.starts_with('/') => format!("{host}/.s.PGSQL.{port}"),
            None => format!("{host}:{port}"),
        };
        Ok(Self { options, place })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A connection that is set up.
    pub(super) async fn connect(&self, role: Role) -> Result<PgConnection, StoreError> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            session::set_up(&mut connection, role).await?;
            Ok(connection)
        };
        match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.refusal(error)),
            Err(_) => Err(StoreError::Unavailable(format!(
                "PostgreSQL at {} has not answered for {} s",
                self.place,
                CONNECT_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Why a connection could not be made.
    pub(super) fn refusal(&self, error: sqlx::Error) -> StoreError {
        let place = &self.place;
        let sentence = match &error {
            sqlx::Error::Io(failure) => format!("no PostgreSQL answers at {place}: {failure}"),
            sqlx::Error::Tls(failure) => format!("PostgreSQL at {place} cannot be spoken to safely: {failure}"),
            sqlx::Error::Database(inner) => {
                let reason = inner.message();
                match inner.code().as_deref() {
                    // invalid_authorization_specification and invalid_password.
                    Some("28000" | "28P01") => {
                        let user = self.options.get_username();
                        format!("PostgreSQL at {place} refuses the user {user:?}: {reason}")
                    }
                    // invalid_catalog_name.
                    Some("3D000") => {
                        let database = self.options.get_database().unwrap_or(self.options.get_username());
                        format!("PostgreSQL at {place} has no database {database:?}: create it first, empty")
                    }
                    _ => format!("PostgreSQL at {place} says: {reason}"),
                }
            }
            _ => return error.into(),
        };
        StoreError::Unavailable(sentence)
    }
}
