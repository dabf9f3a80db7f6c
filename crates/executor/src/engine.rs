//! A client of a container engine: Podman or Docker, over the HTTP API of its Unix socket. Each request has a connection of
//! its own. Addresses name no version, so an engine answers with the newest that it knows; what is asked here is the same in
//! all since Docker 1.40 and Podman 4.

use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// Bytes of an answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Characters of what an engine says that stand in a sentence.
const SAID_CHARS_MAX: usize = 400;
/// How long an engine may take for an answer. Making a container copies a whole image where the storage cannot do better.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to say that it is there. systemd may have to start it.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long a container may take to be gone.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether it is.
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// An engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    socket: PathBuf,
}

/// What it said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Null where it said nothing.
    pub(crate) body: Value,
}

/// Bytes both ways, once a connection has become one.
pub(crate) type Stream = TokioIo<Upgraded>;

impl Engine {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Makes sure that it answers.
    ///
    /// # Errors
    /// Why it does not; one sentence.
    pub(crate) async fn ping(&self) -> Result<(), String> {
        let asked = tokio::time::timeout(PING_PATIENCE, self.ask(Method::GET, "/_ping", None)).await;
        let answer = asked.map_err(|_| self.silent(PING_PATIENCE))??;
        answer.status.is_success().then_some(()).ok_or_else(|| format!("{} answered: {}", self.named(), answer.said()))
    }

    /// Asks, and reads the answer as a whole.
    ///
    /// # Errors
    /// When there is none that can be read; one sentence.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, String> {
        let asked = async {
            let response = self.send(method, path, body, false).await?;
            self.read(response).await
        };
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| self.silent(PATIENCE))?
    }

    /// Asks for an answer that comes bit by bit, and may take as long as it likes.
    ///
    /// # Errors
    /// When there is none, or it is a refusal; one sentence.
    pub(crate) async fn listen(&self, path: &str) -> Result<Incoming, String> {
        let response = self.send(Method::POST, path, None, false).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(self.read(response).await?.said())
    }

    /// Makes a connection into a stream.
    ///
    /// # Errors
    /// When the engine does not; one sentence.
    pub(crate) async fn stream(&self, path: &str, body: Option<Value>) -> Result<Stream, String> {
        let opened = async {
            let response = self.send(Method::POST, path, body, true).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(self.read(response).await?.said());
            }
            let upgraded = hyper::upgrade::on(response).await;
            upgraded.map(TokioIo::new).map_err(|error| format!("{} went away: {error}", self.named()))
        };
        tokio::time::timeout(PATIENCE, opened).await.map_err(|_| self.silent(PATIENCE))?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, String> {
        let unreached = |error: &dyn std::fmt::Display| format!("{} cannot be reached: {error}", self.named());
        let connection = UnixStream::connect(&self.socket).await.map_err(|error| unreached(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connection)).await.map_err(|error| unreached(&error))?;
        tokio::spawn(connection.with_upgrades());
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        request = request.header(CONTENT_TYPE, "application/json");
        if upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let request = request.body(Full::new(bytes)).map_err(|error| unreached(&error))?;
        sender.send_request(request).await.map_err(|error| unreached(&error))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, String> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("{} broke off its answer: {error}", self.named()))?.to_bytes();
        // A ping is answered in plain text.
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(&*String::from_utf8_lossy(&body)));
        Ok(Answer { status, body })
    }

    fn named(&self) -> String {
        format!("the container engine at {}", self.socket.display())
    }

    fn silent(&self, patience: Duration) -> String {
        format!("{} did not answer within {} s", self.named(), patience.as_secs())
    }

    /// Ends a container with all its processes, and waits until it is gone. That it is not there is fine.
    ///
    /// # Errors
    /// When it is still there after a minute, or nobody can tell; one sentence.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), String> {
        let mut why = String::new();
        let removed = async {
            loop {
                match self.try_to_remove(container).await {
                    Ok(()) => break,
                    Err(reason) => why = reason,
                }
                tokio::time::sleep(REMOVAL_PAUSE).await;
            }
        };
        let in_time = tokio::time::timeout(REMOVAL_PATIENCE, removed).await.is_ok();
        in_time.then_some(()).ok_or_else(|| format!("the container {container} could not be removed: {why}"))
    }

    async fn try_to_remove(&self, container: &str) -> Result<(), String> {
        let path = format!("/containers/{container}");
        // At once: what removes may first ask it to stop, and wait.
        self.ask(Method::POST, &format!("{path}/kill?signal=KILL"), None).await?;
        // It may be on its way already, which is answered by a conflict; whether it is gone is asked below.
        let removed = self.ask(Method::DELETE, &format!("{path}?force=true&v=true"), None).await?;
        let left = self.ask(Method::GET, &format!("{path}/json"), None).await?;
        match left.status {
            StatusCode::NOT_FOUND => Ok(()),
            _ if removed.status.is_success() => Err("it is still there".to_owned()),
            _ => Err(removed.said()),
        }
    }

    /// Removes all containers that have a label.
    ///
    /// # Errors
    /// When one is left, or nobody can tell; one sentence.
    pub(crate) async fn remove_labelled(&self, label: &str) -> Result<(), String> {
        let filters = encoded(&json!({ "label": [label] }).to_string());
        let listed = self.ask(Method::GET, &format!("/containers/json?all=true&filters={filters}"), None).await?;
        let (true, Some(listed)) = (listed.status.is_success(), listed.body.as_array()) else {
            return Err(format!("{} does not list its containers: {}", self.named(), listed.said()));
        };
        for container in listed {
            self.remove(container["Id"].as_str().unwrap_or_default()).await?;
        }
        Ok(())
    }
}

impl Answer {
    /// What the engine said, on one line.
    pub(crate) fn said(&self) -> String {
        let said = self.body["message"].as_str().or(self.body.as_str()).unwrap_or_default();
        if said.trim().is_empty() { format!("status {}", self.status.as_u16()) } else { on_one_line(said) }
    }
}

/// What an engine says, for a sentence.
pub(crate) fn on_one_line(said: &str) -> String {
    let line = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    line.collect::<Vec<_>>().join(" ").chars().take(SAID_CHARS_MAX).collect()
}

/// A value in an address.
pub(crate) fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_is_one_line() {
        let answer = |body| Answer { status: StatusCode::NOT_FOUND, body };
        assert_eq!(answer(json!({"message": "no such\n image\u{1b}"})).said(), "no such image");
        assert_eq!(answer(Value::Null).said(), "status 404");
        assert_eq!(answer(json!({"message": "x".repeat(1000)})).said().len(), SAID_CHARS_MAX);
    }

    #[test]
    fn a_value_leaves_its_place_in_an_address_never() {
        assert_eq!(encoded("a/b:1&c={}"), "a%2Fb%3A1%26c%3D%7B%7D");
    }

    #[tokio::test]
    async fn nobody_at_the_socket_is_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(folder.path().join("sock"));
        let said = engine.ping().await.unwrap_err();
        assert!(said.starts_with("the container engine at ") && said.contains("cannot be reached"), "{said}");
    }
}
