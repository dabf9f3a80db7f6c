//! One attempt of one job: workspace, checkout, steps in order, artifacts, and the word to control that it has ended.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use wire::{
    Event, Isolation, Limits, Outcome,
    pipeline::{Stderr, StepSpec},
    task::{ControlReply, ControlRequest, Grant},
};

use crate::{
    UploadBy,
    again::{GivenUp, UNREACHED_MAX},
    artifact::{self, Kept, Resolved},
    chunks, environment,
    guard::protocol::Container,
    host::{Guard, container::Containers},
    inputs::{self, Downloads},
    lease::Lease,
    mask::Masker,
    publish::Publisher,
    runner::Executor,
    secrets::Secrets,
    source::{self, GitAllowed},
    step::{self, Dropped, Ending, Exit, Planned, Steps},
    upload::Uploads,
    workspace::Workspace,
};

/// How long the answer to a finish is awaited before it is sent again.
const FINISH_PATIENCE: Duration = Duration::from_secs(3);
/// The pause before a finish that could not be sent is sent again.
const FINISH_BACK_OFF: Duration = Duration::from_millis(500);
/// Longer timeouts than this (a year) are taken for it: the timer must be able to count them.
const TIMEOUT_SECONDS_MAX: u64 = 366 * 24 * 3600;

/// Where artifacts may go by HTTP or over the broker, one way is tried for so long before the other.
const TURN: Duration = Duration::from_secs(3);

/// The name of the step that makes the job's container.
const CONTAINER_STEP: &str = "container";

/// How an attempt ended.
#[derive(Debug)]
struct Verdict {
    outcome: Outcome,
    reason: Option<String>,
}

impl Verdict {
    fn failed(reason: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, reason: Some(reason.into()) }
    }

    /// As it is where a process was left behind: that is never a success, and always said.
    fn with_left(self, left: String) -> Self {
        let outcome = if self.outcome == Outcome::Succeeded { Outcome::Failed } else { self.outcome };
        let reason = self.reason.map_or_else(|| left.clone(), |reason| format!("{reason}; {left}"));
        Self { outcome, reason: Some(reason) }
    }
}

/// Runs an attempt to its end: none of its processes is left then that could be ended. Nothing comes back: what is to be
/// said goes to the broker, or is dropped with the lease, which somebody must watch meanwhile.
pub(crate) async fn run(
    executor: Arc<Executor>,
    grant: Arc<Grant>,
    secrets: Result<Secrets, String>,
    lease: Arc<Lease>,
) {
    let (job, attempt) = (grant.lease.job, grant.lease.attempt);
    // With thousands of lines it takes a while.
    let hidden = tokio::task::spawn_blocking(move || hidden(secrets)).await;
    let (secrets, masker) = hidden
        .unwrap_or_else(|panic| (Err(format!("the secrets of the job cannot be masked: {panic}")), Masker::default()));
    let publisher =
        Publisher::start(Arc::clone(&executor.broker), Arc::clone(&lease), Arc::clone(&grant), masker.clone());
    executor.running.began(grant.lease, publisher.insight());
    let (secrets, masker) = (&secrets, &masker);
    let attempt_of =
        Attempt { executor: &executor, grant: &grant, secrets, masker, lease: &lease, publisher: &publisher };
    let (workspace, ended) = attempt_of.perform().await;
    let finished = match ended {
        Ok(verdict) => attempt_of.finish(verdict).await,
        Err(dropped) => Err(dropped),
    };
    match finished {
        Ok(()) => tracing::debug!(%job, attempt, "the attempt has ended"),
        Err(Dropped::LeaseLost) => {
            tracing::warn!(%job, attempt, "the lease of the job was lost; its steps were ended and nothing more is said of this attempt");
        }
        Err(Dropped::Shutdown) => {
            tracing::info!(%job, attempt, "the executor stops; the job's steps were ended, and it runs again as the next attempt");
        }
    }
    if let Some(workspace) = workspace {
        executor.tasks.spawn_blocking(move || workspace.remove());
    }
}

/// The secrets and what hides them. One that cannot be hidden is not used either.
fn hidden(secrets: Result<Secrets, String>) -> (Result<Secrets, String>, Masker) {
    match secrets.and_then(|secrets| Ok((secrets.masker()?, secrets))) {
        Ok((masker, secrets)) => (Ok(secrets), masker),
        Err(reason) => (Err(reason), Masker::default()),
    }
}

struct Attempt<'a> {
    executor: &'a Arc<Executor>,
    grant: &'a Arc<Grant>,
    /// Or why there are none, though the job has some.
    secrets: &'a Result<Secrets, String>,
    masker: &'a Masker,
    lease: &'a Arc<Lease>,
    publisher: &'a Publisher,
}

impl Attempt<'_> {
    async fn perform(&self) -> (Option<Workspace>, Result<Verdict, Dropped>) {
        let secrets = match self.secrets {
            Ok(secrets) => secrets,
            Err(reason) => return (None, Ok(Verdict::failed(reason))),
        };
        let seconds = self.grant.timeout_seconds.min(TIMEOUT_SECONDS_MAX);
        let timeout_at = tokio::time::Instant::now() + Duration::from_secs(seconds);
        if let (Some(image), None) = (&self.grant.image, &self.executor.containers) {
            let reason =
                format!("the job wants a container of {image}, and its executor has none: see `serve --containers`");
            return (None, Ok(Verdict::failed(reason)));
        }
        let steps = match all_steps(self.grant, &self.executor.config.git_allowed, self.executor.isolation()) {
            Ok(steps) => steps,
            Err(reason) => return (None, Ok(Verdict::failed(reason))),
        };
        let scripts: Vec<String> = steps.iter().map(|(spec, _)| spec.run.clone()).collect();
        // In a container's job it has but the checkout to guard, if there is one.
        let network = self.grant.network || (self.grant.image.is_some() && self.grant.source.is_none());
        let guard = self.executor.guards.take(network).await;
        // The next one's guard gets ready when the steps of this job have ended, or run for longer than it takes.
        let (steps_ended, guards) = (CancellationToken::new(), Arc::clone(&self.executor.guards));
        self.executor.tasks.spawn(guards.warm_up_after(steps_ended.clone()));
        let until_steps_ended = steps_ended.drop_guard();
        let guard = match guard {
            Ok(guard) => guard,
            Err(reason) => return (None, Ok(Verdict::failed(reason))),
        };
        let workspace = guard.workspace.clone();
        let written = tokio::task::spawn_blocking({
            let workspace = workspace.clone();
            move || workspace.write(&scripts)
        });
        let written = written.await.unwrap_or_else(|panic| Err(format!("the workspace could not be made: {panic}")));
        let brought = match written {
            Ok(files) => self.bring_inputs(&workspace, timeout_at).await.map(|verdict| verdict.map_or(Ok(files), Err)),
            Err(reason) => Ok(Err(Verdict::failed(reason))),
        };
        let ended = match brought {
            Ok(Ok(files)) => self.run_steps(guard, steps, files, secrets, &workspace, timeout_at).await,
            ended => {
                self.executor.tasks.spawn(guard.ended());
                ended
                    .map(|verdict| verdict.err().unwrap_or_else(|| Verdict::failed("its input files could not be had")))
            }
        };
        drop(until_steps_ended);
        let verdict = match ended {
            Ok(verdict) => self.keep_artifacts(verdict, &workspace, timeout_at).await,
            Err(dropped) => Err(dropped),
        };
        (Some(workspace), verdict)
    }

    /// Brings the files that are inputs; the attempt ends before its first step if that fails.
    async fn bring_inputs(
        &self,
        workspace: &Workspace,
        timeout_at: tokio::time::Instant,
    ) -> Result<Option<Verdict>, Dropped> {
        if self.grant.files.is_empty() {
            return Ok(None);
        }
        let (downloads, files, folder) = (Downloads::new(self.grant), self.grant.files.clone(), workspace.inputs());
        // Stops the blocking download when this future is left.
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let bringing = tokio::task::spawn_blocking(move || downloads.bring(&files, &folder, &stop));
        let brought = self.unless_ended(bringing, timeout_at, "its input files were brought").await?;
        Ok(match brought {
            Ok(brought) => {
                let brought = brought.unwrap_or_else(|panic| Err(format!("the input files could not be had: {panic}")));
                brought.err().map(Verdict::failed)
            }
            Err(verdict) => Some(verdict),
        })
    }

    /// Waits for something between the steps, unless the attempt ends meanwhile.
    async fn unless_ended<T>(
        &self,
        work: impl Future<Output = T>,
        timeout_at: tokio::time::Instant,
        what: &str,
    ) -> Result<Result<T, Verdict>, Dropped> {
        tokio::select! {
            done = work => Ok(Ok(done)),
            () = self.lease.lost() => Err(Dropped::LeaseLost),
            () = self.executor.shutdown.cancelled() => Err(Dropped::Shutdown),
            () = self.lease.cancelled() => Ok(Err(Verdict { outcome: Outcome::Cancelled, reason: None })),
            () = tokio::time::sleep_until(timeout_at) => {
                let reason = Some(format!("the job's time of {} s was up while {what}", self.grant.timeout_seconds));
                Ok(Err(Verdict { outcome: Outcome::TimedOut, reason }))
            }
        }
    }

    async fn run_steps(
        &self,
        mut guard: Guard,
        steps: Vec<(StepSpec, String)>,
        files: Vec<PathBuf>,
        secrets: &Secrets,
        workspace: &Workspace,
        timeout_at: tokio::time::Instant,
    ) -> Result<Verdict, Dropped> {
        let container = self.grant.image.as_ref().zip(self.executor.containers.as_ref());
        let mut env = match container {
            Some(_) => environment::of_container(self.grant),
            None => environment::of_job(self.grant, self.executor.guards.sandbox()),
        };
        let limits = self.grant.limits.within(self.executor.limits());
        if let Err(reason) = guard.limit(limits).await {
            self.executor.tasks.spawn(guard.ended());
            return Ok(Verdict::failed(reason));
        }
        for file in &self.grant.files {
            let path = inputs::path(&workspace.inputs(), file);
            env.insert(format!("INPUT_{}", file.name.to_ascii_uppercase()), path.display().to_string());
        }
        let (count, kill_after) = (steps.len(), self.executor.kill_after);
        let (publisher, lease, shutdown) = (self.publisher, &**self.lease, &self.executor.shutdown);
        let path = workspace.path.clone();
        let own_limit = self.executor.config.log_limit;
        let log_limit = self.grant.log_limit.map_or(own_limit, |limit| limit.min(own_limit));
        let mut run =
            Steps::new(&mut guard, publisher, lease, shutdown, timeout_at, kill_after, path, log_limit, self.masker);
        let mut ended = Ok(Verdict { outcome: Outcome::Succeeded, reason: None });
        for (at, ((spec, command), script)) in steps.into_iter().zip(files).enumerate() {
            if lease.is_cancelled() {
                ended = Ok(Verdict { outcome: Outcome::Cancelled, reason: None });
                break;
            }
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            let mut env = if self.is_checkout(index) {
                with(&environment::of_job(self.grant, self.executor.guards.sandbox()), &spec.env)
            } else {
                with(&env, &spec.env)
            };
            if !self.is_checkout(index) {
                secrets.add_to(&mut env);
            }
            let container = container.filter(|_| index == u32::from(self.grant.source.is_some()));
            let container = container
                .map(|(image, containers)| (containers, containers.of_job(self.grant, image, limits, workspace)));
            if let Some((containers, container)) = &container {
                match self.change_guard(&mut run, containers, workspace, container).await {
                    Ok(()) => {}
                    Err(reason) => {
                        ended = Ok(Verdict::failed(reason));
                        break;
                    }
                }
            }
            let container = container.map(|(_, container)| container);
            let step = Planned { index, spec, command, script, container, env, last: at + 1 == count };
            match self.run_step(&mut run, &step, limits).await {
                Ok(Verdict { outcome: Outcome::Succeeded, .. }) => {}
                other => {
                    ended = other;
                    break;
                }
            }
        }
        // Where the lease is lost nobody may hear of the steps any more, but they must be gone before the slot is free.
        let left = step::tree_gone(&mut guard, self.grant.lease).await;
        self.executor.tasks.spawn(guard.ended());
        let Some(left) = left else { return ended };
        let job = self.grant.lease.job;
        tracing::warn!(%job, left, "not every process of a job could be ended");
        ended.map(|verdict| verdict.with_left(left))
    }

    /// Goes on under the guard of a container: what the former one guarded has ended then.
    async fn change_guard(
        &self,
        run: &mut Steps<'_>,
        containers: &Containers,
        workspace: &Workspace,
        container: &Container,
    ) -> Result<(), String> {
        let guard = containers.guard(&self.executor.guards, workspace, container).await?;
        let mut former = std::mem::replace(&mut *run.guard, guard);
        let left = step::tree_gone(&mut former, self.grant.lease).await;
        self.executor.tasks.spawn(former.ended());
        left.map_or(Ok(()), Err)
    }

    async fn run_step(&self, run: &mut Steps<'_>, step: &Planned, limits: Limits) -> Result<Verdict, Dropped> {
        let (exit, ending) = run.run(step).await?;
        let code = if let Exit::Code(code) = exit { Some(code) } else { None };
        let seconds = self.grant.timeout_seconds;
        let (outcome, reason) = match (&exit, ending) {
            (_, Some(Ending::Cancelled)) => (Outcome::Cancelled, None),
            (_, Some(Ending::TimedOut)) => (Outcome::TimedOut, Some(format!("the job's time of {seconds} s was up"))),
            (Exit::Code(0), None) => (Outcome::Succeeded, None),
            (Exit::Code(_), None) => (Outcome::Failed, run.reached(limits)),
            (Exit::Signal(signal), None) => {
                let limit = run.reached(limits).map(|limit| format!(": {limit}")).unwrap_or_default();
                (Outcome::Failed, Some(format!("ended by signal {signal}{limit}")))
            }
            (Exit::NotStarted(reason), None) => (Outcome::Failed, Some(reason.clone())),
            (Exit::GuardDied, None) => {
                let limit = run.reached(limits);
                (Outcome::Failed, Some(limit.unwrap_or_else(|| "the guard process of the job was killed".to_owned())))
            }
        };
        self.publisher.publish(&Event::StepFinished {
            step: step.index,
            outcome,
            exit_code: code,
            reason: reason.clone(),
        })?;
        let is_checkout = self.is_checkout(step.index);
        let reason = match (outcome, code) {
            (Outcome::Failed, Some(code)) if is_checkout => {
                Some(format!("the source could not be checked out: git exited with {code}"))
            }
            _ => reason.map(|reason| format!("step {:?}: {reason}", step.spec.name)),
        };
        Ok(Verdict { outcome, reason })
    }

    /// Whether a step is the checkout of the source, which is not the pipeline's own.
    fn is_checkout(&self, step: u32) -> bool {
        self.grant.source.is_some() && step == 0
    }

    /// Keeps what the patterns name, also of a job that failed. Only a job that would have succeeded fails by it.
    async fn keep_artifacts(
        &self,
        verdict: Verdict,
        workspace: &Workspace,
        timeout_at: tokio::time::Instant,
    ) -> Result<Verdict, Dropped> {
        let patterns = self.grant.artifacts.clone();
        if patterns.is_empty() || !matches!(verdict.outcome, Outcome::Succeeded | Outcome::Failed) {
            return Ok(verdict);
        }
        // Stops the blocking search, or upload, when this future is left.
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let (path, masker, stop_search) = (workspace.path.clone(), self.masker.clone(), stop.clone());
        let searching = tokio::task::spawn_blocking(move || artifact::resolve(&path, &patterns, &masker, &stop_search));
        let resolved = match self.unless_ended(searching, timeout_at, "its artifacts were looked for").await? {
            Ok(resolved) => {
                resolved.unwrap_or_else(|panic| Resolved::refused(format!("no artifact was kept: {panic}")))
            }
            Err(verdict) => return Ok(verdict),
        };
        let Resolved { files, mut refusals } = resolved;
        let uploads = Arc::new(Uploads::new(self.grant));
        for kept in files {
            let sending = self.send_artifact(&uploads, kept, &stop);
            let sent = match self.unless_ended(sending, timeout_at, "its artifacts were kept").await? {
                Ok(sent) => sent,
                Err(verdict) => return Ok(verdict),
            };
            match sent {
                Ok(event) => self.publisher.publish(&event)?,
                Err(reason) => refusals.push(reason),
            }
        }
        match refusals.into_iter().next() {
            Some(reason) if verdict.outcome == Outcome::Succeeded => Ok(Verdict::failed(reason)),
            Some(reason) => {
                let reason = self.masker.owned(reason);
                tracing::debug!(reason, "an artifact of a failed job was not kept");
                Ok(verdict)
            }
            None => Ok(verdict),
        }
    }

    /// By HTTP, or over the broker: by turns until one of them is there, where either will do. What was there once is asked
    /// first for the next file.
    async fn send_artifact(
        &self,
        uploads: &Arc<Uploads>,
        kept: Kept,
        stop: &CancellationToken,
    ) -> Result<Event, String> {
        let failed = |reason: String| format!("artifact {:?} could not be kept: {reason}", kept.name);
        let begun = tokio::time::Instant::now();
        let by = self.executor.config.upload;
        // For how long one of them is tried before the other.
        let turn = if by == UploadBy::Auto { TURN } else { UNREACHED_MAX };
        loop {
            let over_broker = by == UploadBy::Broker || (by == UploadBy::Auto && uploads.over_broker());
            let sent = if over_broker {
                chunks::send(&*self.executor.broker, self.grant, &kept, turn, stop).await
            } else {
                let (uploads, kept, stop) = (Arc::clone(uploads), kept.clone(), stop.clone());
                let sending = tokio::task::spawn_blocking(move || uploads.send(&kept, turn, &stop));
                sending.await.map_err(|panic| failed(panic.to_string()))?
            };
            match sent {
                Ok(event) => return Ok(event),
                Err(GivenUp::Unreached(reason))
                    if by == UploadBy::Auto && begun.elapsed() < UNREACHED_MAX && !stop.is_cancelled() =>
                {
                    let reason = self.masker.owned(reason);
                    tracing::warn!(artifact = kept.name, reason, over_broker, "an artifact goes the other way");
                    uploads.go_over_broker(!over_broker);
                }
                Err(failure) => return Err(failed(failure.reason())),
            }
        }
    }

    /// Tells control, once every event is confirmed, and until control has heard it.
    async fn finish(&self, verdict: Verdict) -> Result<(), Dropped> {
        let last_offset = tokio::select! {
            flushed = self.publisher.flushed() => flushed?,
            () = self.executor.shutdown.cancelled() => return Err(Dropped::Shutdown),
        };
        let Verdict { outcome, reason } = verdict;
        let reason = reason.map(|reason| self.masker.owned(reason));
        let (executor, lease) = (self.executor.config.id, self.grant.lease);
        let incarnation = Some(self.executor.incarnation);
        let request = ControlRequest::Finish { executor, incarnation, lease, outcome, last_offset, reason };
        loop {
            let answer = tokio::select! {
                biased;
                answer = self.executor.ask(&request, FINISH_PATIENCE) => answer,
                () = self.lease.lost() => return Err(Dropped::LeaseLost),
                () = self.executor.shutdown.cancelled() => return Err(Dropped::Shutdown),
            };
            match answer {
                Ok(ControlReply::Done {}) => return Ok(()),
                Ok(ControlReply::Refused { reason }) => {
                    tracing::warn!(job = %lease.job, attempt = lease.attempt, reason, "control refused the end of the attempt");
                    return Ok(());
                }
                Ok(_) | Err(_) => tokio::time::sleep(FINISH_BACK_OFF).await,
            }
        }
    }
}

/// The checkout, if there is one, the making of the container, if there is one, and the pipeline's steps, each with the command that people see.
fn all_steps(
    grant: &Grant,
    git_allowed: &[GitAllowed],
    isolation: Isolation,
) -> Result<Vec<(StepSpec, String)>, String> {
    let checkout = grant.source.as_ref().map(|source| source::step(source, git_allowed, isolation)).transpose()?;
    let checkout = checkout.map(|(mut spec, command)| {
        if grant.image.is_some() {
            // Whoever an image's steps run as may change what was checked out; nobody else comes as far.
            spec.run.insert_str(0, "umask 0\n");
        }
        (spec, command)
    });
    let container = grant.image.as_ref().map(|image| {
        let (name, run, env) = (CONTAINER_STEP.to_owned(), String::new(), BTreeMap::new());
        (StepSpec { name, run, env, stderr: Stderr::Merged }, format!("container of {image}"))
    });
    let given = grant.steps.iter().map(|spec| (spec.clone(), spec.run.clone()));
    Ok(checkout.into_iter().chain(container).chain(given).collect())
}

fn with(env: &BTreeMap<String, String>, more: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = env.clone();
    all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}
