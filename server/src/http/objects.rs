//! Bytes that are kept apart, artifacts and payloads alike: taken from a body and given with `ETag` and ranges. They stream
//! through and are never held in memory as a whole. What is read whole is verified on the way: of an object that was
//! changed the end is never sent, so that nobody takes it for whole.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use object_store::{GetOptions, GetRange, ObjectStore as _, WriteMultipart, path::Path as ObjectPath};
use sha2::{Digest as _, Sha256};
use tracing::error;
use uuid::Uuid;
use wire::{Problem, size::Size};

use crate::{
    core::Core,
    http::problem::{Answer, Rejection},
    queries::not_found,
    secret,
};

/// Parts that an upload is written in, in bytes.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one upload that are written at once.
pub(crate) const PARTS_AT_ONCE: usize = 2;

/// What has come.
pub(crate) struct Received {
    /// In bytes.
    pub(crate) size: u64,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

/// What is to be given.
pub(crate) struct Object<'a> {
    /// What people call it.
    pub(crate) what: &'static str,
    /// Its id.
    pub(crate) id: Uuid,
    /// Where it is kept.
    pub(crate) path: ObjectPath,
    /// What it must be, in bytes.
    pub(crate) size: u64,
    /// What its digest must be, lower-case hex.
    pub(crate) sha256: &'a str,
    /// As what it is given.
    pub(crate) content_type: &'a str,
    /// `Content-Disposition`.
    pub(crate) disposition: String,
}

/// The answer when the object store fails; the log tells more.
pub(crate) fn failed(failure: &object_store::Error) -> Problem {
    error!(%failure, "the object store answered with an error");
    if failure.to_string().contains("No space left") {
        Problem::new(503, "Disk full", "The disk that holds the artifacts is full: free some space and try again.")
    } else {
        Problem::new(500, "Internal error", "The artifact store answered with an error; the server's log tells more.")
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        413,
        "Too large",
        format!("The body is longer than {}, which is the limit (`--payload-limit`).", Size(limit)),
    )
}

/// Takes so many bytes of a payload, and no more.
pub(crate) fn at_most(limit: u64) -> impl FnMut(u64) -> Result<(), Problem> {
    let mut left = limit;
    move |bytes| {
        left = left.checked_sub(bytes).ok_or_else(|| too_large(limit))?;
        Ok(())
    }
}

/// Writes a body to its place, as long as `take` takes what has come.
pub(crate) async fn receive(
    core: &Core,
    path: &ObjectPath,
    body: Body,
    mut take: impl FnMut(u64) -> Result<(), Problem>,
) -> Answer<Received> {
    let upload = core.artifacts.put_multipart(path).await.map_err(|failure| failed(&failure))?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
    let (mut size, mut digest) = (0_u64, Sha256::new());
    let mut body = body.into_data_stream();
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
        if let Err(problem) = take(chunk.len() as u64) {
            let _ = writer.abort().await; // As above.
            return Err(problem.into());
        }
        digest.update(&chunk);
        writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|failure| failed(&failure))?;
        writer.put(chunk);
    }
    writer.finish().await.map_err(|failure| failed(&failure))?;
    Ok(Received { size, sha256: secret::hex(&digest.finalize()) })
}

/// The length that a body says it has.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Refuses a payload that says itself that it is too large, before any of it is read.
pub(crate) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    if declared_length(headers).is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(()) }
}

/// Gives an object, or the part of it that is asked for.
pub(crate) async fn serve(core: &Core, headers: &HeaderMap, object: Object<'_>) -> Answer<Response> {
    let Object { what, id, path, size, sha256, content_type, disposition } = object;
    let etag = format!("\"{sha256}\"");
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let current = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let range = text(header::RANGE).filter(|_| current).map(|range| byte_range(range, size));
    let (range, status) = match range {
        Some(Requested::Part(from, to)) => (Some((from, to)), StatusCode::PARTIAL_CONTENT),
        Some(Requested::Beyond) => {
            let sentence = format!("The {what} has {size} bytes; the range lies beyond.");
            let problem = Rejection(Problem::new(416, "Range not satisfiable", sentence));
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{size}"))], problem).into_response());
        }
        Some(Requested::Whole) | None => (None, StatusCode::OK),
    };
    let options =
        GetOptions { range: range.map(|(from, to)| GetRange::Bounded(from..to + 1)), ..GetOptions::default() };
    let found = match core.artifacts.get_opts(&path, options).await {
        Err(object_store::Error::NotFound { .. }) => return Err(not_found(what, id).into()),
        other => other.map_err(|failure| failed(&failure))?,
    };
    if found.meta.size != size {
        error!(%path, size, found = found.meta.size, "an object is damaged: it has another size than it was brought with");
        let sentence = format!("The {what} is damaged: it has {} bytes, and had {size}.", found.meta.size);
        return Err(Problem::new(500, "Damaged", sentence).into());
    }
    let length = range.map_or(size, |(from, to)| to - from + 1);
    let body = match range {
        Some(_) => Body::from_stream(found.into_stream()),
        None => Body::from_stream(verified(found.into_stream(), path, sha256.to_owned())),
    };
    let mut response = (status, body).into_response();
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, content_type.to_owned());
    set(header::CONTENT_DISPOSITION, disposition);
    set(header::CONTENT_LENGTH, length.to_string());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::ETAG, etag);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
    // If a browser shows it all the same: no script, no form, no request, and no part in this site.
    set(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned());
    if let Some((from, to)) = range {
        set(header::CONTENT_RANGE, format!("bytes {from}-{to}/{size}"));
    }
    Ok(response)
}

/// The same bytes, the last piece of them only once all were what they must be.
fn verified(
    bytes: impl Stream<Item = object_store::Result<Bytes>> + Send + 'static,
    path: ObjectPath,
    sha256: String,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let state = (Box::pin(bytes), Sha256::new(), Some(Bytes::new()), path, sha256);
    stream::try_unfold(state, |(mut bytes, mut digest, mut held, path, sha256)| async move {
        loop {
            let Some(former) = held.take() else { return Ok(None) };
            match bytes.next().await.transpose().map_err(std::io::Error::other)? {
                Some(next) => {
                    digest.update(&next);
                    held = Some(next);
                    if !former.is_empty() {
                        return Ok(Some((former, (bytes, digest, held, path, sha256))));
                    }
                }
                None => {
                    let found = secret::hex(&digest.clone().finalize());
                    if found != sha256 {
                        error!(%path, sha256, found, "an object is damaged: it has another digest than it was brought with");
                        return Err(std::io::Error::other("the object is damaged"));
                    }
                    return Ok(Some((former, (bytes, digest, None, path, sha256))));
                }
            }
        }
    })
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

    async fn read(pieces: &[&'static str], sha256: &str) -> (String, bool) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let mut bytes = Box::pin(verified(stream::iter(pieces), ObjectPath::from("x"), sha256.to_owned()));
        let mut text = String::new();
        while let Some(piece) = bytes.next().await {
            let Ok(piece) = piece else { return (text, false) };
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        (text, true)
    }

    #[tokio::test]
    async fn claim_check_the_end_of_what_was_changed_is_never_given() {
        let right = secret::sha256("onetwo");
        assert_eq!(read(&["one", "two"], &right).await, ("onetwo".to_owned(), true));
        assert_eq!(read(&["one", "twO"], &right).await, ("one".to_owned(), false));
        assert_eq!(read(&["onetwo"], &secret::sha256("other")).await, (String::new(), false));
        assert_eq!(read(&[], &secret::sha256("")).await, (String::new(), true));
    }
}
