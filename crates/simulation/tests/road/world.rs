//! The world of one schedule: every part of the road, a clock, and the steps that can happen next. One step is one choice of
//! the dice; nothing else decides anything, so a seed is a schedule.

use std::sync::Arc;

use app::live::own::Own;
use broker::{Outgoing, topology::Exchange};
use gateway::SocketOut;
use tokio::runtime::Runtime;
use uuid::Uuid;
use wire::{
    EventMessage, ExecutorId, Timestamp, Topic,
    event::{Recorded, encode_recorded},
    mac::InstallationKey,
    task::Reply,
};

use crate::{
    builds::{self, Control},
    bus::Bus,
    dice::Dice,
    executors::{Answer, Executor, Request},
    pages::{Asked, Page},
    record::{Counter, Record},
    workers::{self, Server, Worker},
};

/// Where a consumer group is stopped when its process dies.
pub(crate) enum Stage {
    Idle,
    Read(Vec<EventMessage>, usize),
    /// What it applied is to be told.
    Applied(Vec<Recorded>),
}

/// Tasks run until all of them wait.
pub(crate) fn turn(runtime: &Runtime) {
    runtime.block_on(async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    });
}

/// See the module.
pub(crate) struct World {
    pub(crate) dice: Dice,
    /// Microseconds; it never goes back. The executors' clocks count with it.
    now: i64,
    /// By how much the database's clock is ahead.
    pub(crate) skew: i64,
    /// The database's clock has jumped forward: leases ran out before their time.
    pub(crate) jumped: bool,
    pub(crate) bus: Bus,
    pub(crate) control: Control,
    pub(crate) record: Record,
    pub(crate) counter: Counter,
    pub(crate) recorder: Stage,
    pub(crate) counting: Stage,
    hints: u64,
    /// Of a hundred hints of the recorder so many are lost: to be right nobody may need them.
    pub(crate) hints_lost: usize,
    pub(crate) executors: Vec<Executor>,
    pub(crate) requests: Vec<Request>,
    pub(crate) answers: Vec<Answer>,
    /// Events that a stopped executor had composed while it trusted its lease, by its connection.
    pub(crate) late: Vec<(u64, Outgoing)>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) pages: Vec<Page>,
    /// Sockets whose worker has not noticed that they are gone.
    gone: Vec<(usize, u64)>,
    /// Workers may forget what they have sent, and send it twice.
    forgets: bool,
    next: u64,
    server: Arc<Server>,
    pub(crate) key: InstallationKey,
    runtime: Arc<Runtime>,
    /// What has happened, where somebody wants to read it.
    pub(crate) trace: Option<Vec<String>>,
}

/// What keys of attempts, and control's, are derived from.
pub(crate) const KEY: InstallationKey = InstallationKey([7; 32]);

impl World {
    pub(crate) fn new(seed: u64, traced: bool, runtime: Arc<Runtime>) -> Self {
        let mut dice = Dice::new(seed);
        let (key, server) = (KEY, Arc::<Server>::default());
        let limits = workers::limits(&mut dice);
        let forgets = limits.addressed_topics_per_client_max < workers::ADDRESSED_TOPICS;
        let count = dice.between(1, 3);
        let workers = (0..count).map(|n| Worker::new(n, &key, limits.clone(), &server)).collect();
        let executor = |n: usize| Executor {
            id: ExecutorId(Uuid::from_u128(1000 + n as u128)),
            incarnation: Uuid::from_u128(1),
            up: false,
            claim: None,
            held: Vec::new(),
        };
        let executors = (0..dice.between(1, 3)).map(executor).collect();
        let mut bus = Bus::default();
        let hints = bus.publisher();
        Self {
            dice,
            now: 1_000_000_000,
            skew: 0,
            jumped: false,
            bus,
            control: Control::default(),
            record: Record::default(),
            counter: Counter::default(),
            recorder: Stage::Idle,
            counting: Stage::Idle,
            hints,
            hints_lost: 0,
            executors,
            requests: Vec::new(),
            answers: Vec::new(),
            late: Vec::new(),
            workers,
            pages: Vec::new(),
            gone: Vec::new(),
            forgets,
            next: 100,
            server,
            key,
            runtime,
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.now / 1000).unwrap()
    }

    /// The database's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp(self.now + self.skew)
    }

    pub(crate) fn pass(&mut self, micros: usize) {
        self.now += i64::try_from(micros).unwrap();
        let now = self.ms();
        self.executors.iter_mut().for_each(|executor| self.late.extend(executor.end_untrusted(now)));
    }

    /// The database's clock jumps, or is set back.
    pub(crate) fn jump(&mut self) {
        let by = i64::try_from(self.dice.below(20_000_000)).unwrap();
        if self.dice.percent(50) {
            self.skew += by;
            self.jumped = true;
        } else {
            self.skew -= by;
        }
    }

    /// Tasks of the workers run until all of them wait.
    fn turn(&mut self) {
        turn(&self.runtime);
        self.workers.iter_mut().for_each(Worker::look);
    }

    /// Somebody triggers a build, perhaps from a page that is open.
    pub(crate) fn trigger(&mut self) {
        let socket = match self.pages.is_empty() || self.dice.percent(30) {
            true => None,
            false => {
                let place = self.dice.below(self.pages.len());
                self.pages[place].socket().map(|socket| (place, socket))
            }
        };
        let reply = socket.clone().map(|(_, meta)| Reply { server_id: meta.server_id, client_id: meta.client_id });
        let n = u128::from(self.id());
        let build = builds::plan(n, reply, &mut self.dice);
        let (id, now) = (build.id, self.clock());
        self.control.create(build, now);
        if let Some((place, meta)) = socket {
            // The tab goes on to the new build's page, with its socket.
            let view = self.record.view(&self.control, id);
            self.pages[place].go_to(view, meta);
        }
        self.note(|| format!("build {id} is accepted"));
    }

    pub(crate) fn new_page(&mut self) {
        let builds: Vec<_> = self.control.builds.keys().copied().collect();
        let Some(id) = self.dice.pick(&builds) else { return };
        let mut page = Page::new(self.record.view(&self.control, id), Own::default());
        self.choose_in(&mut page);
        self.pages.push(page);
    }

    fn choose_in(&mut self, page: &mut Page) {
        let jobs: Vec<_> = page.live.view().jobs.iter().map(|job| job.id).collect();
        if let Some(job) = self.dice.pick(&jobs) {
            page.choose(job);
        }
    }

    pub(crate) fn choose(&mut self) {
        if self.pages.is_empty() {
            return;
        }
        let place = self.dice.below(self.pages.len());
        let jobs: Vec<_> = self.pages[place].live.view().jobs.iter().map(|job| job.id).collect();
        if let Some(job) = self.dice.pick(&jobs) {
            self.pages[place].choose(job);
        }
    }

    /// A page opens a socket, most often at the worker that it had before.
    pub(crate) fn connect(&mut self, place: usize) -> bool {
        if self.pages[place].link.is_some() {
            return false;
        }
        let former = self.pages[place].meta.as_ref().map(|meta| meta.server_id.worker());
        let any = self.dice.below(self.workers.len());
        let worker = former.filter(|_| self.dice.percent(75)).unwrap_or(any);
        let socket = self.id();
        if !self.workers[worker].open(socket) {
            return false;
        }
        self.pages[place].connect(worker, socket, !self.forgets);
        self.note(|| format!("page {place} connects to worker {worker} as socket {socket}"));
        true
    }

    pub(crate) fn lose(&mut self, place: usize) {
        if let Some(link) = &self.pages[place].link {
            self.gone.push((link.worker, link.socket));
            self.pages[place].lose();
            self.note(|| format!("page {place} loses its socket"));
        }
    }

    /// A worker notices that a socket is gone.
    pub(crate) fn notice_gone(&mut self) -> bool {
        if self.gone.is_empty() {
            return false;
        }
        let (worker, socket) = self.gone.swap_remove(self.dice.below(self.gone.len()));
        if let Some(driven) = &mut self.workers[worker].driven {
            driven.gone(socket);
            self.turn();
        }
        true
    }

    pub(crate) fn kill_worker(&mut self, n: usize) {
        self.workers[n].kill(&mut self.bus, &mut self.dice);
        self.turn();
        for place in 0..self.pages.len() {
            if self.pages[place].link.as_ref().is_some_and(|link| link.worker == n) {
                self.pages[place].lose();
            }
        }
        self.gone.retain(|(worker, _)| *worker != n);
        self.note(|| format!("worker {n} is killed"));
    }

    /// Its messages die, or the whole queue with its bindings.
    pub(crate) fn expire_queue(&mut self, n: usize) {
        if self.workers[n].consuming {
            return;
        }
        let whole = self.dice.percent(50);
        if let Some(queue) = self.bus.queues.get_mut(&self.workers[n].queue) {
            let count = self.dice.below(queue.ready.len() + 1);
            queue.ready.drain(..count);
        }
        if whole {
            self.bus.queues.remove(&self.workers[n].queue);
        }
        self.note(|| format!("the queue of worker {n} expires, whole: {whole}"));
    }

    pub(crate) fn cut_worker(&mut self, n: usize) {
        self.workers[n].cut(&mut self.bus, &mut self.dice);
        self.turn();
        self.note(|| format!("worker {n} loses the broker"));
    }

    pub(crate) fn come_worker(&mut self, n: usize) -> bool {
        let (runtime, early) = (&self.runtime, self.dice.percent(30));
        let came = self.workers[n].come(&mut self.bus, || {
            if early {
                turn(runtime)
            }
        });
        if came {
            self.turn();
            self.note(|| format!("worker {n} consumes its queue"));
        }
        came
    }

    pub(crate) fn work(&mut self, n: usize) -> Result<bool, String> {
        let mut any = self.workers[n].deliver(&mut self.bus, &mut self.dice)?;
        if any {
            self.turn();
        }
        if self.workers[n].has_ops() && self.dice.percent(60) {
            any |= self.workers[n].perform(&mut self.bus, &mut self.dice);
            self.turn();
        }
        if self.dice.percent(60)
            && let Some(driven) = &mut self.workers[n].driven
            && driven.take_reports()
        {
            any = true;
            self.turn();
        }
        Ok(any)
    }

    /// Frames move between a page and its worker.
    pub(crate) fn frames(&mut self, place: usize) -> Result<bool, String> {
        let Some(link) = &mut self.pages[place].link else { return Ok(false) };
        let (worker, socket) = (link.worker, link.socket);
        let mut any = false;
        if self.dice.percent(60)
            && let Some(text) = link.up.pop_front()
        {
            let builds = self.control.builds.iter().map(|(id, build)| (*id, workers::jobs(build))).collect();
            *self.server.builds.lock().unwrap() = builds;
            if let Some(driven) = &mut self.workers[worker].driven {
                driven.text(socket, text);
            }
            self.turn();
            any = true;
        }
        for _ in 0..self.dice.below(8) {
            match self.workers[worker].next(socket) {
                Some(SocketOut::Text(text)) => {
                    if let Some(link) = &mut self.pages[place].link {
                        link.down.push_back(text.to_string());
                    }
                    any = true;
                }
                Some(_) => {
                    self.lose(place);
                    return Ok(true);
                }
                None => break,
            }
        }
        for _ in 0..self.dice.below(8) {
            let Some(text) = self.pages[place].link.as_mut().and_then(|link| link.down.pop_front()) else { break };
            self.note(|| format!("page {place} hears {text}"));
            self.pages[place].hear(&text)?;
            any = true;
        }
        Ok(any)
    }

    /// A page asks for what it needs; the record answers; the answer arrives. Each at its own time.
    pub(crate) fn read(&mut self, place: usize, failures: usize) -> Result<bool, String> {
        let mut any = self.dice.percent(60) && self.pages[place].ask();
        if self.pages[place].asked.is_empty() {
            return Ok(any);
        }
        let which = self.dice.below(self.pages[place].asked.len());
        let build = self.pages[place].build;
        match &mut self.pages[place].asked[which] {
            Asked::Build(found @ None) => *found = Some(Box::new(self.record.view(&self.control, build))),
            Asked::Log(job, attempt, from, found @ None) => *found = Some(self.record.log(*job, *attempt, *from)),
            Asked::Head(job, attempt, found @ None) => {
                *found = self.record.recorded(Topic::Job(*job), *attempt);
                if found.is_none() {
                    self.pages[place].asked.remove(which);
                }
            }
            _ => {
                let asked = self.pages[place].asked.remove(which);
                let failed = self.dice.percent(failures);
                self.note(|| format!("page {place} gets an answer, failed: {failed}"));
                self.pages[place].answered(asked, failed)?;
            }
        }
        any = true;
        Ok(any)
    }

    /// The recorder, or the counting group, goes one step on.
    pub(crate) fn group(&mut self, counting: bool, dies: bool) -> Result<bool, String> {
        let stage = if counting { &mut self.counting } else { &mut self.recorder };
        let stage = std::mem::replace(stage, Stage::Idle);
        let place = if counting { self.counter.place } else { self.record.place };
        let next = match stage {
            Stage::Idle => {
                let end = self.bus.stream.len().min(place + self.dice.between(1, 8));
                if end == place {
                    return Ok(false);
                }
                Stage::Read(self.entries(place, end)?, end)
            }
            Stage::Read(events, end) if dies => {
                // A large batch is several transactions: the first of them may be done, the place stays.
                let done = self.dice.below(events.len() + 1).min(end - place);
                let events = &events[..done];
                match counting {
                    // Its effect and its place are one transaction.
                    true => {}
                    false => drop(self.record.apply(events, None)),
                }
                Stage::Idle
            }
            Stage::Read(events, end) if counting => {
                self.counter.apply(&events, Some(end));
                Stage::Idle
            }
            Stage::Read(events, end) => Stage::Applied(self.record.apply(&events, Some(end))),
            Stage::Applied(hints) => {
                for hint in hints.iter().filter(|_| !dies) {
                    if self.dice.percent(self.hints_lost) {
                        continue;
                    }
                    let message = Outgoing::new(Exchange::Utils, hint.topic.to_string(), encode_recorded(hint));
                    self.bus.publish(self.hints, message);
                }
                Stage::Idle
            }
        };
        *(if counting { &mut self.counting } else { &mut self.recorder }) = next;
        Ok(true)
    }

    fn entries(&self, first: usize, end: usize) -> Result<Vec<EventMessage>, String> {
        let mut events = Vec::new();
        for body in &self.bus.stream[first..end] {
            let event = EventMessage::decode(body).map_err(|failure| failure.to_string())?;
            if matches!(event.topic, Topic::Job(_)) && !self.key.verify_event(&event) {
                return Err(format!("an event of {} is not signed", event.topic));
            }
            events.push(event);
        }
        Ok(events)
    }
}
