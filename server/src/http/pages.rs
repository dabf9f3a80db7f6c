//! The pages: rendered here, live after hydration. Their data comes from the same queries as everything else, under the
//! authority of the request.

use std::sync::Arc;

use app::{
    Assets,
    api::{Backend, BoxFuture, people::Invited},
    components::provider::Provider,
    pages::not_found::Missing,
    parts::Part,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect, Response},
};
use leptos::{nonce::Nonce, prelude::provide_context};
use wire::{
    Authority, BuildId, JobId, PipelineName, Problem,
    account::{AccountView, InvitationView, TokenView},
    audit::{AuditEntry, AuditQuery},
    authority::Need,
    command::BuildsQuery,
    dead_letter::DeadLettersPage,
    group::GroupView,
    hook::HookView,
    pipeline::OnSpec,
    search::{SearchPage, SearchQuery},
    secret::SecretsView,
    statistics::{DAYS, StatsView},
    view::{BuildSummary, BuildView, InstallationView, LogPage, PipelineSummary, PipelineView},
};

use crate::{
    accounts, assets,
    core::Core,
    groups, hooks,
    http::{
        problem::Rejection,
        safety, sign_in,
        who::{Shown, Who},
    },
    queries, secret, secrets,
};

/// Tells the page renderer which runtime it is in. Once for the process; again changes nothing.
pub(crate) fn run_on_tokio() {
    let _ = any_spawner::Executor::init_tokio();
}

/// Any address that is a page.
pub(crate) async fn render(
    State(core): State<Arc<Core>>,
    who: Option<Who>,
    shown: Option<Shown>,
    request: Request<Body>,
) -> Response {
    let invited = invited(&core, request.uri().clone()).await;
    let provider = core.openid.as_ref().map(|openid| Provider(openid.name().to_owned()));
    let Some((Who(who), shown)) = who.zip(shown) else {
        if !matches!(request.uri().path(), "/sign-in" | "/welcome") {
            let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
            return Redirect::to(&sign_in::address(wanted, &[])).into_response();
        }
        return page(request, move || provide_told(invited.as_ref(), provider.as_ref())).await;
    };
    let own = match accounts::own(&core, &who, shown.credential()).await {
        Ok(own) => own,
        Err(problem) => return Rejection(problem).into_response(),
    };
    let (health, context) = (queries::health(&core, &who).await, context(core, who, shown));
    page(request, move || {
        provide_context(health.clone());
        provide_context(own.clone());
        provide_told(invited.as_ref(), provider.as_ref());
        context();
    })
    .await
}

/// What the invitation is good for that the page of welcome is opened with. Who has its secret may know that, and
/// not what was noted of them.
async fn invited(core: &Core, address: Uri) -> Option<Invited> {
    let query = address.query().filter(|_| address.path() == "/welcome")?;
    let secret = query.split('&').find_map(|pair| pair.strip_prefix("invitation="))?;
    match core.store.invitation(&secret::sha256(secret)).await {
        Ok(found) => Some(Invited(found.map(Into::into))),
        Err(failure) => {
            tracing::warn!(%failure, "an invitation cannot be looked up: its page does not say what it gives");
            None
        }
    }
}

fn provide_told(invited: Option<&Invited>, provider: Option<&Provider>) {
    if let Some(invited) = invited {
        provide_context(invited.clone());
    }
    if let Some(provider) = provider {
        provide_context(provider.clone());
    }
}

async fn page(request: Request<Body>, context: impl Fn() + Clone + Send + Sync + 'static) -> Response {
    let Some(assets) = assets::manifest() else {
        return "This server was built without its pages: build it with `cargo xtask build`.\n".into_response();
    };
    let part = Part::of_path(request.uri().path());
    let named = Assets {
        js: assets.js.to_owned(),
        wasm: assets.wasm.to_owned(),
        parts: part.into_iter().flat_map(|part| assets.part(part.name())).map(str::to_owned).collect(),
        css: assets.css.to_owned(),
    };
    let nonce = match safety::nonce() {
        Ok(nonce) => nonce,
        Err(problem) => return Rejection(problem).into_response(),
    };
    let policy = safety::of_page(&nonce);
    let shell = move || app::shell(named.clone());
    let missing = Missing::default();
    let told = missing.clone();
    let context = move || {
        provide_context(missing.clone());
        provide_context(Nonce::from_value(nonce.clone()));
        context();
    };
    let mut response = leptos_axum::render_app_async_with_context(context, shell)(request).await;
    if told.is_told() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A server function of a page.
pub(crate) async fn function(
    State(core): State<Arc<Core>>,
    who: Option<Who>,
    shown: Option<Shown>,
    request: Request<Body>,
) -> Response {
    let Some((Who(who), shown)) = who.zip(shown) else {
        return Rejection(Problem::new(401, "Not signed in", "Sign in again.")).into_response();
    };
    leptos_axum::handle_server_fns_with_context(context(core, who, shown), request).await.into_response()
}

fn context(core: Arc<Core>, who: Authority, shown: Shown) -> impl Fn() + Clone + Send + Sync + 'static {
    let backend: Arc<dyn Backend> = Arc::new(PageBackend { core, who, shown });
    move || provide_context(Arc::clone(&backend))
}

/// What a page may read: its request's authority stands in it.
struct PageBackend {
    core: Arc<Core>,
    who: Authority,
    shown: Shown,
}

/// What does not exist is no error for a page: it says so itself.
fn found<T>(result: Result<T, Problem>) -> Result<Option<T>, Problem> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(problem) if problem.status == 404 => Ok(None),
        Err(problem) => Err(problem),
    }
}

impl Backend for PageBackend {
    fn pipelines(&self) -> BoxFuture<'_, Result<Vec<PipelineSummary>, Problem>> {
        Box::pin(queries::pipelines(&self.core, &self.who))
    }

    fn pipeline(&self, name: PipelineName) -> BoxFuture<'_, Result<Option<PipelineView>, Problem>> {
        Box::pin(async move { found(queries::pipeline(&self.core, &self.who, &name).await) })
    }

    fn builds(&self, query: BuildsQuery) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>> {
        Box::pin(async move { queries::builds(&self.core, &self.who, &query).await })
    }

    fn not_received(&self) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>> {
        Box::pin(queries::not_received(&self.core, &self.who, queries::RESULTS_LIMIT))
    }

    fn build(&self, id: BuildId) -> BoxFuture<'_, Result<Option<BuildView>, Problem>> {
        Box::pin(async move { found(queries::build(&self.core, &self.who, id).await) })
    }

    fn log(&self, job: JobId, attempt: Option<u32>, from: u64, limit: u32) -> BoxFuture<'_, Result<LogPage, Problem>> {
        Box::pin(async move { queries::log(&self.core, &self.who, job, attempt, from, limit).await })
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<DeadLettersPage, Problem>> {
        Box::pin(queries::dead_letters_page(&self.core, &self.who))
    }

    fn search(&self, query: SearchQuery) -> BoxFuture<'_, Result<SearchPage, Problem>> {
        Box::pin(async move { crate::search::search(&self.core, &self.who, &query).await })
    }

    fn statistics(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<StatsView, Problem>> {
        Box::pin(async move {
            self.who.need(Need::See(&pipeline))?;
            self.core.store.statistics(Some(&pipeline), DAYS).await.map_err(queries::store_problem)
        })
    }

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<AccountView>, Problem>> {
        Box::pin(accounts::accounts(&self.core, &self.who))
    }

    fn invitations(&self) -> BoxFuture<'_, Result<Vec<InvitationView>, Problem>> {
        Box::pin(accounts::invitations(&self.core, &self.who))
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenView>, Problem>> {
        Box::pin(crate::tokens::tokens(&self.core, &self.who, self.shown.credential()))
    }

    fn audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<AuditEntry>, Problem>> {
        Box::pin(async move { accounts::audit(&self.core, &self.who, &query).await })
    }

    fn secrets(&self, pipeline: Option<PipelineName>) -> BoxFuture<'_, Result<SecretsView, Problem>> {
        Box::pin(async move {
            match pipeline {
                Some(pipeline) => secrets::of_pipeline(&self.core, &self.who, &pipeline).await,
                None => secrets::of_installation(&self.core, &self.who).await,
            }
        })
    }

    fn hooks(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<Vec<HookView>, Problem>> {
        Box::pin(async move { hooks::list(&self.core, &self.who, &pipeline).await })
    }

    fn built_on(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<Option<OnSpec>, Problem>> {
        Box::pin(async move {
            self.who.need(Need::Change(&pipeline))?;
            let found = self.core.store.pipeline(&pipeline).await.map_err(queries::store_problem)?;
            Ok(found.and_then(|(_, spec)| spec.on))
        })
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupView>, Problem>> {
        Box::pin(groups::views(&self.core, &self.who))
    }

    fn installation(&self) -> BoxFuture<'_, Result<InstallationView, Problem>> {
        Box::pin(queries::installation(&self.core, &self.who))
    }
}
