//! Secrets: what they are called, which values can be kept, and how they travel in the answer to a claim. Values are never
//! part of anything else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{PipelineName, Timestamp};

/// Bytes of a value.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a value without the white space around it: a shorter one would be found everywhere.
pub const VALUE_BYTES_MIN: usize = 4;
/// Lines of a value: each of them is looked for by itself, in all that the job prints.
pub const VALUE_LINES_MAX: usize = 2_000;
/// Secrets that one job may have.
pub const SECRETS_MAX: usize = 100;
/// Bytes of the values of one job's secrets together: they travel in one message, and stand in the environment of each step.
pub const VALUES_BYTES_MAX: usize = 512 * 1024;
/// Lines of the values of one job's secrets together.
pub const VALUES_LINES_MAX: usize = 5_000;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 100;

/// The label of executors that take secrets out of what they print and say. Jobs with secrets ask for it by themselves.
pub const MASKS_LABEL: &str = "masks-secrets";

/// The name of a secret: 1 to 100 capital letters, digits and `_`, not beginning with a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && !text.as_bytes()[0].is_ascii_digit();
        if fits {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
        Err(format!(
            "secret name {shown:?} must be 1 to {NAME_BYTES_MAX} capital letters, digits or `_`, not beginning with a digit"
        ))
    }
}

impl TryFrom<String> for SecretName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What of a value is looked for where it is masked: without the white space around it, lines ending with a newline.
#[must_use]
pub fn core(value: &str) -> String {
    value.trim().replace("\r\n", "\n")
}

/// Lines of a value: what [`VALUE_LINES_MAX`] and [`VALUES_LINES_MAX`] count.
#[must_use]
pub fn lines(value: &str) -> usize {
    value.trim().lines().count()
}

/// Whether a value can be kept and masked.
///
/// # Errors
/// One sentence that does not tell it.
pub fn check_value(value: &str) -> Result<(), String> {
    let bytes = value.len();
    if bytes > VALUE_BYTES_MAX {
        return Err(format!("the value has {bytes} bytes: a secret may have {VALUE_BYTES_MAX} at most"));
    }
    let count = lines(value);
    if count > VALUE_LINES_MAX {
        return Err(format!(
            "the value has {count} lines: a secret may have {VALUE_LINES_MAX} at most, since each is masked by itself; encode it, \
             with `base64 -w 0` say"
        ));
    }
    if value.contains('\0') {
        return Err(
            "the value holds a NUL byte, which no environment variable can: encode it, with base64 say".to_owned()
        );
    }
    if value.trim().is_empty() {
        return Err("the value is empty or nothing but white space".to_owned());
    }
    if core(value).len() < VALUE_BYTES_MIN {
        return Err(format!(
            "the value is too short to be masked: without the white space around it, it must have {VALUE_BYTES_MIN} bytes at least"
        ));
    }
    Ok(())
}

/// One secret as it is listed: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// The pipeline that it belongs to; none for one of the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineName>,
    /// Of one of the installation: the only pipelines that may use it. None of them named: all may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<PipelineName>,
    /// When it was set last.
    pub set_at: Timestamp,
    /// Who set it.
    pub set_by: String,
    /// The pipelines whose jobs name it and get this one.
    #[serde(default)]
    pub used_by: Vec<PipelineName>,
}

/// One secret that jobs of a pipeline name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretWanted {
    /// Its name.
    pub name: SecretName,
    /// The jobs.
    pub jobs: Vec<String>,
    /// Whose it is that they get; none if they get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SecretFrom>,
    /// Why they get none, and what would help: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Whose a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretFrom {
    /// The pipeline's own.
    Pipeline,
    /// The installation's.
    Installation,
}

/// The secrets of a pipeline, or of the installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsView {
    /// Those that are set, by name.
    pub secrets: Vec<SecretView>,
    /// Those that the pipeline's jobs name, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<SecretWanted>,
}

/// What a job wants of one secret: its value in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecretUse {
    /// The variable.
    pub variable: String,
    /// The secret.
    pub secret: SecretName,
}

/// Values on their way to one executor. Who only reads what passes the broker, or its disk, does not see them; who can write
/// to it can make a claim of their own.
///
/// With each claim an executor makes a key pair of X25519 (RFC 7748) and sends the public half. Control makes one of its own,
/// derives a key of both (HKDF-SHA-256, RFC 5869; no salt; info `stepcast claim secrets 1`, the executor's public key,
/// its own) and seals the JSON object of variables and values (ChaCha20-Poly1305, RFC 8439; nonce of zeros, since the key is
/// used once; associated data `<job>/<attempt>`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecrets {
    /// Control's public key: 32 bytes in base64, URL-safe, without padding.
    pub key: String,
    /// What was sealed, and its tag behind it, in the same base64.
    pub sealed: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_an_environment_variable_in_capitals() {
        for good in ["A", "_", "API_TOKEN_2"] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "2A", "A-B", "Ä", "A=B", &"A".repeat(101)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_that_could_not_be_masked_is_refused_without_telling_it() {
        for bad in ["abc", "   ", " ab\r\n", "", "a\0bcd"] {
            let sentence = check_value(bad).unwrap_err();
            assert!(bad.trim().is_empty() || !sentence.contains(bad), "{sentence}");
        }
        assert!(check_value("s3cr").is_ok());
        assert!(check_value(&"x".repeat(VALUE_BYTES_MAX + 1)).is_err());
        assert!(check_value(&"line\n".repeat(VALUE_LINES_MAX)).is_ok());
        let sentence = check_value(&"line\r\n".repeat(VALUE_LINES_MAX + 1)).unwrap_err();
        assert!(sentence.contains("2001 lines") && sentence.contains("2000 at most"), "{sentence}");
    }
}
