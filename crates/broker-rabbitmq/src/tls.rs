//! TLS towards RabbitMQ: whom we trust and who we are, as the query of an `amqps://` URL says it in the words of RabbitMQ's
//! URI specification. The files are read for every connection, so that renewed ones are taken without a restart.

use std::fs;

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::{RustlsConnector, RustlsConnectorConfig},
    uri::AMQPUri,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// What of the query is about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The authorities that are trusted, in PEM, instead of the system's.
    pub(crate) cacertfile: Option<String>,
    /// Our own certificate and what leads to its authority, in PEM.
    pub(crate) certfile: Option<String>,
    /// Its private key, in PEM, without a password.
    pub(crate) keyfile: Option<String>,
    /// The name that the certificate must have, where it is not the host's.
    pub(crate) name: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One sentence about the one that cannot be used.
    pub(crate) fn connector(&self) -> Result<RustlsConnector, String> {
        let trusted = RustlsConnectorConfig::default();
        let trusted = match &self.cacertfile {
            Some(path) => trusted.with_parsable_certificates(certificates("cacertfile", path)?),
            None => trusted.with_native_certs().map_err(|error| {
                format!("this system has no list of trusted authorities ({error}); name a file with cacertfile=")
            })?,
        };
        let made = match (&self.certfile, &self.keyfile) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("certfile", certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&read("keyfile", key)?)
                    .map_err(|_| format!("keyfile {key} holds no private key in PEM without a password"))?;
                trusted.connector_with_single_cert(chain, key)
            }
            (None, None) => trusted.connector_with_no_client_auth(),
            _ => return Err("certfile and keyfile belong together: name both or none".to_owned()),
        };
        made.map_err(|error| format!("TLS cannot be set up: {error}"))
    }

    /// Opens a connection over TLS.
    pub(crate) async fn connect(
        &self,
        connector: RustlsConnector,
        uri: AMQPUri,
        properties: ConnectionProperties,
    ) -> lapin::Result<Connection> {
        let name = self.name.clone().unwrap_or_else(|| uri.authority.host.clone());
        let (runtime, reactor) = (lapin::runtime::default_runtime()?, lapin::runtime::default_runtime()?);
        let open = async move |uri: AMQPUri, _| {
            let place = reactor.to_socket_addrs((uri.authority.host, uri.authority.port));
            let plain = AsyncTcpStream::connect(&reactor, place).await?;
            Ok(plain.into_rustls(&connector, &name).await?)
        };
        Connection::connector(uri, runtime, open, properties).await
    }
}

fn read(word: &str, path: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{word} {path} cannot be read: {error}"))
}

fn certificates(word: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let held = read(word, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&held).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| format!("{word} {path} holds no certificate in PEM"))
}
