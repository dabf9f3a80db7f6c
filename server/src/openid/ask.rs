//! Requests to the provider. They block, so each series of them has a thread of its own, which the server does not wait for
//! when it ends. So many are at work at once, each with a limit of time, and no answer is read beyond its limit.

use std::time::Duration;

use openidconnect::{HttpRequest, HttpResponse, SyncHttpClient, url::Url};
use tokio::sync::{Semaphore, oneshot};
use ureq::Agent;

use crate::{
    config::openid::{is_loopback, is_private},
    outgoing,
};

/// One request may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer may be so long: a set of keys has some kB.
const ANSWER_BYTES_MAX: u64 = 512 * 1024;
/// Series of requests at work at once; more wait for their turn.
const AT_ONCE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// It named an address that others can listen to or change.
    #[error("{0} is not asked: addresses of a provider must be https")]
    Open(String),
    /// It did not answer, or too much, or cannot be reached.
    #[error(transparent)]
    Http(#[from] ureq::Error),
}

/// How the provider is asked: one that is asked for keys and tokens answers itself.
pub(super) struct Asker(Agent);

impl Asker {
    /// For a provider at this address. One on this machine is asked directly, whatever proxy the environment names.
    pub(super) fn new(issuer: &Url) -> Self {
        let config = outgoing::config(PATIENCE);
        let config = if is_loopback(issuer) { config.proxy(None) } else { config };
        Self(Agent::new_with_config(config.build()))
    }
}

impl SyncHttpClient for Asker {
    type Error = AskError;

    fn call(&self, request: HttpRequest) -> Result<HttpResponse, AskError> {
        let address = request.uri().to_string();
        if !Url::parse(&address).is_ok_and(|url| is_private(&url)) {
            return Err(AskError::Open(address));
        }
        let (parts, body) = request.into_parts();
        let answer = if body.is_empty() {
            self.0.run(ureq::http::Request::from_parts(parts, ()))
        } else {
            self.0.run(ureq::http::Request::from_parts(parts, body))
        };
        let (parts, body) = answer?.into_parts();
        let bytes = body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(HttpResponse::from_parts(parts, bytes))
    }
}

/// Runs what asks on a thread of its own; none if it broke off.
pub(super) async fn apart<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let turn = TURNS.acquire().await.ok()?; // Never closed.
    let (tell, told) = oneshot::channel();
    let begun = std::thread::Builder::new().name("openid".to_owned()).spawn(move || {
        let _turn = turn;
        // Who asked may have gone meanwhile.
        let _ = tell.send(ask());
    });
    if let Err(failure) = begun {
        tracing::warn!(%failure, "no thread could be started to ask the provider");
        return None;
    }
    told.await.ok()
}

/// An error with what it comes from, for the log.
pub(super) fn whole(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
