//! A message as the embedded broker holds it, and as it writes it to the journal. A body is never copied in memory;
//! it is copied once, into the journal's entry.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Incoming, Origin, Outgoing, topology::Exchange};

/// The layout of [`Message::encode`]; another number means another layout.
const LAYOUT: u8 = 1;

/// What all queues that took a message share.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) key: String,
    pub(super) message_id: Uuid,
    pub(super) correlation_id: Option<String>,
    pub(super) reply_to: Option<String>,
    pub(super) death: Option<String>,
    pub(super) origin: Option<Origin>,
    pub(super) body: Arc<[u8]>,
}

/// Everything but the body.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    key: Cow<'a, str>,
    message_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    death: Option<Cow<'a, str>>,
    /// Name of the exchange and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<(Cow<'a, str>, Cow<'a, str>)>,
    /// It stands in a gateway's queue: if nobody declares that queue again, it goes to `unrouted`.
    gateway: bool,
}

impl From<Outgoing> for Message {
    fn from(message: Outgoing) -> Self {
        Self {
            key: message.key,
            message_id: message.message_id,
            correlation_id: message.correlation_id,
            reply_to: message.reply_to,
            death: message.death,
            origin: message.origin,
            body: message.body,
        }
    }
}

impl Message {
    /// Bytes that it takes in the backlog, roughly.
    pub(super) fn size(&self) -> usize {
        self.key.len() + self.body.len()
    }

    /// As a consumer gets it.
    pub(super) fn incoming(&self, redelivered: bool) -> Incoming {
        Incoming {
            key: self.key.clone(),
            message_id: self.message_id,
            correlation_id: self.correlation_id.clone(),
            reply_to: self.reply_to.clone(),
            redelivered,
            death: self.death.clone(),
            origin: self.origin.clone(),
            body: Arc::clone(&self.body),
        }
    }

    /// The same message, dead. One that was dead before keeps where it first came from.
    pub(super) fn buried(&self, reason: String, origin: Origin) -> Self {
        Self { death: Some(reason), origin: self.origin.clone().or(Some(origin)), ..self.clone() }
    }

    /// Layout, length of the head (4 bytes, little endian), head in JSON, body.
    pub(super) fn encode(&self, gateway: bool) -> Result<Vec<u8>, String> {
        let head = Head {
            key: Cow::Borrowed(&self.key),
            message_id: self.message_id,
            correlation_id: self.correlation_id.as_deref().map(Cow::Borrowed),
            reply_to: self.reply_to.as_deref().map(Cow::Borrowed),
            death: self.death.as_deref().map(Cow::Borrowed),
            origin: self.origin.as_ref().map(|origin| (origin.exchange.name().into(), origin.key.as_str().into())),
            gateway,
        };
        let mut bytes = Vec::with_capacity(self.body.len() + self.key.len() + 128);
        bytes.extend([LAYOUT, 0, 0, 0, 0]);
        serde_json::to_writer(&mut bytes, &head).map_err(|error| error.to_string())?;
        let length = u32::try_from(bytes.len() - 5).map_err(|_| "its properties exceed 4 GiB".to_owned())?;
        bytes[1..5].copy_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// The message, and whether it stood in a gateway's queue.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, bool), String> {
        let (prefix, rest) = bytes.split_first_chunk::<5>().ok_or("it is shorter than its prefix")?;
        let [layout, length @ ..] = *prefix;
        if layout != LAYOUT {
            return Err(format!("it has layout {layout}, this Stepcast reads layout {LAYOUT}"));
        }
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|error| error.to_string())?;
        let (head, body) = rest.split_at_checked(length).ok_or("it is shorter than its head says")?;
        let head: Head<'_> = serde_json::from_slice(head).map_err(|error| error.to_string())?;
        let message = Self {
            key: head.key.into_owned(),
            message_id: head.message_id,
            correlation_id: head.correlation_id.map(Cow::into_owned),
            reply_to: head.reply_to.map(Cow::into_owned),
            death: head.death.map(Cow::into_owned),
            origin: head.origin.and_then(|(exchange, key)| {
                Exchange::of_name(&exchange).map(|exchange| Origin { exchange, key: key.into_owned() })
            }),
            body: body.into(),
        };
        Ok((message, head.gateway))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Exchange;

    #[test]
    fn a_message_comes_back_as_it_was_written_and_damage_is_told() {
        let mut outgoing = Outgoing::new(Exchange::Utils, "a.b", b"{}".to_vec());
        outgoing.reply_to = Some("reply.x".to_owned());
        let message = Message::from(outgoing).buried("too \"old\"".to_owned(), Origin::utils("a.b"));
        let bytes = message.encode(true).unwrap();
        let (read, gateway) = Message::decode(&bytes).unwrap();
        assert!(gateway);
        assert_eq!(
            (read.key, read.reply_to, read.correlation_id, read.death, read.origin, read.message_id, &*read.body),
            (
                message.key,
                message.reply_to,
                None,
                message.death,
                Some(Origin::utils("a.b")),
                message.message_id,
                b"{}".as_slice()
            )
        );
        for length in 0..bytes.len() - 2 {
            assert!(Message::decode(&bytes[..length]).is_err(), "the first {length} bytes were taken for a message");
        }
        let mut other = bytes;
        other[0] = 9;
        assert!(Message::decode(&other).unwrap_err().contains("layout 9"));
    }
}
