//! Random secrets and the hashes under which they are kept.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// 32 bytes from the system's random source.
pub(crate) fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|failure| format!("the system gives no random bytes: {failure}"))?;
    Ok(bytes)
}

/// A new token: `prefix_` and 43 letters, digits, `-` and `_`.
pub(crate) fn token(prefix: &str) -> Result<String, String> {
    Ok(format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(random()?)))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String does not fail.
        text
    })
}

/// SHA-256 in lower-case hex: how a secret of 32 random bytes is kept.
pub(crate) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}
