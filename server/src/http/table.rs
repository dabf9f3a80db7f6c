//! Who may do what, in one table: every route, every frame of the socket with its commands and queries, every read of the
//! pages. The guard of the routes asks it before any handler; a request that it does not know is refused. It holds
//! words only, so that tests walk it against the running program.
#![allow(dead_code, reason = "the tests of the program take more of it than the program itself")]

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: it tells nothing that is not for everybody.
    Public,
    /// The token of a running job, or what another entry of the same address says; the handler looks.
    JobToken,
    /// The signature of the hook that is called; the handler looks.
    Signature,
    /// To be signed in. What is listed is what may be seen.
    SignedIn,
    /// To be signed in as a person, and not by a token.
    Person,
    /// To see the pipeline.
    See(Of),
    /// To be builder of the pipeline.
    Build(Of),
    /// To be admin of the pipeline.
    Change(Of),
    /// To be viewer everywhere.
    SeeAll,
    /// To be admin everywhere.
    Run,
}

/// What names the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// `{name}` in the address, or `pipeline`.
    Pipeline,
    /// `{id}` of a build.
    Build,
    /// `{id}` of a job.
    Job,
    /// `{id}` of an artifact.
    Artifact,
    /// The topic of a subscription.
    Topic,
    /// The text that is sent.
    Body,
}

/// A row: method, address and need.
pub(crate) type Row = (&'static str, &'static str, Needs);

use Needs::{Build, Change, JobToken, Person, Public, Run, See, SeeAll, Signature, SignedIn};

/// The routes.
pub(crate) const ROUTES: &[Row] = &[
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/metrics", SeeAll),
    ("GET", "/ws", SignedIn),
    ("GET", "/sign-in", Public),
    ("POST", "/sign-in", Public),
    ("GET", "/welcome", Public),
    ("POST", "/welcome", Public),
    ("GET", "/sign-in/openid", Public),
    // Begins a session, by the sealed ticket that the browser has and what the provider says.
    ("GET", "/sign-in/openid/answer", Public),
    ("POST", "/account/openid", Person),
    ("POST", "/account/openid/unlink", Person),
    ("POST", "/sign-out", Public),
    ("POST", "/sign-out-everywhere", Person),
    // Each of FUNCTIONS has a need of its own.
    ("POST", "/api/page/{*function}", SignedIn),
    ("GET", "/api/v1/account", SignedIn),
    ("PUT", "/api/v1/account/password", Person),
    ("GET", "/api/v1/accounts", Run),
    ("PATCH", "/api/v1/accounts/{id}", Run),
    ("DELETE", "/api/v1/accounts/{id}", Run),
    ("GET", "/api/v1/invitations", Run),
    ("POST", "/api/v1/invitations", Run),
    ("DELETE", "/api/v1/invitations/{id}", Run),
    // One's own; all for an admin.
    ("GET", "/api/v1/tokens", SignedIn),
    ("POST", "/api/v1/tokens", SignedIn),
    ("DELETE", "/api/v1/tokens/{id}", SignedIn),
    ("GET", "/api/v1/audit", Run),
    ("GET", "/api/v1/pipelines", SignedIn),
    ("POST", "/api/v1/pipelines", Change(Of::Body)),
    ("GET", "/api/v1/pipelines/{name}", See(Of::Pipeline)),
    // And admin everywhere where there is none.
    ("PUT", "/api/v1/pipelines/{name}", Change(Of::Pipeline)),
    ("POST", "/api/v1/pipelines/{name}/builds", Build(Of::Pipeline)),
    ("GET", "/api/v1/pipelines/{name}/secrets", Change(Of::Pipeline)),
    ("PUT", "/api/v1/pipelines/{name}/secrets/{secret}", Change(Of::Pipeline)),
    ("DELETE", "/api/v1/pipelines/{name}/secrets/{secret}", Change(Of::Pipeline)),
    ("GET", "/api/v1/secrets", Run),
    ("PUT", "/api/v1/secrets/{secret}", Run),
    ("DELETE", "/api/v1/secrets/{secret}", Run),
    ("GET", "/api/v1/pipelines/{name}/stats", See(Of::Pipeline)),
    ("GET", "/api/v1/pipelines/{name}/hooks", Change(Of::Pipeline)),
    ("POST", "/api/v1/pipelines/{name}/hooks", Change(Of::Pipeline)),
    ("DELETE", "/api/v1/pipelines/{name}/hooks/{id}", Change(Of::Pipeline)),
    ("POST", "/api/v1/pipelines/{name}/hooks/{id}/rotate", Change(Of::Pipeline)),
    ("POST", "/api/v1/hooks/{id}", Signature),
    ("GET", "/api/v1/builds", SignedIn),
    ("GET", "/api/v1/builds/{id}", See(Of::Build)),
    ("DELETE", "/api/v1/builds/{id}", Change(Of::Build)),
    ("POST", "/api/v1/builds/{id}/cancel", Build(Of::Build)),
    ("POST", "/api/v1/builds/{id}/retry", Build(Of::Build)),
    ("GET", "/api/v1/builds/{id}/events", See(Of::Build)),
    ("POST", "/api/v1/builds/{id}/reply", Build(Of::Build)),
    ("POST", "/api/v1/builds/{id}/receipt", Build(Of::Build)),
    ("GET", "/api/v1/results", SignedIn),
    ("GET", "/api/v1/webhook-secret", Run),
    ("GET", "/api/v1/jobs/{id}/log", See(Of::Job)),
    ("GET", "/api/v1/jobs/{id}/log/search", See(Of::Job)),
    ("GET", "/api/v1/jobs/{id}/log/group", See(Of::Job)),
    ("GET", "/api/v1/jobs/{id}/log.txt", See(Of::Job)),
    ("GET", "/api/v1/jobs/{id}/artifacts", See(Of::Job)),
    ("PUT", "/api/v1/jobs/{id}/artifacts/{*name}", JobToken),
    ("GET", "/api/v1/artifacts/{id}", See(Of::Artifact)),
    // Without a job token: builder of any pipeline.
    ("POST", "/api/v1/payloads", JobToken),
    ("PUT", "/api/v1/payloads", JobToken),
    // Without a job token: signed in, for nobody guesses its name.
    ("GET", "/api/v1/payloads/{ref}", JobToken),
    ("GET", "/api/v1/executors", SeeAll),
    ("GET", "/api/v1/executors/{id}/now", SeeAll),
    ("GET", "/api/v1/gateways", SeeAll),
    ("GET", "/api/v1/groups", SeeAll),
    ("POST", "/api/v1/groups/{name}/pause", Run),
    ("POST", "/api/v1/groups/{name}/resume", Run),
    ("POST", "/api/v1/groups/{name}/rebuild", Run),
    ("GET", "/api/v1/stats", SeeAll),
    ("GET", "/api/v1/search", SignedIn),
    ("GET", "/api/v1/dead-letters", SeeAll),
    ("GET", "/api/v1/dead-letters/{id}", SeeAll),
    ("POST", "/api/v1/dead-letters/{id}/retry", Run),
    ("POST", "/api/v1/dead-letters/{id}/discard", Run),
];

/// Frames of a client, and what they carry: the frame, and the command, the query or the topic in it.
pub(crate) const FRAMES: &[Row] = &[
    ("attach", "positions", See(Of::Topic)),
    ("subscribe", "build", See(Of::Topic)),
    ("subscribe", "job", See(Of::Topic)),
    ("unsubscribe", "", SignedIn),
    ("receipt", "", SignedIn),
    ("ping", "", SignedIn),
    ("command", "trigger", Build(Of::Pipeline)),
    ("command", "cancel", Build(Of::Build)),
    ("command", "retry", Build(Of::Build)),
    // Live ones too: a subscription to a query.
    ("query", "builds", SignedIn),
    ("query", "pipelines", SignedIn),
    ("query", "build", See(Of::Build)),
    ("query", "reply", See(Of::Build)),
    ("query", "executors", SeeAll),
    ("query", "executor_now", SeeAll),
    ("query", "installation", SeeAll),
    ("query", "health", SignedIn),
    ("query", "dead_letters", SeeAll),
    ("query", "groups", SeeAll),
];

/// What pages read: the endpoint under `/api/page/`.
pub(crate) const FUNCTIONS: &[Row] = &[
    ("POST", "clock", SignedIn),
    ("POST", "home", SignedIn),
    ("POST", "pipeline", See(Of::Pipeline)),
    ("POST", "build_page", See(Of::Build)),
    ("POST", "build", See(Of::Build)),
    ("POST", "installation", SeeAll),
    ("POST", "groups", SeeAll),
    ("POST", "dead_letters", SeeAll),
    ("POST", "search", SignedIn),
    ("POST", "people", Run),
    // One's own; all for an admin.
    ("POST", "tokens", SignedIn),
    ("POST", "audit", Run),
    ("POST", "pipeline_admin", Change(Of::Pipeline)),
    ("POST", "secrets", Run),
];

/// The need of a route; the inner one is none where the address is known and the method is not.
pub(crate) fn of_route(method: &str, path: &str) -> Option<Option<Needs>> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut rows = ROUTES.iter().filter(|(_, known, _)| *known == path).peekable();
    rows.peek()?;
    Some(rows.find(|(known, _, _)| *known == method).map(|(_, _, needs)| *needs))
}
