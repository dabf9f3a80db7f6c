//! Errors at the HTTP border: one public type, `application/problem+json` (RFC 9457). Internal detail goes to the log where
//! it happens, never to the client.
//!
//! | kind of function | error type |
//! |---|---|
//! | handlers | [`Rejection`] |
//! | commands, queries, pages | `wire::Problem` |
//! | store, broker, gateway | their own, turned into a `Problem` where they are called |

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use wire::Problem;

/// A problem as an answer.
#[derive(Debug)]
pub(crate) struct Rejection(pub(crate) Problem);

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What handlers answer.
pub(crate) type Answer<T> = Result<T, Rejection>;

/// A body above this many bytes is refused: a pipeline has at most 1 MiB, everything else is smaller.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The whole body of a request, as text.
pub(crate) async fn text(request: Request<Body>) -> Answer<String> {
    let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|failure| {
        // axum tells a body that broke off and one that is too long apart by its source only.
        let long = std::error::Error::source(&failure).is_some_and(|source| source.to_string().contains("limit"));
        if long {
            let sentence = format!("The body is longer than {BODY_BYTES_MAX} bytes, which is the limit.");
            Problem::new(413, "Body too large", sentence)
        } else {
            Problem::new(400, "Incomplete body", "The body broke off before its end.")
        }
    })?;
    String::from_utf8(bytes.into()).map_err(|failure| {
        let place = failure.utf8_error().valid_up_to();
        Problem::new(400, "Not UTF-8", format!("The body is not UTF-8 from byte {place} on.")).into()
    })
}

/// A JSON object as the body; an empty one is `T`'s default.
pub(crate) async fn json<T: serde::de::DeserializeOwned + Default>(request: Request<Body>) -> Answer<T> {
    let text = text(request).await?;
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    // A list would be read as the object's members in their order, which nobody means.
    if text.trim_start().starts_with('[') {
        let sentence = "The body is not what is asked for: it must be a JSON object, not a list.";
        return Err(Problem::new(422, "Invalid body", sentence).into());
    }
    serde_json::from_str(&text).map_err(|failure| {
        let (line, column) = (failure.line(), failure.column());
        let problem = Problem::new(422, "Invalid body", format!("The body is not what is asked for: {failure}."));
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        Rejection(problem.at(place(line), place(column)))
    })
}

/// A path or query parameter as its type.
pub(crate) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Answer<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|failure: T::Err| {
        Problem::new(400, "Invalid parameter", format!("{what} {text:?} is not valid: {failure}.")).into()
    })
}

/// A pipeline's name from the address: the name's own sentence tells what is wrong.
pub(crate) fn pipeline_name(text: &str) -> Answer<wire::PipelineName> {
    text.parse().map_err(|sentence| Problem::new(400, "Invalid parameter", format!("The {sentence}.")).into())
}

/// The text of a header, if it was sent.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Answer<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_: header::ToStrError| {
        Problem::new(400, "Invalid header", format!("The header {name} must hold visible ASCII characters only."))
            .into()
    })
}
