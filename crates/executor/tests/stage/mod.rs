//! A stage for an executor: the embedded broker, a control that follows a script, and a reader of all events. Steps
//! run under real bash, through a real guard.

#![allow(dead_code, reason = "each test file uses its part of the stage")]

mod flaky;

use std::{
    collections::{BTreeMap, VecDeque},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker::{
    Broker, ConsumeOptions, Incoming, Outgoing,
    embedded::{EmbeddedBroker, MemoryJournal},
    rpc, topology,
};
use executor::{ExecutorConfig, IsolationChoice, SandboxOptions};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    BuildId, Event, EventMessage, ExecutorId, JobId, LabelSet, LogLine, Outcome,
    mac::InstallationKey,
    pipeline::{Stderr, StepSpec},
    task::{ControlReply, ControlRequest, ExecutorNotice, Grant, Hint, LeaseRef, from_bytes, to_bytes},
};

/// Nothing that a test waits for takes longer; only a broken one gets there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL on this stage.
const KILL_AFTER: Duration = Duration::from_secs(3);
/// The same where jobs have containers: it is their engine that is told to ask, which takes it some of that time.
const KILL_AFTER_IN_CONTAINERS: Duration = Duration::from_secs(10);

pub(crate) const KEY: InstallationKey = InstallationKey([7; 32]);

/// What control heard of the end of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub lease: LeaseRef,
    pub outcome: Outcome,
    pub last_offset: Option<u64>,
    pub reason: Option<String>,
}

/// What control does when it is asked.
#[derive(Default)]
pub(crate) struct Script {
    pub grants: VecDeque<Grant>,
    /// So many claims get no answer.
    pub unanswered_claims: usize,
    pub claims: Vec<Uuid>,
    /// Renewals are answered with these as lost.
    pub lost: Vec<LeaseRef>,
    /// And with these as to be cancelled.
    pub cancelled: Vec<LeaseRef>,
    /// Renewals are answered with this.
    pub hold: bool,
    /// Renewals get no answer.
    pub silent: bool,
    pub renewals: usize,
    /// What was to be renewed.
    pub renewed: Vec<LeaseRef>,
    granted: BTreeMap<Uuid, Grant>,
}

pub(crate) struct Stage {
    pub broker: Arc<dyn Broker>,
    pub journal: Arc<MemoryJournal>,
    pub script: Arc<Mutex<Script>>,
    pub finished: mpsc::UnboundedReceiver<Finished>,
    pub registered: mpsc::UnboundedReceiver<Uuid>,
    pub id: ExecutorId,
    pub dir: tempfile::TempDir,
    pub shutdown: CancellationToken,
    pub executor: JoinHandle<()>,
    /// Taken from their queue at once: it ends when its reader is slow.
    events: mpsc::UnboundedReceiver<Incoming>,
    flaky: Arc<flaky::Flaky>,
    stop: CancellationToken,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.stop.cancel();
    }
}

/// Whether this run of the suite is the one in sandboxes: `STEPCAST_TEST_ISOLATION=sandbox`, with one thread, so that
/// processes can be told apart.
pub(crate) fn in_sandbox() -> bool {
    std::env::var("STEPCAST_TEST_ISOLATION").is_ok_and(|isolation| isolation == "sandbox")
}

pub(crate) fn config(id: ExecutorId, work_dir: PathBuf) -> ExecutorConfig {
    ExecutorConfig {
        id,
        secret: None,
        name: "stage".to_owned(),
        labels: LabelSet::default(),
        slots: 2,
        log_limit: executor::LOG_LIMIT,
        upload: executor::UploadBy::default(),
        git_allowed: vec![executor::GitAllowed::Folder(std::env::temp_dir())],
        step_files: None,
        isolation: if in_sandbox() { IsolationChoice::Sandbox } else { IsolationChoice::Plain },
        containers: executor::ContainersChoice::Off,
        sandbox: SandboxOptions::default(),
        limits: wire::Limits::default(),
        work_dir,
        draining: CancellationToken::new(),
        guard_program: env!("CARGO_BIN_EXE_executor-guard").into(),
    }
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with_lease(10_000).await
    }

    /// Leases last `lease_ms`.
    pub(crate) async fn with_lease(lease_ms: u64) -> Self {
        Self::with(lease_ms, |_| false).await
    }

    /// Leases last `lease_ms`; `on_ended` is done by bash, in the stage's directory, before the executor hears a guard's
    /// last word, which stands in `$line`.
    pub(crate) async fn with_guards_that(lease_ms: u64, on_ended: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (program, guard) = (dir.path().join("guard.sh"), env!("CARGO_BIN_EXE_executor-guard"));
        let ended = format!(r#"case $line in '{{"is":"ended"'*) {on_ended};; esac; printf '%s\n' "$line""#);
        let read = format!(r#"while IFS= read -r line; do {ended}; done"#);
        let text = format!("#!/bin/bash\ncd '{}'\n'{guard}' \"$@\" | {read}\n", dir.path().display());
        // By another process: a guard that another test begins at that moment would have it open to write, and the system
        // then runs it for nobody ("text file busy").
        let mut write = std::process::Command::new("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&program).arg(text);
        assert!(write.status().unwrap().success());
        // Plain in any case: the trial of sandboxes would wait for such a guard's last word.
        Self::build_with(lease_ms, |_| false, dir, program, |config| config.isolation = IsolationChoice::Plain).await
    }

    /// Leases last `lease_ms`; the n-th event that the executor publishes is lost if `loses` says so.
    pub(crate) async fn with(lease_ms: u64, loses: fn(usize) -> bool) -> Self {
        let guard = env!("CARGO_BIN_EXE_executor-guard").into();
        Self::build(lease_ms, loses, tempfile::tempdir().unwrap(), guard).await
    }

    /// The executor's configuration is changed before it starts.
    pub(crate) async fn configured(change: impl FnOnce(&mut ExecutorConfig)) -> Self {
        let guard = env!("CARGO_BIN_EXE_executor-guard").into();
        Self::build_with(10_000, |_| false, tempfile::tempdir().unwrap(), guard, change).await
    }

    /// Leases last `lease_ms`; containers come from the engine at `socket`.
    pub(crate) async fn with_engine(lease_ms: u64, socket: PathBuf) -> Self {
        let guard = env!("CARGO_BIN_EXE_executor-guard").into();
        let change = |config: &mut ExecutorConfig| config.containers = executor::ContainersChoice::Socket(socket);
        Self::build_with(lease_ms, |_| false, tempfile::tempdir().unwrap(), guard, change).await
    }

    async fn build(lease_ms: u64, loses: fn(usize) -> bool, dir: tempfile::TempDir, guard_program: PathBuf) -> Self {
        Self::build_with(lease_ms, loses, dir, guard_program, |_| {}).await
    }

    async fn build_with(
        lease_ms: u64,
        loses: fn(usize) -> bool,
        dir: tempfile::TempDir,
        guard_program: PathBuf,
        change: impl FnOnce(&mut ExecutorConfig),
    ) -> Self {
        let journal = Arc::new(MemoryJournal::default());
        let stop = CancellationToken::new();
        let kept: Arc<dyn broker::embedded::Journal> = journal.clone();
        let broker: Arc<dyn Broker> = EmbeddedBroker::start(kept, stop.clone()).await.unwrap();
        let queue = topology::Queue {
            name: "all-events".to_owned(),
            kind: topology::QueueKind::Private,
            bindings: vec!["job.*".to_owned()],
        };
        broker.declare(&queue).await.unwrap();
        broker.bind(&queue.name, "job.*").await.unwrap();
        let mut consumer =
            broker.consume(&queue.name, ConsumeOptions { prefetch: 1000, exclusive: true }).await.unwrap();
        let (event, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                let _ = event.send(delivery.message.clone()); // Fails when the test is over.
                delivery.ack();
            }
        });
        let (script, (finishes, finished), (registers, registered)) =
            (Arc::<Mutex<Script>>::default(), mpsc::unbounded_channel(), mpsc::unbounded_channel());
        broker.declare(&topology::control()).await.unwrap();
        let options = ConsumeOptions { prefetch: 100, exclusive: false };
        let mut control = broker.consume(topology::CONTROL, options).await.unwrap();
        tokio::spawn({
            let (broker, script) = (Arc::clone(&broker), Arc::clone(&script));
            async move {
                while let Some(delivery) = control.next().await {
                    let message = delivery.message.clone();
                    delivery.ack();
                    let request = from_bytes(&message.body).unwrap();
                    let answer = answer(&script, request, lease_ms, &finishes, &registers);
                    if let Some(answer) = answer {
                        rpc::answer(&*broker, &message, to_bytes(answer));
                    }
                }
            }
        });
        let (id, shutdown) = (ExecutorId(Uuid::new_v4()), CancellationToken::new());
        let flaky = Arc::new(flaky::Flaky { inner: Arc::clone(&broker), events: AtomicUsize::new(0), loses });
        let executor = tokio::spawn({
            let mut config = ExecutorConfig { guard_program, ..config(id, dir.path().join("work")) };
            // Steps of the suite talk to their test by files in the stage's directory, whoever they run as.
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
            config.sandbox.write.push(dir.path().to_owned());
            config.sandbox.read.extend(Path::new(env!("CARGO_BIN_EXE_executor-guard")).parent().map(Path::to_owned));
            change(&mut config);
            let has_containers = matches!(config.containers, executor::ContainersChoice::Socket(_));
            let kill_after = if has_containers { KILL_AFTER_IN_CONTAINERS } else { KILL_AFTER };
            let (broker, shutdown) = (flaky.clone(), shutdown.clone());
            async move { executor::run_with(broker, config, kill_after, shutdown).await.unwrap() }
        });
        Self { broker, journal, script, finished, registered, id, dir, shutdown, executor, events, flaky, stop }
    }

    /// How many events the executor published, those included that were lost.
    pub(crate) fn published(&self) -> usize {
        self.flaky.events.load(Ordering::Relaxed)
    }

    /// Makes a job runnable and hints at it.
    pub(crate) async fn trigger(&self, grant: Grant) {
        self.trigger_on(LabelSet::default(), grant).await;
    }

    /// The same on another queue.
    pub(crate) async fn trigger_on(&self, label_set: LabelSet, grant: Grant) {
        self.script.lock().unwrap().grants.push_back(grant);
        self.hint(label_set).await;
    }

    /// Hints at work, whether there is any or not.
    pub(crate) async fn hint(&self, label_set: LabelSet) {
        self.broker.declare(&topology::tasks(&label_set)).await.unwrap();
        let key = label_set.to_string();
        self.broker.publish(Outgoing::new(topology::Exchange::Tasks, key, to_bytes(Hint { label_set }))).await.unwrap();
    }

    /// The next event of any job, its MAC verified.
    pub(crate) async fn event(&mut self) -> (EventMessage, Event) {
        let message = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").unwrap();
        let message = EventMessage::decode(&message.body).unwrap();
        assert!(KEY.verify_event(&message), "an event without a genuine MAC");
        let event = message.parse().unwrap();
        (message, event)
    }

    /// An event that is here already, or comes within a moment.
    pub(crate) async fn event_within(&mut self, patience: Duration) -> Option<Event> {
        let message = tokio::time::timeout(patience, self.events.recv()).await.ok()??;
        Some(EventMessage::decode(&message.body).unwrap().parse().unwrap())
    }

    /// The first line of any job that fits.
    pub(crate) async fn line(&mut self, fits: impl Fn(&LogLine) -> bool) -> LogLine {
        loop {
            if let (_, Event::Log { lines, .. }) = self.event().await
                && let Some(line) = lines.into_iter().find(&fits)
            {
                return line;
            }
        }
    }

    /// Waits until the executor has heard the answers to all registrations but the last one.
    pub(crate) async fn registered_again(&mut self) {
        while self.registered.try_recv().is_ok() {}
        for _ in 0..2 {
            tokio::time::timeout(PATIENCE, self.registered.recv()).await.expect("a registration in time").unwrap();
        }
    }

    /// Waits until the executor has heard the answers to so many further renewals, but the last one.
    pub(crate) async fn renewed(&self, times: usize) {
        let until = self.script.lock().unwrap().renewals + times;
        let wait = async {
            while self.script.lock().unwrap().renewals < until {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the renewals in time");
    }

    /// Control tells the executor something.
    pub(crate) async fn notify(&self, notice: ExecutorNotice) {
        let queue = topology::executor(self.id).name;
        self.broker.publish(Outgoing::new(topology::Exchange::Direct, queue, to_bytes(notice))).await.unwrap();
    }

    pub(crate) async fn end(&mut self) -> Finished {
        tokio::time::timeout(PATIENCE, self.finished.recv()).await.expect("a finish in time").unwrap()
    }

    /// Runs a job to its end and tells all its events, whose offsets have no gaps.
    pub(crate) async fn run(&mut self, grant: Grant) -> (Vec<Event>, Finished) {
        self.trigger(grant).await;
        self.rest().await
    }

    /// The events that are still to come of the only job that runs.
    pub(crate) async fn rest(&mut self) -> (Vec<Event>, Finished) {
        let finished = self.end().await;
        let mut events = Vec::new();
        let mut next = None;
        while let Some(last) = finished.last_offset {
            let (message, event) = self.event().await;
            assert_eq!(next.unwrap_or(message.offset), message.offset, "a gap in the offsets");
            next = Some(message.offset + 1);
            events.push(event);
            if message.offset == last {
                break;
            }
        }
        (events, finished)
    }
}

fn answer(
    script: &Mutex<Script>,
    request: ControlRequest,
    lease_ms: u64,
    finishes: &mpsc::UnboundedSender<Finished>,
    registers: &mpsc::UnboundedSender<Uuid>,
) -> Option<ControlReply> {
    let mut script = script.lock().unwrap();
    Some(match request {
        ControlRequest::Register { incarnation, .. } => {
            let _ = registers.send(incarnation);
            ControlReply::Registered { label_sets: vec![LabelSet::default()], lease_ms }
        }
        ControlRequest::Claim { claim_id, .. } => {
            script.claims.push(claim_id);
            if !script.granted.contains_key(&claim_id)
                && let Some(mut grant) = script.grants.pop_front()
            {
                grant.lease_ms = lease_ms;
                script.granted.insert(claim_id, grant);
            }
            if script.unanswered_claims > 0 {
                script.unanswered_claims -= 1;
                return None;
            }
            match script.granted.get(&claim_id) {
                Some(grant) => ControlReply::Granted(Box::new(grant.clone())),
                None => ControlReply::Nothing {},
            }
        }
        ControlRequest::Renew { leases, .. } => {
            script.renewals += 1;
            script.renewed.extend(&leases);
            if script.silent {
                return None;
            }
            let cancelled = leases.iter().copied().filter(|lease| script.cancelled.contains(lease)).collect();
            let (lost, held) = leases.into_iter().partition(|lease| script.lost.contains(lease));
            ControlReply::Renewed { held, lost, cancelled, lease_ms, hold: script.hold }
        }
        ControlRequest::Finish { lease, outcome, last_offset, reason, .. } => {
            let _ = finishes.send(Finished { lease, outcome, last_offset, reason });
            ControlReply::Done {}
        }
        ControlRequest::Deregister { .. } => ControlReply::Done {},
    })
}

/// A job with these steps.
pub(crate) fn job(steps: &[&str]) -> Grant {
    let lease = LeaseRef { job: JobId(Uuid::now_v7()), attempt: 1 };
    let step = |run: &&str| StepSpec {
        name: (*run).to_owned(),
        run: (*run).to_owned(),
        env: BTreeMap::new(),
        stderr: Stderr::Merged,
    };
    Grant {
        lease,
        lease_ms: 0,
        build: BuildId(Uuid::now_v7()),
        number: 7,
        pipeline: "site".parse().unwrap(),
        job_name: "check".to_owned(),
        source: None,
        env: BTreeMap::new(),
        files: Vec::new(),
        steps: steps.iter().map(step).collect(),
        artifacts: Vec::new(),
        timeout_seconds: 3600,
        log_limit: None,
        image: None,
        network: true,
        limits: wire::Limits::default(),
        event_key: KEY.event_key(lease.job, lease.attempt),
        job_token: KEY.job_token(lease.job, lease.attempt),
        upload_url: "http://127.0.0.1:9".to_owned(),
        secrets: None,
        reply: None,
    }
}

/// The lines of events, open ones left out.
pub(crate) fn lines(events: &[Event]) -> Vec<LogLine> {
    let mut all = Vec::new();
    for event in events {
        if let Event::Log { lines, .. } = event {
            all.extend(lines.iter().filter(|line| !line.open).cloned());
        }
    }
    all
}

/// Their texts.
pub(crate) fn texts(events: &[Event]) -> Vec<String> {
    lines(events).into_iter().map(|line| line.text).collect()
}

/// Waits until a process is gone. One that nobody has collected yet (a zombie) runs no more.
pub(crate) async fn gone(pid: &str) {
    let wait = async {
        while runs(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the process ends");
}

/// Whether a process runs that a step has told of; in a sandbox by the number that it has there.
pub(crate) fn runs(pid: &str) -> bool {
    let lives = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    if in_sandbox() { inside(pid.trim()).is_some_and(|pid| lives(&pid)) } else { lives(pid.trim()) }
}

/// The number out here of a process below this one which has another number in its sandbox.
pub(crate) fn inside(pid: &str) -> Option<String> {
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let is_mine = |pid: &str| {
        let mut pid = pid.to_owned();
        while !matches!(pid.as_str(), "" | "0" | "1") {
            if pid == std::process::id().to_string() {
                return true;
            }
            pid = field(&status(&pid), "PPid:");
        }
        false
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut all = all.filter_map(|entry| entry.file_name().into_string().ok());
    all.find(|outside| {
        let numbers = field(&status(outside), "NSpid:");
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&pid) && is_mine(outside)
    })
}
