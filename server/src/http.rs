//! The route table: which request is answered by which file. Who may make it stands in [`table`], for every route.

mod accounts;
mod address;
pub(crate) mod artifacts;
mod audit;
mod builds;
mod dead_letters;
mod events;
mod files;
mod groups;
mod guard;
mod hooks;
mod jobs;
mod log_group;
mod log_search;
pub(crate) mod objects;
mod openid;
mod pages;
mod parameters;
mod payloads;
mod pipelines;
pub(crate) mod problem;
mod replies;
mod safety;
mod search;
mod secrets;
mod sessions;
mod sign_in;
mod statistics;
mod status;
mod table;
mod tokens;
mod upgrade;
mod welcome;
mod who;

use std::sync::Arc;

use axum::{
    Router,
    extract::FromRef,
    middleware,
    routing::{delete, get, patch, post, put},
};
use gateway::Gateway;
use tower_http::catch_panic::CatchPanicLayer;
use tower_sessions::{
    Expiry, SessionManagerLayer,
    cookie::{SameSite, time::Duration},
};

use crate::core::Core;

/// The session cookie.
const COOKIE: &str = "stepcast_session";
/// A session that was not used for so long ends.
const SESSION_DAYS: i64 = 30;

/// What handlers reach.
#[derive(Clone)]
pub(crate) struct Site {
    /// Shared with the desk.
    pub(crate) core: Arc<Core>,
    /// The sockets.
    pub(crate) gateway: Arc<Gateway>,
}

impl FromRef<Site> for Arc<Core> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.core)
    }
}

impl FromRef<Site> for Arc<Gateway> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.gateway)
    }
}

/// All routes.
pub(crate) fn router(site: Site) -> Router {
    pages::run_on_tokio();
    let sessions = SessionManagerLayer::new(sessions::Sessions(Arc::clone(&site.core.store)))
        .with_name(COOKIE)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(site.core.public_url.starts_with("https://"))
        .with_expiry(Expiry::OnInactivity(Duration::days(SESSION_DAYS)));
    let encrypted = safety::Encrypted(site.core.public_url.starts_with("https://"));
    let authenticate = middleware::from_fn_with_state(Arc::clone(&site.core), who::authenticate);
    let guard = middleware::from_fn_with_state(Arc::clone(&site.core), guard::guard);
    let api: Router<Site> = Router::new()
        .route("/account", get(accounts::own))
        .route("/account/password", put(accounts::change_password))
        .route("/accounts", get(accounts::list))
        .route("/accounts/{id}", patch(accounts::change).delete(accounts::remove))
        .route("/invitations", get(accounts::invitations).post(accounts::invite))
        .route("/invitations/{id}", delete(accounts::revoke_invitation))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/audit", get(audit::list))
        .route("/pipelines", get(pipelines::list).post(pipelines::post))
        .route("/pipelines/{name}", get(pipelines::show).put(pipelines::put))
        .route("/pipelines/{name}/builds", post(builds::trigger))
        .route("/pipelines/{name}/secrets", get(secrets::list_of_pipeline))
        .route("/pipelines/{name}/secrets/{secret}", put(secrets::put_of_pipeline).delete(secrets::delete_of_pipeline))
        .route("/secrets", get(secrets::list))
        .route("/secrets/{secret}", put(secrets::put).delete(secrets::delete))
        .route("/pipelines/{name}/hooks", get(hooks::list).post(hooks::create))
        .route("/pipelines/{name}/hooks/{id}", delete(hooks::delete))
        .route("/pipelines/{name}/hooks/{id}/rotate", post(hooks::rotate))
        .route("/builds", get(builds::list))
        .route("/builds/{id}", get(builds::show).delete(builds::delete))
        .route("/builds/{id}/cancel", post(builds::cancel))
        .route("/builds/{id}/retry", post(builds::retry))
        .route("/builds/{id}/events", get(events::list))
        .route("/builds/{id}/reply", post(replies::try_now))
        .route("/builds/{id}/receipt", post(replies::receipt))
        .route("/results", get(replies::list))
        .route("/webhook-secret", get(replies::webhook_secret))
        .route("/jobs/{id}/log", get(jobs::log))
        .route("/jobs/{id}/log/search", get(log_search::search))
        .route("/jobs/{id}/log/group", get(log_group::group))
        .route("/jobs/{id}/log.txt", get(jobs::raw))
        .route("/jobs/{id}/artifacts", get(jobs::artifacts))
        .route("/artifacts/{id}", get(artifacts::get))
        .route("/payloads", post(payloads::post).put(payloads::post))
        .route("/payloads/{ref}", get(payloads::get))
        .route("/executors", get(status::executors))
        .route("/executors/{id}/now", get(status::executor_now))
        .route("/gateways", get(status::gateways))
        .route("/groups", get(groups::list))
        .route("/groups/{name}/pause", post(groups::pause))
        .route("/groups/{name}/resume", post(groups::resume))
        .route("/groups/{name}/rebuild", post(groups::rebuild))
        .route("/stats", get(statistics::of_all))
        .route("/pipelines/{name}/stats", get(statistics::of_pipeline))
        .route("/search", get(search::search))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{id}", get(dead_letters::show))
        .route("/dead-letters/{id}/retry", post(dead_letters::retry))
        .route("/dead-letters/{id}/discard", post(dead_letters::discard))
        .fallback(files::no_such_address)
        .method_not_allowed_fallback(files::no_such_method);
    let signed_in_or_public: Router<Site> = Router::new()
        .nest("/api/v1", api)
        .route("/api/page/{*function}", post(pages::function))
        .route("/ws", get(upgrade::upgrade))
        .route("/metrics", get(status::metrics))
        .route("/sign-in", get(pages::render).post(sign_in::sign_in))
        .route("/welcome", get(pages::render).post(welcome::welcome))
        .route("/sign-in/openid", get(openid::begin))
        .route("/sign-in/openid/answer", get(openid::answer))
        .route("/account/openid", post(openid::link))
        .route("/account/openid/unlink", post(openid::unlink))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/sign-out-everywhere", post(sign_in::sign_out_everywhere))
        .fallback(get(pages::render))
        .layer(guard)
        .layer(authenticate)
        .layer(sessions);
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/api/v1/jobs/{id}/artifacts/{*name}", put(artifacts::put))
        .route("/api/v1/hooks/{id}", post(hooks::deliver)) // By signature.
        .merge(files::routes()) // For everybody: the browser package.
        .merge(signed_in_or_public)
        .layer(middleware::from_fn_with_state(encrypted, safety::headers))
        .layer(CatchPanicLayer::custom(files::panicked))
        .with_state(site)
}
