//! Callbacks: what any program sends to one client by its server id, alone or many in one message. What else arrives at a
//! gateway is in [`crate::event`].
//!
//! A message may hold an array of callbacks for clients of the same server id. Each of them counts as a message of its
//! own: it has its own id, its own receipt and its own fate, and one that cannot be read does no harm to its neighbours.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{ClaimCheck, ClientId, DecodeError, SocketMeta, VERSION, payload::INLINE_BYTES_MAX};

/// Callbacks in one message at most: a gateway hands all of them on before it does anything else.
pub const CALLBACKS_MAX: usize = 1000;

/// Anything addressed to one client by its server id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// Which client.
    pub client_id: ClientId,
    /// Any JSON, or the claim check of what is too large.
    pub payload: Box<RawValue>,
    /// `payload` is a [`crate::ClaimCheck`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claim_check: bool,
}

/// An element of a batch that is no callback.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its own bytes.
    pub body: Box<RawValue>,
    /// One sentence.
    pub reason: String,
}

impl Callback {
    /// Whether it may be handed on.
    ///
    /// # Errors
    /// When the payload is too large, or claims to be a claim check and is none.
    pub fn check(&self) -> Result<(), DecodeError> {
        let bytes = self.payload.get().len();
        if bytes > INLINE_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes });
        }
        if self.claim_check {
            serde_json::from_str::<ClaimCheck>(self.payload.get()).map_err(|_| DecodeError::NoClaimCheck)?;
        }
        Ok(())
    }

    /// The bytes of a message that holds this callback alone.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::event::encode(self)
    }

    /// The id of the `n`th callback (from 0) of a batch: the message's own, as a number, and `n`. So it is the same each
    /// time that the message is delivered, and its producer knows it.
    #[must_use]
    pub fn id_in_batch(message_id: Uuid, n: usize) -> Uuid {
        Uuid::from_u128(message_id.as_u128().wrapping_add(n as u128))
    }
}

/// What gateways tell control of clients that came back: where each is to be found now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    version: u16,
    /// Client and worker.
    pub attached: Vec<SocketMeta>,
}

impl Attached {
    /// Of these clients.
    #[must_use]
    pub fn new(attached: Vec<SocketMeta>) -> Self {
        Self { version: VERSION, attached }
    }

    /// The bytes of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::event::encode(self)
    }

    /// From the bytes of a message.
    ///
    /// # Errors
    /// When they are not such a message of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let read: Self = serde_json::from_slice(bytes)?;
        if read.version == VERSION { Ok(read) } else { Err(DecodeError::Version { found: read.version }) }
    }
}

/// Whether a body is to be read as a batch.
pub(crate) fn is_batch(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Reads a batch, each element for itself.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<Vec<Result<Callback, Refused>>, DecodeError> {
    // Nearly always all of them can be read, and then once is enough.
    let callbacks: Vec<Result<Callback, Refused>> = match serde_json::from_slice::<Vec<Callback>>(bytes) {
        Ok(callbacks) => callbacks.into_iter().map(checked).collect(),
        Err(_) => serde_json::from_slice::<Vec<&RawValue>>(bytes)?.into_iter().map(decode).collect(),
    };
    match callbacks.len() {
        found if found > CALLBACKS_MAX => Err(DecodeError::Many { found }),
        _ => Ok(callbacks),
    }
}

fn decode(element: &RawValue) -> Result<Callback, Refused> {
    serde_json::from_str(element.get())
        .map_err(|error| Refused { body: element.to_owned(), reason: format!("it is no callback: {error}") })
        .and_then(checked)
}

fn checked(callback: Callback) -> Result<Callback, Refused> {
    let Err(error) = callback.check() else { return Ok(callback) };
    let body = serde_json::value::to_raw_value(&callback).unwrap_or_else(|_| callback.payload.clone());
    Err(Refused { body, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayMessage;

    const ID: &str = "00000000-0000-0000-0000-000000000001";

    fn batch(body: &str) -> Vec<Result<Callback, Refused>> {
        match GatewayMessage::decode(body.as_bytes()).unwrap() {
            GatewayMessage::Callbacks(callbacks) => callbacks,
            other => panic!("no batch: {other:?}"),
        }
    }

    #[test]
    fn a_batch_keeps_the_order_and_the_own_bytes_of_each_payload() {
        let body = format!(r#" [{{"client_id":"{ID}","payload":{{"n": 1}}}},{{"payload":[2],"client_id":"{ID}"}}]"#);
        let payloads: Vec<String> = batch(&body).into_iter().map(|one| one.unwrap().payload.get().to_owned()).collect();
        assert_eq!(payloads, [r#"{"n": 1}"#, "[2]"]);
        assert!(batch("[]").is_empty());
    }

    #[test]
    fn an_element_that_is_no_callback_is_refused_alone_with_its_own_bytes() {
        let body =
            format!(r#"[{{"client_id":"{ID}","payload":1}},{{"client_id": "x"}},{{"client_id":"{ID}","payload":3}}]"#);
        let elements = batch(&body);
        let refused = elements[1].as_ref().unwrap_err();
        assert_eq!(refused.body.get(), r#"{"client_id": "x"}"#);
        assert!(refused.reason.starts_with("it is no callback: "), "{}", refused.reason);
        assert!(elements[0].is_ok() && elements[2].is_ok());
    }

    #[test]
    fn a_batch_of_too_many_and_one_that_is_no_json_are_refused_whole() {
        let one = format!(r#"{{"client_id":"{ID}","payload":1}}"#);
        let of = |count| format!("[{}]", vec![one.as_str(); count].join(","));
        assert_eq!(batch(&of(CALLBACKS_MAX)).len(), CALLBACKS_MAX);
        let error = GatewayMessage::decode(of(CALLBACKS_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the message holds 1001 callbacks, 1000 are allowed");
        assert!(GatewayMessage::decode(b"[{").is_err());
    }

    #[test]
    fn the_ids_in_a_batch_begin_with_the_messages_own() {
        let id = Uuid::from_u128(7);
        assert_eq!(Callback::id_in_batch(id, 0), id);
        assert_eq!(Callback::id_in_batch(id, 3), Uuid::from_u128(10));
    }

    #[test]
    fn claim_check_a_payload_that_is_too_large_is_refused_with_the_way_out_alone_and_in_a_batch() {
        let large = format!(r#"{{"client_id":"{ID}","payload":"{}"}}"#, "x".repeat(INLINE_BYTES_MAX));
        let error = GatewayMessage::decode(large.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("262146 bytes") && error.contains("POST /api/v1/payloads"), "{error}");
        let elements = batch(&format!(r#"[{large},{{"client_id":"{ID}","payload":1}}]"#));
        assert_eq!(elements[0].as_ref().unwrap_err().reason, error);
        assert!(elements[1].is_ok());
        let none = format!(r#"{{"client_id":"{ID}","payload":{{"ref":1}},"claim_check":true}}"#);
        assert!(GatewayMessage::decode(none.as_bytes()).unwrap_err().to_string().contains("no claim check"));
        let check = format!(
            r#"{{"client_id":"{ID}","claim_check":true,"payload":{{"ref":"{ID}","size":1,"sha256":"ab","content_type":"text/plain"}}}}"#
        );
        let GatewayMessage::Callback(read) = GatewayMessage::decode(check.as_bytes()).unwrap() else { panic!("none") };
        assert!(read.claim_check);
        assert_eq!(crate::payload::claimed_by(check.as_bytes()), Some(ID.parse().unwrap()));
    }

    #[test]
    fn a_callback_alone_is_read_as_it_was_written() {
        let payload = RawValue::from_string(r#"{"hi":1}"#.to_owned()).unwrap();
        let sent = Callback { client_id: ID.parse().unwrap(), payload, claim_check: false };
        let GatewayMessage::Callback(back) = GatewayMessage::decode(&sent.encode()).unwrap() else { panic!("none") };
        assert_eq!((back.client_id, back.payload.get()), (sent.client_id, r#"{"hi":1}"#));
    }
}
