//! Files that jobs leave behind: taken from executors by job token, given to people with `ETag` and ranges. The bytes
//! stream through; they are never held in memory as a whole.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use object_store::{ObjectStore as _, path::Path as ObjectPath};
use serde_json::json;
use uuid::Uuid;
use wire::{ArtifactId, JobId, Problem, artifact::check_name, view::ArtifactView};

use crate::{
    core::Core,
    http::{
        objects::{self, Object, Received},
        parameters::Path,
        problem::{Answer, parse},
        who::{Who, bearer},
    },
    places::see_job,
    queries::{not_found, store_problem},
};

/// Where an artifact is among the objects.
pub(crate) fn object_path(job: JobId, id: ArtifactId) -> ObjectPath {
    ObjectPath::from(format!("{job}/{id}"))
}

/// `PUT /jobs/{id}/artifacts/{name}`, by job token only. What is taken is listed once its event is recorded.
pub(crate) async fn put(
    State(core): State<Arc<Core>>,
    Path((id, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Answer<Response> {
    let job: JobId = parse("The job's id", &id)?;
    let speaks_for = bearer(request.headers()).and_then(|token| core.key.verify_job_token(&token));
    let Some((_, attempt)) = speaks_for.filter(|(of, _)| *of == job) else {
        return Err(Problem::new(
            401,
            "Not this job's token",
            "An upload needs the job token that came with the claim.",
        )
        .into());
    };
    check_name(&name).map_err(|sentence| Problem::new(400, "Invalid name", format!("{sentence}.")))?;
    let stale = || Problem::new(409, "Stale", format!("Attempt {attempt} of job {job} is not running any more."));
    if !runs(&core, job, attempt).await? {
        return Err(stale().into());
    }
    let mut share = core.allowance.begin(job, attempt)?;
    share.check(objects::declared_length(request.headers()).unwrap_or(0))?;
    // The executor tries again for as long as its job may take.
    core.room.check()?;
    let artifact = ArtifactId(Uuid::now_v7());
    let path = object_path(job, artifact);
    let received = objects::receive(&core, &path, request.into_body(), |bytes| share.take(bytes)).await?;
    let Received { size, sha256 } = received;
    // It may have come for hours.
    if !runs(&core, job, attempt).await? {
        let _ = core.artifacts.delete(&path).await; // What stays is an orphan, and nothing refers to it.
        return Err(stale().into());
    }
    share.keep();
    let body = json!({"id": artifact, "size": size, "sha256": sha256});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Whether this attempt holds the job's lease.
pub(crate) async fn runs(core: &Core, job: JobId, attempt: u32) -> Answer<bool> {
    let build = core.store.build_of(job).await.map_err(store_problem)?.ok_or_else(|| not_found("job", job))?;
    let build = core.store.load_build(build).await.map_err(store_problem)?.ok_or_else(|| not_found("build", build))?;
    Ok(build.jobs.iter().any(|found| {
        found.id == job && found.attempt == attempt && matches!(found.state, store::model::JobState::Running { .. })
    }))
}

/// `GET /artifacts/{id}`: the bytes, always as a download of no particular type, so that no browser runs them.
pub(crate) async fn get(
    State(core): State<Arc<Core>>,
    Who(who): Who,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let id: ArtifactId = parse("The artifact's id", &id)?;
    let artifact = core.store.artifact(id).await.map_err(store_problem)?.ok_or_else(|| not_found("artifact", id))?;
    see_job(&core, &who, artifact.job).await.map_err(|problem| match problem.status {
        404 => not_found("artifact", id),
        _ => problem,
    })?;
    let object = Object {
        what: "artifact",
        id: id.0,
        path: object_path(artifact.job, id),
        size: artifact.size,
        sha256: &artifact.sha256,
        content_type: "application/octet-stream",
        disposition: disposition(&artifact),
    };
    objects::serve(&core, &headers, object).await
}

/// The file's own name, encoded so that no character of it can end the header (RFC 6266, RFC 8187).
fn disposition(artifact: &ArtifactView) -> String {
    use std::fmt::Write as _;
    let name = artifact.name.rsplit('/').next().unwrap_or("artifact");
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // Writing to a String does not fail.
        }
    }
    format!("attachment; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_within_its_header() {
        let (id, job) = (ArtifactId(Uuid::nil()), JobId(Uuid::nil()));
        let name = "a/b\"\r\nX: 1 é.txt".to_owned();
        let artifact = ArtifactView { id, job, attempt: 1, name, size: 0, sha256: String::new() };
        assert_eq!(disposition(&artifact), "attachment; filename*=UTF-8''b%22%0D%0AX%3A%201%20%C3%A9.txt");
    }
}
