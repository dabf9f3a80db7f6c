//! Secrets at rest. Each is sealed with ChaCha20-Poly1305 (RFC 8439) under the installation's newest key and a random nonce;
//! its scope and its name are associated data, so a row that was put in another's place does not open.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use sha2::{Digest as _, Sha256};
use wire::{PipelineName, secret::SecretName};
use zeroize::Zeroizing;

use crate::{NoRandomness, SecretValue};

/// Bytes of the text of a keyring.
pub const KEYS_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a key's checksum that name it.
const ID_BYTES: usize = 8;

/// Whose secret it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The pipeline; none is the installation.
    pub pipeline: Option<PipelineName>,
    /// The secret.
    pub name: SecretName,
}

impl Scope {
    /// What a sealed value is bound to. A pipeline's name holds no `/`, so no two scopes have the same.
    fn aad(&self) -> Vec<u8> {
        let place = self.pipeline.as_ref().map_or("installation".to_owned(), |name| format!("pipeline/{name}"));
        format!("stepcast secret 1/{place}/{}", self.name).into_bytes()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pipeline {
            Some(pipeline) => write!(f, "secret {} of pipeline {pipeline}", self.name),
            None => write!(f, "secret {} of the installation", self.name),
        }
    }
}

/// A value at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The key that opens it.
    pub key_id: String,
    /// The nonce, what was sealed, and the tag.
    pub bytes: Vec<u8>,
}

struct Key {
    id: String,
    text: Zeroizing<String>,
    key: LessSafeKey,
}

/// The installation's keys, the newest first. It seals with that one and opens with any.
pub struct Keyring(Vec<Key>);

/// Why a text is no keyring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Nothing stands in it.
    #[error("it holds no key: each line must be one, 32 bytes in base64")]
    Empty,
    /// A line is something else.
    #[error("line {0} is no key: each line must be one, 32 bytes in base64, or a comment that begins with `#`")]
    Line(usize),
    /// A key stands there twice.
    #[error("line {0} repeats a key")]
    Twice(usize),
}

/// Why a value cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed with a key that is not there.
    #[error(
        "{scope} cannot be decrypted: it was encrypted with key {key_id}, and the secrets key in use is another one"
    )]
    Key {
        /// Which.
        scope: Scope,
        /// The key.
        key_id: String,
    },
    /// It was changed, or is another's.
    #[error("{0} cannot be decrypted: what is stored was changed, or belongs to another secret; set it again")]
    Changed(Scope),
}

impl Keyring {
    /// From its text: a key a line, the newest first.
    ///
    /// # Errors
    /// When it holds no key, or anything else.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = STANDARD.decode(line).map(Zeroizing::new).map_err(|_| KeyringError::Line(n + 1))?;
            if bytes.len() != KEY_BYTES {
                return Err(KeyringError::Line(n + 1));
            }
            let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| KeyringError::Line(n + 1))?;
            let id = id_of(&bytes);
            if keys.iter().any(|known| known.id == id) {
                return Err(KeyringError::Twice(n + 1));
            }
            keys.push(Key { id, text: Zeroizing::new(line.to_owned()), key: LessSafeKey::new(key) });
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self(keys)) }
    }

    /// A new key, as a line of a keyring's text.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new_key() -> Result<Zeroizing<String>, NoRandomness> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *key).map_err(|_| NoRandomness)?;
        Ok(Zeroizing::new(STANDARD.encode(*key)))
    }

    /// Its text, as [`Keyring::parse`] reads it.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().fold(String::new(), |text, key| text + &key.text + "\n"))
    }

    /// What names the key that seals.
    #[must_use]
    pub fn newest(&self) -> &str {
        self.0.first().map_or("", |key| &key.id)
    }

    /// What names each key, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// Seals a value under the newest key.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn seal(&self, scope: &Scope, value: &SecretValue) -> Result<Sealed, NoRandomness> {
        let key = self.0.first().ok_or(NoRandomness)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandomness)?;
        let mut sealed = value.reveal().as_bytes().to_vec();
        key.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(scope.aad()), &mut sealed)
            .map_err(|_| NoRandomness)?;
        Ok(Sealed { key_id: key.id.clone(), bytes: [&nonce, sealed.as_slice()].concat() })
    }

    /// Opens a value.
    ///
    /// # Errors
    /// When its key is not there, or when it is not what was sealed for this scope.
    pub fn open(&self, scope: &Scope, sealed: &Sealed) -> Result<SecretValue, OpenError> {
        let Some(key) = self.0.iter().find(|key| key.id == sealed.key_id) else {
            return Err(OpenError::Key { scope: scope.clone(), key_id: sealed.key_id.clone() });
        };
        let changed = || OpenError::Changed(scope.clone());
        let (nonce, rest) = sealed.bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(changed)?;
        let mut opened = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let value = key.key.open_in_place(nonce, Aad::from(scope.aad()), &mut opened).map_err(|_| changed())?;
        SecretValue::from_bytes(value.to_vec()).map_err(|_| changed())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Half of the key's SHA-256 would be no help to find the key, and this is a quarter.
fn id_of(key: &[u8]) -> String {
    let mut digest = Sha256::new_with_prefix(b"stepcast secrets key id");
    digest.update(key);
    digest.finalize().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::parse(&Keyring::new_key().unwrap()).unwrap()
    }

    fn scope(pipeline: Option<&str>, name: &str) -> Scope {
        Scope { pipeline: pipeline.map(|name| name.parse().unwrap()), name: name.parse().unwrap() }
    }

    fn value() -> SecretValue {
        SecretValue::new("s3cret".to_owned()).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_in_its_own_place_alone() {
        let keys = keyring();
        let mine = scope(Some("site"), "TOKEN");
        let sealed = keys.seal(&mine, &value()).unwrap();
        assert!(!sealed.bytes.windows(6).any(|window| window == b"s3cret"));
        assert_eq!(keys.open(&mine, &sealed).unwrap(), value());
        assert_ne!(keys.seal(&mine, &value()).unwrap().bytes, sealed.bytes);
        for other in [scope(None, "TOKEN"), scope(Some("other"), "TOKEN"), scope(Some("site"), "TOKEN2")] {
            assert_eq!(keys.open(&other, &sealed), Err(OpenError::Changed(other)));
        }
    }

    #[test]
    fn a_value_that_was_changed_at_rest_does_not_open() {
        let keys = keyring();
        let mine = scope(None, "TOKEN");
        let sealed = keys.seal(&mine, &value()).unwrap();
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert_eq!(keys.open(&mine, &changed), Err(OpenError::Changed(mine.clone())));
        }
        let short = Sealed { bytes: vec![0; 5], ..sealed };
        assert_eq!(keys.open(&mine, &short), Err(OpenError::Changed(mine)));
    }

    #[test]
    fn a_former_key_opens_what_it_sealed_and_the_newest_seals() {
        let former = keyring();
        let mine = scope(None, "TOKEN");
        let sealed = former.seal(&mine, &value()).unwrap();
        let both = Keyring::parse(&format!("# new\n{}\n{}", *Keyring::new_key().unwrap(), *former.text())).unwrap();
        assert_eq!(both.open(&mine, &sealed).unwrap(), value());
        let anew = both.seal(&mine, &value()).unwrap();
        assert_eq!(anew.key_id, both.newest());
        let error = former.open(&mine, &anew).unwrap_err();
        assert!(matches!(error, OpenError::Key { .. }), "{error}");
    }

    #[test]
    fn what_is_no_keyring_is_refused_by_its_line_and_not_told() {
        assert_eq!(Keyring::parse("# nothing\n").unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::parse("\nc2hvcnQ=").unwrap_err(), KeyringError::Line(2));
        let key = Keyring::new_key().unwrap();
        assert_eq!(Keyring::parse(&format!("{}\n{}", *key, *key)).unwrap_err(), KeyringError::Twice(2));
        let keys = Keyring::parse(&key).unwrap();
        assert!(!format!("{keys:?}").contains(&key[..8]));
    }
}
