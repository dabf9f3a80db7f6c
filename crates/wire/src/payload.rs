//! Payloads that are too large for a message: they are kept apart, and the message carries a claim check. Who reads one
//! verifies size and digest: what differs is told, and never passed on as whole.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::PayloadId;

/// A payload of more bytes does not travel in a message.
pub const INLINE_BYTES_MAX: usize = 256 * 1024;

/// What stands for a payload: where it is, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimCheck {
    /// For `GET /payloads/{ref}`.
    #[serde(rename = "ref")]
    pub reference: PayloadId,
    /// In bytes.
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// As who brought it said.
    pub content_type: String,
}

impl ClaimCheck {
    /// Says in one sentence what is wrong with a payload that was read whole; nothing if it is what was claimed.
    ///
    /// # Errors
    /// When size or digest (lower-case hex) differ.
    pub fn verify(&self, size: u64, sha256: &str) -> Result<(), String> {
        if size != self.size {
            return Err(format!(
                "payload {} has {size} bytes, not the {} that it was claimed with",
                self.reference, self.size
            ));
        }
        if sha256 != self.sha256 {
            return Err(format!(
                "payload {} was changed: its SHA-256 is {sha256}, not {}",
                self.reference, self.sha256
            ));
        }
        Ok(())
    }

    /// As the text of an input, which [`Named`] reads back.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // Text and numbers only.
    }
}

/// The value of an input that is a file, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its `ref` alone.
    Reference(PayloadId),
    /// By its claim check.
    Claimed(ClaimCheck),
}

impl Named {
    /// From the text of an input.
    ///
    /// # Errors
    /// One sentence that says what it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(reference) = text.trim().parse() {
            return Ok(Self::Reference(reference));
        }
        serde_json::from_str(text).map(Self::Claimed).map_err(|_| {
            "it must be the claim check that POST /api/v1/payloads answers with, or the `ref` of it".to_owned()
        })
    }

    /// Which payload.
    #[must_use]
    pub fn reference(&self) -> PayloadId {
        match self {
            Self::Reference(reference) => *reference,
            Self::Claimed(check) => check.reference,
        }
    }
}

/// An input that is a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The input's name.
    pub name: String,
    /// The file.
    pub check: ClaimCheck,
}

/// The payload that the callback in a message's bytes claims, if it claims one.
#[must_use]
pub fn claimed_by(callback: &[u8]) -> Option<PayloadId> {
    let callback: crate::Callback = serde_json::from_slice(callback).ok()?;
    let check = callback.claim_check.then(|| serde_json::from_str::<ClaimCheck>(callback.payload.get()).ok());
    check.flatten().map(|check| check.reference)
}

/// The inputs of a trigger: text, or a claim check, which is kept as its text.
pub(crate) fn input_values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, Value(text))| (name, text)).collect())
}

struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or the claim check of a file")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Value, E> {
                Ok(Value(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                ClaimCheck::deserialize(MapAccessDeserializer::new(map)).map(|check| Value(check.to_text()))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Trigger;

    fn check() -> ClaimCheck {
        let reference = PayloadId(uuid::Uuid::from_u128(7));
        ClaimCheck { reference, size: 3, sha256: "ab".to_owned(), content_type: "text/plain".to_owned() }
    }

    #[test]
    fn claim_check_what_differs_in_size_or_digest_is_told() {
        assert_eq!(check().verify(3, "ab"), Ok(()));
        assert!(check().verify(2, "ab").unwrap_err().contains("has 2 bytes, not the 3"));
        assert!(check().verify(3, "ac").unwrap_err().contains("was changed"));
    }

    #[test]
    fn file_input_values_are_claim_checks_or_their_refs_or_text() {
        let text = format!(r#"{{"inputs":{{"a":"plain","b":{},"c":"{}"}}}}"#, check().to_text(), check().reference);
        let trigger: Trigger = serde_json::from_str(&text).unwrap();
        assert_eq!(trigger.inputs["a"], "plain");
        assert!(Named::parse("plain").unwrap_err().contains("POST /api/v1/payloads"));
        assert_eq!(Named::parse(&trigger.inputs["b"]), Ok(Named::Claimed(check())));
        assert_eq!(Named::parse(&trigger.inputs["c"]), Ok(Named::Reference(check().reference)));
        // What was read once is read again as it was written.
        let again: Trigger = serde_json::from_str(&serde_json::to_string(&trigger).unwrap()).unwrap();
        assert_eq!(again, trigger);
        let wrong = serde_json::from_str::<Trigger>(r#"{"inputs":{"a":1}}"#).unwrap_err().to_string();
        assert!(wrong.contains("expected text, or the claim check of a file"), "{wrong}");
    }
}
