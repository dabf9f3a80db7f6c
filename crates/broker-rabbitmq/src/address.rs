//! Where RabbitMQ is and who we are there: the URL, checked once.

use std::{borrow::Cow, str::FromStr, time::Duration};

use lapin::{Connection, ConnectionProperties, uri::AMQPScheme, uri::AMQPUri};
use url::Url;

use crate::{
    failure::{StartError, refused},
    tls::Tls,
};

/// Seconds between heartbeats, unless the URL says otherwise: a dead peer is noticed after two of them.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long opening a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// What a query may say besides TLS.
const PLAIN_WORDS: [&str; 5] = ["heartbeat", "frame_max", "channel_max", "connection_timeout", "auth_mechanism"];

/// A checked URL: one host, or several of one cluster.
pub(crate) struct Address {
    /// At least one, in the order of the URL.
    pub(crate) hosts: Vec<Host>,
}

/// One node, and how we come in there. Its password is shown to nobody.
pub(crate) struct Host {
    uri: AMQPUri,
    tls: Option<Tls>,
}

impl Address {
    /// `amqp://user:password@host:port/virtual%20host`; an empty virtual host is the default one, `/`. Nodes of a cluster
    /// are written as `host:port,host:port`: all else is the same for them.
    pub(crate) fn parse(text: &str) -> Result<Self, StartError> {
        let wrong = |what: &str| StartError::Url(what.to_owned());
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("it must be amqp://user:password@host:port/virtual-host"))?;
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // The user, with the sign behind it, and the hosts.
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let host = |host: &str| {
            if host.is_empty() && hosts.contains(',') {
                return Err(wrong("there is no host between two commas"));
            }
            Host::parse(&format!("{scheme}://{user}{host}{behind}"), host)
        };
        Ok(Self { hosts: hosts.split(',').map(host).collect::<Result<_, _>>()? })
    }
}

impl Host {
    /// The virtual host.
    pub(crate) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    fn parse(text: &str, host: &str) -> Result<Self, StartError> {
        let mut uri = AMQPUri::from_str(text).map_err(StartError::Url)?;
        let url = Url::parse(text).map_err(|error| StartError::Url(error.to_string()))?;
        if let Some((six, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            // Not taken for a host by lapin.
            six.clone_into(&mut uri.authority.host);
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let tls = tls(&url, uri.scheme == AMQPScheme::AMQPS).map_err(StartError::Url)?;
        Ok(Self { uri, tls })
    }

    /// Host and port.
    pub(crate) fn place(&self) -> String {
        let host = &self.uri.authority.host;
        let host = if host.contains(':') { Cow::from(format!("[{host}]")) } else { Cow::from(host) };
        format!("{host}:{}", self.uri.authority.port)
    }

    /// Opens a connection that shows up under `name` on the broker. It does not recover by itself: [`crate::link`] does.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection, StartError> {
        let (uri, properties) = (self.uri.clone(), ConnectionProperties::default().with_connection_name(name.into()));
        let connecting = async {
            match &self.tls {
                Some(tls) => {
                    let connector = tls.connector().map_err(StartError::Url)?;
                    Ok(tls.connect(connector, uri, properties).await)
                }
                None => Ok(Connection::connect_uri(uri, properties).await),
            }
        };
        match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
            Ok(connected) => connected?.map_err(|error| {
                refused(&self.place(), &self.uri.authority.userinfo.username, &self.uri.vhost, &error)
            }),
            Err(_) => Err(StartError::NoAnswer {
                address: self.place(),
                reason: format!("nobody spoke AMQP within {CONNECT_PATIENCE:?}"),
            }),
        }
    }
}

/// What the query says about TLS. A word that is not known is not passed over: it may be a mistyped one that matters.
fn tls(url: &Url, is_on: bool) -> Result<Option<Tls>, String> {
    let mut tls = Tls::default();
    for (word, value) in url.query_pairs() {
        let place = match &*word {
            "cacertfile" => &mut tls.cacertfile,
            "certfile" => &mut tls.certfile,
            "keyfile" => &mut tls.keyfile,
            "server_name_indication" => &mut tls.name,
            "verify" if value == "verify_peer" => continue,
            "verify" => {
                return Err(format!(
                    "verify={value} is not done: only verify_peer, which is the default, keeps others out"
                ));
            }
            plain if PLAIN_WORDS.contains(&plain) => continue,
            other => {
                return Err(format!(
                    "its query has `{other}`; it may have cacertfile, certfile, keyfile, server_name_indication, {}",
                    PLAIN_WORDS.join(", ")
                ));
            }
        };
        *place = Some(value.into_owned());
    }
    if !is_on && tls != Tls::default() {
        return Err("certificates are for amqps://, and it begins with amqp://".to_owned());
    }
    Ok(is_on.then_some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str) -> Host {
        Address::parse(url).unwrap().hosts.pop().unwrap()
    }

    #[test]
    fn the_default_virtual_host_has_three_spellings() {
        for url in ["amqp://a:b@host:1", "amqp://a:b@host:1/", "amqp://a:b@host:1/%2f"] {
            assert_eq!(one(url).uri.vhost, "/", "{url}");
        }
        assert_eq!(one("amqp://a:b@host:1/team").uri.vhost, "team");
    }

    #[test]
    fn nodes_of_a_cluster_share_all_but_their_place() {
        let address =
            Address::parse("amqps://a:b,c@one,two:7,[::1]:8/team?heartbeat=5&cacertfile=/etc/ca%20file").unwrap();
        assert_eq!(address.hosts.iter().map(Host::place).collect::<Vec<_>>(), ["one:5671", "two:7", "[::1]:8"]);
        for host in address.hosts {
            assert_eq!((&*host.uri.authority.userinfo.password, &*host.uri.vhost), ("b,c", "team"));
            assert_eq!(host.uri.query.heartbeat, Some(5));
            assert_eq!(host.tls.unwrap().cacertfile.as_deref(), Some("/etc/ca file"));
        }
        assert_eq!(one("amqp://host").place(), "host:5672");
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_password() {
        for (url, what) in [
            ("http://a:secret@host", "scheme"),
            ("nonsense", "amqp://"),
            ("amqp://a:secret@one,,two", "two commas"),
            ("amqp://a:secret@host?cacertfile=/x", "amqps://"),
            ("amqps://a:secret@host?cacertfil=/x", "`cacertfil`"),
            ("amqps://a:secret@host?verify=verify_none", "verify_peer"),
            ("amqp://a:secret@host:port", "port"),
        ] {
            let error = Address::parse(url).err().unwrap().to_string();
            assert!(error.starts_with("the broker's URL is wrong") && error.contains(what), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem").display().to_string();
        std::fs::write(&empty, "").unwrap();
        let told = |query: &str| {
            let host = one(&format!("amqps://host?{query}"));
            host.tls.unwrap().connector().err().unwrap()
        };
        assert!(told("cacertfile=/nowhere/ca.pem").starts_with("cacertfile /nowhere/ca.pem cannot be read"));
        assert_eq!(told(&format!("cacertfile={empty}")), format!("cacertfile {empty} holds no certificate in PEM"));
        assert!(told("certfile=/nowhere/own.pem").contains("name both"));
    }
}
