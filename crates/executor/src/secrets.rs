//! The secrets of one attempt: opened when the claim was answered, seen by its steps and by what masks them, by nobody else.

use std::collections::BTreeMap;

use vault::{ClaimKey, SecretValue};
use wire::task::Grant;

use crate::mask::Masker;

/// The variables of an attempt's steps that hold secrets. Its `Debug` shows no value.
#[derive(Debug, Default)]
pub(crate) struct Secrets(BTreeMap<String, SecretValue>);

impl Secrets {
    /// Opens what came with a grant.
    ///
    /// # Errors
    /// One sentence, when that cannot be done: the job fails with it.
    pub(crate) fn open(key: ClaimKey, grant: &Grant) -> Result<Self, String> {
        let Some(sealed) = &grant.secrets else { return Ok(Self::default()) };
        key.open(grant.lease, sealed).map(Self).map_err(|error| error.to_string())
    }

    /// What hides them.
    ///
    /// # Errors
    /// One sentence about the first that cannot be hidden.
    pub(crate) fn masker(&self) -> Result<Masker, String> {
        let masker = Masker::new(self.0.values().map(SecretValue::reveal));
        masker.map_err(|sentence| format!("a secret of the job cannot be masked: {sentence}"))
    }

    /// Adds them to the environment of a step.
    pub(crate) fn add_to(&self, env: &mut BTreeMap<String, String>) {
        env.extend(self.0.iter().map(|(variable, value)| (variable.clone(), value.reveal().to_owned())));
    }
}
