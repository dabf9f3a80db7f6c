//! Parameters of the address and of the query, as handlers take them: what cannot be read is a 400 with one sentence, like
//! every other refusal.

use axum::{
    extract::{FromRequestParts, rejection::QueryRejection},
    http::{Uri, request::Parts},
};
use serde::de::DeserializeOwned;
use wire::Problem;

use crate::http::problem::Rejection;

/// The parameters in the address, percent-decoded.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value)).map_err(|_| {
            let sentence = format!("The address {} does not decode to UTF-8.", parts.uri.path());
            Problem::new(400, "Invalid parameter", sentence).into()
        })
    }
}

/// The parameters behind the `?`, percent-decoded; an empty one is one that is not given. `T` refuses those that it does not
/// know.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        let given = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.ends_with('='));
        let given = given.collect::<Vec<_>>().join("&");
        // What was part of an address is part of one again.
        let uri = format!("/?{given}").parse::<Uri>().unwrap_or_default();
        let read = axum::extract::Query::try_from_uri(&uri);
        read.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection: QueryRejection| {
            let reason = rejection.body_text();
            let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
            Problem::new(400, "Invalid parameter", format!("The query is not what is asked for: {reason}.")).into()
        })
    }
}
