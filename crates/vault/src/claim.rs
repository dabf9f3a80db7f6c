//! Secrets on their way from control to the executor that claimed a job, as [`SealedSecrets`] describes it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    hkdf::{HKDF_SHA256, Salt},
    rand::SystemRandom,
};
use wire::{secret::SealedSecrets, task::LeaseRef};
use zeroize::Zeroizing;

use crate::{NoRandomness, SecretValue};

const INFO: &[u8] = b"stepcast claim secrets 1";

/// Why secrets cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The other's public key is none.
    #[error("the key that secrets are to be sealed with is not valid")]
    Key,
    /// They were sealed for another claim, or changed on their way.
    #[error("the secrets that came with the job cannot be opened")]
    Sealed,
    /// See [`NoRandomness`].
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// An executor's half: made for one claim, opens one answer.
pub struct ClaimKey {
    private: EphemeralPrivateKey,
    public: String,
}

impl ClaimKey {
    /// A new one.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new() -> Result<Self, NoRandomness> {
        let (private, public) = pair()?;
        Ok(Self { private, public })
    }

    /// What goes with the claim.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The variables and their values.
    ///
    /// # Errors
    /// When they were not sealed for this key and this attempt.
    pub fn open(self, lease: LeaseRef, sealed: &SealedSecrets) -> Result<BTreeMap<String, SecretValue>, ClaimError> {
        let key = shared(self.private, &sealed.key, [&self.public, &sealed.key])?;
        let bytes = URL_SAFE_NO_PAD.decode(&sealed.sealed).map_err(|_| ClaimError::Sealed)?;
        let mut bytes = Zeroizing::new(bytes);
        let opened = key.open_in_place(zero(), aad(lease), &mut bytes).map_err(|_| ClaimError::Sealed)?;
        let values: BTreeMap<String, String> = serde_json::from_slice(opened).map_err(|_| ClaimError::Sealed)?;
        let checked = values.into_iter().map(|(variable, value)| Ok((variable, SecretValue::new(value)?)));
        checked.collect::<Result<_, String>>().map_err(|_| ClaimError::Sealed)
    }
}

/// Seals variables and their values for the executor whose claim came with the public key `theirs`.
///
/// # Errors
/// When that is no key.
pub fn seal_for(
    theirs: &str,
    lease: LeaseRef,
    values: &BTreeMap<String, SecretValue>,
) -> Result<SealedSecrets, ClaimError> {
    let (private, ours) = pair()?;
    let key = shared(private, theirs, [theirs, &ours])?;
    let values: BTreeMap<&str, &str> = values.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    // Room for the tag as well: a vector that grows would leave a copy behind.
    let json = Zeroizing::new(serde_json::to_vec(&values).map_err(|_| ClaimError::Sealed)?);
    let mut bytes = Vec::with_capacity(json.len() + CHACHA20_POLY1305.tag_len());
    bytes.extend_from_slice(&json);
    key.seal_in_place_append_tag(zero(), aad(lease), &mut bytes).map_err(|_| ClaimError::Sealed)?;
    Ok(SealedSecrets { key: ours, sealed: URL_SAFE_NO_PAD.encode(bytes) })
}

fn pair() -> Result<(EphemeralPrivateKey, String), NoRandomness> {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| NoRandomness)?;
    let public = private.compute_public_key().map_err(|_| NoRandomness)?;
    Ok((private, URL_SAFE_NO_PAD.encode(public)))
}

/// The key that both halves give; `publics` are the executor's public key and control's.
fn shared(private: EphemeralPrivateKey, theirs: &str, publics: [&str; 2]) -> Result<LessSafeKey, ClaimError> {
    let theirs = URL_SAFE_NO_PAD.decode(theirs).map_err(|_| ClaimError::Key)?;
    let publics = publics.map(|public| URL_SAFE_NO_PAD.decode(public));
    let [Ok(executor), Ok(control)] = publics else { return Err(ClaimError::Key) };
    let derive = |secret: &[u8]| {
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let expanded = extracted.expand(&[INFO, &executor, &control], &CHACHA20_POLY1305).map(UnboundKey::from);
        expanded.map(LessSafeKey::new)
    };
    let agreed = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, theirs), derive);
    agreed.map_err(|_| ClaimError::Key)?.map_err(|_| ClaimError::Key)
}

/// The key is used once.
fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn aad(lease: LeaseRef) -> Aad<Vec<u8>> {
    Aad::from(format!("{}/{}", lease.job, lease.attempt).into_bytes())
}

#[cfg(test)]
mod tests {
    use wire::JobId;

    use super::*;

    fn lease(attempt: u32) -> LeaseRef {
        LeaseRef { job: JobId("11111111-1111-1111-1111-111111111111".parse().unwrap()), attempt }
    }

    fn values() -> BTreeMap<String, SecretValue> {
        BTreeMap::from([("TOKEN".to_owned(), SecretValue::new("s3cret".to_owned()).unwrap())])
    }

    #[test]
    fn who_claimed_opens_what_was_sealed_for_the_claim() {
        let key = ClaimKey::new().unwrap();
        let sealed = seal_for(key.public(), lease(1), &values()).unwrap();
        assert!(!format!("{sealed:?}").contains("s3cret"));
        assert_eq!(key.open(lease(1), &sealed).unwrap(), values());
    }

    #[test]
    fn nobody_else_does_and_not_for_another_attempt() {
        let key = ClaimKey::new().unwrap();
        let sealed = seal_for(key.public(), lease(1), &values()).unwrap();
        assert_eq!(key.open(lease(2), &sealed).unwrap_err(), ClaimError::Sealed);
        assert_eq!(ClaimKey::new().unwrap().open(lease(1), &sealed).unwrap_err(), ClaimError::Sealed);
        let key = ClaimKey::new().unwrap();
        let mut sealed = seal_for(key.public(), lease(1), &values()).unwrap();
        sealed.key = key.public().to_owned();
        assert_eq!(key.open(lease(1), &sealed).unwrap_err(), ClaimError::Sealed);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        for bad in ["", "a", "AAAA", &zeros] {
            assert_eq!(seal_for(bad, lease(1), &values()).unwrap_err(), ClaimError::Key, "{bad:?}");
        }
    }
}
