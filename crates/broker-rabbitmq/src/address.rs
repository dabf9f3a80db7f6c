//! Where RabbitMQ is and who we are there: the URL, checked once.

use std::{str::FromStr, time::Duration};

use lapin::{Connection, ConnectionProperties, uri::AMQPScheme, uri::AMQPUri};

use crate::failure::{StartError, refused};

/// Seconds between heartbeats, unless the URL says otherwise: a dead peer is noticed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long opening a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A checked URL. Its password is shown to nobody.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
}

impl Address {
    /// `amqp://user:password@host:port/virtual%20host`; an empty virtual host is the default one, `/`.
    pub(crate) fn parse(url: &str) -> Result<Self, StartError> {
        let mut uri = AMQPUri::from_str(url).map_err(StartError::Url)?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(StartError::Url("this program is built without TLS, so amqps:// cannot be used".to_owned()));
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self { uri })
    }

    /// Host and port.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Opens a connection that shows up under `name` on the broker. It does not recover by itself: [`crate::link`] does.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection, StartError> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(|error| {
                refused(&self.place(), &self.uri.authority.userinfo.username, &self.uri.vhost, &error)
            }),
            Err(_) => Err(StartError::NoAnswer {
                address: self.place(),
                reason: format!("nobody spoke AMQP within {CONNECT_PATIENCE:?}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_virtual_host_has_three_spellings() {
        for url in ["amqp://a:b@host:1", "amqp://a:b@host:1/", "amqp://a:b@host:1/%2f"] {
            assert_eq!(Address::parse(url).unwrap().uri.vhost, "/", "{url}");
        }
        assert_eq!(Address::parse("amqp://a:b@host:1/team").unwrap().uri.vhost, "team");
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_password() {
        for url in ["http://a:secret@host", "amqps://a:secret@host", "nonsense"] {
            let error = Address::parse(url).err().unwrap().to_string();
            assert!(error.starts_with("the broker's URL is wrong") && !error.contains("secret"), "{error}");
        }
    }
}
