//! The secrets of a job: which ones its names mean, and their values for the executor that has claimed it. They are opened
//! for the answer to a claim, and are nowhere else: not in the plan, not in an event.

use std::{collections::BTreeMap, fmt, sync::Arc};

use store::{Store, StoreError, model::secret::SecretRow};
use vault::{Keyring, Scope, Sealed, SecretValue};
use wire::{
    PipelineName,
    secret::{self, SealedSecrets, SecretName, SecretUse, VALUES_BYTES_MAX, VALUES_LINES_MAX},
    task::LeaseRef,
};

/// Where the installation's keys come from. They are asked for whenever they are needed: another process may have put a new
/// one in front.
#[derive(Clone)]
pub struct SecretKeys(Arc<dyn Fn() -> Result<Keyring, String> + Send + Sync>);

impl SecretKeys {
    /// `keys` gives them, or one sentence that says why there are none.
    pub fn new(keys: impl Fn() -> Result<Keyring, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(keys))
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// One sentence, when there are none.
    pub fn get(&self) -> Result<Keyring, String> {
        (self.0)()
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKeys(..)")
    }
}

/// The one that a name means for a pipeline: its own goes before the installation's.
///
/// # Errors
/// One sentence, when there is none, or none that it may use.
pub fn meant<'r>(rows: &'r [SecretRow], pipeline: &PipelineName, name: &SecretName) -> Result<&'r SecretRow, String> {
    let find =
        |owner: Option<&PipelineName>| rows.iter().find(|row| row.name == *name && row.pipeline.as_ref() == owner);
    if let Some(own) = find(Some(pipeline)) {
        return Ok(own);
    }
    match find(None) {
        Some(row) if row.allowed.is_empty() || row.allowed.contains(pipeline) => Ok(row),
        Some(_) => Err(format!(
            "secret {name} of the installation may not be used by pipeline {pipeline}: allow it, or set one of the pipeline's own by \
             `stepcast secret set {name} --pipeline {pipeline}`"
        )),
        None => Err(format!(
            "secret {name} is set neither for pipeline {pipeline} nor for the installation: set it by \
             `stepcast secret set {name} --pipeline {pipeline}`"
        )),
    }
}

/// A row as the keyring knows it.
#[must_use]
pub fn sealed(row: &SecretRow) -> (Scope, Sealed) {
    let scope = Scope { pipeline: row.pipeline.clone(), name: row.name.clone() };
    (scope, Sealed { key_id: row.key_id.clone(), bytes: row.sealed.clone() })
}

/// What goes with the grant of a job that has secrets; or one sentence that says why the job cannot have them.
pub(crate) async fn for_claim(
    store: &dyn Store,
    keys: &SecretKeys,
    pipeline: &PipelineName,
    uses: &[SecretUse],
    (lease, secrets_key): (LeaseRef, Option<&str>),
) -> Result<Result<SealedSecrets, String>, StoreError> {
    let Some(secrets_key) = secrets_key else {
        let sentence =
            "the job has secrets, and its executor did not say that it masks them: run it with a Stepcast that does";
        return Ok(Err(sentence.to_owned()));
    };
    let names: Vec<SecretName> = uses.iter().map(|wanted| wanted.secret.clone()).collect();
    let rows = store.secrets_of(pipeline, &names).await?;
    Ok(values(&rows, keys, pipeline, uses).and_then(|values| {
        vault::seal_for(secrets_key, lease, &values)
            .map_err(|error| format!("the job's secrets cannot be sent: {error}"))
    }))
}

fn values(
    rows: &[SecretRow],
    keys: &SecretKeys,
    pipeline: &PipelineName,
    uses: &[SecretUse],
) -> Result<BTreeMap<String, SecretValue>, String> {
    let meant = uses.iter().map(|wanted| Ok((wanted, meant(rows, pipeline, &wanted.secret)?)));
    let meant = meant.collect::<Result<Vec<_>, String>>()?;
    let keyring = keys.get()?;
    let mut values = BTreeMap::new();
    let (mut left, mut lines_left) = (VALUES_BYTES_MAX, VALUES_LINES_MAX);
    for (wanted, row) in meant {
        let (scope, sealed) = sealed(row);
        let value = keyring.open(&scope, &sealed).map_err(|error| error.to_string())?;
        left = left.checked_sub(value.reveal().len()).ok_or_else(|| {
            format!("the secrets of the job have more than {VALUES_BYTES_MAX} bytes together: it may not have so many")
        })?;
        lines_left = lines_left.checked_sub(secret::lines(value.reveal())).ok_or_else(|| {
            format!("the secrets of the job have more than {VALUES_LINES_MAX} lines together: it may not have so many")
        })?;
        values.insert(wanted.variable.clone(), value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use wire::Timestamp;

    use super::*;

    fn row(pipeline: Option<&str>, allowed: &[&str]) -> SecretRow {
        SecretRow {
            pipeline: pipeline.map(|name| name.parse().unwrap()),
            name: "TOKEN".parse().unwrap(),
            key_id: String::new(),
            sealed: Vec::new(),
            allowed: allowed.iter().map(|name| name.parse().unwrap()).collect(),
            set_at: Timestamp(0),
            set_by: String::new(),
        }
    }

    #[test]
    fn a_pipelines_own_secret_goes_before_the_installations() {
        let (site, token) = ("site".parse().unwrap(), "TOKEN".parse().unwrap());
        let rows = [row(None, &[]), row(Some("other"), &[]), row(Some("site"), &[])];
        assert_eq!(meant(&rows, &site, &token).unwrap(), &rows[2]);
        assert_eq!(meant(&rows[..2], &site, &token).unwrap(), &rows[0]);
        assert!(meant(&rows[1..2], &site, &token).unwrap_err().contains("neither"));
    }

    #[test]
    fn a_secret_of_the_installation_is_for_those_who_are_allowed() {
        let token = "TOKEN".parse().unwrap();
        let rows = [row(None, &["site", "docs"])];
        assert!(meant(&rows, &"docs".parse().unwrap(), &token).is_ok());
        let refused = meant(&rows, &"other".parse().unwrap(), &token).unwrap_err();
        assert!(refused.contains("may not be used by pipeline other"), "{refused}");
    }
}
