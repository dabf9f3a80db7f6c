//! What the server gives somebody to bring back: sealed under a key of the installation, so that any of its processes opens it,
//! and nobody else reads it, changes it, or makes one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom as _, SystemRandom},
};
use wire::mac::InstallationKey;
use zeroize::Zeroizing;

use crate::NoRandomness;

const INFO: &[u8] = b"stepcast ticket 1";

/// The key of one kind of tickets: those of another kind do not open.
pub struct TicketKey {
    kind: &'static str,
    key: LessSafeKey,
}

impl TicketKey {
    /// Derived for this kind.
    ///
    /// # Errors
    /// Never, unless the cryptography itself is broken.
    pub fn new(installation: &InstallationKey, kind: &'static str) -> Result<Self, NoRandomness> {
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(&installation.0);
        let info = [INFO, kind.as_bytes()];
        let expanded = extracted.expand(&info, &CHACHA20_POLY1305).map_err(|_| NoRandomness)?;
        Ok(Self { kind, key: LessSafeKey::new(UnboundKey::from(expanded)) })
    }

    /// As letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn seal(&self, bytes: &[u8]) -> Result<String, NoRandomness> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandomness)?;
        let mut sealed = bytes.to_vec();
        let aad = Aad::from(self.kind.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| NoRandomness)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// What was sealed; none if it was not sealed by this installation, for this kind, or was changed.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(self.kind.as_bytes());
        let length = self.key.open_in_place(nonce, aad, &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, kind: &'static str) -> TicketKey {
        TicketKey::new(&InstallationKey([byte; 32]), kind).unwrap()
    }

    #[test]
    fn any_process_of_the_installation_opens_what_one_has_sealed() {
        let sealed = key(1, "a").seal(b"what it says").unwrap();
        assert!(!sealed.contains("what") && sealed.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert_eq!(key(1, "a").open(&sealed).unwrap().as_slice(), b"what it says");
        assert_ne!(key(1, "a").seal(b"what it says").unwrap(), sealed, "no two are the same");
    }

    #[test]
    fn nobody_else_does_nor_what_was_changed_or_is_of_another_kind() {
        let sealed = key(1, "a").seal(b"what it says").unwrap();
        assert!(key(2, "a").open(&sealed).is_none());
        assert!(key(1, "b").open(&sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(key(1, "a").open(std::str::from_utf8(&changed).unwrap()).is_none(), "at {at}");
        }
        for bad in ["", "a", "AAAAAAAAAAAAAAAA", "ä", &sealed[..sealed.len() - 1]] {
            assert!(key(1, "a").open(bad).is_none(), "{bad:?}");
        }
    }
}
