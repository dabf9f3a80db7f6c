//! What pages read: server functions over the [`Backend`] that the server provides with the request's authority.
//! Writes and ranges of logs go over the public interface instead (`rest`).

pub mod admin;
pub mod people;

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::{
    BuildId, JobId, PipelineName, Problem, Timestamp,
    command::BuildsQuery,
    search::SearchPage,
    view::{BuildSummary, BuildView, JobView, LogPage, PipelineSummary, PipelineView, State},
};

#[cfg(feature = "ssr")]
use wire::{
    account::{AccountView, InvitationView, TokenView},
    audit::{AuditEntry, AuditQuery},
    dead_letter::DeadLettersPage,
    group::GroupView,
    hook::HookView,
    pipeline::OnSpec,
    search::SearchQuery,
    secret::SecretsView,
    statistics::StatsView,
    view::InstallationView,
};

#[cfg(feature = "ssr")]
use crate::components::{build_filter::Filter, estimate, statistics};
use crate::json::{Json, JsonAnswer};

/// Lines of a log that a page carries in its HTML: some screens of them, for what is carried is parsed, drawn, and taken
/// over by the browser package before anything else happens.
pub const PAGE_LOG_LINES: u32 = 200;

/// Whether a log is opened at its end, where something comes or the reason stands, and not at its begin, where all went
/// well.
#[must_use]
pub fn opens_at_end(job: &JobView) -> bool {
    job.state != State::Finished || job.outcome != Some(wire::Outcome::Succeeded)
}

/// The first of the lines that a page carries: those where the log is opened.
#[must_use]
pub fn first_page_line(job: &JobView, total: u64) -> u64 {
    if opens_at_end(job) { total.saturating_sub(u64::from(PAGE_LOG_LINES)) } else { 0 }
}

/// A future of the backend.
#[cfg(feature = "ssr")]
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the server offers to pages. It is made for each request with that request's authority and provided as the
/// Leptos context `Arc<dyn Backend>`; a read that the authority does not allow is a [`Problem`] with status 401 or 403.
#[cfg(feature = "ssr")]
pub trait Backend: Send + Sync {
    /// All pipelines, by name, with their last builds.
    fn pipelines(&self) -> BoxFuture<'_, Result<Vec<PipelineSummary>, Problem>>;
    /// A pipeline; none if there is none of that name.
    fn pipeline(&self, name: PipelineName) -> BoxFuture<'_, Result<Option<PipelineView>, Problem>>;
    /// Builds, newest first.
    fn builds(&self, query: BuildsQuery) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>>;
    /// Builds that ended lately whose result the one who asks has not received, the last one first.
    fn not_received(&self) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>>;
    /// A build; none if there is none of that id.
    fn build(&self, id: BuildId) -> BoxFuture<'_, Result<Option<BuildView>, Problem>>;
    /// Lines of a job's log from line `from` (counted from 0), of the last attempt unless one is given.
    fn log(&self, job: JobId, attempt: Option<u32>, from: u64, limit: u32) -> BoxFuture<'_, Result<LogPage, Problem>>;
    /// What the installation is made of.
    fn installation(&self) -> BoxFuture<'_, Result<InstallationView, Problem>>;
    /// Statistics of a pipeline, by day.
    fn statistics(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<StatsView, Problem>>;
    /// Consumer groups.
    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupView>, Problem>>;
    /// What nobody could process.
    fn dead_letters(&self) -> BoxFuture<'_, Result<DeadLettersPage, Problem>>;
    /// All accounts.
    fn accounts(&self) -> BoxFuture<'_, Result<Vec<AccountView>, Problem>>;
    /// Invitations that can still be used.
    fn invitations(&self) -> BoxFuture<'_, Result<Vec<InvitationView>, Problem>>;
    /// All tokens for an admin, one's own for other people.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenView>, Problem>>;
    /// The audit log, the newest entry first.
    fn audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<AuditEntry>, Problem>>;
    /// Secrets of a pipeline, or of the installation, without their values.
    fn secrets(&self, pipeline: Option<PipelineName>) -> BoxFuture<'_, Result<SecretsView, Problem>>;
    /// Hooks of a pipeline.
    fn hooks(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<Vec<HookView>, Problem>>;
    /// What of the deliveries to its hooks a pipeline builds.
    fn built_on(&self, pipeline: PipelineName) -> BoxFuture<'_, Result<Option<OnSpec>, Problem>>;
    /// What is found in all logs and builds.
    fn search(&self, query: SearchQuery) -> BoxFuture<'_, Result<SearchPage, Problem>>;
}

/// A page's data with the server's time, against which durations are first shown: the same on both sides. What type the
/// data has is known to the page ([`HomePage`], [`PipelinePage`], [`BuildPage`] and so on) and to nobody else, so that a
/// browser which opens one page need not load the reading of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When it was read.
    pub now: Timestamp,
    /// The data.
    pub data: Value,
}

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageError(pub Problem);

impl FromServerFnError for PageError {
    type Encoder = Json;
    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        let detail = match error {
            ServerFnErrorErr::Request(_) => {
                "The server cannot be reached. The page tries again when the connection is back.".into()
            }
            other => format!("The server's answer could not be read: {other}."),
        };
        PageError(Problem::new(503, "not reachable", detail))
    }
}

/// The home page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HomePage {
    /// All pipelines.
    pub pipelines: Vec<PipelineSummary>,
    /// Builds that run now.
    pub running: Vec<BuildSummary>,
    /// Builds that this person started, that have ended, and whose result was not received.
    #[serde(default)]
    pub results: Vec<BuildSummary>,
}

/// The page of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelinePage {
    /// The pipeline.
    pub pipeline: PipelineView,
    /// Names its text: what is saved replaces this one only.
    #[serde(default)]
    pub etag: Option<String>,
    /// Its last builds, of those that are asked for.
    pub builds: Vec<BuildSummary>,
    /// How long its builds usually take, in microseconds.
    pub usual: Option<u64>,
    /// Its statistics, as HTML that the server has written.
    #[serde(default)]
    pub statistics: String,
}

/// The page of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildPage {
    /// The build.
    pub build: BuildView,
    /// The job whose log is shown; none in a build without jobs.
    pub job: Option<JobId>,
    /// The lines of its log that are seen first.
    pub log: Option<LogPage>,
    /// The build before it, of the same pipeline.
    pub before: Option<BuildSummary>,
    /// The next one.
    pub after: Option<BuildSummary>,
    /// How long the builds before it usually took, in microseconds.
    pub usual: Option<u64>,
}

#[cfg(feature = "ssr")]
fn backend() -> Result<std::sync::Arc<dyn Backend>, PageError> {
    use_context()
        .ok_or_else(|| PageError(Problem::new(500, "no backend", "The server has provided no data for pages.")))
}

#[cfg(feature = "ssr")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(feature = "ssr")]
fn stamped<T: Serialize>(data: T) -> Result<Stamped, PageError> {
    let data = serde_json::to_value(data).map_err(|error| {
        PageError(Problem::new(500, "internal error", format!("The page's data is no JSON: {error}.")))
    })?;
    Ok(Stamped { now: now(), data })
}

/// The server's time: what an open page measures its own clock by.
#[server(prefix = "/api/page", endpoint = "clock", output = JsonAnswer)]
pub async fn read_clock() -> Result<Timestamp, PageError> {
    Ok(now())
}

/// So many builds before one are looked at to tell what is usual.
#[cfg(feature = "ssr")]
const PAST_BUILDS: u32 = 30;

/// The build that follows one of the same pipeline.
#[must_use]
pub fn build_after(build: &BuildSummary) -> BuildsQuery {
    let (pipeline, after) = (Some(build.pipeline.clone()), Some(build.id));
    BuildsQuery { pipeline, after, limit: Some(1), ..BuildsQuery::default() }
}

/// Builds shown on a pipeline's page.
pub const PIPELINE_BUILDS: u32 = 50;

/// Reads the home page.
#[server(prefix = "/api/page", endpoint = "home", output = JsonAnswer)]
pub async fn read_home() -> Result<Stamped, PageError> {
    let backend = backend()?;
    let pipelines = backend.pipelines().await.map_err(PageError)?;
    let running = backend.builds(running_builds()).await.map_err(PageError)?;
    let results = backend.not_received().await.map_err(PageError)?;
    stamped(HomePage { pipelines, running, results })
}

/// The builds that the home page shows as running.
#[must_use]
pub fn running_builds() -> BuildsQuery {
    BuildsQuery { state: Some(wire::view::State::Running), ..BuildsQuery::default() }
}

/// The builds that a pipeline's page shows.
#[must_use]
pub fn builds_of(pipeline: PipelineName) -> BuildsQuery {
    BuildsQuery { pipeline: Some(pipeline), limit: Some(PIPELINE_BUILDS), ..BuildsQuery::default() }
}

/// Reads the page of a pipeline; null if there is none of that name.
#[server(prefix = "/api/page", endpoint = "pipeline", output = JsonAnswer)]
pub async fn read_pipeline(
    /// Its name.
    name: PipelineName,
    /// Which of its builds: `all`, `failed` or `running`.
    state: String,
) -> Result<Stamped, PageError> {
    let backend = backend()?;
    let Some(pipeline) = backend.pipeline(name.clone()).await.map_err(PageError)? else { return stamped(Value::Null) };
    let filter = Filter::of(Some(&state));
    let last = backend.builds(builds_of(name.clone())).await.map_err(PageError)?;
    let usual = estimate::usual(&last);
    let builds = match filter {
        Filter::All => last,
        other => backend.builds(other.narrow(builds_of(name.clone()))).await.map_err(PageError)?,
    };
    let etag = Some(wire::pipeline::etag(&pipeline.yaml));
    let statistics = statistics::html(&backend.statistics(name).await.map_err(PageError)?);
    stamped(PipelinePage { pipeline, etag, builds, usual, statistics })
}

/// Reads the page of a build; null if there is none of that id. Without `job`, the log is that of the job which asks
/// for attention.
#[server(prefix = "/api/page", endpoint = "build_page", output = JsonAnswer)]
pub async fn read_build_page(
    /// The build.
    id: BuildId,
    /// The job whose log is wanted.
    job: Option<JobId>,
) -> Result<Stamped, PageError> {
    let backend = backend()?;
    let Some(build) = backend.build(id).await.map_err(PageError)? else { return stamped(Value::Null) };
    let job = job
        .filter(|id| build.jobs.iter().any(|job| job.id == *id))
        .or_else(|| crate::components::shown_job::first_choice(&build));
    let log = match build.jobs.iter().find(|known| Some(known.id) == job).filter(|known| known.attempt > 0) {
        None => None,
        Some(known) => {
            let from = first_page_line(known, known.lines);
            Some(backend.log(known.id, Some(known.attempt), from, PAGE_LOG_LINES).await.map_err(PageError)?)
        }
    };
    let (pipeline, before) = (Some(build.summary.pipeline.clone()), Some(build.summary.id));
    let past = BuildsQuery { pipeline, before, limit: Some(PAST_BUILDS), ..BuildsQuery::default() };
    let past = backend.builds(past).await.map_err(PageError)?;
    let after = backend.builds(build_after(&build.summary)).await.map_err(PageError)?.pop();
    let usual = estimate::usual(&past);
    stamped(BuildPage { build, job, log, before: past.into_iter().next(), after, usual })
}

/// Reads a build anew: what an open page asks when frames are missing.
#[server(prefix = "/api/page", endpoint = "build", output = JsonAnswer)]
pub async fn read_build(
    /// The build.
    id: BuildId,
) -> Result<Option<BuildView>, PageError> {
    backend()?.build(id).await.map_err(PageError)
}

/// Reads the pages of the executors and of the gateways.
#[server(prefix = "/api/page", endpoint = "installation", output = JsonAnswer)]
pub async fn read_installation() -> Result<Stamped, PageError> {
    stamped(backend()?.installation().await.map_err(PageError)?)
}

/// Reads the page of the consumer groups.
#[server(prefix = "/api/page", endpoint = "groups", output = JsonAnswer)]
pub async fn read_groups() -> Result<Stamped, PageError> {
    stamped(backend()?.groups().await.map_err(PageError)?)
}

/// Reads the page of the dead letters.
#[server(prefix = "/api/page", endpoint = "dead_letters", output = JsonAnswer)]
pub async fn read_dead_letters() -> Result<Stamped, PageError> {
    stamped(backend()?.dead_letters().await.map_err(PageError)?)
}

/// The page of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// What was looked for, as it was written.
    pub q: String,
    /// The pipeline that was chosen; empty for all.
    pub pipeline: String,
    /// Those that can be chosen.
    pub pipelines: Vec<String>,
    /// What is found; none where nothing was asked, or where it could not be.
    pub found: Option<SearchPage>,
    /// Why not.
    pub problem: Option<Problem>,
    /// Where the search goes on with older hits.
    pub older: Option<String>,
}

/// Reads the page of a search.
#[server(prefix = "/api/page", endpoint = "search", output = JsonAnswer)]
pub async fn read_search(
    /// What is looked for.
    q: String,
    /// Of this pipeline only, unless it is empty.
    pipeline: String,
    /// Behind this place, unless it is empty.
    before: String,
) -> Result<Stamped, PageError> {
    let backend = backend()?;
    let pipelines = backend.pipelines().await.map_err(PageError)?;
    let pipelines: Vec<String> = pipelines.into_iter().map(|pipeline| pipeline.name.to_string()).collect();
    let mut searched = Searched { q, pipeline, pipelines, found: None, problem: None, older: None };
    if !searched.q.trim().is_empty() {
        let (pipeline, before) = (searched.pipeline.parse().ok(), before.parse().ok());
        let query = SearchQuery { q: searched.q.clone(), pipeline, before, ..SearchQuery::default() };
        match backend.search(query).await {
            Ok(found) => {
                searched.older = found.next.as_ref().map(|next| {
                    let same = [("q", searched.q.as_str()), ("pipeline", searched.pipeline.as_str())];
                    address("/search", same.into_iter().chain([("before", next.as_str())]))
                });
                searched.found = Some(found);
            }
            // What is wrong with the words is told beside them.
            Err(problem) if problem.status == 400 => searched.problem = Some(problem),
            Err(problem) => return Err(PageError(problem)),
        }
    }
    stamped(searched)
}

/// An address with parameters; those that are empty are left out.
#[cfg(feature = "ssr")]
fn address<'a>(path: &str, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    use std::fmt::Write as _;
    let mut address = path.to_owned();
    for (name, value) in parameters.filter(|(_, value)| !value.is_empty()) {
        address.push(if address.contains('?') { '&' } else { '?' });
        address += name;
        address.push('=');
        for byte in value.bytes() {
            // Writing to a text does not fail.
            let _ = if byte.is_ascii_alphanumeric() || byte == b'_' {
                write!(address, "{}", char::from(byte))
            } else {
                write!(address, "%{byte:02X}")
            };
        }
    }
    address
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_what_is_asked_and_nothing_that_is_not() {
        let of = |parameters: &[(&'static str, &'static str)]| address("/audit", parameters.iter().copied());
        assert_eq!(
            of(&[("name", "Ada & Eve"), ("action", ""), ("before", "12")]),
            "/audit?name=Ada%20%26%20Eve&before=12"
        );
        assert_eq!(of(&[("name", "")]), "/audit");
    }
}
