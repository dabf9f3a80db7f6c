//! What can be changed, for HTTP and sockets alike. A command is answered once it cannot be lost any more (P1): it and
//! its outbox rows are one transaction.

use broker::{
    Outgoing,
    topology::{self, Exchange},
};
use control::{graph, pipeline, plan};
use store::{
    ChangeError,
    model::{Announcement, Created, Idempotency, NewBuild, Put},
};
use uuid::Uuid;
use wire::{
    Authority, BuildId, PipelineName, Problem,
    command::{ReplyMode, Retry, Trigger},
    task::{PipelineChanged, Reply, to_bytes},
    view::{BuildSummary, State},
};

use crate::{
    core::Core,
    precondition::Precondition,
    queries::{not_found, store_problem},
    secret,
};

/// Idempotency keys may be so many bytes long.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// The values of all inputs together may be so many bytes long: they are kept with each of the build's jobs.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Creates (`true`) or replaces a pipeline, if what is there is as `wanted`. The name in the text must be `name`, if one
/// is given.
pub(crate) async fn put_pipeline(
    core: &Core,
    _who: &Authority,
    name: Option<&PipelineName>,
    text: &str,
    wanted: &Precondition,
) -> Result<(PipelineName, bool), Problem> {
    let spec = pipeline::parse(text)?;
    if let Some(name) = name.filter(|name| **name != spec.name) {
        let sentence =
            format!("The text names the pipeline `{}`, the address names it `{name}`: make them the same.", spec.name);
        return Err(Problem::new(422, "Invalid pipeline", sentence));
    }
    let created = match core.store.put_pipeline(&spec, text, wanted.rule(text)).await.map_err(store_problem)? {
        Put::Created => true,
        Put::Replaced => false,
        Put::Refused { exists } => return Err(wanted.failed(&spec.name, exists)),
    };
    // A hint: who does not get it looks again by itself.
    let hint = to_bytes(PipelineChanged { pipeline: spec.name.clone() });
    drop(core.broker.publish(Outgoing::new(Exchange::Utils, topology::PIPELINES, hint)));
    Ok((spec.name, created))
}

/// Starts a build. With a key that was used before, gives the first answer again.
pub(crate) async fn trigger(
    core: &Core,
    _who: &Authority,
    name: &PipelineName,
    trigger: &Trigger,
    idempotency_key: Option<&str>,
) -> Result<BuildSummary, Problem> {
    let found = core.store.pipeline(name).await.map_err(store_problem)?;
    let (_, spec) = found.ok_or_else(|| not_found("pipeline", name))?;
    let input_bytes: usize = trigger.inputs.values().map(String::len).sum();
    if input_bytes > INPUT_BYTES_MAX {
        let sentence = format!("The inputs hold {input_bytes} bytes: at most {INPUT_BYTES_MAX} are taken.");
        return Err(Problem::new(422, "Inputs too large", sentence));
    }
    let reply = reply_of(trigger)?;
    let idempotency = idempotency_key.map(|key| idempotency(key, trigger)).transpose()?;
    let (build, announcements) = plan::plan(&spec, trigger, BuildId(Uuid::now_v7()), reply)?;
    let created =
        core.store.create_build(NewBuild { build, announcements, idempotency }).await.map_err(store_problem)?;
    match created {
        Created::New(build) => Ok(first_answer(graph::summary(&build))),
        Created::Before(id) => {
            let build = core.store.load_build(id).await.map_err(store_problem)?;
            build.map(|build| first_answer(graph::summary(&build))).ok_or_else(|| not_found("build", id))
        }
        Created::OtherBody => Err(Problem::new(
            422,
            "Idempotency key used before",
            "This Idempotency-Key was used before with another body: take a new key for a new build.",
        )),
    }
}

/// The build as it was when it was accepted: the same answer for the same key, however far the build is meanwhile.
fn first_answer(summary: BuildSummary) -> BuildSummary {
    BuildSummary {
        state: State::Queued,
        outcome: None,
        started_at: None,
        finished_at: None,
        jobs_finished: 0,
        ..summary
    }
}

fn reply_of(trigger: &Trigger) -> Result<Option<Reply>, Problem> {
    match (trigger.reply, &trigger.socket) {
        (Some(ReplyMode::None {}), _) | (None, None) => Ok(None),
        (None | Some(ReplyMode::Callback {}), Some(socket)) => {
            Ok(Some(Reply { server_id: socket.server_id.clone(), client_id: socket.client_id }))
        }
        (Some(ReplyMode::Callback {}), None) => Err(Problem::new(
            422,
            "Reply without address",
            "`reply` asks for a callback but `socket` is missing: send the socket meta of the `hello` frame along.",
        )),
    }
}

fn idempotency(key: &str, trigger: &Trigger) -> Result<Idempotency, Problem> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let sentence = format!("The Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters.");
        return Err(Problem::new(400, "Invalid Idempotency-Key", sentence));
    }
    // Where the one who asks sits is no part of what is asked: a tab that came back may repeat its trigger.
    let asked = serde_json::to_string(&(&trigger.inputs, trigger.reply)).unwrap_or_default();
    Ok(Idempotency { key: key.to_owned(), digest: secret::sha256(&asked) })
}

/// Ends a build: what waits at once, what runs by SIGTERM and after 10 s SIGKILL. Again changes nothing.
pub(crate) async fn cancel(core: &Core, _who: &Authority, build: BuildId) -> Result<BuildSummary, Problem> {
    let changed = core.store.change_build(build, Box::new(graph::cancel)).await;
    changed.map(|build| graph::summary(&build)).map_err(change_problem)
}

/// Runs a finished build again, or what of it did not succeed.
pub(crate) async fn retry(core: &Core, who: &Authority, build: BuildId, retry: Retry) -> Result<BuildSummary, Problem> {
    let by = who.subject.clone();
    let decide = move |build: &mut store::model::Build, now| {
        let mut announcements = graph::retry(build, retry.failed_only, now)?;
        announcements.push(Announcement::TakenUp { by: by.clone() });
        Ok(announcements)
    };
    let changed = core.store.change_build(build, Box::new(decide)).await;
    changed.map(|build| graph::summary(&build)).map_err(change_problem)
}

fn change_problem(failure: ChangeError) -> Problem {
    match failure {
        ChangeError::NoBuild(id) => not_found("build", id),
        ChangeError::Refused(refusal) => Problem::new(409, "Not possible now", refusal.to_string()),
        ChangeError::Store(failure) => store_problem(failure),
    }
}
