//! The browser package, and the answers to what does not exist.

use std::any::Any;

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use wire::Problem;

use crate::{
    assets::{self, Asset},
    http::{Site, problem::Rejection},
};

/// One route for each embedded file.
pub(crate) fn routes() -> Router<Site> {
    assets::all().iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(move |headers: HeaderMap| async move { serve(asset, &headers) }))
    })
}

fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let caching = if asset.immutable { "public, max-age=31536000, immutable" } else { "public, max-age=3600" };
    let common = [
        (header::ETAG, asset.etag),
        (header::CACHE_CONTROL, caching),
        (header::VARY, "Accept-Encoding"),
        (header::CONTENT_TYPE, asset.content_type),
    ];
    if text(header::IF_NONE_MATCH).split(',').any(|tag| tag.trim() == asset.etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let (body, encoding) = asset.choose(text(header::ACCEPT_ENCODING));
    let mut response = (common, body).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// An address of the API that does not exist.
pub(crate) async fn no_such_address(request: Request) -> Rejection {
    let sentence = format!("There is nothing at {}.", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND.as_u16(), "Not found", sentence).into()
}

/// An address of the API that is asked in another way.
pub(crate) async fn no_such_method(request: Request) -> Rejection {
    let sentence = format!("{} is not answered at {}.", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED.as_u16(), "Method not allowed", sentence).into()
}

/// A handler failed by our fault: told in the log, never to the client.
pub(crate) fn panicked(_what: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request handler panicked; the message stands above");
    let problem = Problem::new(500, "Internal error", "The server failed to answer; its log tells more.");
    Rejection(problem).into_response()
}
