//! What every answer tells the browser not to do: run what the page did not bring, frame it, guess its type, tell others of
//! it. A page's scripts carry a nonce; nothing else that stands in its text runs, whatever a log or a name says.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use wire::Problem;

use crate::secret;

/// Of answers that are no page: nothing of them is ever run or shown within another document.
const OF_DATA: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Whether people come by https: then their browsers shall come by nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Encrypted(pub(crate) bool);

/// What a page's scripts are known by: new for each answer, so that nobody can write it into a text beforehand.
pub(crate) fn nonce() -> Result<String, Problem> {
    let bytes = secret::random().map_err(|sentence| Problem::new(500, "No random bytes", sentence))?;
    Ok(STANDARD_NO_PAD.encode(&bytes[..16]))
}

/// The policy of one page. Places and lengths of bars are style attributes, which run nothing; the style sheet is a file.
pub(crate) fn of_page(nonce: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(OF_DATA))
}

/// Puts the headers on an answer that has not its own.
pub(crate) async fn headers(State(encrypted): State<Encrypted>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let own_resource_policy = HeaderName::from_static("cross-origin-resource-policy");
    let own_opener_policy = HeaderName::from_static("cross-origin-opener-policy");
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (own_resource_policy, "same-origin"),
        (own_opener_policy, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [(header::CONTENT_SECURITY_POLICY, OF_DATA), (header::CACHE_CONTROL, "no-store")] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if encrypted.0 {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_runs_in_a_page_but_those_with_its_nonce() {
        let (one, other) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(one, other);
        let policy = of_page(&one);
        let policy = policy.to_str().unwrap();
        let scripts = policy.split("; ").find(|part| part.starts_with("script-src ")).unwrap();
        assert_eq!(scripts, format!("script-src 'nonce-{one}' 'wasm-unsafe-eval'"));
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}
