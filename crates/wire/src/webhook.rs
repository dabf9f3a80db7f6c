//! Webhooks as Standard Webhooks describes them (standardwebhooks.com): the secret, the signature, the body. The secret is
//! derived from the installation key and the receiver, so nothing of it is kept, every process signs alike, and no receiver can
//! sign for Stepcast what another one would believe.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha2::Sha256;
use uuid::Uuid;

use crate::{mac::InstallationKey, reply::origin_of, view::BuildSummary};

/// What webhooks to one receiver are signed with.
#[derive(Clone)]
pub struct WebhookSecret([u8; 32]);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

impl WebhookSecret {
    /// Of the receiver at this address, for the installation with this key: all addresses with the same scheme, host and port
    /// have the same one.
    ///
    /// # Errors
    /// As [`crate::reply::origin_of`].
    pub fn of(key: &InstallationKey, url: &str) -> Result<Self, String> {
        Ok(Self(hmac(&key.0, format!("webhook-secret {}", origin_of(url)?).as_bytes())))
    }

    /// As receivers are told it: `whsec_<base64>`.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The header `webhook-signature` for a message with this id and time (seconds since the Unix epoch).
    #[must_use]
    pub fn sign(&self, id: Uuid, seconds: i64, body: &str) -> String {
        format!("v1,{}", STANDARD.encode(hmac(&self.0, format!("{id}.{seconds}.{body}").as_bytes())))
    }
}

fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// What is posted when a build has ended.
#[derive(Serialize)]
struct Finished<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: &'a BuildSummary,
}

/// The body for a build that has ended: the same bytes each time that it is sent.
#[must_use]
pub fn body(build: &BuildSummary) -> String {
    let timestamp = build.finished_at.unwrap_or(build.queued_at).rfc3339();
    serde_json::to_string(&Finished { kind: "build.finished", timestamp, data: build }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_signed_as_the_standard_says() {
        // The key, id, time and body of the standard's own example.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        assert_eq!(STANDARD.encode(mac.finalize().into_bytes()), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let of = |key, url| WebhookSecret::of(&InstallationKey([key; 32]), url).unwrap();
        let secret = of(7, "https://Example.org/a?b");
        let told = secret.reveal();
        let key = STANDARD.decode(told.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let id = Uuid::from_u128(1);
        mac.update(format!("{id}.12.{{}}").as_bytes());
        assert_eq!(secret.sign(id, 12, "{}"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
        assert_eq!(told, of(7, "https://user@example.org:443/c").reveal());
        for (key, url) in [
            (8, "https://example.org"),
            (7, "http://example.org"),
            (7, "https://example.org:8443"),
            (7, "https://a.org"),
        ] {
            assert_ne!(told, of(key, url).reveal(), "{url}");
        }
        assert!(WebhookSecret::of(&InstallationKey([7; 32]), "ftp://example.org").is_err());
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
    }
}
