//! The answers to executors: register, claim, renew, finish, deregister. The conversation is described in [`wire::task`].

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use broker::Broker;
use store::{
    ChangeError, Store,
    model::{Build, Claim, Claimed, ExecutorRow, Expired, Refusal, Registration},
};
use uuid::Uuid;
use wire::{
    ExecutorId, JobId, Outcome,
    task::{ControlReply, ControlRequest, Grant, LeaseRef},
};

use crate::{
    ControlError, ensure_queues,
    graph::{self, Ended, Loss, LossCause},
    queues::served,
    registry::Registry,
    service::ControlConfig,
};

/// Finishes that are remembered, so that a repeat of one gets the same answer though the next attempt is under way.
const FINISHES_REMEMBERED: usize = 1024;

/// What a start of an executor is told that another one has taken the place of. Mostly nobody hears it: it was said by a
/// process that is gone, and delivered again.
const REPLACED: &str = "another start of this executor has registered since; if both run, one uses a copy of the other's data folder: \
    start it with a data folder of its own";

/// What is told who uses another executor's id.
const FOREIGN: &str = "an executor of this id has registered with another secret: start this one with a data folder of its own, or with \
    the whole data folder of the other one";

/// When a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When this process took it from the queue.
    pub(crate) at: Instant,
    /// It came while this process was consuming: nobody has kept it before.
    pub(crate) age_is_known: bool,
}

/// How long whoever asked waits for the answer. Behind that a grant would only run out, and with it an attempt.
#[derive(Clone, Copy, Debug)]
struct Patience {
    since: Instant,
    length: Duration,
}

impl Patience {
    fn has_ended(self) -> bool {
        self.since.elapsed() >= self.length
    }
}

/// Where requests are answered.
pub(crate) struct Desk {
    pub(crate) broker: Arc<dyn Broker>,
    store: Arc<dyn Store>,
    config: ControlConfig,
    registry: Registry,
    // A std mutex: held for a look or a push, never across an await.
    finishes: Mutex<VecDeque<(ExecutorId, LeaseRef)>>,
}

impl Desk {
    pub(crate) fn new(broker: Arc<dyn Broker>, store: Arc<dyn Store>, config: ControlConfig) -> Self {
        Self { broker, store, config, registry: Registry::default(), finishes: Mutex::default() }
    }

    /// The answer to a request; none when nobody waits for it any more.
    pub(crate) async fn handle(
        &self,
        request: ControlRequest,
        arrival: Arrival,
    ) -> Result<Option<ControlReply>, ControlError> {
        match request {
            ControlRequest::Register { executor, incarnation, name, labels, slots, isolation, secret } => {
                let secret_sha256 = secret.map(|secret| secret.sha256());
                let row = ExecutorRow { id: executor, incarnation, name, labels, slots, isolation, secret_sha256 };
                self.register(&row).await.map(Some)
            }
            ControlRequest::Claim { claim_id, executor, incarnation, label_set, patience_ms, secrets_key } => {
                if !arrival.age_is_known {
                    return Ok(None);
                }
                let patience = Patience { since: arrival.at, length: Duration::from_millis(patience_ms) };
                let claim = Claim { claim_id, executor, incarnation, label_set, lease: self.config.lease };
                self.claim(claim, patience, secrets_key.as_deref()).await
            }
            ControlRequest::Renew { executor, incarnation, leases } => {
                let renewal = self.store.renew_jobs(executor, incarnation, &leases, self.config.lease).await?;
                let store::model::Renewal { held, lost, cancelled } = renewal;
                let (lease_ms, hold) = (self.lease_ms(), self.config.brake.is_drawn());
                Ok(Some(ControlReply::Renewed { held, lost, cancelled, lease_ms, hold }))
            }
            ControlRequest::Finish { executor, incarnation, lease, outcome, last_offset, reason } => {
                if incarnation.is_none() && self.store.has_secret(executor).await? {
                    return Ok(Some(refused("the end of an attempt must name the start of the executor that ran it")));
                }
                let ended = Ended { outcome, last_offset, reason };
                self.finish(executor, incarnation, lease, ended).await.map(Some)
            }
            ControlRequest::Deregister { executor, incarnation } => {
                self.deregister(executor, incarnation).await.map(Some)
            }
        }
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX)
    }

    async fn register(&self, row: &ExecutorRow) -> Result<ControlReply, ControlError> {
        match self.store.put_executor(row).await? {
            Registration::Heard => {}
            Registration::Replaced => return Ok(refused(REPLACED)),
            Registration::Foreign => {
                tracing::warn!(executor = %row.id, name = row.name, "who registers as this executor does not show its secret: refused");
                return Ok(refused(FOREIGN));
            }
        }
        let before = self.registry.get(row.id).map(|known| known.incarnation);
        if before != Some(row.incarnation) {
            tracing::info!(executor = %row.id, name = row.name, labels = %row.labels, slots = row.slots, "executor registered");
            let cause = LossCause::Restarted { executor: row.id, incarnation: row.incarnation };
            let orphans = self.store.orphaned_jobs(row.id, row.incarnation).await?;
            self.take_back(orphans, cause, &row.name, "its executor was restarted").await?;
        }
        let label_sets = served(&self.store.label_sets().await?, &row.labels);
        ensure_queues(&*self.broker, &label_sets).await?;
        self.registry.heard(row.id, row.incarnation, &row.name, self.config.lease);
        Ok(ControlReply::Registered { label_sets, lease_ms: self.lease_ms() })
    }

    async fn deregister(&self, executor: ExecutorId, incarnation: Uuid) -> Result<ControlReply, ControlError> {
        let name = self.name_of(executor).await?.unwrap_or_else(|| executor.to_string());
        self.store.executor_left(executor, incarnation).await?;
        self.registry.left(executor, incarnation);
        // No incarnation is nil, so these are all that it holds; the rule takes only what this incarnation holds.
        let held = self.store.orphaned_jobs(executor, Uuid::nil()).await?;
        let cause = LossCause::Left { executor, incarnation };
        self.take_back(held, cause, &name, "its executor was stopped").await?;
        tracing::info!(%executor, name, "executor left");
        Ok(ControlReply::Done {})
    }

    /// Takes attempts back from a holder that said itself that it does not run them.
    async fn take_back(
        &self,
        attempts: Vec<Expired>,
        cause: LossCause,
        executor_name: &str,
        reason: &str,
    ) -> Result<(), ControlError> {
        for Expired { build, lease } in attempts {
            let loss = Loss { cause, executor_name: executor_name.to_owned(), reason: reason.to_owned() };
            take_back(&*self.store, build, lease, loss).await?;
        }
        Ok(())
    }

    async fn name_of(&self, executor: ExecutorId) -> Result<Option<String>, ControlError> {
        if let Some(known) = self.registry.get(executor) {
            return Ok(Some(known.name));
        }
        let executors = self.store.executors(self.config.lease).await?;
        Ok(executors.into_iter().find(|other| other.id == executor).map(|other| other.name))
    }

    async fn claim(
        &self,
        claim: Claim,
        patience: Patience,
        secrets_key: Option<&str>,
    ) -> Result<Option<ControlReply>, ControlError> {
        if patience.has_ended() {
            return Ok(None);
        }
        if self.config.brake.is_drawn() {
            return Ok(Some(ControlReply::Nothing {}));
        }
        let known = self.registry.get(claim.executor);
        if known.is_some_and(|known| known.incarnation != claim.incarnation) {
            return Ok(Some(refused(REPLACED)));
        }
        // What this process has not heard of, or has forgotten, the store decides where it grants.
        let Some(name) = self.name_of(claim.executor).await? else {
            return Ok(Some(refused("this executor is not known: it must register first")));
        };
        let grant = move |build: &mut Build, job: JobId, now| {
            // Asked once more where it is decided: the claim may have waited long for its turn to write.
            if patience.has_ended() {
                return Err(Refusal::State("whoever claimed it has given up".to_owned()));
            }
            graph::granted(build, job, &name, now)
        };
        let claimant = (claim.executor, claim.incarnation);
        match self.store.claim_job(claim, Box::new(grant)).await {
            Ok(Some(claimed)) => self.grant(&claimed, claimant, secrets_key).await.map(Some),
            Err(ChangeError::Refused(refusal @ Refusal::Unregistered)) => Ok(Some(refused(&refusal.to_string()))),
            Ok(None) | Err(ChangeError::Refused(_) | ChangeError::NoBuild(_)) => {
                // "Nothing" would take the hint away, and the job may well be there.
                Ok((!patience.has_ended()).then_some(ControlReply::Nothing {}))
            }
            Err(ChangeError::Store(error)) => Err(error.into()),
        }
    }

    /// The answer to a claim that was granted. A job that cannot have its secrets has failed by it, and nothing is granted.
    async fn grant(
        &self,
        Claimed { build, job }: &Claimed,
        (executor, incarnation): (ExecutorId, Uuid),
        secrets_key: Option<&str>,
    ) -> Result<ControlReply, ControlError> {
        let Some(job) = build.jobs.iter().find(|other| other.id == *job) else { return Ok(ControlReply::Nothing {}) };
        let (plan, attempt) = (&job.plan, job.attempt);
        let lease = LeaseRef { job: job.id, attempt };
        let mut secrets = None;
        if !plan.secrets.is_empty() {
            let keys = &self.config.secret_keys;
            let asked = (lease, secrets_key);
            match crate::secrets::for_claim(&*self.store, keys, &build.pipeline, &plan.secrets, asked).await? {
                Ok(sealed) => secrets = Some(sealed),
                Err(reason) => {
                    tracing::warn!(job = %job.id, attempt, reason, "a job cannot have its secrets, and fails");
                    let ended = Ended { outcome: Outcome::Failed, last_offset: None, reason: Some(reason) };
                    self.finish(executor, Some(incarnation), lease, ended).await?;
                    return Ok(ControlReply::Nothing {});
                }
            }
        }
        Ok(ControlReply::Granted(Box::new(Grant {
            lease,
            lease_ms: self.lease_ms(),
            build: build.id,
            number: build.number,
            pipeline: build.pipeline.clone(),
            job_name: plan.name.clone(),
            source: plan.source.clone(),
            env: plan.env.clone(),
            files: plan.files.clone(),
            steps: plan.steps.clone(),
            artifacts: plan.artifacts.clone(),
            timeout_seconds: plan.timeout_seconds,
            log_limit: plan.log_limit,
            image: plan.image.clone(),
            network: plan.network,
            limits: plan.limits,
            event_key: self.config.key.event_key(job.id, attempt),
            job_token: self.config.key.job_token(job.id, attempt),
            upload_url: self.config.upload_url.clone(),
            secrets,
            reply: build.reply.clone(),
        })))
    }

    async fn finish(
        &self,
        executor: ExecutorId,
        incarnation: Option<Uuid>,
        lease: LeaseRef,
        ended: Ended,
    ) -> Result<ControlReply, ControlError> {
        if self.finishes().contains(&(executor, lease)) {
            return Ok(ControlReply::Done {});
        }
        let Some(build) = self.store.build_of(lease.job).await? else {
            return Ok(refused(&format!("there is no job {}", lease.job)));
        };
        let decide = move |build: &mut Build, now| graph::finish(build, executor, incarnation, lease, &ended, now);
        match self.store.change_build(build, Box::new(decide)).await {
            Ok(_) => {
                let mut finishes = self.finishes();
                finishes.truncate(FINISHES_REMEMBERED - 1);
                finishes.push_front((executor, lease));
                Ok(ControlReply::Done {})
            }
            Err(ChangeError::Refused(refusal)) => {
                let build = self.store.load_build(build).await?;
                let is_repeat = build.is_some_and(|build| graph::was_finished(&build, executor, lease));
                Ok(if is_repeat { ControlReply::Done {} } else { refused(&refusal.to_string()) })
            }
            Err(ChangeError::NoBuild(build)) => Ok(refused(&format!("there is no build {build}"))),
            Err(ChangeError::Store(error)) => Err(error.into()),
        }
    }

    fn finishes(&self) -> std::sync::MutexGuard<'_, VecDeque<(ExecutorId, LeaseRef)>> {
        self.finishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one attempt back. That it has ended meanwhile, or is held by somebody living after all, is no failure.
pub(crate) async fn take_back(
    store: &dyn Store,
    build: wire::BuildId,
    lease: LeaseRef,
    loss: Loss,
) -> Result<(), ControlError> {
    let sentence = loss.reason.clone();
    match store.change_build(build, Box::new(move |build, now| graph::lost(build, lease, &loss, now))).await {
        Ok(_) => {
            tracing::warn!(%build, job = %lease.job, attempt = lease.attempt, reason = sentence, "an attempt was lost");
            Ok(())
        }
        Err(ChangeError::Refused(_) | ChangeError::NoBuild(_)) => Ok(()),
        Err(ChangeError::Store(error)) => Err(error.into()),
    }
}

fn refused(reason: &str) -> ControlReply {
    ControlReply::Refused { reason: reason.to_owned() }
}
