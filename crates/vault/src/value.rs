//! A secret in the clear, for as long as it must be.

use std::fmt;

use zeroize::Zeroizing;

/// The value of a secret. It is never shown, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// Of a value that is text and can be masked ([`wire::secret::check_value`]).
    ///
    /// # Errors
    /// One sentence that does not tell it.
    pub fn new(value: String) -> Result<Self, String> {
        let value = Zeroizing::new(value);
        wire::secret::check_value(&value)?;
        Ok(Self(value))
    }

    /// The same, of bytes.
    ///
    /// # Errors
    /// As [`SecretValue::new`]; and when they are not UTF-8.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        match String::from_utf8(bytes) {
            Ok(value) => Self::new(value),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err("the value is not UTF-8, which an environment variable should be: encode it, with base64 say"
                    .to_owned())
            }
        }
    }

    /// The value itself: for a step's environment and what masks it, nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_shown() {
        let value = SecretValue::new("s3cret".to_owned()).unwrap();
        assert_eq!((format!("{value:?} {value}"), value.reveal()), ("*** ***".to_owned(), "s3cret"));
        assert!(!SecretValue::from_bytes(b"s3cret\xff".to_vec()).unwrap_err().contains("s3cret"));
    }
}
