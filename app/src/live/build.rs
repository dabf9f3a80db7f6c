//! A build that a page has open: its view, the log of the chosen job, and where it stands in both topics. Pure: frames
//! and readings come in, what changed goes out; the same steps run in the tests as in the browser.
//!
//! A reading is one answer of the record: the whole build with the positions that it includes. It settles the build's
//! topic and the chosen job's, steps and number of lines alike; the lines themselves are fetched where they are shown.

use wire::{
    Event, JobId, Position, Topic,
    event::Recorded,
    frame::{EventFrame, ResumeOutcome, Resumed},
    log::RecordedLine,
    view::{BuildView, JobView, LogPage, State},
};

use super::{
    Recovered,
    apply::{apply, begin_attempt},
    log::JobLog,
    track::{Read, Track},
    unrecorded::{Unrecorded, widen},
};

/// What a frame or a reading changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Something of the build, its jobs or steps.
    pub view: bool,
    /// Something of the chosen job's log.
    pub log: bool,
}

impl Changed {
    fn and(self, other: Changed) -> Changed {
        Changed { view: self.view || other.view, log: self.log || other.log }
    }
}

/// Lines that this page saw and that the record will never have, because their attempt died first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostLines {
    /// The job.
    pub job: JobId,
    /// The attempt that died.
    pub attempt: u32,
    /// The first of them, counted from 0.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

/// Lines of a log that were fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// From the one that was asked for.
    pub lines: Vec<RecordedLine>,
    /// How many were recorded then.
    pub total: Option<u64>,
    /// The last event of the job's topic that was recorded then.
    pub offset: Option<u64>,
    /// Nothing more was to be recorded then.
    pub sealed: bool,
}

#[derive(Clone, Debug)]
struct Chosen {
    job: JobId,
    track: Track,
    log: JobLog,
}

/// How much was missed while the socket was away.
#[derive(Clone, Debug)]
struct Recovering {
    attempt: u32,
    lines: u64,
    from_record: bool,
    unanswered: Vec<Topic>,
    follows: Vec<(Topic, Position)>,
}

/// A build that a page has open.
#[derive(Clone, Debug)]
pub struct LiveBuild {
    view: BuildView,
    track: Track,
    chosen: Option<Chosen>,
    unrecorded: Unrecorded,
    lost: Vec<LostLines>,
    recovering: Option<Recovering>,
}

impl LiveBuild {
    /// From the page's data.
    #[must_use]
    pub fn new(view: BuildView) -> Self {
        let track = Track::at(view.position.epoch, Some(view.position));
        let unrecorded = Unrecorded::default();
        Self { view, track, chosen: None, unrecorded, lost: Vec::new(), recovering: None }
    }

    /// As it is to be shown.
    #[must_use]
    pub fn view(&self) -> &BuildView {
        &self.view
    }

    /// The chosen job's log.
    #[must_use]
    pub fn log(&self) -> Option<&JobLog> {
        self.chosen.as_ref().map(|chosen| &chosen.log)
    }

    /// The chosen job's log, to put in what was fetched.
    pub fn log_mut(&mut self) -> Option<&mut JobLog> {
        self.chosen.as_mut().map(|chosen| &mut chosen.log)
    }

    /// Puts in what was fetched. A line without its end counts only if it is as new as all that was applied here: what
    /// ended it may be among that, and does not come again.
    pub fn fetched(&mut self, job: JobId, attempt: u32, fetched: &Fetched) {
        let is_of = |chosen: &&mut Chosen| (chosen.job, chosen.log.attempt()) == (job, attempt);
        let Some(chosen) = self.chosen.as_mut().filter(is_of) else { return };
        if let Some(total) = fetched.total {
            chosen.log.reach(total);
        }
        // In a sealed record a line without an end will never have one.
        let is_old = !fetched.sealed && fetched.offset.map_or(0, |offset| offset + 1) < chosen.track.next();
        for line in fetched.lines.iter().filter(|line| !(is_old && line.line.open)) {
            chosen.log.put_recorded(std::slice::from_ref(line));
        }
    }

    /// Lines seen that were never recorded, of all attempts seen.
    #[must_use]
    pub fn lost(&self) -> &[LostLines] {
        &self.lost
    }

    /// The job whose log is followed.
    #[must_use]
    pub fn chosen(&self) -> Option<JobId> {
        self.chosen.as_ref().map(|chosen| chosen.job)
    }

    /// Follows another job's log from what the view includes of it.
    pub fn choose(&mut self, id: JobId, page: Option<&LogPage>) {
        let Some(job) = self.view.jobs.iter().find(|job| job.id == id) else { return };
        let mut track = track_of(job);
        if job.sealed {
            track.seal(job.attempt, job.position.map(|position| position.offset));
        }
        let mut log = JobLog::new(track.epoch());
        if job.attempt == track.epoch() {
            log.reach(job.lines);
        }
        if let Some(page) = page.filter(|page| page.attempt == track.epoch()) {
            log.reach(page.total);
            log.put_recorded(&page.lines);
            // Read after the view, so it may know of more.
            track.recorded(page.attempt, page.position.map(|position| position.offset));
        }
        self.chosen = Some(Chosen { job: id, track, log });
        let watched = self.positions();
        let is_watched = |topic: &Topic| watched.iter().any(|(known, _)| known == topic);
        if let Some(recovering) = &mut self.recovering {
            recovering.unanswered.retain(is_watched);
            recovering.follows.retain(|(topic, _)| is_watched(topic));
        }
    }

    /// What is watched, and the position that the record of this page includes.
    #[must_use]
    pub fn positions(&self) -> Vec<(Topic, Option<Position>)> {
        let build = (Topic::Build(self.view.summary.id), self.track.position());
        let job = self.chosen.as_ref().map(|chosen| (Topic::Job(chosen.job), chosen.track.position()));
        std::iter::once(build).chain(job).collect()
    }

    /// Takes an event.
    pub fn event(&mut self, frame: EventFrame) -> Changed {
        let changed = match frame.topic {
            Topic::Build(id) if id == self.view.summary.id => {
                if self.track.begin(frame.epoch) {
                    self.track.force();
                }
                let ready = self.track.offer(frame);
                self.apply_all(ready)
            }
            Topic::Job(id) => {
                let attempt = frame.epoch;
                let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.job == id) else {
                    return Changed::default();
                };
                let ready = chosen.track.offer(frame);
                let begun = self.begin(id, attempt);
                let changed = self.apply_all(ready).and(Changed { view: begun, log: begun });
                // Said after the end of its attempt was recorded: shown, and never to be recorded.
                let end = self.chosen.as_ref().and_then(|chosen| Some((chosen.track.epoch(), chosen.track.end()?)));
                let lost = end.is_some_and(|(attempt, end)| self.seal(id, attempt, end));
                changed.and(Changed { view: false, log: lost })
            }
            Topic::Build(_) => Changed::default(),
        };
        self.catch_up();
        changed
    }

    /// Takes the answer to a subscription or to coming back.
    pub fn resumed(&mut self, resumed: &Resumed) {
        if let Some(recovering) = &mut self.recovering {
            recovering.unanswered.retain(|topic| *topic != resumed.topic);
            if let (ResumeOutcome::Complete, Some(to)) = (resumed.outcome, resumed.to) {
                recovering.follows.push((resumed.topic, Position { epoch: resumed.epoch, offset: to }));
            }
        }
        if resumed.outcome == ResumeOutcome::Gap {
            match resumed.topic {
                Topic::Build(id) if id == self.view.summary.id => self.track.gap(resumed),
                Topic::Job(id) => {
                    if let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.job == id) {
                        chosen.track.gap(resumed);
                    }
                    self.begin(id, resumed.epoch);
                }
                Topic::Build(_) => {}
            }
        }
        self.catch_up();
    }

    /// Takes what is known of the record of a topic, by a hint of the recorder or by looking ([`LiveBuild::unsettled`]).
    /// What it holds and this page does not is to be read. True when lines seen will never be recorded.
    pub fn recorded(&mut self, hint: &Recorded) -> bool {
        let id = match hint.topic {
            Topic::Build(id) if id == self.view.summary.id => {
                self.track.recorded(hint.epoch, hint.offset);
                return false;
            }
            Topic::Build(_) => return false,
            Topic::Job(id) => id,
        };
        if let Some(offset) = hint.offset {
            self.unrecorded.recorded(id, hint.epoch, offset);
        }
        if let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.job == id) {
            chosen.track.recorded(hint.epoch, hint.offset);
            self.begin(id, hint.epoch);
        }
        hint.sealed && self.seal(id, hint.epoch, hint.offset)
    }

    /// The server refused to tell of a topic: nothing more of it comes, and its record is read once.
    pub fn refused(&mut self, topic: Topic) {
        if let Some(recovering) = &mut self.recovering {
            recovering.unanswered.retain(|known| *known != topic);
            recovering.follows.retain(|(known, _)| *known != topic);
        }
        self.track.force();
    }

    /// An attempt that is no longer followed, of which lines were shown that the record has not confirmed: how far it is
    /// recorded has to be looked up, for nothing that comes tells it.
    #[must_use]
    pub fn unsettled(&self) -> Option<(JobId, u32)> {
        self.unrecorded.unsettled(self.chosen.as_ref().map(|chosen| (chosen.job, chosen.track.epoch())))
    }

    /// Asks for a reading, whatever the positions say.
    pub fn force(&mut self) {
        self.track.force();
    }

    /// Whether the record must be read.
    #[must_use]
    pub fn need(&self) -> Read {
        let job = self.chosen.as_ref().map_or(Read::No, |chosen| chosen.track.need());
        let end = if self.lacks_end() { Read::Soon } else { Read::No };
        self.track.need().max(job).max(end)
    }

    /// The attempt that is followed is over, but its record is not complete yet. How it stands is control's word, its log
    /// the recorder's, which may be behind.
    fn lacks_end(&self) -> bool {
        let chosen = self.view.jobs.iter().find(|job| Some(job.id) == self.chosen());
        chosen.is_some_and(|job| job.state != State::Running && job.attempt > 0 && !job.sealed)
    }

    /// A reading begins.
    pub fn reading(&mut self) {
        self.track.reading();
        if let Some(chosen) = &mut self.chosen {
            chosen.track.reading();
        }
    }

    /// Takes what the record answered. What this page has applied beyond it is kept.
    pub fn adopt(&mut self, mut read: BuildView) -> Changed {
        if read.position.epoch > self.view.position.epoch {
            return self.begin_anew(read);
        }
        let mut changed = Changed { view: true, log: false };
        let mut ready = Vec::new();
        let mut sealed = None;
        if let Some(chosen) = &mut self.chosen
            && let Some(theirs) = read.jobs.iter_mut().find(|job| job.id == chosen.job)
        {
            let place = track_of(theirs);
            if let Some(position) = place.position() {
                self.unrecorded.recorded(chosen.job, position.epoch, position.offset);
            }
            if theirs.sealed {
                sealed = Some((chosen.job, place.epoch(), place.position().map(|position| position.offset)));
            }
            if (place.epoch(), place.next()) < (chosen.track.epoch(), chosen.track.next()) {
                match self.view.jobs.iter().find(|job| job.id == chosen.job) {
                    Some(ours) if ours.attempt > theirs.attempt => theirs.clone_from(ours),
                    Some(ours) if ours.attempt == theirs.attempt => keep_facts_of_steps(theirs, ours),
                    _ => {}
                }
            } else {
                if chosen.track.begin(place.epoch()) {
                    chosen.log = JobLog::new(place.epoch());
                }
                let is_new = chosen.log.reach(theirs.lines) > 0;
                changed.log |= is_new;
                if let Some(recovering) = &mut self.recovering {
                    recovering.from_record |= is_new;
                }
                if let Some(position) = place.position() {
                    ready.extend(chosen.track.reached(position));
                }
            }
        }
        if Some(read.position) >= self.track.position() {
            self.track.begin(read.position.epoch);
            let position = read.position;
            self.view = read;
            ready.extend(self.track.reached(position));
        } else if let Some(chosen) = &self.chosen
            && let Some(theirs) = read.jobs.iter().find(|job| job.id == chosen.job)
        {
            begin_attempt(&mut self.view, chosen.job, theirs.attempt, theirs.started_at);
            if let Some(ours) =
                self.view.jobs.iter_mut().find(|job| job.id == chosen.job && job.attempt == theirs.attempt)
            {
                keep_facts_of_steps(ours, theirs);
            }
        }
        changed = changed.and(self.apply_all(ready));
        if let Some((job, attempt, last)) = sealed {
            changed.log |= self.seal(job, attempt, last);
        }
        self.catch_up();
        changed
    }

    /// The build is of a newer epoch: the server was restored from a backup. What this page has beyond it is of a time that
    /// did not come back, so nothing of it is kept. The frames set aside are read again.
    fn begin_anew(&mut self, read: BuildView) -> Changed {
        self.track = Track::at(read.position.epoch, Some(read.position));
        self.track.force();
        (self.unrecorded, self.lost) = (Unrecorded::default(), Vec::new());
        self.view = read;
        if let Some(recovering) = &mut self.recovering {
            recovering.from_record = true;
        }
        if let Some(job) = self.chosen() {
            self.choose(job, None);
        }
        self.catch_up();
        Changed { view: true, log: true }
    }

    /// The socket was lost: from here on it counts what is recovered.
    pub fn away(&mut self) {
        let (attempt, lines) = self.log().map_or((0, 0), |log| (log.attempt(), log.total()));
        let unanswered = self.positions().into_iter().map(|(topic, _)| topic).collect();
        self.recovering.get_or_insert(Recovering {
            attempt,
            lines,
            from_record: false,
            unanswered,
            follows: Vec::new(),
        });
    }

    /// What was recovered, once all that was missed has been applied. Told once.
    pub fn take_recovered(&mut self) -> Option<Recovered> {
        let recovering = self.recovering.as_ref()?;
        if !recovering.unanswered.is_empty() || !recovering.follows.is_empty() || self.need() == Read::Now {
            return None;
        }
        let total = self.log().map_or(0, JobLog::total);
        let same = self.log().is_some_and(|log| log.attempt() == recovering.attempt);
        let lines = if same { total.saturating_sub(recovering.lines) } else { total };
        self.recovering.take().map(|recovering| Recovered { lines, from_record: recovering.from_record })
    }

    fn apply_all(&mut self, ready: Vec<EventFrame>) -> Changed {
        let mut changed = Changed::default();
        for frame in ready {
            match &frame.event {
                Event::BuildQueued { retry: true, .. } => self.track.force(),
                Event::JobStarted { job, attempt, .. } => changed.log |= self.begin(*job, *attempt),
                Event::JobFinished { job, attempt, last_offset: Some(last), .. } => {
                    if let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.job == *job) {
                        chosen.track.begin(*attempt);
                        chosen.track.ends_with(*attempt, *last);
                    }
                }
                Event::Log { step, lines } => {
                    if let Some(chosen) = &mut self.chosen {
                        for line in lines {
                            chosen.log.put(*step, line);
                        }
                        if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
                            let position = Position { epoch: frame.epoch, offset: frame.offset };
                            self.unrecorded.shown(chosen.job, position, first.n, last.n);
                        }
                        changed.log = true;
                    }
                }
                _ => {}
            }
            changed.view |= apply(&mut self.view, &frame);
        }
        changed
    }

    /// The chosen job runs as a newer attempt: its log begins anew.
    fn begin(&mut self, id: JobId, attempt: u32) -> bool {
        let Some(chosen) = self.chosen.as_mut().filter(|chosen| chosen.job == id) else { return false };
        chosen.track.begin(attempt);
        let newer = attempt > chosen.log.attempt();
        if newer {
            chosen.log = JobLog::new(attempt);
        }
        newer
    }

    /// The record of an attempt ends with `last`, or is empty. True when lines were seen beyond it.
    fn seal(&mut self, id: JobId, attempt: u32, last: Option<u64>) -> bool {
        if let Some(job) = self.view.jobs.iter_mut().find(|job| job.id == id && job.attempt == attempt) {
            job.sealed = true;
        }
        let chosen = self.chosen.as_mut().filter(|chosen| chosen.job == id);
        let aside = chosen.map(|chosen| chosen.track.seal(attempt, last)).unwrap_or_default();
        let unread = aside.iter().filter_map(|frame| match &frame.event {
            Event::Log { lines, .. } => Some((lines.first()?.n, lines.last()?.n)),
            _ => None,
        });
        let gone = self.unrecorded.seal(id, attempt, last).into_iter().chain(unread).reduce(widen);
        let Some((first, last)) = gone else { return false };
        if let Some(lost) = self.lost.iter_mut().find(|lost| (lost.job, lost.attempt) == (id, attempt)) {
            (lost.first, lost.last) = widen((lost.first, lost.last), (first, last));
        } else {
            self.lost.push(LostLines { job: id, attempt, first, last });
        }
        true
    }

    /// Forgets the ends that were reached.
    fn catch_up(&mut self) {
        let Some(mut recovering) = self.recovering.take() else { return };
        let behind = |topic: &Topic, end: &Position| {
            let track = match topic {
                Topic::Build(_) => Some(&self.track),
                Topic::Job(id) => self.chosen.as_ref().filter(|chosen| chosen.job == *id).map(|chosen| &chosen.track),
            };
            track.is_some_and(|track| track.position() < Some(*end))
        };
        recovering.follows.retain(|(topic, end)| behind(topic, end));
        self.recovering = Some(recovering);
    }
}

/// Where a view stands in its job's topic: a view that knows a newer attempt than its record stands at its beginning.
fn track_of(job: &JobView) -> Track {
    Track::at(job.attempt, job.position)
}

/// Copies what the job's own topic tells.
fn keep_facts_of_steps(job: &mut JobView, from: &JobView) {
    (job.position, job.lines) = (from.position, from.lines);
    (job.sealed, job.unrecorded) = (from.sealed, from.unrecorded);
    job.steps.clone_from(&from.steps);
    job.artifacts.clone_from(&from.artifacts);
}

#[cfg(test)]
mod tests;
