//! What can be changed, for HTTP and sockets alike. A command is answered once it cannot be lost any more (P1): it and
//! its outbox rows are one transaction.

use std::time::Duration;

use control::{
    dead_letters::{self, RetryError},
    graph, pipeline, plan,
};
use store::{
    ChangeError,
    audit::NewEntry,
    hooks::Delivery,
    model::{
        Announcement, Created, Idempotency, NewBuild, Put,
        dead_letter::{DeadLetter, Settled},
        reply::{Acknowledged, TryNow},
        retention::Deletion,
    },
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use wire::{
    Authority, BuildId, DeadLetterId, PipelineName, Problem,
    audit::Action,
    authority::Need,
    command::{Retry, Trigger},
    dead_letter::{Cause, DeadLetterState, DeadLetterView},
    reply::ReplyView,
    trigger::{Pushed, TriggeredBy},
    view::{BuildSummary, State},
};

use crate::{
    core::Core,
    payloads,
    places::need_of_build,
    precondition::Precondition,
    queries::{not_found, store_problem, whole_dead_letter},
    replies::wanted::{Wanted, wanted},
    retention, secret,
};

/// How long the deletion of a build waits for its record, and how often it looks.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);
const RECORD_LOOK: Duration = Duration::from_millis(250);
/// Idempotency keys may be so many bytes long.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Builds and pipelines that are planned at the same time: each may take some MiB meanwhile, and the rest wait their turn.
pub(crate) const PLANNED_AT_ONCE: usize = 16;
/// The values of all inputs together may be so many bytes long: they are kept with each of the build's jobs.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Creates (`true`) or replaces a pipeline, if what is there is as `wanted`. The name in the text must be `name`, if one
/// is given.
pub(crate) async fn put_pipeline(
    core: &Core,
    who: &Authority,
    name: Option<&PipelineName>,
    text: &str,
    wanted: &Precondition,
) -> Result<(PipelineName, bool), Problem> {
    if let Some(name) = name {
        who.need(Need::Change(name))?;
    }
    core.room.check()?;
    let _turn = core.planning.acquire().await; // It is never closed.
    let spec = pipeline::parse(text)?;
    if let Some(name) = name.filter(|name| **name != spec.name) {
        let sentence =
            format!("The text names the pipeline `{}`, the address names it `{name}`: make them the same.", spec.name);
        return Err(Problem::new(422, "Invalid pipeline", sentence));
    }
    who.need(Need::Change(&spec.name))?;
    // An admin of this pipeline alone changes it, and makes none.
    let runs = who.need(Need::Run);
    let (rule, may_create) = (wanted.rule(text), runs.is_ok());
    let may = Box::new(move |present: Option<&str>| (may_create || present.is_some()) && rule(present));
    let by = NewEntry::by(who, Action::PipelineChanged);
    let created = match core.store.put_pipeline(&spec, text, may, Some(by)).await.map_err(store_problem)? {
        Put::Created => true,
        Put::Replaced => false,
        Put::Refused { exists: false } if runs.is_err() => {
            return Err(runs.err().unwrap_or_else(|| not_found("pipeline", &spec.name)));
        }
        Put::Refused { exists } => return Err(wanted.failed(&spec.name, exists)),
    };
    retention::tell(&*core.broker, &spec.name);
    Ok((spec.name, created))
}

/// Starts a build. With a key that was used before, gives the first answer again.
pub(crate) async fn trigger(
    core: &Core,
    who: &Authority,
    name: &PipelineName,
    trigger: &Trigger,
    idempotency_key: Option<&str>,
) -> Result<BuildSummary, Problem> {
    let idempotency = idempotency_key.map(|key| idempotency(key, trigger)).transpose()?;
    let noted = NewEntry::by(who, Action::BuildTriggered);
    let made = BuildId(Uuid::now_v7());
    let (id, summary) = start(core, who, name, trigger, Key::Idempotency(idempotency), noted, made).await?;
    summary.ok_or_else(|| not_found("build", id))
}

/// Starts the build that a delivery asks for; gives the one that it was given before, and says so. `detail` tells of what,
/// for the audit log.
pub(crate) async fn trigger_by_hook(
    core: &Core,
    who: &Authority,
    name: &PipelineName,
    trigger: &Trigger,
    (delivery, pushed): (Delivery, Pushed),
    detail: String,
) -> Result<(BuildId, bool), Problem> {
    let noted = NewEntry { detail: Some(detail), ..NewEntry::by(who, Action::BuildTriggered) };
    let made = BuildId(Uuid::now_v7());
    let (id, _) = start(core, who, name, trigger, Key::Delivery(delivery, pushed), noted, made).await?;
    Ok((id, id != made))
}

/// What a trigger is known by when it comes again.
enum Key {
    /// A key that its sender chose, if any.
    Idempotency(Option<Idempotency>),
    /// A delivery, and what it tells.
    Delivery(Delivery, Pushed),
}

/// Whoever is no hook is a person who has signed in, or has a token.
fn triggered_by(who: &Authority) -> TriggeredBy {
    let name = who.name.clone();
    if who.is_person { TriggeredBy::Person { name } } else { TriggeredBy::Token { name } }
}

/// Starts a build under this id, or gives the one that was started before, which may be deleted meanwhile.
async fn start(
    core: &Core,
    who: &Authority,
    name: &PipelineName,
    trigger: &Trigger,
    key: Key,
    entry: NewEntry,
    id: BuildId,
) -> Result<(BuildId, Option<BuildSummary>), Problem> {
    who.need(Need::Build(name))?;
    core.room.check()?;
    let _turn = core.planning.acquire().await; // It is never closed.
    let found = core.store.pipeline(name).await.map_err(store_problem)?;
    let (_, spec) = found.ok_or_else(|| not_found("pipeline", name))?;
    let input_bytes: usize = trigger.inputs.values().map(String::len).sum();
    if input_bytes > INPUT_BYTES_MAX {
        let sentence = format!(
            "The inputs hold {input_bytes} bytes: at most {INPUT_BYTES_MAX} are taken; make the long ones inputs of `type: file`."
        );
        return Err(Problem::new(422, "Inputs too large", sentence));
    }
    let Wanted { socket, told } = wanted(who, trigger, &core.webhook_destinations)?;
    let settled = payloads::settled(core, &spec, trigger).await?;
    let (mut build, mut announcements) = plan::plan(&spec, &settled, id, socket)?;
    let (idempotency, delivery, by) = match key {
        Key::Idempotency(idempotency) => (idempotency, None, triggered_by(who)),
        Key::Delivery(delivery, pushed) => (None, Some(delivery), TriggeredBy::Hook(pushed)),
    };
    build.triggered_by = Some(Box::new(by));
    announcements.push(noted(entry));
    let created = core
        .store
        .create_build(NewBuild { build, announcements, idempotency, told, delivery })
        .await
        .map_err(store_problem)?;
    match created {
        Created::New(build) => {
            let ids = build.jobs.iter().map(|job| job.id.0).chain([build.id.0]);
            ids.for_each(|id| core.places.put(id, build.pipeline.clone()));
            Ok((id, Some(first_answer(graph::summary(&build)))))
        }
        Created::Before(id) => {
            let build = core.store.load_build(id).await.map_err(store_problem)?;
            Ok((id, build.map(|build| first_answer(graph::summary(&build)))))
        }
        Created::NoHook => {
            let sentence = "The hook was deleted, or given another secret, while this was looked at.";
            Err(Problem::new(409, "Not possible now", sentence))
        }
        Created::NoPayload(id) => Err(payloads::gone(id)),
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

fn idempotency(key: &str, trigger: &Trigger) -> Result<Idempotency, Problem> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let sentence = format!("The Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters.");
        return Err(Problem::new(400, "Invalid Idempotency-Key", sentence));
    }
    // Where the one who asks sits is no part of what is asked: a tab that came back may repeat its trigger.
    let asked = match trigger.priority {
        0 => serde_json::to_string(&(&trigger.inputs, &trigger.reply)),
        priority => serde_json::to_string(&(&trigger.inputs, &trigger.reply, priority)),
    };
    let asked = asked.unwrap_or_default();
    Ok(Idempotency { key: key.to_owned(), digest: secret::sha256(&asked) })
}

/// Ends a build: what waits at once, what runs by SIGTERM and after 10 s SIGKILL. Again changes nothing.
pub(crate) async fn cancel(core: &Core, who: &Authority, build: BuildId) -> Result<BuildSummary, Problem> {
    need_of_build(core, who, build, |pipeline| Need::Build(pipeline)).await?;
    let entry = NewEntry::by(who, Action::BuildCancelled);
    let decide = move |build: &mut store::model::Build, now| {
        let was_cancelling = build.cancelling;
        let mut announcements = graph::cancel(build, now)?;
        if !was_cancelling && build.cancelling {
            announcements.push(noted(entry.clone()));
        }
        Ok(announcements)
    };
    let changed = core.store.change_build(build, Box::new(decide)).await;
    changed.map(|build| graph::summary(&build)).map_err(change_problem)
}

/// Runs a finished build again, or what of it did not succeed.
pub(crate) async fn retry(core: &Core, who: &Authority, build: BuildId, retry: Retry) -> Result<BuildSummary, Problem> {
    need_of_build(core, who, build, |pipeline| Need::Build(pipeline)).await?;
    retry_noting(core, who, build, retry, vec![NewEntry::by(who, Action::BuildRetried)]).await
}

/// As [`retry`], by who was found to be allowed to, with these entries of the audit log.
async fn retry_noting(
    core: &Core,
    who: &Authority,
    build: BuildId,
    retry: Retry,
    entries: Vec<NewEntry>,
) -> Result<BuildSummary, Problem> {
    core.room.check()?;
    let by = who.subject.clone();
    let decide = move |build: &mut store::model::Build, now| {
        let mut announcements = graph::retry(build, retry.failed_only, now)?;
        announcements.push(Announcement::TakenUp { by: by.clone() });
        announcements.extend(entries.iter().cloned().map(noted));
        Ok(announcements)
    };
    let changed = core.store.change_build(build, Box::new(decide)).await;
    changed.map(|build| graph::summary(&build)).map_err(change_problem)
}

/// Deletes a finished build with all that is kept of it. One that has just finished is waited for until its record is whole.
pub(crate) async fn delete(core: &Core, who: &Authority, id: BuildId) -> Result<(), Problem> {
    need_of_build(core, who, id, |pipeline| Need::Change(pipeline)).await?;
    let build = core.store.load_build(id).await.map_err(store_problem)?.ok_or_else(|| not_found("build", id))?;
    let until = Instant::now() + RECORD_PATIENCE;
    loop {
        let entry = NewEntry::by(who, Action::BuildDeleted).pipeline(&build.pipeline).build(id);
        let entry = entry.detail(format!("Build {} of {}.", build.number, build.pipeline));
        let sentence = match core.store.delete_build(id, Some(entry)).await.map_err(store_problem)? {
            Deletion::Done => break,
            Deletion::NoBuild => return Err(not_found("build", id)),
            Deletion::Unfinished => "It is not finished: cancel it first, or wait for its end.",
            Deletion::Unrecorded if Instant::now() < until => {
                sleep(RECORD_LOOK).await;
                continue;
            }
            Deletion::Unrecorded => "It has just finished, and its log is still being written: try again in a minute.",
        };
        return Err(Problem::new(409, "Not possible now", sentence));
    }
    tracing::info!(build = %id, pipeline = %build.pipeline, number = build.number, by = who.subject, "a build was deleted");
    core.deleted.notify_one();
    retention::tell(&*core.broker, &build.pipeline);
    Ok(())
}

/// Who asked for a build says that its result arrived. Again changes nothing.
pub(crate) async fn acknowledge(core: &Core, who: &Authority, id: BuildId) -> Result<(), Problem> {
    need_of_build(core, who, id, |pipeline| Need::Build(pipeline)).await?;
    match core.store.acknowledge(id, &asker(who)).await.map_err(store_problem)? {
        Acknowledged::Done => {
            core.hub.changed();
            Ok(())
        }
        Acknowledged::NotYet => Err(Problem::new(409, "Not possible now", "The build has not ended yet.")),
        Acknowledged::NotTheirs => {
            let sentence = "Somebody else asked for this build, or nobody asked to be told of its end.";
            Err(Problem::new(409, "Not yours", sentence))
        }
        Acknowledged::NoBuild => Err(not_found("build", id)),
    }
}

/// Tells the result of a build once more, now. Gives how it stands then.
pub(crate) async fn try_reply_now(core: &Core, who: &Authority, id: BuildId) -> Result<ReplyView, Problem> {
    let pipeline = need_of_build(core, who, id, |pipeline| Need::Build(pipeline)).await?;
    let entry = NewEntry::by(who, Action::ReplyTried).pipeline(&pipeline).build(id);
    let sentence = match core.store.try_reply_now(id, entry).await.map_err(store_problem)? {
        TryNow::Due => {
            tracing::info!(build = %id, by = who.subject, "a result is told once more");
            core.hub.changed();
            let reply = core.store.reply(id).await.map_err(store_problem)?;
            return reply.ok_or_else(|| not_found("build", id));
        }
        TryNow::NoBuild => return Err(not_found("build", id)),
        TryNow::NotYet => "The build has not ended yet: its result is told when it has.",
        TryNow::Received(_) => "The result was received already.",
        TryNow::NoReply => "Nobody asked to be told the result of this build.",
    };
    Err(Problem::new(409, "Not possible now", sentence))
}

/// Hands a message in again, or runs again what failed of a job's build. Gives the letter as it is then.
pub(crate) async fn retry_dead_letter(
    core: &Core,
    who: &Authority,
    id: DeadLetterId,
) -> Result<DeadLetterView, Problem> {
    who.need(Need::Run)?;
    core.room.check()?;
    let letter = open_letter(core, id).await?;
    let entry = about_letter(who, Action::DeadLetterRetried, &letter);
    match (letter.view.cause, letter.view.build) {
        (Cause::JobLost, Some(build)) => {
            need_of_build(core, who, build, |pipeline| Need::Build(pipeline)).await?;
            let entries = vec![NewEntry::by(who, Action::BuildRetried), entry];
            retry_noting(core, who, build, Retry { failed_only: true }, entries).await?;
        }
        _ => {
            let retried = dead_letters::retry(&*core.broker, &*core.store, &letter, &who.subject, entry).await;
            retried.map_err(retry_problem)?;
        }
    }
    tracing::info!(letter = %id, by = who.subject, "a dead letter was retried");
    core.hub.changed();
    Ok(whole_dead_letter(core, id).await?.view)
}

/// Writes that a dead letter is not needed. Gives it as it is then.
pub(crate) async fn discard_dead_letter(
    core: &Core,
    who: &Authority,
    id: DeadLetterId,
) -> Result<DeadLetterView, Problem> {
    who.need(Need::Run)?;
    let letter = open_letter(core, id).await?;
    let entry = about_letter(who, Action::DeadLetterDiscarded, &letter);
    let settled = core.store.settle_dead_letter(&letter, Settled::Discarded, &who.subject, entry).await;
    if !settled.map_err(store_problem)? {
        let sentence = "It died again, or somebody else decided, while this was asked: look at it once more.";
        return Err(Problem::new(409, "Not possible now", sentence));
    }
    tracing::info!(letter = %id, by = who.subject, "a dead letter was discarded");
    core.hub.changed();
    Ok(whole_dead_letter(core, id).await?.view)
}

fn about_letter(who: &Authority, action: Action, letter: &DeadLetter) -> NewEntry {
    let entry = NewEntry { build: letter.view.build, ..NewEntry::by(who, action) };
    entry.detail(format!("Dead letter {}.", letter.view.id))
}

fn noted(entry: NewEntry) -> Announcement {
    Announcement::Noted(Box::new(entry))
}

/// Who asked for a build, as long as they are the same: a person in whatever session, a token for itself, and a session that
/// a token was exchanged for too: it is not the person who made the token.
pub(crate) fn asker(who: &Authority) -> String {
    match who.account {
        Some(account) if who.is_person => format!("account:{account}"),
        _ => who.subject.clone(),
    }
}

/// A letter that nobody has decided on.
async fn open_letter(core: &Core, id: DeadLetterId) -> Result<DeadLetter, Problem> {
    let letter = whole_dead_letter(core, id).await?;
    let decided = match letter.view.state {
        DeadLetterState::Open => return Ok(letter),
        DeadLetterState::Retried => "retried",
        DeadLetterState::Discarded => "discarded",
    };
    Err(Problem::new(409, "Not possible now", format!("This dead letter was {decided} already.")))
}

fn retry_problem(failure: RetryError) -> Problem {
    match failure {
        RetryError::Not(_) | RetryError::Unroutable(_) => Problem::new(409, "Not possible now", failure.to_string()),
        RetryError::Broker(failure) => {
            let sentence = format!("The message could not be handed in: {}. Try again later.", failure.reason());
            Problem::new(503, "Broker unavailable", sentence)
        }
        RetryError::Store(failure) => store_problem(failure),
    }
}

fn change_problem(failure: ChangeError) -> Problem {
    match failure {
        ChangeError::NoBuild(id) => not_found("build", id),
        ChangeError::Refused(refusal) => Problem::new(409, "Not possible now", refusal.to_string()),
        ChangeError::Store(failure) => store_problem(failure),
    }
}
