//! Ties an open build to the socket, to readings of the record and to the signals that the page shows. Frames are
//! applied at once and shown once per painted frame.

use std::time::Duration;

use leptos::{prelude::*, task::spawn_local};
use wire::{
    JobId,
    view::{BuildView, LogPage},
};

use super::{
    Arrival, Connection, Live, Watch, WatchId,
    build::{Changed, LiveBuild, LostLines},
    track::Read,
};
use crate::{api, browser, components::clock::Clock, rest};

/// The first wait before the record is read again, in milliseconds; it doubles.
const READ_AGAIN_MILLIS: u64 = 100;
/// The longest wait before the record is read again, in milliseconds.
const READ_AGAIN_MILLIS_MAX: u64 = 3_000;
/// How long frames that are known to exist may take before the record is read for them, in milliseconds.
const PATIENCE_MILLIS: u64 = 300;
/// How often a build with a job that waits for an executor is read anew: what it waits for is no event.
const WAITING: Duration = Duration::from_secs(5);

/// An open build: a model, and signals that tell what of it has changed.
#[derive(Clone, Copy)]
pub struct Followed {
    /// The model; the log view reads lines from it.
    pub model: StoredValue<LiveBuild>,
    /// The build as shown.
    pub view: RwSignal<BuildView>,
    /// Counts changes of the chosen job's log.
    pub log_changes: RwSignal<u64>,
    /// Lines seen that were never recorded.
    pub lost: RwSignal<Vec<LostLines>>,
    /// The server does not know the build any more.
    pub gone: RwSignal<bool>,
    live: Live,
    clock: Clock,
    watch: StoredValue<Option<WatchId>>,
    pace: StoredValue<Pace>,
}

/// What is under way.
#[derive(Clone, Copy, Default)]
struct Pace {
    view: bool,
    log: bool,
    painting: bool,
    reading: bool,
    /// Milliseconds after which the record is to be read, and which of these waits counts: a shorter one takes over.
    waiting: Option<u64>,
    turn: u64,
    wait: u64,
    /// How far a former attempt is recorded is being looked up, or will be.
    looking: bool,
    look_wait: u64,
}

impl Followed {
    /// From the page's data; nothing is watched before [`Followed::start`].
    #[must_use]
    pub fn new(live: Live, build: BuildView, job: Option<JobId>, log: Option<&LogPage>) -> Self {
        let mut model = LiveBuild::new(build.clone());
        if let Some(job) = job {
            model.choose(job, log);
        }
        Self {
            model: StoredValue::new(model),
            view: RwSignal::new(build),
            log_changes: RwSignal::new(0),
            lost: RwSignal::new(Vec::new()),
            gone: RwSignal::new(false),
            live,
            clock: Clock::get(),
            watch: StoredValue::new(None),
            pace: StoredValue::new(Pace::default()),
        }
    }

    /// Begins to watch; ends with the component that calls it.
    pub fn start(self) {
        self.clock.listens();
        let build = self.view.with_untracked(|view| view.summary.id);
        let arrive = Box::new(move |arrival| self.arrive(arrival));
        let positions = Box::new(move || self.model.try_with_value(LiveBuild::positions).unwrap_or_default());
        let id = self.live.watch(build, Watch { arrive, positions });
        self.watch.set_value(Some(id));
        on_cleanup(move || {
            self.live.unwatch(id);
            self.clock.leaves();
        });
        if let Ok(timer) = set_interval_with_handle(move || self.ask_what_it_waits_for(), WAITING) {
            on_cleanup(move || timer.clear());
        }
        // What the page's data lacks is no matter of the socket: events of an own build come without an answer first.
        self.settle(false);
    }

    /// Follows another job's log.
    pub fn choose(self, job: JobId) {
        if self.model.with_value(LiveBuild::chosen) == Some(job) {
            return;
        }
        self.clock.listens();
        self.model.update_value(|model| {
            model.choose(job, None);
            model.force();
        });
        self.log_changes.update(|count| *count += 1);
        if let Some(id) = self.watch.get_value() {
            self.live.changed(id);
        }
        self.read();
    }

    /// Reads the record now: after a command whose effect no event may tell yet.
    pub fn refresh(self) {
        if self.model.try_update_value(LiveBuild::force).is_some() {
            self.read();
        }
    }

    /// The log has got lines that were fetched.
    pub fn log_fetched(self) {
        self.show(Changed { view: false, log: true });
    }

    fn arrive(self, arrival: Arrival) {
        if let Arrival::Event(frame) = &arrival {
            let is_live = self.live.connection.get_untracked() == Connection::Live;
            self.clock.heard(frame.at, is_live);
        }
        let is_hint = matches!(arrival, Arrival::Recorded(_));
        let changed = self.model.try_update_value(|model| match arrival {
            // One that this version does not know is missing here, and is read from the record as the server tells it.
            Arrival::Event(frame) => frame.read().map(|frame| model.event(frame)).unwrap_or_default(),
            Arrival::Resumed(resumed) => {
                model.resumed(&resumed);
                Changed::default()
            }
            Arrival::Recorded(hint) => Changed { view: false, log: model.recorded(&hint) },
            Arrival::Refused(topic) => {
                model.refused(topic);
                Changed::default()
            }
            Arrival::Away => {
                model.away();
                Changed::default()
            }
        });
        let Some(changed) = changed else { return };
        self.show(changed);
        self.settle(is_hint);
    }

    /// Reads what is missing, at once when a hint says that there is more; tells the pill when nothing is.
    fn settle(self, is_hint: bool) {
        let Some((need, recovered)) = self.model.try_update_value(|model| (model.need(), model.take_recovered()))
        else {
            return;
        };
        if let Some(recovered) = recovered {
            self.live.recovered(recovered);
        }
        // A hint says that the record moved on, so that a reading is worth its while however many were too early.
        let wait = if is_hint { 0 } else { self.pace.with_value(|pace| pace.wait) };
        match need {
            Read::No => self.pace.update_value(|pace| pace.wait = 0),
            Read::Soon => self.read_after(wait.max(PATIENCE_MILLIS)),
            Read::Now if wait == 0 => self.read(),
            Read::Now => self.read_after(wait),
        }
        self.look_after_former();
    }

    fn read_after(self, millis: u64) {
        let turn = self.pace.try_update_value(|pace| {
            if pace.reading || pace.waiting.is_some_and(|waiting| waiting <= millis) {
                return None;
            }
            (pace.waiting, pace.turn) = (Some(millis), pace.turn + 1);
            Some(pace.turn)
        });
        let Some(Some(turn)) = turn else { return };
        browser::after(millis, move || {
            let is_due = self.pace.try_update_value(|pace| {
                let is_due = pace.turn == turn;
                if is_due {
                    pace.waiting = None;
                }
                is_due
            });
            if is_due == Some(true) && self.model.try_with_value(LiveBuild::need).is_some_and(|need| need > Read::No) {
                self.read();
            }
        });
    }

    /// Looks up how far a former attempt is recorded, until each line seen of it is recorded or known to be lost.
    fn look_after_former(self) {
        if self.model.try_with_value(LiveBuild::unsettled).flatten().is_none() {
            self.pace.update_value(|pace| pace.look_wait = 0);
            return;
        }
        let wait = self.pace.try_update_value(|pace| {
            if std::mem::replace(&mut pace.looking, true) {
                return None;
            }
            pace.look_wait = (pace.look_wait * 2).clamp(PATIENCE_MILLIS, READ_AGAIN_MILLIS_MAX);
            Some(pace.look_wait)
        });
        let Some(Some(wait)) = wait else { return };
        browser::after(wait, move || self.look());
    }

    fn look(self) {
        let Some(former) = self.model.try_with_value(LiveBuild::unsettled) else { return };
        let Some((job, attempt)) = former else {
            self.pace.update_value(|pace| pace.looking = false);
            return;
        };
        spawn_local(async move {
            let answer = rest::log_head(job, attempt).await;
            if self.pace.try_update_value(|pace| pace.looking = false).is_none() {
                return;
            }
            // Not reached, or refused for now: it is asked again, and the wait grows.
            if let Ok(head) = answer
                && let Some(log) = self.model.try_update_value(|model| model.recorded(&head))
            {
                self.show(Changed { view: false, log });
            }
            self.settle(false);
        });
    }

    fn read(self) {
        if self.pace.with_value(|pace| pace.reading) {
            return;
        }
        self.pace.update_value(|pace| {
            pace.reading = true;
            pace.wait = (pace.wait * 2).clamp(READ_AGAIN_MILLIS, READ_AGAIN_MILLIS_MAX);
        });
        self.model.update_value(LiveBuild::reading);
        let id = self.view.with_untracked(|view| view.summary.id);
        spawn_local(async move {
            let answer = api::read_build(id).await;
            if self.pace.try_update_value(|pace| pace.reading = false).is_none() {
                return;
            }
            // Nothing will answer a reading any more.
            if matches!(answer, Ok(None)) {
                self.gone.try_set(true);
                return;
            }
            let changed = self.model.try_update_value(|model| match answer {
                Ok(Some(read)) => model.adopt(read),
                // Not reached, or refused for now: the need stands, and the wait grows.
                Ok(None) | Err(_) => {
                    model.force();
                    Changed::default()
                }
            });
            if let Some(changed) = changed {
                self.show(changed);
                self.settle(false);
            }
        });
    }

    fn ask_what_it_waits_for(self) {
        use wire::view::State;
        let waits = self.model.try_with_value(|model| {
            let view = model.view();
            let met = |name: &String| view.jobs.iter().any(|job| job.name == *name && job.state == State::Finished);
            view.summary.state != State::Finished
                && view.jobs.iter().any(|job| job.state == State::Queued && job.needs.iter().all(met))
        });
        if waits == Some(true) {
            self.refresh();
        }
    }

    /// Shows what has changed with the next painted frame.
    fn show(self, changed: Changed) {
        if !changed.view && !changed.log {
            return;
        }
        let painting = self.pace.try_update_value(|pace| {
            (pace.view, pace.log) = (pace.view || changed.view, pace.log || changed.log);
            std::mem::replace(&mut pace.painting, true)
        });
        if painting == Some(false) {
            browser::next_frame(move || self.paint());
        }
    }

    fn paint(self) {
        let Some(pace) = self.pace.try_update_value(|pace| {
            let was = *pace;
            (pace.view, pace.log, pace.painting) = (false, false, false);
            was
        }) else {
            return;
        };
        if pace.view {
            self.model.with_value(|model| {
                if self.view.with_untracked(|shown| shown != model.view()) {
                    self.view.set(model.view().clone());
                }
            });
        }
        if pace.log {
            self.lost.set(self.model.with_value(|model| model.lost().to_vec()));
            self.log_changes.update(|count| *count += 1);
        }
    }
}
