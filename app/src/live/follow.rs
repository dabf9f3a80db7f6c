//! Ties an open build to the socket, to readings of the record and to the signals that the page shows. Frames are
//! applied at once and shown once per painted frame.

use std::time::Duration;

use leptos::{prelude::*, task::spawn_local};
use wire::{
    JobId, Topic,
    view::{BuildView, LogPage},
};

use super::{
    Arrival, Live, Watch, WatchId,
    build::{Changed, LiveBuild, LostLines},
    track::Read,
};
use crate::{api, browser, components::clock::Clock};

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
    waiting: bool,
    wait: u64,
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
            live,
            clock: Clock::get(),
            watch: StoredValue::new(None),
            pace: StoredValue::new(Pace::default()),
        }
    }

    /// Begins to watch; ends with the component that calls it.
    pub fn start(self) {
        let build = self.view.with_untracked(|view| view.summary.id);
        let arrive = Box::new(move |arrival| self.arrive(arrival));
        let positions = Box::new(move || self.model.try_with_value(LiveBuild::positions).unwrap_or_default());
        let id = self.live.watch(build, Watch { arrive, positions });
        self.watch.set_value(Some(id));
        on_cleanup(move || self.live.unwatch(id));
        if let Ok(timer) = set_interval_with_handle(move || self.ask_what_it_waits_for(), WAITING) {
            on_cleanup(move || timer.clear());
        }
    }

    /// Follows another job's log.
    pub fn choose(self, job: JobId) {
        if self.model.with_value(LiveBuild::chosen) == Some(job) {
            return;
        }
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
            self.clock.heard(frame.at);
        }
        let is_hint = matches!(arrival, Arrival::Recorded(_));
        let changed = self.model.try_update_value(|model| match arrival {
            Arrival::Event(frame) => model.event(frame),
            Arrival::Resumed(resumed) => {
                model.resumed(&resumed);
                Changed::default()
            }
            Arrival::Recorded(hint) => {
                let is_chosen = matches!(hint.topic, Topic::Job(id) if model.chosen() == Some(id));
                Changed { view: false, log: model.recorded(&hint) && is_chosen }
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
        if let Some(lines) = recovered {
            self.live.recovered(lines);
        }
        match need {
            Read::No => self.pace.update_value(|pace| pace.wait = 0),
            Read::Soon => self.read_after(PATIENCE_MILLIS),
            Read::Now => {
                let wait = self.pace.with_value(|pace| pace.wait);
                if is_hint || wait == 0 { self.read() } else { self.read_after(wait) }
            }
        }
    }

    fn read_after(self, millis: u64) {
        if self.pace.with_value(|pace| pace.waiting || pace.reading) {
            return;
        }
        self.pace.update_value(|pace| pace.waiting = true);
        browser::after(millis, move || {
            if self.pace.try_update_value(|pace| pace.waiting = false).is_some()
                && self.model.try_with_value(LiveBuild::need).is_some_and(|need| need > Read::No)
            {
                self.read();
            }
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
