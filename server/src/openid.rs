//! Sign-in by a provider of OpenID Connect: the authorization code flow with PKCE. What the provider says of itself is read
//! when it is first needed, so a provider that is down keeps nobody from starting the server or from signing in by a password.
//! Who comes in by what it answers is judged in [`arrival`].

pub(crate) mod arrival;
mod ask;
pub(crate) mod ticket;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, DiscoveryError,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse as _,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdTokenClaims, CoreJwsSigningAlgorithm,
        CoreProviderMetadata, CoreTokenResponse, CoreUserInfoClaims,
    },
};
use store::people::Identity;
use tokio::sync::Mutex;
use vault::TicketKey;
use wire::{Timestamp, mac::InstallationKey};

use self::{
    ask::{Asker, apart, whole},
    ticket::{Purpose, TICKET_SECONDS, Ticket},
};
use crate::config::openid::{OpenidSettings, is_private};

/// Where the provider sends people back to.
pub(crate) const ANSWER_PATH: &str = "/sign-in/openid/answer";
/// What a provider says of itself is read anew after so long.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// A provider that could not be read is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// Bytes of a subject: OpenID Connect Core 1.0, section 2, allows 255 letters of ASCII.
const SUBJECT_BYTES_MAX: usize = 255;

/// Signatures that are taken: those by a key pair. By a shared secret (HS256) whoever has it could sign.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Why the provider signs nobody in. The log has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It does not answer, or not as a provider does.
    Unreachable,
    /// It does not stand by the answer that was brought.
    Refused,
    /// What it says is not signed by it, not for this installation, not for this sign-in, or too old.
    Untrusted,
}

/// Somebody, by the word of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Who.
    pub(crate) identity: Identity,
    /// What the provider would have them called, the best name first.
    pub(crate) names: Vec<String>,
}

/// What the provider said of itself.
#[derive(Default)]
struct Known {
    metadata: Option<(Arc<CoreProviderMetadata>, Instant)>,
    failed: Option<Instant>,
}

/// See the module.
pub(crate) struct Openid {
    settings: OpenidSettings,
    issuer: IssuerUrl,
    redirect: RedirectUrl,
    key: TicketKey,
    asker: Arc<Asker>,
    /// Held while the provider is read: who comes meanwhile waits for what is read, 20 s at most.
    known: Mutex<Known>,
}

impl Openid {
    /// For an installation at this address.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn new(settings: OpenidSettings, public_url: &str, key: &InstallationKey) -> Result<Self, String> {
        let issuer = IssuerUrl::new(settings.issuer.as_str().to_owned()).map_err(|failure| failure.to_string())?;
        let redirect = RedirectUrl::new(format!("{public_url}{ANSWER_PATH}")).map_err(|failure| failure.to_string())?;
        let asker = Arc::new(Asker::new(issuer.url()));
        let key = TicketKey::new(key, "openid").map_err(|failure| failure.to_string())?;
        Ok(Self { settings, issuer, redirect, key, asker, known: Mutex::default() })
    }

    /// What people call the provider.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// The address by which it calls itself.
    pub(crate) fn issuer(&self) -> &str {
        self.settings.issuer.as_str()
    }

    /// Where to go to sign in, and the sealed ticket to come back with.
    ///
    /// # Errors
    /// When the provider cannot be reached.
    pub(crate) async fn begin(&self, purpose: Purpose, next: &str) -> Result<(String, String), Failed> {
        let metadata = self.metadata(None).await?;
        if !is_private(metadata.authorization_endpoint().url()) {
            tracing::warn!(
                address = metadata.authorization_endpoint().as_str(),
                "nobody is sent to sign in where others can listen: addresses of a provider must be https"
            );
            return Err(Failed::Unreachable);
        }
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client(&metadata);
        let asked = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(challenge);
        let (address, state, nonce) = asked.url();
        let ticket = Ticket {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            until: now().plus_micros(TICKET_SECONDS * 1_000_000),
            next: next.to_owned(),
            purpose,
        };
        let sealed = ticket.sealed(&self.key).map_err(|failure| {
            tracing::error!(failure, "a sign-in cannot be begun");
            Failed::Unreachable
        })?;
        Ok((address.to_string(), sealed))
    }

    /// The ticket of the browser that brings an answer with this state, if it is still good.
    pub(crate) fn ticket(&self, sealed: &str, state: &str) -> Option<Ticket> {
        Ticket::open(&self.key, sealed, state, now())
    }

    /// Who the provider says it is that brings `code`.
    ///
    /// # Errors
    /// Why that is not known.
    pub(crate) async fn exchange(&self, ticket: &Ticket, code: String) -> Result<Person, Failed> {
        let mut metadata = self.metadata(None).await?;
        let read = Instant::now();
        let (client, asker) = (self.client(&metadata), Arc::clone(&self.asker));
        let verifier = PkceCodeVerifier::new(ticket.verifier.clone());
        let answered = apart(move || exchange(&client, &asker, code, verifier)).await;
        let answered = answered.ok_or(Failed::Unreachable)??;
        let nonce = Nonce::new(ticket.nonce.clone());
        let judged = match self.judge(&metadata, &answered, &nonce) {
            // It may sign with another key by now.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                metadata = self.metadata(Some(read)).await?;
                self.judge(&metadata, &answered, &nonce)
            }
            judged => judged,
        };
        let claims = judged.map_err(|wrong| untrusted(&wrong))?;
        let subject = claims.subject().as_str().to_owned();
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            tracing::warn!(bytes = subject.len(), "the provider's name of a person is empty or too long");
            return Err(Failed::Untrusted);
        }
        let mut names = names_of_token(claims);
        if names.is_empty() {
            let (client, asker, claims) = (self.client(&metadata), Arc::clone(&self.asker), claims.clone());
            let token = answered.access_token().clone();
            let told = apart(move || user_info(&client, &asker, token, &claims)).await;
            names = told.flatten().unwrap_or_default();
        }
        Ok(Person { identity: Identity { issuer: self.issuer().to_owned(), subject }, names })
    }

    /// What the signed answer claims, if it is the provider's own, for this installation, for this sign-in, and in time.
    fn judge<'a>(
        &self,
        metadata: &CoreProviderMetadata,
        answered: &'a CoreTokenResponse,
        nonce: &Nonce,
    ) -> Result<&'a CoreIdTokenClaims, ClaimsVerificationError> {
        let token = answered.id_token();
        let token = token.ok_or_else(|| ClaimsVerificationError::Other("the answer holds no ID token".to_owned()))?;
        let client = self.client(metadata);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        token.claims(&verifier, nonce)
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> Client {
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.reveal().to_owned()));
        let id = ClientId::new(self.settings.client_id.clone());
        let client =
            CoreClient::from_provider_metadata(metadata.clone(), id, secret).set_redirect_uri(self.redirect.clone());
        // By the header unless the provider says that it takes the secret in the body alone.
        match metadata.token_endpoint_auth_methods_supported() {
            Some(methods)
                if !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                    && methods.contains(&CoreClientAuthMethod::ClientSecretPost) =>
            {
                client.set_auth_type(AuthType::RequestBody)
            }
            _ => client.set_auth_type(AuthType::BasicAuth),
        }
    }

    /// What the provider says of itself: read now if it was read before `since`, or long ago. Where it cannot be read any
    /// more, what is known from before counts, unless that is what is doubted.
    async fn metadata(&self, since: Option<Instant>) -> Result<Arc<CoreProviderMetadata>, Failed> {
        let mut known = self.known.lock().await;
        let former = known.metadata.as_ref();
        let fresh = former.filter(|(_, read)| read.elapsed() < KNOWN_FOR && since.is_none_or(|since| *read >= since));
        if let Some((metadata, _)) = fresh {
            return Ok(Arc::clone(metadata));
        }
        let former = former.filter(|_| since.is_none()).map(|(metadata, _)| Arc::clone(metadata));
        if known.failed.is_some_and(|failed| failed.elapsed() < LEFT_ALONE) {
            return former.ok_or(Failed::Unreachable);
        }
        let (issuer, asker) = (self.issuer.clone(), Arc::clone(&self.asker));
        let read = apart(move || CoreProviderMetadata::discover(&issuer, &*asker)).await;
        match read {
            Some(Ok(metadata)) => {
                let metadata = Arc::new(metadata);
                *known = Known { metadata: Some((Arc::clone(&metadata), Instant::now())), failed: None };
                Ok(metadata)
            }
            failed => {
                known.failed = Some(Instant::now());
                let reason = failed.and_then(Result::err).map_or_else(|| "it broke off".to_owned(), |why| reason(&why));
                tracing::warn!(
                    issuer = self.issuer(),
                    reason,
                    "the provider of OpenID Connect cannot be read: nobody signs in by it until it can"
                );
                former.ok_or(Failed::Unreachable)
            }
        }
    }
}

/// Never what it answered: that may be anything.
fn reason(failure: &DiscoveryError<ask::AskError>) -> String {
    match failure {
        DiscoveryError::Validation(sentence) => format!(
            "{sentence}; --openid-issuer must be what the provider calls itself, letter by letter, a `/` at its end included"
        ),
        other => whole(other),
    }
}

fn untrusted(wrong: &ClaimsVerificationError) -> Failed {
    tracing::warn!(reason = whole(wrong), "what the provider of OpenID Connect says of a person cannot be trusted");
    Failed::Untrusted
}

fn exchange(
    client: &Client,
    asker: &Asker,
    code: String,
    verifier: PkceCodeVerifier,
) -> Result<CoreTokenResponse, Failed> {
    let asked = client.exchange_code(AuthorizationCode::new(code)).map_err(|failure| {
        tracing::warn!(%failure, "the provider of OpenID Connect names no address for tokens");
        Failed::Unreachable
    })?;
    asked.set_pkce_verifier(verifier).request(asker).map_err(|failure| {
        let refused = match &failure {
            RequestTokenError::Request(_) => Failed::Unreachable,
            RequestTokenError::ServerResponse(_) => Failed::Refused,
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Failed::Untrusted,
        };
        tracing::warn!(reason = whole(&failure), "the provider of OpenID Connect does not confirm a sign-in");
        refused
    })
}

/// The names that the provider tells when it is asked for them, of the one that the signed answer is about.
fn user_info(
    client: &Client,
    asker: &Asker,
    token: openidconnect::AccessToken,
    claims: &CoreIdTokenClaims,
) -> Option<Vec<String>> {
    let asked = client.user_info(token, Some(claims.subject().clone())).ok()?;
    let told: Result<CoreUserInfoClaims, _> = asked.request(asker);
    match told {
        Ok(told) => Some(names([
            told.preferred_username().map(|name| name.as_str()),
            told.name().and_then(|name| name.get(None)).map(|name| name.as_str()),
            told.nickname().and_then(|name| name.get(None)).map(|name| name.as_str()),
        ])),
        Err(failure) => {
            tracing::info!(reason = whole(&failure), "the provider of OpenID Connect does not tell a person's name");
            None
        }
    }
}

fn names_of_token(claims: &CoreIdTokenClaims) -> Vec<String> {
    names([
        claims.preferred_username().map(|name| name.as_str()),
        claims.name().and_then(|name| name.get(None)).map(|name| name.as_str()),
        claims.nickname().and_then(|name| name.get(None)).map(|name| name.as_str()),
    ])
}

fn names<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Vec<String> {
    names.into_iter().flatten().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// This machine's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
