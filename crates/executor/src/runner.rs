//! The executor itself: it starts, registers with control, renews what it holds, and hears notices. Hints and claims are
//! [`crate::claim`]'s business, what is claimed is [`crate::job`]'s.

mod renew;
mod running;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::{
    Broker, BrokerError, ConsumeOptions, Consumer, Incoming, Origin, Outgoing,
    rpc::{self, Requester},
    topology,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;
use wire::{
    Isolation, LabelSet, Limits,
    task::{ControlReply, ControlRequest, ExecutorNotice, from_bytes, to_bytes},
};

use self::running::Running;
use crate::{
    ExecutorConfig, ExecutorError, IsolationChoice, SANDBOX_PROCESSES, claim,
    host::{
        Guards, NoGuard,
        container::Containers,
        groups::Groups,
        sandbox::{self, Sandbox},
    },
    lockfile,
    now::{self, Asked},
    workspace::Jobs,
};

/// The pause before a broker that could not be reached is tried again.
const BROKER_BACK_OFF: Duration = Duration::from_millis(500);
/// For the queue of notices, it doubles up to this: that may be away for long, see [`Executor::hear`].
const NOTICES_BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How long the answer to a deregistration is awaited: it is a courtesy.
const DEREGISTER_PATIENCE: Duration = Duration::from_millis(500);
/// Notices that are here at once.
const NOTICES_PREFETCH: u16 = 16;

/// What the parts of a running executor share.
pub(crate) struct Executor {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) config: ExecutorConfig,
    /// New for each start of the process.
    pub(crate) incarnation: Uuid,
    /// Between SIGTERM and SIGKILL.
    pub(crate) kill_after: Duration,
    pub(crate) guards: Arc<Guards>,
    /// Where jobs that name an image get theirs from; none: such jobs are not taken.
    pub(crate) containers: Option<Containers>,
    limits: Limits,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) running: Arc<Running>,
    /// Renewal is due at once: a lease began with little trust left.
    pub(crate) renew_now: Notify,
    /// Whose hints are taken.
    pub(crate) queues: watch::Sender<BTreeSet<LabelSet>>,
    /// Everything that runs; awaited at the end.
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    // A std mutex: held to take or to put, never across an await.
    requester: Mutex<Arc<Requester>>,
}

/// Runs an executor until `shutdown`.
pub(crate) async fn run(
    broker: Arc<dyn Broker>,
    config: ExecutorConfig,
    kill_after: Duration,
    shutdown: CancellationToken,
) -> Result<(), ExecutorError> {
    let shutdown = shutdown.child_token();
    tokio::select! {
        started = start(Arc::clone(&broker), config, kill_after, shutdown.clone()) => {
            let (executor, notices, _lock) = started?;
            executor.tasks.spawn(Arc::clone(&executor.guards).warm_up());
            executor.serve(notices).await;
            Ok(())
        }
        () = shutdown.cancelled() => Ok(()),
    }
}

/// Makes sure that nothing of a former incarnation runs any more, and that the broker can be reached.
async fn start(
    broker: Arc<dyn Broker>,
    config: ExecutorConfig,
    kill_after: Duration,
    shutdown: CancellationToken,
) -> Result<(Arc<Executor>, Option<Consumer>, fs::File), ExecutorError> {
    fs::create_dir_all(&config.work_dir).map_err(|error| ExecutorError::WorkDir(config.work_dir.clone(), error))?;
    let work_dir =
        config.work_dir.canonicalize().map_err(|error| ExecutorError::WorkDir(config.work_dir.clone(), error))?;
    let lock = lockfile::own(&work_dir).await?;
    lockfile::former_guards_gone(&work_dir).await?;
    // Its former guards have ended their containers, unless they were killed themselves.
    let containers = Containers::found(&config.containers, config.id).await?;
    let (incarnation, tasks) = (Uuid::new_v4(), TaskTracker::new());
    let jobs = Jobs::new(&work_dir);
    let jobs_dir = jobs.path.clone();
    let removed = tasks.spawn_blocking(move || jobs.remove_former());
    let sandbox = isolation(&config, &work_dir, &jobs_dir, removed).await?;
    let limits = own_limits(&config, sandbox.is_some());
    let (program, lock_of_guards) = (config.guard_program.clone(), lockfile::of_guards(&work_dir));
    let guards = Guards::new(program, lock_of_guards, config.step_files, jobs_dir, sandbox, groups());
    let guards = Arc::new(guards);
    let (requester, notices) = loop {
        let reached = async {
            let requester = Requester::start(Arc::clone(&broker)).await?;
            let notices = match consume_notices(&*broker, &config).await {
                Err(BrokerError::InUse(_)) => None,
                notices => Some(notices?),
            };
            Ok((requester, notices))
        };
        match reached.await {
            Ok(reached) => break reached,
            Err::<_, BrokerError>(error) => tracing::warn!(%error, "the broker cannot be reached; it is tried again"),
        }
        tokio::time::sleep(BROKER_BACK_OFF).await;
    };
    let executor = Executor {
        limits,
        broker,
        incarnation,
        kill_after,
        guards,
        containers,
        slots: Arc::new(Semaphore::new(usize::try_from(config.slots).unwrap_or(Semaphore::MAX_PERMITS))),
        running: Running::new(tasks.clone()),
        renew_now: Notify::new(),
        queues: watch::Sender::default(),
        tasks,
        shutdown,
        requester: Mutex::new(Arc::new(requester)),
        config,
    };
    Ok((Arc::new(executor), notices, lock))
}

/// The sandbox of jobs, if they have one. What runs is said once: people must know it.
async fn isolation(
    config: &ExecutorConfig,
    work_dir: &Path,
    jobs_dir: &Path,
    former_removed: JoinHandle<()>,
) -> Result<Option<Sandbox>, ExecutorError> {
    if config.isolation == IsolationChoice::Plain {
        tracing::info!(
            "steps run without a sandbox, as `--isolation plain` says: they can read what this user can read"
        );
        return Ok(None);
    }
    // A disk that is busy with that would make the trial slow.
    let _ = former_removed.await;
    let mut options = config.sandbox.clone();
    options.hidden.push(work_dir.to_owned());
    let tried = async {
        let sandbox = Sandbox::new(options, jobs_dir)?;
        let (program, lock) = (&config.guard_program, lockfile::of_guards(work_dir));
        sandbox::works(&sandbox, program, lock, jobs_dir.join("trial")).await?;
        Ok(sandbox)
    };
    match tried.await {
        Ok(sandbox) => {
            tracing::info!("each job runs in a sandbox of its own");
            Ok(Some(sandbox))
        }
        Err(NoGuard::Failed(reason)) => Err(ExecutorError::Untried(reason)),
        Err(NoGuard::Refused(reason)) if config.isolation == IsolationChoice::Sandbox => {
            Err(ExecutorError::NoSandbox(reason))
        }
        Err(NoGuard::Refused(reason)) => {
            tracing::warn!(reason, "steps run without a sandbox: they can read what this user can read");
            Ok(None)
        }
    }
}

fn own_limits(config: &ExecutorConfig, in_sandbox: bool) -> Limits {
    let processes = config.limits.processes.or(in_sandbox.then_some(SANDBOX_PROCESSES));
    Limits { processes, ..config.limits }
}

fn groups() -> Option<Groups> {
    match Groups::take() {
        Ok(groups) => Some(groups),
        Err(reason) => {
            tracing::debug!(reason, "jobs are limited by the limits of their processes");
            None
        }
    }
}

async fn consume_notices(broker: &dyn Broker, config: &ExecutorConfig) -> Result<Consumer, BrokerError> {
    let queue = topology::executor(config.id);
    broker.declare(&queue).await?;
    broker.consume(&queue.name, ConsumeOptions { prefetch: NOTICES_PREFETCH, exclusive: true }).await
}

impl Executor {
    /// What a job may use here at most.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// How steps are kept from the rest of the machine.
    pub(crate) fn isolation(&self) -> Isolation {
        if self.guards.sandbox().is_some() { Isolation::Sandbox } else { Isolation::Plain }
    }

    async fn serve(self: Arc<Self>, notices: Option<Consumer>) {
        self.tasks.spawn(Arc::clone(&self).hear(notices));
        self.tasks.spawn(renew::keep(Arc::clone(&self)));
        self.tasks.spawn(claim::take_hints(Arc::clone(&self)));
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.drained() => self.shutdown.cancel(),
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.guards.cool_down().await;
        // No process of a job is left: what was not brought to its end is handed back.
        if self.running.leases().is_empty() {
            let (executor, incarnation) = (self.config.id, self.incarnation);
            let goodbye = ControlRequest::Deregister { executor, incarnation };
            let _ = self.ask(&goodbye, DEREGISTER_PATIENCE).await; // Control notices the silence as well.
        }
    }

    /// It is to take no more, and has ended what it had taken.
    async fn drained(&self) {
        self.config.draining.cancelled().await;
        // Each slot is held by who waits for a hint, claims, or runs a job.
        drop(self.slots.acquire_many(self.config.slots).await);
    }

    /// Asks control.
    ///
    /// # Errors
    /// One sentence, when there is no answer within `patience` or it cannot be read.
    pub(crate) async fn ask(&self, request: &ControlRequest, patience: Duration) -> Result<ControlReply, String> {
        let requester = Arc::clone(&lock(&self.requester));
        let answer = requester.request(topology::CONTROL, to_bytes(request), patience).await;
        let answer = answer.map_err(|error| error.to_string())?;
        from_bytes(&answer.body).map_err(|error| format!("control's answer cannot be read: {error}"))
    }

    /// Asks from a new reply queue from now on: the former one may be gone with a broker that was away.
    async fn ask_anew(&self) {
        if let Ok(requester) = Requester::start(Arc::clone(&self.broker)).await {
            *lock(&self.requester) = Arc::new(requester);
        }
    }

    /// Takes hints from exactly these queues from now on: control says so in a notice.
    fn serve_queues(&self, label_sets: Vec<LabelSet>) {
        let wanted: BTreeSet<LabelSet> = label_sets.into_iter().collect();
        self.queues.send_if_modified(|queues| {
            let changes = *queues != wanted;
            *queues = wanted;
            changes
        });
    }

    /// Takes hints from these queues as well. The answer to a registration may be older than a notice that was handled
    /// before it, so it takes no queue away.
    fn serve_also(&self, label_sets: Vec<LabelSet>) {
        self.queues.send_if_modified(|queues| {
            let before = queues.len();
            queues.extend(label_sets);
            queues.len() > before
        });
    }

    /// Hears control's notices until the shutdown.
    ///
    /// Their queue has one name for all incarnations, for control to find it. It may still be held by a connection that is
    /// gone, and on a cluster of RabbitMQ 4 for as long as that connection's node is down. Work goes on meanwhile: renewals
    /// and registrations tell what notices would have told, later.
    async fn hear(self: Arc<Self>, mut notices: Option<Consumer>) {
        let work = async {
            loop {
                while let Some(consumer) = &mut notices
                    && let Some(delivery) = consumer.next().await
                {
                    let message = delivery.message.clone();
                    delivery.ack();
                    self.obey(&message);
                }
                let mut pause = BROKER_BACK_OFF;
                notices = loop {
                    tokio::time::sleep(pause).await;
                    match consume_notices(&*self.broker, &self.config).await {
                        Ok(notices) => break Some(notices),
                        Err(error) if pause == BROKER_BACK_OFF => {
                            tracing::warn!(%error, "control's notices cannot be heard; it is tried again");
                        }
                        Err(_) => {}
                    }
                    pause = (pause * 2).min(NOTICES_BACK_OFF_MAX);
                };
            }
        };
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    fn obey(&self, message: &Incoming) {
        match from_bytes(&message.body) {
            Ok(ExecutorNotice::Queues { label_sets }) => self.serve_queues(label_sets),
            Ok(ExecutorNotice::Cancel { lease }) => {
                // Anybody who may publish could have said so: whether it is true a renewal tells. Of one that is not known
                // here, because it has ended or its grant is on its way, the next one does.
                if self.running.get(lease).is_some() {
                    self.renew_now.notify_one();
                }
            }
            Ok(ExecutorNotice::Now { lines }) => {
                let asked = Asked {
                    executor: self.config.id,
                    slots: self.config.slots,
                    running: self.running.leases().iter().map(|lease| lease.holder).collect(),
                    attempts: self.running.insights(),
                    lines,
                };
                let (broker, message, work_dir) =
                    (Arc::clone(&self.broker), message.clone(), self.config.work_dir.clone());
                // It reads the disk and decodes what may be some MiB.
                self.tasks.spawn_blocking(move || {
                    rpc::answer(&*broker, &message, to_bytes(now::answer(&asked, &work_dir)));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a notice to this executor cannot be read and goes to the dead letters");
                let reason = format!("executor {} cannot read this notice: {error}", self.config.name);
                let origin = Origin::named(topology::executor(self.config.id).name);
                let mut letter = Outgoing::dead(Arc::clone(&message.body), reason, origin);
                letter.message_id = message.message_id;
                drop(self.broker.publish(letter)); // Who sent it asks again.
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
