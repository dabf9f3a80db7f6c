//! Payloads that are too large for a message: brought by a program, a page or an executor, and claimed by their check. A person
//! or a token may bring and read all; the token of a running job may bring, and read what its build has as an input.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use object_store::ObjectStore as _;
use uuid::Uuid;
use wire::{ClaimCheck, JobId, PayloadId, Problem, authority::Need};

use crate::{
    core::Core,
    http::{
        artifacts::runs,
        objects::{self, Object, Received},
        parameters::Path,
        problem::{Answer, header_text, parse},
        who::{Who, bearer},
    },
    payloads::object_path,
    queries::{not_found, store_problem},
    secret,
};

/// A media type may be so many bytes long.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// `POST /payloads`, and `PUT`: the bytes; their media type in `Content-Type`; their digest in `Content-Digest` (RFC 9530), if it is
/// to be compared.
pub(crate) async fn post(
    State(core): State<Arc<Core>>,
    who: Option<Who>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Answer<Response> {
    match who {
        Some(Who(who)) => who.need(Need::BuildSomewhere)?,
        None => drop(of_running_job(&core, &headers).await?),
    }
    let content_type = header_text(&headers, "content-type")?.unwrap_or("application/octet-stream").to_owned();
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        let sentence = format!("The media type must be at most {CONTENT_TYPE_BYTES_MAX} bytes long.");
        return Err(Problem::new(400, "Invalid header", sentence).into());
    }
    let expected = header_text(&headers, "content-digest")?.map(sha256_of).transpose()?.flatten();
    objects::check_length(&headers, core.payload_limit)?;
    core.room.check()?;
    let reference = PayloadId(Uuid::new_v4());
    let path = object_path(reference);
    let take = objects::at_most(core.payload_limit);
    let Received { size, sha256 } = objects::receive(&core, &path, request.into_body(), take).await?;
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        let _ = core.artifacts.delete(&path).await; // What stays is an orphan, and nothing refers to it.
        let sentence =
            format!("The body's SHA-256 is {sha256}, not {expected} as `Content-Digest` says: send it again.");
        return Err(Problem::new(422, "Digest differs", sentence).into());
    }
    let check = ClaimCheck { reference, size, sha256, content_type };
    core.store.put_payload(&check).await.map_err(store_problem)?;
    let location = (header::LOCATION, format!("/api/v1/payloads/{reference}"));
    Ok((StatusCode::CREATED, [location], Json(check)).into_response())
}

/// `GET /payloads/{ref}`: the bytes, always as a download.
pub(crate) async fn get(
    State(core): State<Arc<Core>>,
    who: Option<Who>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let id: PayloadId = parse("The payload's ref", &id)?;
    if let Some(Who(who)) = &who {
        // One that no build has yet is its bringer's to tell of; its id cannot be guessed.
        let pipelines = core.store.pipelines_with(id).await.map_err(store_problem)?;
        if !pipelines.is_empty() && !pipelines.iter().any(|pipeline| who.sees(pipeline)) {
            return Err(not_found("payload", id).into());
        }
    } else {
        let job = of_running_job(&core, &headers).await?;
        if !core.store.has_payload(job, id).await.map_err(store_problem)? {
            return Err(not_found("payload", id).into());
        }
    }
    let check = core.store.payload(id).await.map_err(store_problem)?.ok_or_else(|| not_found("payload", id))?;
    let object = Object {
        what: "payload",
        id: id.0,
        path: object_path(id),
        size: check.size,
        sha256: &check.sha256,
        content_type: &check.content_type,
        disposition: "attachment".to_owned(),
    };
    objects::serve(&core, &headers, object).await
}

/// The job whose token asks, while its attempt runs.
async fn of_running_job(core: &Core, headers: &HeaderMap) -> Answer<JobId> {
    let speaks_for = bearer(headers).and_then(|token| core.key.verify_job_token(&token));
    let Some((job, attempt)) = speaks_for else {
        let sentence =
            "Nobody is signed in: send `Authorization: Bearer <token>`, the token of a program or of a running job.";
        return Err(Problem::new(401, "Not signed in", sentence).into());
    };
    if !runs(core, job, attempt).await? {
        let sentence = format!("Attempt {attempt} of job {job} is not running any more.");
        return Err(Problem::new(409, "Stale", sentence).into());
    }
    Ok(job)
}

/// The SHA-256 of a `Content-Digest`, in hex; none if it has others only.
fn sha256_of(header: &str) -> Result<Option<String>, Problem> {
    let found = header.split(',').find_map(|member| member.trim().strip_prefix("sha-256="));
    let Some(value) = found else { return Ok(None) };
    let bytes = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
    let bytes = bytes.and_then(|value| STANDARD.decode(value).ok()).filter(|bytes| bytes.len() == 32);
    bytes.map(|bytes| Some(secret::hex(&bytes))).ok_or_else(|| {
        let sentence = "`Content-Digest` must be sha-256=:<base64 of 32 bytes>: (RFC 9530).";
        Problem::new(400, "Invalid header", sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_header_is_found_among_others() {
        let hex = "00".repeat(32);
        let base64 = STANDARD.encode([0; 32]);
        assert_eq!(sha256_of(&format!("sha-512=:x:, sha-256=:{base64}:")).unwrap(), Some(hex));
        assert_eq!(sha256_of("md5=:x:").unwrap(), None);
        assert_eq!(sha256_of("sha-256=:AAAA:").unwrap_err().status, 400);
    }
}
