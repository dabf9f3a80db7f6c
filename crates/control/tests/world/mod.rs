//! A store, a broker, a relay and control as they run in one process, and an executor that is scripted by the test: it
//! speaks over the broker as any executor does, and runs nothing.

#![allow(dead_code, reason = "each test file uses its part of the world")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{
    Broker, ConsumeOptions, Consumer, Outgoing,
    embedded::{EmbeddedBroker, MemoryJournal},
    rpc::{RequestError, Requester},
    topology,
};
use control::{
    ensure_queues,
    pipeline::parse,
    plan::plan,
    service::{self, Brake, ControlConfig},
};
use store::{
    Builds, DeadLetters, Outbox,
    model::{Build, Created, NewBuild, Outbound, dead_letter::DeadLetter},
    sqlite::SqliteStore,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::Keyring;
use wire::{
    BuildId, ExecutorId, LabelSet, Outcome,
    command::Trigger,
    dead_letter::DeadLettersQuery,
    mac::InstallationKey,
    task::{ControlReply, ControlRequest, ExecutorNotice, Grant, Hint, LeaseRef, from_bytes, to_bytes},
};

/// Only an upper bound: what is waited for comes within milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough that it never runs out in a test.
pub const LONG: Duration = Duration::from_secs(120);

/// Everything but executors.
pub struct World {
    pub store: Arc<SqliteStore>,
    pub broker: Arc<EmbeddedBroker>,
    pub brake: Brake,
    lease: Duration,
    control: Option<(JoinHandle<()>, CancellationToken)>,
    relay: Option<JoinHandle<()>>,
    _shutdown: tokio_util::sync::DropGuard,
    folder: tempfile::TempDir,
}

/// What secrets are encrypted with.
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

impl World {
    pub async fn start(lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let shutdown = CancellationToken::new();
        let broker = EmbeddedBroker::start(Arc::new(MemoryJournal::default()), shutdown.clone()).await.unwrap();
        let brake = Brake::default();
        let _shutdown = shutdown.drop_guard();
        let mut world = Self { store, broker, brake, lease, control: None, relay: None, _shutdown, folder };
        world.start_relay();
        world.start_control();
        world
    }

    pub fn start_control(&mut self) {
        let stop = CancellationToken::new();
        let config = ControlConfig {
            lease: self.lease,
            upload_url: "http://127.0.0.1:3000".to_owned(),
            key: InstallationKey([7; 32]),
            secret_keys: control::secrets::SecretKeys::new(|| Keyring::parse(KEY).map_err(|wrong| wrong.to_string())),
            brake: self.brake.clone(),
        };
        let running = service::run(self.broker.clone(), self.store.clone(), config, stop.clone());
        self.control = Some((tokio::spawn(async move { running.await.unwrap() }), stop));
    }

    /// The store fails from now on: what is asked of it has no effect.
    pub async fn close_store(&mut self) {
        self.stop_relay().await;
        self.store.close().await;
    }

    /// The same database, opened anew, with a control that uses it.
    pub async fn reopen_store(&mut self) {
        self.store = SqliteStore::open(&self.folder.path().join("stepcast.db")).await.unwrap();
        self.start_relay();
        self.start_control();
    }

    pub async fn stop_control(&mut self) {
        let (running, stop) = self.control.take().unwrap();
        stop.cancel();
        timeout(PATIENCE, running).await.unwrap().unwrap();
    }

    pub fn start_relay(&mut self) {
        let (store, broker) = (self.store.clone(), self.broker.clone());
        self.relay = Some(tokio::spawn(async move { relay(&store, &*broker).await }));
    }

    /// What is announced from now on stays in the outbox, as when the process is killed behind the commit.
    pub async fn stop_relay(&mut self) {
        let relay = self.relay.take().unwrap();
        relay.abort();
        assert!(relay.await.unwrap_err().is_cancelled());
    }

    /// Starts a build of a pipeline whose jobs are given in YAML.
    pub async fn build(&self, jobs: &str) -> Build {
        self.build_of(&format!("{{name: site, jobs: {jobs}}}"), &Trigger::default()).await
    }

    /// Starts a build of a pipeline that is given as a whole.
    pub async fn build_of(&self, text: &str, trigger: &Trigger) -> Build {
        let (build, announcements) = plan(&parse(text).unwrap(), trigger, BuildId(Uuid::now_v7()), None).unwrap();
        match self
            .store
            .create_build(NewBuild { build, announcements, idempotency: None, told: None, delivery: None })
            .await
            .unwrap()
        {
            Created::New(build) => build,
            other => panic!("{other:?}"),
        }
    }

    /// Holds the one writer of the store inside a decision, as a slow disk does, until it is let go.
    pub async fn hold_writer(&self, build: &Build) -> HeldWriter {
        let (began, has_begun) = oneshot::channel();
        let (let_go, waits) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(Some((began, waits)));
        let decide = move |_: &mut Build, _| {
            // Other tasks of this thread go on elsewhere meanwhile.
            tokio::task::block_in_place(|| {
                if let Some((began, waits)) = held.lock().unwrap().take() {
                    began.send(()).unwrap();
                    let _ = waits.recv();
                }
            });
            Ok(Vec::new())
        };
        let (store, id) = (self.store.clone(), build.id);
        let holding = tokio::spawn(async move { drop(store.change_build(id, Box::new(decide)).await.unwrap()) });
        timeout(PATIENCE, has_begun).await.unwrap().unwrap();
        HeldWriter { let_go, holding }
    }

    /// The dead letters, oldest first, once there are so many.
    pub async fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        let found = timeout(PATIENCE, async {
            loop {
                let found = self.store.dead_letters(&DeadLettersQuery::default()).await.unwrap();
                if found.len() >= count {
                    break found;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut letters = Vec::new();
        for view in found.await.expect("no dead letter came").iter().rev() {
            letters.push(self.store.dead_letter(view.id).await.unwrap().unwrap());
        }
        letters
    }

    pub async fn load(&self, build: &Build) -> Build {
        self.store.load_build(build.id).await.unwrap().unwrap()
    }

    pub async fn consume(&self, queue: &str) -> Consumer {
        self.broker.consume(queue, ConsumeOptions { prefetch: 100, exclusive: false }).await.unwrap()
    }
}

/// A writer that does nothing else.
pub struct HeldWriter {
    let_go: std::sync::mpsc::Sender<()>,
    holding: JoinHandle<()>,
}

impl HeldWriter {
    pub async fn let_go(self) {
        drop(self.let_go);
        timeout(PATIENCE, self.holding).await.unwrap().unwrap();
    }
}

async fn relay(store: &SqliteStore, broker: &dyn Broker) {
    let mut changed = store.outbox_changed();
    let mut last = 0;
    loop {
        changed.mark_unchanged();
        let rows = store.outbox(last, 100).await.unwrap();
        for row in &rows {
            let message = match &row.outbound {
                Outbound::Event { server_id, message } => {
                    Outgoing::event(server_id.as_ref(), message.topic, message.encode())
                }
                Outbound::Hint { label_set } => {
                    ensure_queues(broker, std::slice::from_ref(label_set)).await.unwrap();
                    let body = to_bytes(Hint { label_set: label_set.clone() });
                    Outgoing::new(topology::Exchange::Tasks, label_set.to_string(), body)
                }
                Outbound::Notice { executor, notice } => {
                    Outgoing::new(topology::Exchange::Direct, topology::executor(*executor).name, to_bytes(notice))
                }
                Outbound::Callback { server_id, body, .. } => {
                    Outgoing::new(topology::Exchange::Utils, server_id.to_string(), body.clone())
                }
            };
            broker.publish(message).await.unwrap();
            last = row.id;
        }
        if rows.is_empty() {
            changed.changed().await.unwrap();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

pub fn labels(labels: &[&str]) -> LabelSet {
    LabelSet::new(labels.iter().map(|label| (*label).to_owned())).unwrap()
}

/// An executor that does what the test says.
pub struct Executor {
    pub id: ExecutorId,
    pub incarnation: Uuid,
    pub label_sets: Vec<LabelSet>,
    broker: Arc<EmbeddedBroker>,
    requester: Requester,
    notices: Consumer,
    hints: HashMap<LabelSet, Consumer>,
}

impl Executor {
    /// Registers a new executor.
    pub async fn start(world: &World, offered: &[&str]) -> Self {
        Self::start_as(world, ExecutorId(Uuid::new_v4()), offered).await
    }

    /// Registers a new incarnation of a known executor.
    pub async fn start_as(world: &World, id: ExecutorId, offered: &[&str]) -> Self {
        let queue = topology::executor(id);
        world.broker.declare(&queue).await.unwrap();
        let requester = Requester::start(world.broker.clone()).await.unwrap();
        let mut executor = Self {
            id,
            incarnation: Uuid::new_v4(),
            label_sets: Vec::new(),
            broker: world.broker.clone(),
            requester,
            notices: world.consume(&queue.name).await,
            hints: HashMap::new(),
        };
        executor.register(offered).await;
        executor
    }

    pub async fn register(&mut self, offered: &[&str]) {
        match self.ask(self.registration(self.incarnation, offered)).await {
            ControlReply::Registered { label_sets, .. } => self.label_sets = label_sets,
            other => panic!("{other:?}"),
        }
    }

    /// What it says of itself, as another start of it would.
    pub fn registration(&self, incarnation: Uuid, offered: &[&str]) -> ControlRequest {
        let (executor, name) = (self.id, "one".to_owned());
        let secret = Some(format!("the secret of {executor}").replace(' ', "-").try_into().expect("it is long enough"));
        ControlRequest::Register {
            executor,
            incarnation,
            name,
            labels: labels(offered),
            slots: 4,
            isolation: wire::Isolation::Plain,
            secret,
        }
    }

    /// Asks and does not wait for the answer.
    pub async fn tell(&self, request: ControlRequest) {
        let mut message = Outgoing::new(topology::Exchange::Direct, topology::CONTROL, to_bytes(request));
        message.mandatory = true;
        self.broker.publish(message).await.unwrap();
    }

    /// Claims and says how long it waits; gives up when no answer has come within `waits`.
    pub async fn claim_within(&self, set: &LabelSet, says: Duration, waits: Duration) -> Option<ControlReply> {
        let (executor, incarnation) = (self.id, self.incarnation);
        let patience_ms = millis(says);
        let claim_id = Uuid::new_v4();
        let claim = ControlRequest::Claim {
            claim_id,
            executor,
            incarnation,
            label_set: set.clone(),
            patience_ms,
            secrets_key: None,
        };
        match self.requester.request(topology::CONTROL, to_bytes(claim), waits).await {
            Ok(answer) => Some(from_bytes(&answer.body).unwrap()),
            Err(RequestError::NoAnswer { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    pub async fn ask(&self, request: ControlRequest) -> ControlReply {
        let answer = self.requester.request(topology::CONTROL, to_bytes(request), PATIENCE).await.unwrap();
        from_bytes(&answer.body).unwrap()
    }

    /// Waits for a hint.
    pub async fn hint(&mut self, set: &LabelSet) {
        if !self.hints.contains_key(set) {
            let queue = topology::tasks(set);
            self.broker.declare(&queue).await.unwrap();
            let options = ConsumeOptions { prefetch: 1, exclusive: false };
            self.hints.insert(set.clone(), self.broker.consume(&queue.name, options).await.unwrap());
        }
        let hint = timeout(PATIENCE, self.hints.get_mut(set).unwrap().next()).await.expect("no hint came").unwrap();
        assert_eq!(&from_bytes::<Hint>(&hint.message.body).unwrap().label_set, set);
        hint.ack();
    }

    pub async fn notice(&mut self) -> ExecutorNotice {
        let notice = timeout(PATIENCE, self.notices.next()).await.expect("no notice came").unwrap();
        let body = from_bytes(&notice.message.body).unwrap();
        notice.ack();
        body
    }

    pub async fn claim_as(&self, claim_id: Uuid, set: &LabelSet) -> ControlReply {
        self.claim_with(claim_id, set, None).await
    }

    /// With the public key that secrets are to be sealed with.
    pub async fn claim_with(&self, claim_id: Uuid, set: &LabelSet, secrets_key: Option<String>) -> ControlReply {
        let (executor, incarnation) = (self.id, self.incarnation);
        let claim = ControlRequest::Claim {
            claim_id,
            executor,
            incarnation,
            label_set: set.clone(),
            patience_ms: millis(PATIENCE),
            secrets_key,
        };
        self.ask(claim).await
    }

    pub async fn claim(&self, set: &LabelSet) -> Grant {
        match self.claim_as(Uuid::new_v4(), set).await {
            ControlReply::Granted(grant) => *grant,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for hints and claims until one of them was not stale, as executors do.
    pub async fn work(&mut self, set: &LabelSet) -> Grant {
        loop {
            self.hint(set).await;
            match self.claim_as(Uuid::new_v4(), set).await {
                ControlReply::Granted(grant) => return *grant,
                ControlReply::Nothing {} => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn renew(&self, leases: &[LeaseRef]) -> ControlReply {
        let (executor, incarnation, leases) = (self.id, self.incarnation, leases.to_vec());
        self.ask(ControlRequest::Renew { executor, incarnation, leases }).await
    }

    pub async fn finish(&self, lease: LeaseRef, outcome: Outcome) -> ControlReply {
        self.finish_as(Some(self.incarnation), lease, outcome).await
    }

    /// As another start of it would, or one that does not name itself.
    pub async fn finish_as(&self, incarnation: Option<Uuid>, lease: LeaseRef, outcome: Outcome) -> ControlReply {
        let executor = self.id;
        let request =
            ControlRequest::Finish { executor, incarnation, lease, outcome, last_offset: Some(1), reason: None };
        self.ask(request).await
    }
}
