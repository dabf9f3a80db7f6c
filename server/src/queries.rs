//! What can be read, for HTTP, sockets and pages alike: one function for each question, each under an authority.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use control::waiting::waiting_for;
use gateway::Gateway;
use serde_json::Value;
use store::model::dead_letter::DeadLetter;
use tracing::error;
use wire::{
    Authority, BuildId, DeadLetterId, ExecutorId, JobId, PipelineName, Problem,
    authority::Need,
    command::{BuildsQuery, Query},
    dead_letter::{Cause, DeadLetterBody, DeadLetterState, DeadLetterView, DeadLettersPage, DeadLettersQuery},
    reply::ReplyView,
    task::{self, ExecutorNotice, ExecutorNow},
    view::{
        BuildSummary, BuildView, ExecutorView, GatewayView, HealthView, InstallationView, LogPage, PipelineSummary,
        PipelineView,
    },
};

use crate::{
    commands::asker,
    core::Core,
    places::{see_build, see_job},
};

/// Where the database itself found no room.
pub(crate) const DISK_FULL: &str =
    "The disk that holds the database is full; Stepcast takes no new builds until there is room.";

/// What a failing store looks like from outside: the sentence for a full disk, and no detail otherwise.
pub(crate) fn store_problem(failure: store::StoreError) -> Problem {
    match failure {
        store::StoreError::Full => Problem::new(503, "Disk full", DISK_FULL),
        store::StoreError::Unavailable(_) => {
            error!(%failure, "the store cannot be used");
            Problem::new(503, "Store unavailable", "The database cannot be used now; try again in a moment.")
        }
        store::StoreError::Newer { .. } | store::StoreError::Corrupt(_) => {
            error!(%failure, "the store answered with an error");
            Problem::new(500, "Internal error", "The database answered with an error; the server's log tells more.")
        }
    }
}

/// Nothing here.
pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Problem {
    Problem::new(404, "Not found", format!("There is no {what} {name}."))
}

/// The answer to any query, as JSON.
pub(crate) async fn answer(core: &Core, who: &Authority, query: &Query) -> Result<Value, Problem> {
    let json = match query {
        Query::Builds(query) => serde_json::to_value(builds(core, who, query).await?),
        Query::Pipelines {} => serde_json::to_value(pipelines(core, who).await?),
        Query::Build { id } => serde_json::to_value(build(core, who, *id).await?),
        Query::Reply { build } => serde_json::to_value(reply(core, who, *build).await?),
        Query::Executors {} => serde_json::to_value(executors(core, who).await?),
        Query::ExecutorNow { id } => serde_json::to_value(executor_now(core, who, *id, 0).await?),
        Query::Installation {} => serde_json::to_value(installation(core, who).await?),
        Query::Health {} => serde_json::to_value(health(core, who).await),
        Query::DeadLetters {} => serde_json::to_value(dead_letters_page(core, who).await?),
        Query::Groups {} => serde_json::to_value(crate::groups::views(core, who).await?),
    };
    json.map_err(|failure| Problem::new(500, "Internal error", failure.to_string()))
}

/// Pipelines with their last builds.
pub(crate) async fn pipelines(core: &Core, who: &Authority) -> Result<Vec<PipelineSummary>, Problem> {
    let mut all = core.store.pipelines().await.map_err(store_problem)?;
    all.retain(|pipeline| who.sees(&pipeline.name));
    Ok(all)
}

/// One pipeline.
pub(crate) async fn pipeline(core: &Core, who: &Authority, name: &PipelineName) -> Result<PipelineView, Problem> {
    who.need(Need::See(name))?;
    let found = core.store.pipeline(name).await.map_err(store_problem)?;
    let (mut view, spec) = found.ok_or_else(|| not_found("pipeline", name))?;
    view.warnings = crate::secrets::warnings(core, &spec).await?;
    Ok(view)
}

/// Builds, newest first.
pub(crate) async fn builds(core: &Core, who: &Authority, query: &BuildsQuery) -> Result<Vec<BuildSummary>, Problem> {
    if query.number.is_some() && query.pipeline.is_none() {
        let sentence = "`number` counts the builds of one pipeline: send `pipeline` along.";
        return Err(Problem::new(400, "Invalid parameter", sentence));
    }
    core.store.builds(query, who.grants()).await.map_err(store_problem)
}

/// One build.
pub(crate) async fn build(core: &Core, who: &Authority, id: BuildId) -> Result<BuildView, Problem> {
    see_build(core, who, id).await?;
    let mut view = core.store.build_view(id).await.map_err(store_problem)?.ok_or_else(|| not_found("build", id))?;
    if view.summary.state != wire::view::State::Finished {
        let executors = core.store.executors(core.lease).await.map_err(store_problem)?;
        let held_up = core.store.held_up(id).await.map_err(store_problem)?;
        waiting_for(&mut view, &executors, &held_up, |pipeline| who.sees(pipeline));
    }
    Ok(view)
}

/// How the result of a build is told: none or one.
pub(crate) async fn reply(core: &Core, who: &Authority, build: BuildId) -> Result<Vec<ReplyView>, Problem> {
    see_build(core, who, build).await?;
    Ok(core.store.reply(build).await.map_err(store_problem)?.into_iter().collect())
}

/// Results in one answer, unless the query says how many.
pub(crate) const RESULTS_LIMIT: u32 = 100;

/// Builds that ended lately whose result who asked for them has not received, the last one first.
pub(crate) async fn not_received(core: &Core, who: &Authority, limit: u32) -> Result<Vec<BuildSummary>, Problem> {
    let mut all = core.store.not_received(&asker(who), limit).await.map_err(store_problem)?;
    all.retain(|build| who.sees(&build.pipeline));
    Ok(all)
}

/// Lines of a job's log. At most [`LOG_LINES_MAX`] at once.
pub(crate) async fn log(
    core: &Core,
    who: &Authority,
    job: JobId,
    attempt: Option<u32>,
    from: u64,
    limit: u32,
) -> Result<LogPage, Problem> {
    see_job(core, who, job).await?;
    let page = core.store.log(job, attempt, from, limit.min(LOG_LINES_MAX)).await.map_err(store_problem)?;
    page.ok_or_else(|| not_found("job", job))
}

/// Lines in one answer, 1,000 unless asked otherwise.
pub(crate) const LOG_LINES_MAX: u32 = 10_000;

/// Executors.
pub(crate) async fn executors(core: &Core, who: &Authority) -> Result<Vec<ExecutorView>, Problem> {
    who.need(Need::SeeAll)?;
    core.store.executors(core.lease).await.map_err(store_problem)
}

/// Gateway instances: this one as it is now, the others as they last told.
pub(crate) async fn gateways(core: &Core, gateway: &Gateway, who: &Authority) -> Result<Vec<GatewayView>, Problem> {
    who.need(Need::SeeAll)?;
    core.store.put_gateway(&core.instance, &gateway.workers().await).await.map_err(store_problem)?;
    core.store.gateways(control::gateways::SILENT).await.map_err(store_problem)
}

/// What the installation is made of; gateway instances, this one too, as they last told.
pub(crate) async fn installation(core: &Core, who: &Authority) -> Result<InstallationView, Problem> {
    let executors = executors(core, who).await?;
    let gateways = core.store.gateways(control::gateways::SILENT).await.map_err(store_problem)?;
    Ok(InstallationView { executors, gateways })
}

/// Whether what every build needs is there.
pub(crate) async fn health(core: &Core, who: &Authority) -> HealthView {
    let reason = core.broker.health().await.err().map(|failure| failure.reason());
    // A store that does not answer is told by whatever else is asked of it.
    let dead_letters = match who.need(Need::SeeAll) {
        Ok(()) => open_dead_letters(core).await.unwrap_or(0),
        Err(_) => 0,
    };
    HealthView { broker: reason.is_none(), reason, disk: core.room.full(), dead_letters }
}

/// What an executor says that it runs now, with so many unconfirmed lines of each attempt: asked over the broker.
pub(crate) async fn executor_now(
    core: &Core,
    who: &Authority,
    id: ExecutorId,
    lines: u32,
) -> Result<ExecutorNow, Problem> {
    if !executors(core, who).await?.iter().any(|executor| executor.id == id) {
        return Err(not_found("executor", id));
    }
    let queue = broker::topology::executor(id).name;
    let asked =
        core.requester.request(&queue, task::to_bytes(ExecutorNotice::Now { lines }), broker::REPLY_PATIENCE).await;
    let silent = |failure: &dyn std::fmt::Display| {
        Problem::new(504, "No answer", format!("Executor {id} does not answer: {failure}."))
    };
    let answer = asked.map_err(|failure| silent(&failure))?;
    task::from_bytes(&answer.body).map_err(|failure| silent(&failure))
}

/// Dead letters, newest first.
pub(crate) async fn dead_letters(
    core: &Core,
    who: &Authority,
    query: &DeadLettersQuery,
) -> Result<Vec<DeadLetterView>, Problem> {
    who.need(Need::SeeAll)?;
    core.store.dead_letters(query).await.map_err(store_problem)
}

/// A dead letter with all that is kept of it.
pub(crate) async fn whole_dead_letter(core: &Core, id: DeadLetterId) -> Result<DeadLetter, Problem> {
    core.store.dead_letter(id).await.map_err(store_problem)?.ok_or_else(|| not_found("dead letter", id))
}

/// A dead letter with its body.
pub(crate) async fn dead_letter(core: &Core, who: &Authority, id: DeadLetterId) -> Result<DeadLetterBody, Problem> {
    who.need(Need::SeeAll)?;
    let found = whole_dead_letter(core, id).await?;
    let whole = found.is_whole();
    let DeadLetter { view: letter, body, .. } = found;
    if letter.cause == Cause::JobLost {
        return Ok(DeadLetterBody { letter, body: None, body_base64: None, whole });
    }
    // Where it was cut, the last letter may have been cut too.
    let end = match std::str::from_utf8(&body) {
        Err(failure) if !whole && failure.error_len().is_none() => failure.valid_up_to(),
        _ => body.len(),
    };
    Ok(match std::str::from_utf8(&body[..end]) {
        Ok(text) => DeadLetterBody { letter, body: Some(text.to_owned()), body_base64: None, whole },
        Err(_) => DeadLetterBody { letter, body: None, body_base64: Some(STANDARD.encode(&body)), whole },
    })
}

/// Dead letters on the page that are open, and that were decided on.
const PAGE_LETTERS_MAX: (u32, u32) = (100, 20);

/// What the page of dead letters shows.
pub(crate) async fn dead_letters_page(core: &Core, who: &Authority) -> Result<DeadLettersPage, Problem> {
    let (open_max, settled_max) = PAGE_LETTERS_MAX;
    let of = |state, limit| DeadLettersQuery { state: Some(state), before: None, limit: Some(limit) };
    let open = dead_letters(core, who, &of(DeadLetterState::Open, open_max)).await?;
    let mut settled = dead_letters(core, who, &of(DeadLetterState::Retried, settled_max)).await?;
    settled.extend(dead_letters(core, who, &of(DeadLetterState::Discarded, settled_max)).await?);
    settled.sort_by_key(|letter| std::cmp::Reverse(letter.settled_at));
    settled.truncate(settled_max as usize);
    Ok(DeadLettersPage { open_total: open_dead_letters(core).await?, open, settled })
}

/// How many dead letters nobody has decided on.
pub(crate) async fn open_dead_letters(core: &Core) -> Result<u64, Problem> {
    let counts = core.store.dead_letter_counts().await.map_err(store_problem)?;
    Ok(counts.iter().map(|count| count.open).sum())
}
