//! Secrets of pipelines and of the installation: set, listed without their values, deleted. Jobs get them by
//! [`control::secrets`].

use control::secrets::{meant, sealed};
use store::{
    audit::NewEntry,
    model::secret::{NewSecret, PutSecret, Resealed, SecretRow},
};
use vault::{Scope, SecretValue};
use wire::{
    Authority, PipelineName, Problem,
    audit::Action,
    authority::Need,
    pipeline::PipelineSpec,
    secret::{SecretFrom, SecretName, SecretUse, SecretView, SecretWanted, SecretsView},
};

use crate::{
    core::Core,
    queries::{not_found, store_problem},
};

/// What one must be to handle the secrets of a pipeline, or of the installation.
fn need(who: &Authority, pipeline: Option<&PipelineName>) -> Result<(), Problem> {
    who.need(pipeline.map_or(Need::Run, Need::Change))
}

fn entry(who: &Authority, action: Action, pipeline: Option<&PipelineName>, name: &SecretName) -> NewEntry {
    let entry = NewEntry::by(who, action).detail(format!("secret {name}"));
    if let Some(pipeline) = pipeline { entry.pipeline(pipeline) } else { entry }
}

/// Gives a secret its value; whether it is new. `allowed` is for those of the installation: see [`NewSecret::allowed`].
pub(crate) async fn put(
    core: &Core,
    who: &Authority,
    pipeline: Option<&PipelineName>,
    name: &SecretName,
    value: Vec<u8>,
    allowed: Option<Vec<PipelineName>>,
) -> Result<bool, Problem> {
    need(who, pipeline)?;
    let refused = |sentence: String| Problem::new(422, "Invalid secret", format!("Secret {name}: {sentence}."));
    let value = SecretValue::from_bytes(value).map_err(refused)?;
    let keyring = core.secrets_key.keyring_or_new().map_err(no_key)?;
    let scope = Scope { pipeline: pipeline.cloned(), name: name.clone() };
    let sealed = keyring.seal(&scope, &value).map_err(|failure| no_key(failure.to_string()))?;
    let secret = NewSecret {
        pipeline: scope.pipeline,
        name: scope.name,
        key_id: sealed.key_id,
        sealed: sealed.bytes,
        allowed,
        set_by: who.name.clone(),
    };
    let put = core.store.put_secret(secret, entry(who, Action::SecretSet, pipeline, name)).await;
    match put.map_err(store_problem)? {
        PutSecret::Created => Ok(true),
        PutSecret::Replaced => Ok(false),
        PutSecret::NoPipeline => {
            Err(pipeline.map_or_else(|| not_found("secret", name), |pipeline| not_found("pipeline", pipeline)))
        }
    }
}

/// The server is not set up for secrets.
fn no_key(sentence: String) -> Problem {
    tracing::error!(reason = sentence, "a secret cannot be encrypted");
    Problem::new(503, "No secrets key", format!("The secret was not set: {sentence}."))
}

/// Forgets a secret.
pub(crate) async fn delete(
    core: &Core,
    who: &Authority,
    pipeline: Option<&PipelineName>,
    name: &SecretName,
) -> Result<(), Problem> {
    need(who, pipeline)?;
    let gone = core.store.delete_secret(pipeline, name, entry(who, Action::SecretDeleted, pipeline, name)).await;
    if gone.map_err(store_problem)? { Ok(()) } else { Err(not_found("secret", name)) }
}

/// Those of the installation.
pub(crate) async fn of_installation(core: &Core, who: &Authority) -> Result<SecretsView, Problem> {
    need(who, None)?;
    let rows = core.store.secrets().await.map_err(store_problem)?;
    let uses = core.store.secret_uses().await.map_err(store_problem)?;
    let own = rows.iter().filter(|row| row.pipeline.is_none());
    Ok(SecretsView { secrets: own.map(|row| view(row, &rows, &uses)).collect(), wanted: Vec::new() })
}

/// Those of a pipeline, and what its jobs want.
pub(crate) async fn of_pipeline(core: &Core, who: &Authority, pipeline: &PipelineName) -> Result<SecretsView, Problem> {
    need(who, Some(pipeline))?;
    let found = core.store.pipeline(pipeline).await.map_err(store_problem)?;
    let (_, spec) = found.ok_or_else(|| not_found("pipeline", pipeline))?;
    let rows = core.store.secrets().await.map_err(store_problem)?;
    let uses = spec.jobs.iter().flat_map(|job| job.secrets.clone()).collect();
    let uses = [(pipeline.clone(), uses)];
    let own = rows.iter().filter(|row| row.pipeline.as_ref() == Some(pipeline));
    Ok(SecretsView { secrets: own.map(|row| view(row, &rows, &uses)).collect(), wanted: wanted(&spec, &rows) })
}

fn view(row: &SecretRow, rows: &[SecretRow], uses: &[(PipelineName, Vec<SecretUse>)]) -> SecretView {
    let is_used = |pipeline: &PipelineName, wanted: &[SecretUse]| {
        wanted.iter().any(|one| one.secret == row.name)
            && meant(rows, pipeline, &row.name).is_ok_and(|meant| meant == row)
    };
    let used_by = uses.iter().filter(|(pipeline, wanted)| is_used(pipeline, wanted)).map(|(name, _)| name.clone());
    SecretView {
        name: row.name.clone(),
        pipeline: row.pipeline.clone(),
        allowed: row.allowed.clone(),
        set_at: row.set_at,
        set_by: row.set_by.clone(),
        used_by: used_by.collect(),
    }
}

/// What the jobs of a pipeline want, by name.
fn wanted(spec: &PipelineSpec, rows: &[SecretRow]) -> Vec<SecretWanted> {
    let mut all: Vec<SecretWanted> = Vec::new();
    for job in &spec.jobs {
        for SecretUse { secret, .. } in &job.secrets {
            if let Some(known) = all.iter_mut().find(|known| known.name == *secret) {
                if !known.jobs.contains(&job.name) {
                    known.jobs.push(job.name.clone());
                }
                continue;
            }
            let (from, problem) = match meant(rows, &spec.name, secret) {
                Ok(row) if row.pipeline.is_some() => (Some(SecretFrom::Pipeline), None),
                Ok(_) => (Some(SecretFrom::Installation), None),
                Err(sentence) => (None, Some(sentence)),
            };
            all.push(SecretWanted { name: secret.clone(), jobs: vec![job.name.clone()], from, problem });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// What jobs of a pipeline want and would not get: a sentence each.
pub(crate) async fn warnings(core: &Core, spec: &PipelineSpec) -> Result<Vec<String>, Problem> {
    let mut names: Vec<SecretName> =
        spec.jobs.iter().flat_map(|job| &job.secrets).map(|wanted| wanted.secret.clone()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    names.sort();
    names.dedup();
    let rows = core.store.secrets_of(&spec.name, &names).await.map_err(store_problem)?;
    Ok(wanted(spec, &rows).into_iter().filter_map(|one| one.problem).collect())
}

/// Secrets under another key: what could be put under the newest one, and what could not, with a sentence each.
pub(crate) fn reseal(keyring: &vault::Keyring, rows: Vec<SecretRow>) -> Result<(Vec<Resealed>, Vec<String>), String> {
    let (mut anew, mut left) = (Vec::new(), Vec::new());
    for row in rows {
        if row.key_id == keyring.newest() {
            continue;
        }
        let (scope, former) = sealed(&row);
        match keyring.open(&scope, &former) {
            Ok(value) => {
                let sealed = keyring.seal(&scope, &value).map_err(|error| error.to_string())?;
                let (key_id, sealed) = (sealed.key_id, sealed.bytes);
                anew.push(Resealed { pipeline: row.pipeline, name: row.name, was: row.sealed, key_id, sealed });
            }
            Err(error) => left.push(error.to_string()),
        }
    }
    Ok((anew, left))
}
