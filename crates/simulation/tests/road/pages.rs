//! Pages: the app's own model of an open build ([`LiveBuild`]), and the walk of its socket around it. That walk is written
//! once more here, because `app/src/live/socket.rs` is bound to the browser's WebSocket.

use std::collections::{HashSet, VecDeque};

use app::live::{
    build::{Fetched, LiveBuild},
    heard::{self, Heard},
    own::Own,
    stray::Stray,
    track::Read,
};
use wire::{
    BuildId, ClientFrame, JobId, Position, SocketMeta, Topic,
    event::Recorded,
    topic::TopicPosition,
    view::{BuildView, LogPage, State},
};

/// A connection to a worker.
pub(crate) struct Link {
    pub(crate) worker: usize,
    pub(crate) socket: u64,
    /// Nothing comes twice.
    once: bool,
    ready: bool,
    attaching: bool,
    /// It has its former client id, and may be told of topics that it does not watch any more.
    taken_up: bool,
    /// What was heard: nothing comes twice.
    heard: HashSet<(Topic, u32, u64)>,
    /// Topics that were asked for, and those that were asked for again, from an older position perhaps.
    asked: HashSet<Topic>,
    again: HashSet<Topic>,
    /// On their way to the worker, and from it.
    pub(crate) up: VecDeque<String>,
    pub(crate) down: VecDeque<String>,
}

/// A request that a page has made, and what was found.
pub(crate) enum Asked {
    Build(Option<Box<BuildView>>),
    Log(JobId, u32, u64, Option<LogPage>),
    Head(JobId, u32, Option<Recorded>),
}

/// See the module.
pub(crate) struct Page {
    pub(crate) build: BuildId,
    pub(crate) live: LiveBuild,
    pub(crate) link: Option<Link>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) meta: Option<SocketMeta>,
    pub(crate) own: Own,
    resume: Option<String>,
    attached: HashSet<Topic>,
    subscribed: HashSet<Topic>,
    watched: HashSet<Topic>,
    stray: Stray,
    seen: Vec<(Topic, Option<Position>)>,
}

impl Page {
    /// A page that was just loaded.
    pub(crate) fn new(view: BuildView, own: Own) -> Self {
        let mut page = Self {
            build: view.summary.id,
            live: LiveBuild::new(view),
            link: None,
            asked: Vec::new(),
            meta: None,
            own,
            resume: None,
            attached: HashSet::new(),
            subscribed: HashSet::new(),
            watched: HashSet::new(),
            stray: Stray::default(),
            seen: Vec::new(),
        };
        page.watched = page.live.positions().into_iter().map(|(topic, _)| topic).collect();
        page
    }

    pub(crate) fn connect(&mut self, worker: usize, socket: u64, once: bool) {
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let (ready, attaching, taken_up) = (false, false, false);
        let (heard, asked, again) = (HashSet::new(), HashSet::new(), HashSet::new());
        self.link = Some(Link { worker, socket, once, ready, attaching, taken_up, heard, asked, again, up, down });
    }

    /// The socket is lost.
    pub(crate) fn lose(&mut self) {
        if self.link.take().is_some_and(|link| link.ready) {
            self.live.away();
        }
    }

    fn send(&mut self, frame: &ClientFrame) {
        if let Some(link) = &mut self.link {
            link.up.push_back(serde_json::to_string(frame).unwrap());
        }
    }

    fn subscribe(&mut self, topic: Topic, position: Option<Position>) {
        self.subscribed.insert(topic);
        if let Some(link) = &mut self.link
            && (!link.asked.insert(topic) || link.taken_up || link.heard.iter().any(|(known, ..)| *known == topic))
        {
            link.again.insert(topic);
        }
        let (topic, id) = (topic.to_string(), Some(topic.to_string()));
        self.send(&ClientFrame::Subscribe { topic, position, id, query: None, patch: false });
    }

    fn is_own(&self) -> bool {
        self.own.comes_to(self.build, self.meta.as_ref())
    }

    /// Follows another job's log.
    pub(crate) fn choose(&mut self, job: JobId) {
        if self.live.chosen() == Some(job) {
            return;
        }
        self.live.choose(job, None);
        self.live.force();
        self.changed();
    }

    /// The tab has triggered a build with its socket, and goes on to the build's page.
    pub(crate) fn go_to(&mut self, view: BuildView, socket: SocketMeta) {
        self.build = view.summary.id;
        self.own.asked_for(self.build, socket);
        let former: Vec<Topic> = self.watched.drain().collect();
        self.leave(former);
        self.live = LiveBuild::new(view);
        self.asked.clear();
        self.changed();
    }

    fn leave(&mut self, mut topics: Vec<Topic>) {
        topics.sort_unstable();
        let is_ready = self.link.as_ref().is_some_and(|link| link.ready);
        for topic in topics {
            if self.subscribed.remove(&topic) && is_ready {
                self.send(&ClientFrame::Unsubscribe { topic: topic.to_string(), id: None });
            }
        }
    }

    /// What is watched has changed.
    fn changed(&mut self) {
        let positions = self.live.positions();
        let wanted: HashSet<Topic> = positions.iter().map(|(topic, _)| *topic).collect();
        let left = self.watched.difference(&wanted).copied().collect();
        self.leave(left);
        let is_ready = self.link.as_ref().is_some_and(|link| link.ready);
        let own = self.is_own();
        let mut strays = Vec::new();
        for (topic, position) in positions {
            if self.watched.contains(&topic) {
                continue;
            }
            strays.extend(self.stray.take(topic));
            if !own && is_ready {
                self.subscribe(topic, position);
            }
        }
        self.watched = wanted;
        for frame in strays {
            self.live.event(frame.read().unwrap());
        }
        self.seen = self.live.positions();
    }

    /// A frame arrives.
    pub(crate) fn hear(&mut self, text: &str) -> Result<(), String> {
        let Some(frame) = heard::read(text) else { return Err(format!("a page cannot read the frame {text}")) };
        if let (Heard::Event(event), Some(link)) = (&frame, &mut self.link)
            && !link.heard.insert((event.topic, event.epoch, event.offset))
            && link.once
            && !link.again.contains(&event.topic)
        {
            let (topic, epoch, offset) = (event.topic, event.epoch, event.offset);
            return Err(format!("P3: a socket was sent offset {offset} of epoch {epoch} of {topic} twice"));
        }
        match frame {
            Heard::Hello { meta, resume, resumed, .. } => self.greet(meta, resume, resumed),
            Heard::Event(frame) if self.watched.contains(&frame.topic) => {
                let frame = frame.read().map_err(|failure| failure.to_string())?;
                self.live.event(frame);
            }
            Heard::Event(frame) => self.stray.keep(frame),
            Heard::Resumed(resumed) if self.watched.contains(&resumed.topic) => self.live.resumed(&resumed),
            Heard::Recorded(hint) if self.watched.contains(&hint.topic) => {
                self.live.recorded(&hint);
            }
            Heard::Problem { title, detail, .. } => return Err(format!("a page was told: {title}: {detail}")),
            _ => {}
        }
        self.only_forward()
    }

    /// Positions never go back (P3).
    pub(crate) fn only_forward(&mut self) -> Result<(), String> {
        let now = self.live.positions();
        for (topic, position) in &now {
            let before = self.seen.iter().find(|(known, _)| known == topic).and_then(|(_, position)| *position);
            let begins_anew = position.is_none() && matches!(topic, Topic::Job(_));
            if *position < before && !begins_anew {
                return Err(format!("P3: a page went back in {topic} from {before:?} to {position:?}"));
            }
        }
        self.seen = now;
        Ok(())
    }

    fn greet(&mut self, meta: SocketMeta, resume: String, resumed: bool) {
        let former = self.resume.replace(resume);
        self.meta = Some(meta);
        let Some(link) = &mut self.link else { return };
        if std::mem::take(&mut link.attaching) {
            return self.settle(resumed);
        }
        let Some(former) = former else { return self.settle(false) };
        link.attaching = true;
        let positions = self.live.positions();
        let positions: Vec<_> =
            positions.into_iter().map(|(topic, position)| TopicPosition { topic, position }).collect();
        self.attached = positions.iter().map(|known| known.topic).collect();
        self.send(&ClientFrame::Attach { resume: former, positions });
    }

    /// The socket can be used. `taken_up`: with the former client id.
    fn settle(&mut self, taken_up: bool) {
        if let Some(link) = &mut self.link {
            (link.ready, link.attaching, link.taken_up) = (true, false, taken_up);
        }
        self.subscribed.clear();
        let attached = std::mem::take(&mut self.attached);
        if self.is_own() {
            return;
        }
        for (topic, position) in self.live.positions() {
            if taken_up && attached.contains(&topic) {
                self.subscribed.insert(topic);
            } else {
                self.subscribe(topic, position);
            }
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.ready && link.up.is_empty() && link.down.is_empty())
    }

    /// Where this tab sits, to be sent with a command.
    pub(crate) fn socket(&self) -> Option<SocketMeta> {
        self.meta.clone().filter(|_| self.link.as_ref().is_some_and(|link| link.ready))
    }

    /// What it does every five seconds: a build with a job that waits for an executor is read anew.
    pub(crate) fn tick(&mut self) {
        let view = self.live.view();
        let met = |name: &String| view.jobs.iter().any(|job| job.name == *name && job.state == State::Finished);
        let waits = view.jobs.iter().any(|job| job.state == State::Queued && job.needs.iter().all(met));
        if view.summary.state != State::Finished && waits {
            self.live.force();
        }
    }

    /// What it has to ask for, each thing once at a time. Whether there was anything.
    pub(crate) fn ask(&mut self) -> bool {
        let before = self.asked.len();
        if self.live.need() > Read::No && !self.asked.iter().any(|asked| matches!(asked, Asked::Build(_))) {
            self.live.reading();
            self.asked.push(Asked::Build(None));
        }
        if let Some((job, attempt)) = self.live.unsettled()
            && !self.asked.iter().any(|asked| matches!(asked, Asked::Head(..)))
        {
            self.asked.push(Asked::Head(job, attempt, None));
        }
        if let (Some(job), Some(log)) = (self.live.chosen(), self.live.log())
            && !self.asked.iter().any(|asked| matches!(asked, Asked::Log(..)))
            && let Some(from) = (0..log.total()).find(|n| log.get(*n).is_none())
        {
            self.asked.push(Asked::Log(job, log.attempt(), from, None));
        }
        self.asked.len() > before
    }

    /// An answer arrives; `failed` if it was not reached after all.
    pub(crate) fn answered(&mut self, asked: Asked, failed: bool) -> Result<(), String> {
        match asked {
            Asked::Build(Some(view)) if !failed => {
                self.live.adopt(*view);
            }
            Asked::Build(_) => self.live.force(),
            Asked::Log(job, attempt, _, Some(page)) if !failed => {
                let offset = page.position.map(|position| position.offset);
                let (lines, total, sealed) = (page.lines, Some(page.total), page.sealed);
                self.live.fetched(job, attempt, &Fetched { lines, total, offset, sealed });
            }
            Asked::Head(job, attempt, head) if !failed => {
                let nothing = Recorded { topic: Topic::Job(job), epoch: attempt, offset: None, sealed: false };
                self.live.recorded(&head.unwrap_or(nothing));
            }
            _ => {}
        }
        self.only_forward()
    }
}
