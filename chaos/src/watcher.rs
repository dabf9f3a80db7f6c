//! A watching client: it follows builds on a socket, loses the socket, comes back and resumes, reads from the record what it
//! is told to read, and looks at every line. Its connection is in `socket.rs`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use wire::{
    BuildId, ClientFrame, Event, JobId, Position, SocketMeta, Topic,
    event::Recorded,
    frame::{EventFrame, Incoming, ResumeOutcome, Resumed},
    topic::TopicPosition,
};

use crate::{
    api::Api,
    failure::Result,
    ledger::Ledger,
    random::Random,
    reading::{self, Page, Place},
    socket::{Heard, PING_EVERY, Socket},
    track::{Offer, Track},
};

/// The wait before the record is read again that did not reach far enough.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// What `job_finished` names may still be on its way for so long.
const LATE: Duration = Duration::from_secs(2);
/// The wait before a connection is tried again.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// What a watcher is told to do.
pub(crate) enum Order {
    /// Its socket meta, for a trigger; none while it has none.
    Meta(oneshot::Sender<Option<SocketMeta>>),
    /// To follow a build; with the meta that its trigger named if this is the one who asked.
    Watch(BuildId, Option<SocketMeta>),
    /// To say what it has of a build and its jobs: the next offset of the build's topic, and of each attempt.
    Tell(BuildId, Vec<JobId>, oneshot::Sender<Told>),
    /// To leave a build and its jobs.
    Leave(BuildId, Vec<JobId>),
}

/// See [`Order::Tell`].
pub(crate) struct Told {
    pub(crate) build: u64,
    /// By job and attempt: lines, and whether something is still to be read.
    pub(crate) attempts: BTreeMap<(JobId, u32), (u64, bool)>,
}

/// A page that was read, or why not.
struct Done {
    topic: Topic,
    epoch: u32,
    page: Result<Page>,
}

/// See the module.
pub(crate) struct Watcher {
    name: String,
    api: Api,
    ledger: Arc<Ledger>,
    random: Random,
    /// When it cuts its connections no more; none if it never does.
    cuts_until: Option<Instant>,
    orders: mpsc::Receiver<Order>,
    done: mpsc::Receiver<Done>,
    tell_done: mpsc::Sender<Done>,
    meta: Option<SocketMeta>,
    resume: Option<String>,
    /// Followed builds; whether they were asked for by this client, so that their events come unasked.
    builds: HashMap<BuildId, bool>,
    tracks: BTreeMap<(Topic, u32), Track>,
    left: HashSet<Topic>,
    subscribed: HashSet<Topic>,
    /// Topics of which a gap was told on this connection.
    gap_told: HashSet<Topic>,
    /// The last offset of each epoch that came on this connection.
    here: HashMap<(Topic, u32), u64>,
    to_send: Vec<ClientFrame>,
}

impl Watcher {
    /// Starts one; it ends when nobody can give it orders any more.
    /// Every other one cuts its connection now and then, until `until`; the others show whether it is told all without that.
    pub(crate) fn start(
        number: usize,
        api: Api,
        ledger: Arc<Ledger>,
        random: Random,
        until: Instant,
    ) -> mpsc::Sender<Order> {
        let (give, orders) = mpsc::channel(64);
        let (tell_done, done) = mpsc::channel(64);
        let watcher = Self {
            name: format!("watcher {number}"),
            api,
            ledger,
            random,
            cuts_until: number.is_multiple_of(2).then_some(until),
            orders,
            done,
            tell_done,
            meta: None,
            resume: None,
            builds: HashMap::new(),
            tracks: BTreeMap::new(),
            left: HashSet::new(),
            subscribed: HashSet::new(),
            gap_told: HashSet::new(),
            here: HashMap::new(),
            to_send: Vec::new(),
        };
        tokio::spawn(watcher.run());
        give
    }

    async fn run(mut self) {
        loop {
            let mut socket = None;
            while socket.is_none() {
                match Socket::open(&self.api).await {
                    Ok(opened) => socket = Some(opened),
                    Err(failure) => {
                        self.ledger.note(&format!("{}: {failure}", self.name));
                        if !self.away(CONNECT_AGAIN).await {
                            return;
                        }
                    }
                }
            }
            let Some(socket) = socket else { return };
            self.ledger.count("sockets opened");
            match self.live(socket).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => self.ledger.broken(&format!("{}: {failure}", self.name)),
            }
            self.here.clear();
            self.gap_told.clear();
            let away = self.random.millis(0, 3_000);
            if !self.away(away).await {
                return;
            }
        }
    }

    /// Takes orders and pages while there is no socket. False when it is to end.
    async fn away(&mut self, time: Duration) -> bool {
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return true,
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order, false),
                    None => return false,
                },
                Some(done) = self.done.recv() => self.has_read(done),
            }
        }
    }

    /// One connection. False when it is to end.
    async fn live(&mut self, mut socket: Socket) -> Result<bool> {
        self.subscribed.clear();
        let lives = self.random.millis(4_000, 40_000);
        let cut = Instant::now() + lives;
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut greeted = false;
        loop {
            for frame in std::mem::take(&mut self.to_send) {
                socket.send(&frame).await;
            }
            tokio::select! {
                heard = socket.next() => match heard? {
                    Heard::Closed(code) => {
                        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                        self.ledger.count(format!("sockets closed by the other side (code {code})"));
                        self.ledger.note(&format!("{}: closed, code {code}", self.name));
                        return Ok(true);
                    }
                    Heard::Frame(frame) => self.frame(*frame, &mut greeted)?,
                },
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order, greeted),
                    None => return Ok(false),
                },
                Some(done) = self.done.recv() => self.has_read(done),
                _ = ping.tick() => {
                    if Instant::now() > cut && self.cuts_until.is_some_and(|until| Instant::now() < until) {
                        self.ledger.count("sockets cut by the watcher");
                        self.ledger.note(&format!("{}: cuts its connection", self.name));
                        return Ok(true);
                    }
                    if socket.is_silent() {
                        self.ledger.count("sockets given up for their silence");
                        self.ledger.note(&format!("{}: nothing is heard", self.name));
                        return Ok(true);
                    }
                    self.to_send.push(ClientFrame::Ping {});
                }
            }
        }
    }

    fn obey(&mut self, order: Order, live: bool) {
        match order {
            Order::Meta(answer) => {
                let _ = answer.send(self.meta.clone()); // Who asked may be gone.
            }
            Order::Watch(build, asked) => {
                // Who has moved to another worker since the trigger must subscribe like anybody else.
                let own = asked.is_some() && asked == self.meta;
                self.builds.insert(build, own);
                let key = (Topic::Build(build), 1);
                let track = self.tracks.entry(key).or_default();
                if own {
                    // What came before this client knew of the build, as a page reads it.
                    track.to_the_end = true;
                    self.read_on(key, Duration::ZERO);
                } else if live {
                    self.subscribe(Topic::Build(build));
                }
            }
            Order::Tell(build, jobs, answer) => {
                let of_build = self.tracks.get(&(Topic::Build(build), 1)).map_or(0, |track| track.next);
                let tracks = self.tracks.iter().filter_map(|((topic, epoch), track)| match topic {
                    Topic::Job(job) if jobs.contains(job) => Some(((*job, *epoch), (track.lines.next, track.wants()))),
                    _ => None,
                });
                let _ = answer.send(Told { build: of_build, attempts: tracks.collect() });
            }
            Order::Leave(build, jobs) => {
                self.builds.remove(&build);
                for topic in jobs.into_iter().map(Topic::Job).chain([Topic::Build(build)]) {
                    self.tracks.retain(|(of, _), _| *of != topic);
                    self.left.insert(topic);
                    self.subscribed.remove(&topic);
                    if live {
                        self.to_send.push(ClientFrame::Unsubscribe { topic: topic.to_string(), id: None });
                    }
                }
            }
        }
    }

    fn subscribe(&mut self, topic: Topic) {
        if self.left.contains(&topic) || !self.subscribed.insert(topic) {
            return;
        }
        let position = self.position(topic);
        self.to_send.push(ClientFrame::Subscribe {
            topic: topic.to_string(),
            position,
            id: None,
            query: None,
            patch: false,
        });
    }

    /// The last event of the newest epoch that was applied.
    fn position(&self, topic: Topic) -> Option<Position> {
        let ((_, epoch), track) = self.tracks.range((topic, 0)..=(topic, u32::MAX)).next_back()?;
        track.next.checked_sub(1).map(|offset| Position { epoch: *epoch, offset })
    }

    fn frame(&mut self, frame: Incoming, greeted: &mut bool) -> Result<()> {
        match frame {
            Incoming::Hello { client_id, server_id, resume, resumed, .. } => {
                let first = !std::mem::replace(greeted, true);
                match (&self.resume, first) {
                    (Some(former), true) => {
                        let mut topics: Vec<Topic> = self.tracks.keys().map(|(topic, _)| *topic).collect();
                        topics.dedup();
                        let positions =
                            topics.iter().map(|topic| TopicPosition { topic: *topic, position: self.position(*topic) });
                        let frame = ClientFrame::Attach { resume: former.clone(), positions: positions.collect() };
                        self.to_send.push(frame);
                        self.subscribed.extend(topics);
                        return Ok(());
                    }
                    (Some(_), false) if !resumed => {
                        self.ledger
                            .broken(&format!("{}: attached, and the second hello names a new client", self.name));
                    }
                    (Some(_), false) => self.ledger.count("sockets that came back as the same client"),
                    (None, _) => {}
                }
                if self.meta.as_ref().is_some_and(|meta| meta.client_id != client_id) {
                    self.ledger.broken(&format!("{}: attached, and has become another client", self.name));
                }
                (self.meta, self.resume) = (Some(SocketMeta { client_id, server_id }), Some(resume));
                let others: Vec<BuildId> =
                    self.builds.iter().filter(|(_, own)| !**own).map(|(build, _)| *build).collect();
                others.into_iter().for_each(|build| self.subscribe(Topic::Build(build)));
            }
            Incoming::Event(event) => self.event(event),
            Incoming::Resumed(resumed) => self.resumed(resumed),
            Incoming::Recorded(Recorded { topic, epoch, offset: Some(offset), .. }) if !self.left.contains(&topic) => {
                let track = self.tracks.entry((topic, epoch)).or_default();
                track.must = track.must.max(Some(offset));
                // The events themselves may still be on their way.
                self.read_on((topic, epoch), LATE);
            }
            Incoming::Problem { title, detail, .. } => {
                self.ledger.count(format!("frames that were answered by a problem: {title}"));
                self.ledger.note(&format!("{}: {title}: {detail}", self.name));
            }
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self, event: EventFrame) {
        let (topic, epoch, offset) = (event.topic, event.epoch, event.offset);
        if self.left.contains(&topic) {
            return;
        }
        let here = self.here.insert((topic, epoch), offset);
        if here.is_some_and(|here| offset <= here) {
            self.ledger
                .broken(&format!("{}: {topic} epoch {epoch}: offset {offset} came twice on one connection", self.name));
        }
        let track = self.tracks.entry((topic, epoch)).or_default();
        let (offer, ready) = track.offer(event);
        match offer {
            Offer::Taken => self.ledger.add("events applied live", ready.len() as u64),
            Offer::Known => self.ledger.count("events that were known already, after a resume"),
            // The record that was read after a gap may have been behind: such a jump was announced.
            Offer::Waits if !track.reading && !self.gap_told.contains(&topic) => {
                self.ledger.count("jumps without a word of a gap");
                let next = track.next;
                self.ledger.note(&format!("{}: {topic} epoch {epoch} jumps from {next} to {offset}", self.name));
            }
            Offer::Waits => {}
        }
        ready.into_iter().for_each(|event| self.apply(event));
        self.read_on((topic, epoch), Duration::ZERO);
    }

    fn apply(&mut self, event: EventFrame) {
        let (topic, epoch) = (event.topic, event.epoch);
        match event.event {
            Event::Log { step, lines } => {
                self.ledger.add("lines seen live", lines.len() as u64);
                for line in lines {
                    self.line((topic, epoch), step, &line);
                }
            }
            Event::JobQueued { job, .. } | Event::JobStarted { job, .. } => {
                let Topic::Build(build) = topic else { return };
                if self.builds.get(&build) == Some(&false) {
                    self.tracks.entry((Topic::Job(job), 1)).or_default();
                    self.subscribe(Topic::Job(job));
                }
            }
            Event::JobFinished { job, attempt, last_offset: Some(last), .. } => {
                let key = (Topic::Job(job), attempt);
                let track = self.tracks.entry(key).or_default();
                track.must = track.must.max(Some(last));
                self.read_on(key, LATE);
            }
            _ => {}
        }
    }

    fn line(&mut self, key: (Topic, u32), step: u32, line: &wire::LogLine) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.lines.has(line) {
            return;
        }
        if let Err(wrong) = track.lines.take(step, line) {
            self.ledger.broken(&format!("{}: {} attempt {}: {wrong}", self.name, key.0, key.1));
            // Told once; what follows would be wrong for the same reason.
            track.lines.next = line.n + 1;
        }
    }

    fn resumed(&mut self, resumed: Resumed) {
        if self.left.contains(&resumed.topic) {
            return;
        }
        let key = (resumed.topic, resumed.epoch);
        // What follows an answer begins at the position that was asked for, whatever came before it.
        self.here.retain(|(topic, _), _| *topic != resumed.topic);
        let track = self.tracks.entry(key).or_default();
        let Resumed { topic, outcome, epoch, from, to } = resumed;
        self.ledger.note(&format!("{}: {topic} epoch {epoch} {outcome:?} from {from} to {to:?}", self.name));
        match resumed.outcome {
            ResumeOutcome::Complete => {
                self.ledger.count("topics resumed: complete");
                if resumed.from > track.next && !track.wants() {
                    let told = format!(
                        "{}: {} goes on at {} and is called complete for who has {}",
                        self.name, key.0, resumed.from, track.next
                    );
                    self.ledger.broken(&told);
                }
            }
            ResumeOutcome::Gap => {
                self.ledger.count("topics resumed: gap");
                self.gap_told.insert(topic);
                match resumed.to {
                    Some(to) => track.must = track.must.max(Some(to)),
                    None => track.to_the_end = true,
                }
                self.read_on(key, Duration::ZERO);
            }
        }
    }

    /// Reads the record if something is missing, after `wait`.
    fn read_on(&mut self, key: (Topic, u32), wait: Duration) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.reading || !track.wants() {
            return;
        }
        track.reading = true;
        let (topic, epoch) = key;
        let next = if matches!(topic, Topic::Job(_)) { track.lines.from() } else { track.next };
        let (api, tell) = (self.api.clone(), self.tell_done.clone());
        tokio::spawn(async move {
            let page = reading::read(api, Place { topic, epoch, next }, wait).await;
            let _ = tell.send(Done { topic, epoch, page }).await; // The watcher may have ended.
        });
    }

    fn has_read(&mut self, done: Done) {
        let key = (done.topic, done.epoch);
        let Some(track) = self.tracks.get_mut(&key) else { return };
        track.reading = false;
        let mut wait = READ_AGAIN;
        let ready = match done.page {
            Err(failure) => {
                self.ledger.broken(&format!("{}: the record of {}: {failure}", self.name, done.topic));
                return;
            }
            Ok(Page::Events(events)) => {
                track.to_the_end = false;
                let mut ready = Vec::new();
                for event in events {
                    match serde_json::from_value::<EventFrame>(event) {
                        Ok(event) => {
                            self.ledger.count("events applied from the record");
                            ready.extend(track.offer(event).1);
                        }
                        Err(wrong) => self.ledger.broken(&format!("{}: an event of the record: {wrong}", self.name)),
                    }
                }
                ready
            }
            Ok(Page::Lines(page)) => {
                let reached = page.lines.last().map_or(track.lines.next, |last| last.line.n + 1) >= page.total;
                if reached {
                    track.to_the_end = false;
                } else {
                    wait = Duration::ZERO;
                }
                let ready = match page.offset {
                    Some(offset) if reached && offset >= track.next => track.reached(offset),
                    _ => Vec::new(),
                };
                if page.sealed && reached && track.must >= Some(track.next) {
                    // The attempt was lost with these events on its lips.
                    track.must = None;
                }
                self.ledger.add("lines seen from the record", page.lines.len() as u64);
                for line in &page.lines {
                    self.line(key, line.step, &line.line);
                }
                ready
            }
        };
        ready.into_iter().for_each(|event| self.apply(event));
        self.read_on(key, wait);
    }
}
