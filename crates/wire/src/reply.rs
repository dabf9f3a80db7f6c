//! How the result of a build is told to who asked for it, and how far that has come: what stands in HTTP answers, in the
//! callback's payload, in a webhook's body and in the message for a queue of replies.
//!
//! The states, and who moves them:
//!
//! ```text
//!                build ends            broker has it            receipt
//! waiting ─┬─────────────────► sent (callback) ────────────────────────────► received
//!          │                     ▲ sent again until the receipt is there
//!          └─────────────────► due (webhook, queue) ──taken──► delivered
//!                                └─ refused for good, or for three days ──► stopped ──by hand──► due
//! ```
//!
//! A retry of the build leads back to `waiting`, from wherever. What is sent twice has the same message id.

use std::{borrow::Cow, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{BuildId, Timestamp, VERSION, dead_letter::name_of, view::BuildSummary};

/// The queues that a result may be published to are named so: nobody writes into others by a trigger.
const QUEUE_PREFIXES: [&str; 2] = ["reply.", "amq.rabbitmq.reply-to."];
/// A queue's name and a correlation id have at most so many bytes: AMQP's short strings have no more.
pub const SHORT_BYTES_MAX: usize = 255;
/// The address of a webhook has at most so many bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Which of the ways a result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyKind {
    /// To a client of a gateway.
    Callback,
    /// By a POST.
    Webhook,
    /// By a message to a queue.
    Queue,
}

impl ReplyKind {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Webhook => "webhook",
            Self::Queue => "queue",
        }
    }
}

impl FromStr for ReplyKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Callback, Self::Webhook, Self::Queue]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("the mode {text:?} must be callback, webhook or queue"))
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyState {
    /// The build has not ended.
    Waiting,
    /// It is to be tried at `next_at`.
    Due,
    /// A callback that the broker has: its receipt is waited for.
    Sent,
    /// The receiver, or its queue, has taken it.
    Delivered,
    /// Who asked has said that it arrived.
    Received,
    /// It is not tried any more unless a person says so.
    Stopped,
}

impl ReplyState {
    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Due => "due",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Received => "received",
            Self::Stopped => "stopped",
        }
    }
}

impl FromStr for ReplyState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Waiting, Self::Due, Self::Sent, Self::Delivered, Self::Received, Self::Stopped]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("the state of a reply cannot be {text:?}"))
    }
}

/// How the result of a build is told, as readers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyView {
    /// The way.
    pub mode: ReplyKind,
    /// The client's id, the webhook's address as [`shown`], or the queue's name.
    pub address: String,
    /// How far it has come.
    pub state: ReplyState,
    /// How often it was tried since the build ended.
    pub attempts: u32,
    /// Why the last try failed. One sentence without its full stop.
    pub last_error: Option<String>,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
    /// When the receiver, or its queue, took it.
    pub delivered_at: Option<Timestamp>,
    /// When who asked said that it arrived.
    pub received_at: Option<Timestamp>,
}

/// The payload of the callback that tells a build's end to who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallbackPayload {
    /// It has ended.
    BuildFinished {
        /// As it is then.
        build: BuildSummary,
    },
}

impl CallbackPayload {
    /// The build that a payload tells the end of. It reads no more than that: what else stands there may be of another version.
    #[must_use]
    pub fn is_about(payload: &RawValue) -> Option<BuildId> {
        const KIND: &str = "build_finished";
        #[derive(Deserialize)]
        struct Told<'a> {
            #[serde(borrow)]
            kind: Cow<'a, str>,
            build: Of,
        }
        #[derive(Deserialize)]
        struct Of {
            id: BuildId,
        }
        // Most payloads are of other programs, and may be long.
        if !payload.get().contains(KIND) {
            return None;
        }
        serde_json::from_str::<Told<'_>>(payload.get()).ok().filter(|told| told.kind == KIND).map(|told| told.build.id)
    }
}

/// The message that tells a build's end to a queue of replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReply {
    version: u16,
    /// As it is then.
    pub build: BuildSummary,
}

impl QueueReply {
    /// Of this build.
    #[must_use]
    pub fn new(build: BuildSummary) -> Self {
        Self { version: VERSION, build }
    }

    /// The bytes of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::event::encode(self)
    }
}

/// Names the message that tells one end of a build, however often it is sent. `revision` is the build's at that end.
#[must_use]
pub fn message_id(build: BuildId, epoch: u32, revision: u64) -> Uuid {
    name_of(format!("reply {build} {epoch} {revision}").as_bytes())
}

/// Host and port of a webhook's address; the sentence says what is wrong with it otherwise.
///
/// # Errors
/// When it is no http or https URL.
pub fn host_of(url: &str) -> Result<&str, String> {
    let wrong = |why: &str| Err(format!("`url` must be an http:// or https:// address, and this one {why}"));
    if url.len() > URL_BYTES_MAX {
        return wrong(&format!("has {} bytes where {URL_BYTES_MAX} are allowed", url.len()));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("holds spaces or letters that must be percent-encoded");
    }
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    let Some(name) = ["http://", "https://"].into_iter().find(|name| scheme(name)) else {
        return wrong("begins otherwise");
    };
    let rest = &url[name.len()..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') { wrong("names no host") } else { Ok(host) }
}

/// Who is at a webhook's address: `scheme://host:port`, in lower case and with the port in any case.
///
/// # Errors
/// As [`host_of`], and when the port is no number up to 65535.
pub fn origin_of(url: &str) -> Result<String, String> {
    let host = host_of(url)?.to_ascii_lowercase();
    let (scheme, usual) = if url.as_bytes()[4] == b':' { ("http", 80) } else { ("https", 443) };
    // The colons of an IPv6 address stand in brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    let port: u16 = port
        .map_or(Ok(usual), str::parse)
        .map_err(|_| "`url` is no address: its port must be a number up to 65535".to_owned())?;
    Ok(format!("{scheme}://{name}:{port}"))
}

/// Whether results and receipts may be published to the queue of this name: so nobody makes Stepcast write into those of
/// others.
#[must_use]
pub fn is_reply_queue(name: &str) -> bool {
    QUEUE_PREFIXES.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}

/// A webhook's address without what may be a secret in it: user and password, path, query and fragment.
#[must_use]
pub fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_addresses_with_a_host_are_taken() {
        assert_eq!(host_of("https://user:pw@example.org:8443/hook?x=1"), Ok("example.org:8443"));
        assert_eq!(host_of("HTTP://127.0.0.1"), Ok("127.0.0.1"));
        assert_eq!(host_of("http://[::1]:8080/a"), Ok("[::1]:8080"));
        for (url, why) in [
            ("ftp://example.org/", "begins otherwise"),
            ("example.org", "begins otherwise"),
            ("http:///hook", "names no host"),
            ("http://user@/hook", "names no host"),
            ("http://:80/", "names no host"),
            ("http://example.org/a b", "percent-encoded"),
            ("http://exämple.org/", "percent-encoded"),
        ] {
            assert!(host_of(url).unwrap_err().ends_with(why) || host_of(url).unwrap_err().contains(why), "{url}");
        }
        assert!(host_of(&format!("http://h/{}", "x".repeat(URL_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_receiver_is_scheme_host_and_port_however_its_address_is_written() {
        for (url, origin) in [
            ("https://user:pw@Example.org/hook?x=1", "https://example.org:443"),
            ("HTTP://example.org:8080", "http://example.org:8080"),
            ("http://[::1]/a", "http://[::1]:80"),
            ("https://[::1]:8443/a", "https://[::1]:8443"),
        ] {
            assert_eq!(origin_of(url).as_deref(), Ok(origin));
        }
        for url in ["http://example.org:port/", "http://example.org:65536", "http://example.org:", "http://a:b:c/"] {
            assert!(origin_of(url).unwrap_err().contains("its port must be"), "{url}");
        }
        assert!(origin_of("ftp://example.org").is_err());
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(shown("https://user:pw@example.org:8443/hook?token=1#a"), "https://example.org:8443");
        assert_eq!(shown("http://example.org"), "http://example.org");
        assert_eq!(shown("http://example.org?token=a@b"), "http://example.org");
    }

    #[test]
    fn each_end_of_a_build_has_a_message_id_of_its_own() {
        let id = |build, revision| message_id(BuildId(Uuid::from_u128(build)), 1, revision);
        assert_eq!(id(1, 7), id(1, 7));
        assert_ne!(id(1, 7), id(1, 9));
        assert_ne!(id(1, 7), id(2, 7));
    }
}
