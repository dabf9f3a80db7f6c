//! Who asks: a bearer token or the session cookie becomes an `Authority`; a write by cookie needs the site's own Origin.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tower_sessions::Session;
use wire::{Authority, Problem};

use crate::{
    access::{Credential, Held, SignedIn},
    core::Core,
    http::{address, problem::Rejection, sessions},
    queries::store_problem,
    secret,
};

/// Where the session keeps how it began. Sessions of before there were accounts kept something else elsewhere: they have ended.
const SIGNED_IN: &str = "signed_in";

/// The authority of a request; 401 without one.
#[derive(Clone, Debug)]
pub(crate) struct Who(pub(crate) Authority);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        parts.extensions.get::<Who>().cloned().ok_or_else(|| {
            let sentence = "Nobody is signed in: people open /sign-in, programs send `Authorization: Bearer <token>`. \
                `stepcast token create --name NAME` makes a token where the server runs (with the --data-dir or --store \
                of the server, unless they are the defaults).";
            Problem::new(401, "Not signed in", sentence).into()
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Who>().cloned())
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) IpAddr);

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        parts.extensions.get::<Address>().copied().ok_or_else(|| {
            Problem::new(500, "Internal error", "The request has no address; the server's log tells more.").into()
        })
    }
}

/// How a request showed who asks: what it leaves open is held by it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    credential: Credential,
    /// See [`crate::access::Access::hold`].
    changes: u64,
}

impl Shown {
    /// The credential.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The session that a browser has, if that is how it asks.
    pub(crate) fn signed_in(&self) -> Option<&SignedIn> {
        match &self.credential {
            Credential::Session(_, signed_in) => Some(signed_in),
            Credential::Token(_) => None,
        }
    }

    /// Holds what the request leaves open, until its authority ends or becomes another one.
    pub(crate) fn hold(self, core: &Core, who: &Authority) -> Held {
        core.access.hold(self.credential, who, self.changes)
    }
}

impl<S: Sync> FromRequestParts<S> for Shown {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Rejection> {
        let shown = parts.extensions.get::<Shown>().cloned();
        shown.ok_or_else(|| Problem::new(401, "Not signed in", "Nobody is signed in.").into())
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Shown {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Shown>().cloned())
    }
}

/// Finds out who asks, for every route. A foreign Origin is refused here, before any handler.
pub(crate) async fn authenticate(
    State(core): State<Arc<Core>>,
    session: Session,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let bearer = bearer(request.headers());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if bearer.is_none()
        && (!reads || upgrades)
        && let Some(problem) = foreign_origin(request.headers(), &core.public_url, upgrades)
    {
        return Rejection(problem).into_response();
    }
    let from = address::of_client(&core.trusted_proxies, peer.ip(), request.headers());
    request.extensions_mut().insert(Address(from));
    let changes = core.access.changes();
    let credential = match &bearer {
        Some(token) => Ok(Some(Credential::Token(secret::sha256(token)))),
        None => of_session(&session).await,
    };
    let credential = match credential {
        Ok(credential) => credential,
        Err(problem) => return Rejection(problem).into_response(),
    };
    if let Some(credential) = credential {
        match core.access.authority(&core.store, &credential).await {
            Err(failure) => return Rejection(store_problem(failure)).into_response(),
            Ok(None) => {}
            Ok(Some(authority)) => {
                request.extensions_mut().insert(Who(authority.at(Some(from))));
                request.extensions_mut().insert(Shown { credential, changes });
            }
        }
    }
    next.run(request).await
}

/// The token of the `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

async fn of_session(session: &Session) -> Result<Option<Credential>, Problem> {
    let found = session.get::<SignedIn>(SIGNED_IN).await.map_err(|failure| {
        tracing::error!(%failure, "a session cannot be read");
        Problem::new(503, "Store unavailable", "The session cannot be read now; try again in a moment.")
    });
    Ok(found?.zip(session.id()).map(|(signed_in, id)| Credential::Session(sessions::key(&id), signed_in)))
}

/// Begins a session: under a new id, so that whoever planted the former one gains nothing.
pub(crate) async fn begin(session: &Session, signed_in: &SignedIn) -> Result<(), Problem> {
    let kept = async {
        session.cycle_id().await?;
        session.insert(SIGNED_IN, signed_in).await?;
        session.save().await
    };
    kept.await.map_err(|failure| {
        tracing::error!(%failure, "a session cannot be kept");
        Problem::new(503, "Store unavailable", "The session cannot be kept now; try again in a moment.")
    })
}

/// Why an Origin is not the site's own; none if it is. A browser always sends it with a write and with an upgrade;
/// a program that upgrades without one is no browser, nor is one that brings no session: that has nothing to lose.
fn foreign_origin(headers: &HeaderMap, public_url: &str, upgrades: bool) -> Option<Problem> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else {
        if upgrades || !has_session(headers) {
            return None;
        }
        let sentence =
            "A write with the session cookie needs the site's own Origin header; programs send a bearer token.";
        return Some(Problem::new(403, "Origin missing", sentence));
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    let own = origin == public_url || (host.is_some() && host == text(header::HOST));
    (!own).then(|| {
        Problem::new(403, "Foreign origin", format!("Requests from {origin} are refused: this is another site."))
    })
}

/// Whether the session cookie came along.
fn has_session(headers: &HeaderMap) -> bool {
    let mut cookies = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    cookies.any(|cookie| {
        let name = cookie.trim_ascii_start().strip_prefix(super::COOKIE.as_bytes());
        name.is_some_and(|rest| rest.first() == Some(&b'='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_the_sites_own_origin_may_write_and_upgrade() {
        let url = "https://ci.example.org";
        let judge =
            |pairs: &[(header::HeaderName, &'static str)], upgrades| foreign_origin(&headers(pairs), url, upgrades);
        let host = (header::HOST, "127.0.0.1:3000");
        assert!(judge(&[host.clone(), (header::ORIGIN, "http://127.0.0.1:3000")], true).is_none());
        assert!(judge(&[host.clone(), (header::ORIGIN, "https://ci.example.org")], false).is_none());
        assert!(judge(&[host.clone(), (header::ORIGIN, "http://evil.example")], true).is_some());
        assert!(judge(&[host.clone(), (header::ORIGIN, "null")], true).is_some());
        assert!(judge(&[host.clone(), (header::ORIGIN, "http://127.0.0.1:3001")], true).is_some());
        assert!(judge(std::slice::from_ref(&host), true).is_none());
        let cookie = (header::COOKIE, "theme=dark; stepcast_session=x");
        assert!(judge(&[host.clone(), cookie.clone()], false).is_some());
        assert!(judge(&[host.clone(), cookie], true).is_none());
        assert!(judge(std::slice::from_ref(&host), false).is_none(), "nobody asks: that is said instead");
        assert!(judge(&[host, (header::ORIGIN, "http://evil.example")], false).is_some());
    }
}
