//! Gateway workers: the gateway's own ([`gateway::driven`]), each with its queue at the broker. A worker can be stopped, lose
//! its connection, and come back to its queue or to a new one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{BoxFuture, topology};
use gateway::{Desk, GatewayConfig, Limits, LiveResult, MayWatch, SocketOut, driven::Driven};
use serde_json::{Value, json};
use tokio::sync::watch;
use wire::{
    Authority, BuildId, ClientId, Problem, ServerId, SocketMeta, Topic,
    authority::{Grants, Role},
    command::{Command, Query},
    mac::InstallationKey,
};

use crate::{
    bus::{Bus, Hand, Op},
    dice::Dice,
};

/// What the server answers; of a build only its jobs.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) builds: Mutex<BTreeMap<BuildId, Value>>,
}

impl Desk for Server {
    fn command(&self, _: &Authority, _: Command, _: SocketMeta) -> BoxFuture<'static, (u16, Value)> {
        Box::pin(async { (501, Value::Null) })
    }
    fn query(&self, _: &Authority, query: Query) -> BoxFuture<'static, (u16, Value)> {
        let found = match query {
            Query::Build { id } => self.builds.lock().unwrap().get(&id).cloned(),
            _ => None,
        };
        Box::pin(async move { found.map_or((404, Value::Null), |body| (200, body)) })
    }
    fn live(&self, _: &Authority, _: Query) -> BoxFuture<'static, Result<watch::Receiver<Arc<LiveResult>>, Problem>> {
        Box::pin(async { Err(Problem::new(501, "none", "no live queries here")) })
    }
    fn may_watch(&self, _: &Authority, _: Topic) -> MayWatch {
        MayWatch::Known(true)
    }
    fn attached(&self, _: ClientId, _: ServerId) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) driven: Option<Driven>,
    pub(crate) consuming: bool,
    /// In this life.
    consumed: bool,
    server_id: ServerId,
    pub(crate) queue: String,
    hand: Hand,
    /// What it has asked the broker for.
    ops: Vec<Op>,
    /// What it had asked for when its connection was cut: never answered.
    limbo: Vec<Op>,
    config: GatewayConfig,
    server: Arc<Server>,
}

/// More than a schedule has. With fewer a worker forgets topics, and may send again what it has forgotten.
pub(crate) const ADDRESSED_TOPICS: usize = 100;

/// Limits that are met in a short schedule, most of the time.
pub(crate) fn limits(dice: &mut Dice) -> Limits {
    if dice.percent(30) {
        return Limits::default();
    }
    Limits {
        send_queue_frames_max: dice.between(6, 40),
        replay_frames_max: dice.between(4, 60),
        replay_topics_max: dice.between(2, 8),
        addressed_topics_per_client_max: if dice.percent(30) { dice.between(2, 8) } else { ADDRESSED_TOPICS },
        ..Limits::default()
    }
}

impl Worker {
    pub(crate) fn new(n: usize, key: &InstallationKey, limits: Limits, server: &Arc<Server>) -> Self {
        let server_id = ServerId::new("sim", n).unwrap();
        let config = GatewayConfig {
            instance: "sim".to_owned(),
            workers: 1,
            affinity: Duration::from_secs(300),
            ping: Duration::from_secs(25),
            key: key.clone(),
            version: "simulation".to_owned(),
            limits,
        };
        Self {
            driven: None,
            consuming: false,
            consumed: false,
            queue: topology::gateway(&server_id, config.affinity).name,
            server_id,
            hand: Hand::default(),
            ops: Vec::new(),
            limbo: Vec::new(),
            config,
            server: Arc::clone(server),
        }
    }

    /// Starts if it is stopped; declares and consumes its queue if it does not.
    pub(crate) fn come(&mut self, bus: &mut Bus, turn: impl FnOnce()) -> bool {
        if self.driven.is_none() {
            let (broker, desk) = (Arc::new(self.hand.clone()), Arc::clone(&self.server));
            self.driven = Some(Driven::new(self.server_id.clone(), broker, desk, self.config.clone()));
            self.consumed = false;
        }
        let Some(driven) = self.driven.as_mut().filter(|_| !self.consuming) else { return false };
        bus.queues.entry(self.queue.clone()).or_default().bindings.insert(self.server_id.to_string());
        driven.holds(&self.queue);
        self.consuming = true;
        // Tasks that waited for a queue may see it before the worker does.
        turn();
        self.look();
        if let Some(driven) = &mut self.driven {
            driven.consuming(self.consumed);
        }
        self.consumed = true;
        self.limbo.clear();
        true
    }

    /// Its connection to the broker is cut. Some of what it has asked for was done, without its hearing of it.
    pub(crate) fn cut(&mut self, bus: &mut Bus, dice: &mut Dice) {
        if !std::mem::take(&mut self.consuming) {
            return;
        }
        for op in std::mem::take(&mut self.ops) {
            match dice.percent(50) {
                true => bus.perform(op),
                false => self.limbo.push(op),
            }
        }
        if let Some(driven) = &mut self.driven {
            driven.not_consuming();
        }
        bus.requeue(&self.queue);
    }

    /// The process is killed.
    pub(crate) fn kill(&mut self, bus: &mut Bus, dice: &mut Dice) {
        self.cut(bus, dice);
        self.driven = None;
        self.limbo.clear();
    }

    /// Looks what its tasks have asked for.
    pub(crate) fn look(&mut self) {
        let mut asked = self.hand.take();
        asked.sort_by_key(Op::rank);
        match self.consuming {
            true => self.ops.extend(asked),
            false => self.limbo.extend(asked),
        }
    }

    pub(crate) fn has_ops(&self) -> bool {
        !self.ops.is_empty()
    }

    /// Something that it has asked for is done.
    pub(crate) fn perform(&mut self, bus: &mut Bus, dice: &mut Dice) -> bool {
        if self.ops.is_empty() {
            return false;
        }
        // Those about one key keep their order.
        let (_, key) = self.ops[dice.below(self.ops.len())].rank();
        let place = self.ops.iter().position(|op| op.rank().1 == key).unwrap_or(0);
        bus.perform(self.ops.remove(place));
        true
    }

    /// Messages reach it; some acks reach the broker.
    pub(crate) fn deliver(&mut self, bus: &mut Bus, dice: &mut Dice) -> Result<bool, String> {
        let Some(driven) = self.driven.as_mut().filter(|_| self.consuming) else { return Ok(false) };
        let deliveries = bus.take(&self.queue, dice.between(1, 6));
        let any = !deliveries.is_empty();
        driven.deliver(deliveries);
        if dice.percent(70) {
            bus.settle(&self.queue)?;
        }
        Ok(any)
    }

    pub(crate) fn open(&mut self, socket: u64) -> bool {
        let Some(driven) = self.driven.as_mut() else { return false };
        driven.open(socket, Authority::new("somebody", None, "somebody", Grants::everywhere(Role::Admin)), "session");
        true
    }

    pub(crate) fn next(&mut self, socket: u64) -> Option<SocketOut> {
        self.driven.as_mut()?.next(socket)
    }
}

/// What the worker reads of a build's view: its jobs and their attempts.
pub(crate) fn jobs(build: &store::model::Build) -> Value {
    let jobs: Vec<Value> = build.jobs.iter().map(|job| json!({"id": job.id, "attempt": job.attempt})).collect();
    json!({"jobs": jobs})
}

#[test]
fn p3_an_unbinding_that_waited_for_the_broker_does_not_undo_a_later_binding() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let topic = "build.00000000-0000-0000-0000-000000000001";
    let say = |kind: &str| format!(r#"{{"type":"{kind}","topic":"{topic}"}}"#);
    // Which of two tasks goes first is chosen at random.
    for seed in 0..32 {
        let (mut bus, mut dice) = (Bus::default(), Dice::new(seed));
        let mut worker = Worker::new(0, &InstallationKey([7; 32]), Limits::default(), &Arc::default());
        worker.come(&mut bus, || {});
        assert!(worker.open(1) && worker.open(2));
        let mut rest = |worker: &mut Worker, bus: &mut Bus| {
            for _ in 0..20 {
                crate::world::turn(&runtime);
                worker.look();
                worker.perform(bus, &mut dice);
                worker.driven.as_mut().unwrap().take_reports();
            }
        };
        let hear = |worker: &mut Worker, socket, text| worker.driven.as_mut().unwrap().text(socket, text);
        hear(&mut worker, 1, say("subscribe"));
        rest(&mut worker, &mut bus);
        worker.cut(&mut bus, &mut Dice::new(seed));
        hear(&mut worker, 1, say("unsubscribe"));
        rest(&mut worker, &mut bus);
        hear(&mut worker, 2, say("subscribe"));
        worker.come(&mut bus, || {});
        rest(&mut worker, &mut bus);
        assert!(bus.queues[&worker.queue].bindings.contains(topic), "seed {seed}: nobody hears of the topic any more");
    }
}
