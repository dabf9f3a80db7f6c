//! Files that jobs leave behind: taken from executors by job token, given to people with `ETag` and ranges. The bytes
//! stream through; they are never held in memory as a whole.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use object_store::{GetOptions, GetRange, ObjectStore as _, WriteMultipart, path::Path as ObjectPath};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tracing::error;
use uuid::Uuid;
use wire::{ArtifactId, JobId, Problem, view::ArtifactView};

use crate::{
    core::Core,
    http::{
        parameters::Path,
        problem::{Answer, parse},
        who::{Who, bearer},
    },
    queries::{not_found, store_problem},
    secret,
};

/// Parts that an upload is written in, in bytes.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one upload that are written at once.
const PARTS_AT_ONCE: usize = 2;
/// A file's path may be so many bytes long.
const NAME_BYTES_MAX: usize = 1024;

fn object_path(job: JobId, id: ArtifactId) -> ObjectPath {
    ObjectPath::from(format!("{job}/{id}"))
}

fn failed(failure: &object_store::Error) -> Problem {
    error!(%failure, "the artifact store answered with an error");
    if failure.to_string().contains("No space left") {
        Problem::new(503, "Disk full", "The disk that holds the artifacts is full: free some space and try again.")
    } else {
        Problem::new(500, "Internal error", "The artifact store answered with an error; the server's log tells more.")
    }
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
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let sentence = format!("{name:?} must be a relative path without `..`, at most {NAME_BYTES_MAX} bytes long.");
        return Err(Problem::new(400, "Invalid name", sentence).into());
    }
    if !runs(&core, job, attempt).await? {
        return Err(
            Problem::new(409, "Stale", format!("Attempt {attempt} of job {job} is not running any more.")).into()
        );
    }
    // The executor tries again for as long as its job may take.
    core.room.check()?;
    let artifact = ArtifactId(Uuid::now_v7());
    let upload = core.artifacts.put_multipart(&object_path(job, artifact)).await.map_err(|failure| failed(&failure))?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
    let (mut size, mut digest) = (0_u64, Sha256::new());
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(_) => {
                let _ = writer.abort().await; // What cannot be removed now is an orphan, and nothing refers to it.
                return Err(Problem::new(400, "Incomplete body", "The upload broke off before its end.").into());
            }
        };
        if let Err(full) = core.room.check() {
            let _ = writer.abort().await; // As above.
            // Who is still sending hears an answer only afterwards.
            while let Some(Ok(_)) = body.next().await {}
            return Err(full.into());
        }
        size += chunk.len() as u64;
        digest.update(&chunk);
        writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|failure| failed(&failure))?;
        writer.put(chunk);
    }
    writer.finish().await.map_err(|failure| failed(&failure))?;
    let body = json!({"id": artifact, "size": size, "sha256": secret::hex(&digest.finalize())});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Whether this attempt holds the job's lease.
async fn runs(core: &Core, job: JobId, attempt: u32) -> Answer<bool> {
    let build = core.store.build_of(job).await.map_err(store_problem)?.ok_or_else(|| not_found("job", job))?;
    let build = core.store.load_build(build).await.map_err(store_problem)?.ok_or_else(|| not_found("build", build))?;
    Ok(build.jobs.iter().any(|found| {
        found.id == job && found.attempt == attempt && matches!(found.state, store::model::JobState::Running { .. })
    }))
}

/// `GET /artifacts/{id}`: the bytes, always as a download of no particular type, so that no browser runs them.
pub(crate) async fn get(
    State(core): State<Arc<Core>>,
    Who(_who): Who,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let id: ArtifactId = parse("The artifact's id", &id)?;
    let artifact = core.store.artifact(id).await.map_err(store_problem)?.ok_or_else(|| not_found("artifact", id))?;
    let etag = format!("\"{}\"", artifact.sha256);
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let current = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let range = text(header::RANGE).filter(|_| current).map(|range| byte_range(range, artifact.size));
    let (range, status) = match range {
        Some(Requested::Part(from, to)) => (Some((from, to)), StatusCode::PARTIAL_CONTENT),
        Some(Requested::Beyond) => {
            let size = format!("bytes */{}", artifact.size);
            let sentence = format!("The artifact has {} bytes; the range lies beyond.", artifact.size);
            let problem = super::problem::Rejection(Problem::new(416, "Range not satisfiable", sentence));
            return Ok(([(header::CONTENT_RANGE, size)], problem).into_response());
        }
        Some(Requested::Whole) | None => (None, StatusCode::OK),
    };
    let options =
        GetOptions { range: range.map(|(from, to)| GetRange::Bounded(from..to + 1)), ..GetOptions::default() };
    let object = core.artifacts.get_opts(&object_path(artifact.job, id), options).await;
    let object = match object {
        Err(object_store::Error::NotFound { .. }) => return Err(not_found("artifact", id).into()),
        other => other.map_err(|failure| failed(&failure))?,
    };
    let length = range.map_or(artifact.size, |(from, to)| to - from + 1);
    let mut response = (status, Body::from_stream(object.into_stream())).into_response();
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::CONTENT_DISPOSITION, disposition(&artifact));
    set(header::CONTENT_LENGTH, length.to_string());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::ETAG, etag);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
    if let Some((from, to)) = range {
        set(header::CONTENT_RANGE, format!("bytes {from}-{to}/{}", artifact.size));
    }
    Ok(response)
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

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    /// First and last byte, both included.
    Part(u64, u64),
    /// Nothing of the file is in the range.
    Beyond,
    /// Not one range in bytes: the whole file is a right answer (RFC 9110, 14.2).
    Whole,
}

fn byte_range(header: &str, size: u64) -> Requested {
    let Some((from, to)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Requested::Whole;
    };
    match (from.trim().parse::<u64>(), to.trim().parse::<u64>()) {
        (Ok(from), _) if from >= size => Requested::Beyond,
        (Ok(from), Ok(to)) if to >= from => Requested::Part(from, to.min(size - 1)),
        (Ok(from), Err(_)) if to.trim().is_empty() => Requested::Part(from, size - 1),
        (Err(_), Ok(last)) if from.trim().is_empty() => {
            if last == 0 || size == 0 {
                Requested::Beyond
            } else {
                Requested::Part(size.saturating_sub(last), size - 1)
            }
        }
        _ => Requested::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file_and_what_is_no_range_gives_the_whole() {
        assert_eq!(byte_range("bytes=0-3", 10), Requested::Part(0, 3));
        assert_eq!(byte_range("bytes=4-", 10), Requested::Part(4, 9));
        assert_eq!(byte_range("bytes=-3", 10), Requested::Part(7, 9));
        assert_eq!(byte_range("bytes=5-100", 10), Requested::Part(5, 9));
        assert_eq!(byte_range("bytes=10-", 10), Requested::Beyond);
        assert_eq!(byte_range("bytes=-0", 10), Requested::Beyond);
        for whole in ["lines=1-2", "bytes=5-1", "bytes=0-1,3-4", "bytes=x-"] {
            assert_eq!(byte_range(whole, 10), Requested::Whole, "{whole}");
        }
    }

    #[test]
    fn a_hostile_name_stays_within_its_header() {
        let (id, job) = (ArtifactId(Uuid::nil()), JobId(Uuid::nil()));
        let name = "a/b\"\r\nX: 1 é.txt".to_owned();
        let artifact = ArtifactView { id, job, attempt: 1, name, size: 0, sha256: String::new() };
        assert_eq!(disposition(&artifact), "attachment; filename*=UTF-8''b%22%0D%0AX%3A%201%20%C3%A9.txt");
    }
}
