//! `stepcast follow BUILD`: steps and lines as they happen, exactly once and in order.
//!
//! Lines have numbers without gaps in each attempt, so the follower needs no offsets: it prints the next number, drops
//! what it has, and reads from the record what it misses. It binds first (the live stream), then reads the record; what was
//! said before that and is recorded after it is told by a `recorded` frame.

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use wire::{
    BuildId, Event, JobId, Outcome, Timestamp, Topic,
    frame::{EventFrame, Incoming},
    log::RecordedLine,
    view::{BuildView, State, StepView},
};

use crate::{
    Done,
    build_name::BuildName,
    client::{Client, Events, Failure, Said},
    running::Running,
    terminal::{PICTURE_MILLIS, Terminal, Tone},
    words::{ended, spelled},
};

/// Options of `stepcast follow`.
#[derive(Args)]
pub struct Options {
    /// The build: its id, PIPELINE#NUMBER such as site#12, or PIPELINE for its last one.
    #[arg(value_name = "BUILD")]
    pub(crate) build: BuildName,
}

/// A connection that is lost is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(300);
/// The wait between two tries.
const RETRY: Duration = Duration::from_millis(500);
/// A server that says nothing for so long, not even that it is alive, is not there any more.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The record may lag so long before its follower goes on without it.
const LAG_MAX: Duration = Duration::from_secs(10);
/// The wait between two looks at a record that lags.
const LAG_RETRY: Duration = Duration::from_millis(50);
/// Lines that are read from the record at once.
const LINES: u32 = 5000;

/// Events that were read and wait for a slow terminal; more of them wait in the connection.
const EVENTS_WAITING_MAX: usize = 64;

/// How far the follower is in one job.
#[derive(Default)]
struct Place {
    attempt: u32,
    /// The next line to print.
    next: u64,
    /// Steps whose begin and end were told.
    begun: u32,
    ended: u32,
    /// When the attempt began.
    since: Option<Timestamp>,
    /// The end of the attempt was told.
    over: bool,
}

/// What a line without an end means that stands in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// It is the last one so far: its end comes as an event.
    IsLast,
    /// Later lines have been heard: the record lags.
    Lags,
}

struct Follower<'a> {
    client: &'a Client,
    build: BuildId,
    terminal: Terminal,
    running: Running,
    names: HashMap<JobId, String>,
    places: HashMap<JobId, Place>,
    /// The last event of the build's topic that the view included.
    seen: u64,
    /// The build was named: a first connection stood.
    greeted: bool,
    /// Since when there is no connection.
    lost: Option<Instant>,
    /// The job that spoke last: with several jobs its name is told when another one speaks.
    speaker: Option<JobId>,
}

pub(crate) fn run(client: &Client, build: BuildId) -> Result<Done, Failure> {
    let mut follower = Follower {
        client,
        build,
        terminal: Terminal::new(),
        running: Running::new(),
        names: HashMap::new(),
        places: HashMap::new(),
        seen: 0,
        greeted: false,
        lost: None,
        speaker: None,
    };
    loop {
        let reason = match follower.connect() {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => "the live stream ended".to_owned(),
            Err(Failure::Unreachable { reason, .. }) if follower.greeted => reason,
            Err(failure) => return Err(failure),
        };
        if follower.lost_since(&reason).elapsed() > PATIENCE {
            return Err(Failure::Unreachable { url: client.url().to_owned(), reason });
        }
        std::thread::sleep(RETRY);
    }
}

impl Follower<'_> {
    /// One connection: its end is the build's (`Some`) or its own (`None`).
    fn connect(&mut self) -> Result<Option<Done>, Failure> {
        let mut events = self.client.events(&format!("/builds/{}/events?jobs=true", self.build))?;
        // The first thing said is that the bindings stand; from then on nothing is missed.
        if !matches!(events.next(), Some(Said::Bound)) {
            return Ok(None);
        }
        let view: BuildView = self.client.get(&format!("/builds/{}", self.build))?;
        if !self.greeted {
            self.greeted = true;
            let (pipeline, number) = (&view.summary.pipeline, view.summary.number);
            let greeting = format!("{pipeline} #{number}  {}/builds/{}", self.client.url(), self.build);
            self.terminal.say(Tone::Head, &greeting);
        }
        if self.lost.take().is_some() {
            self.terminal.tell_aside("stepcast: connected again");
        }
        match self.caught_up(&view)? {
            None => self.listen(&read_aside(events)),
            done => Ok(done),
        }
    }

    /// Shows what the record holds; the end, if the build is over.
    fn caught_up(&mut self, view: &BuildView) -> Result<Option<Done>, Failure> {
        self.catch_up(view)?;
        if view.summary.state == State::Finished { self.finish().map(Some) } else { Ok(None) }
    }

    /// Since when there is no connection; the first time, that is told.
    fn lost_since(&mut self, reason: &str) -> Instant {
        // Steps go on unseen: there is nothing to count.
        self.terminal.show(None);
        *self.lost.get_or_insert_with(|| {
            let seconds = PATIENCE.as_secs();
            let told = format!("stepcast: the connection is lost ({reason}), trying again for {seconds} s");
            self.terminal.tell_aside(&told);
            Instant::now()
        })
    }

    fn listen(&mut self, events: &Receiver<Said>) -> Result<Option<Done>, Failure> {
        let mut heard = Instant::now();
        loop {
            self.draw();
            let picture = self.terminal.status_columns().map(|_| Duration::from_millis(PICTURE_MILLIS));
            let said = events.recv_timeout(picture.unwrap_or(SILENCE_MAX));
            match said {
                Err(RecvTimeoutError::Timeout) if heard.elapsed() >= SILENCE_MAX => return Ok(None),
                Err(_) => {}
                Ok(_) => heard = Instant::now(),
            }
            let text = match said {
                Ok(Said::Data(text)) => text,
                Ok(Said::Bound | Said::Alive) | Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            let frame = match serde_json::from_str(&text) {
                Ok(Incoming::Event(frame)) => frame,
                Ok(Incoming::Recorded(_)) => {
                    let view = self.client.get(&format!("/builds/{}", self.build))?;
                    match self.caught_up(&view)? {
                        None => continue,
                        done => return Ok(done),
                    }
                }
                // A frame of a newer server that this client does not know is no reason to stop.
                _ => continue,
            };
            // The stream begins with the record, and the view includes that: an earlier end of a build that runs again.
            if matches!(frame.topic, Topic::Build(_)) && frame.offset <= self.seen {
                continue;
            }
            if matches!(frame.event, Event::BuildFinished { .. }) {
                return self.finish().map(Some);
            }
            match frame.topic {
                Topic::Job(job) => self.job_event(job, frame)?,
                Topic::Build(_) => self.build_event(frame),
            }
        }
    }

    fn build_event(&mut self, frame: EventFrame) {
        match frame.event {
            Event::JobStarted { job, attempt, .. } if self.at_attempt(job, attempt) => {
                self.places.entry(job).or_default().since = Some(frame.at);
            }
            Event::JobLost { job, reason, .. } => {
                self.running.end_job(job);
                self.tell(job, Tone::Warning, &format!("✗ lost: {reason}"));
            }
            Event::JobFinished { job, attempt, outcome, reason, .. } if self.at_attempt(job, attempt) => {
                self.job_ended(job, outcome, reason.as_deref(), Some(frame.at));
            }
            _ => {}
        }
    }

    fn job_event(&mut self, job: JobId, frame: EventFrame) -> Result<(), Failure> {
        self.running.heard(frame.at, here());
        let attempt = frame.epoch;
        if !self.at_attempt(job, attempt) {
            return Ok(());
        }
        match frame.event {
            Event::StepStarted { step, name, command } => {
                self.step_begun(job, step, &name, &command, Some(frame.at));
            }
            Event::StepFinished { step, outcome, exit_code, .. } => {
                let took = self.running.end(job, step).map(|since| frame.at.since(since));
                self.step_ended(job, step, outcome, exit_code, took);
            }
            Event::Log { step, lines } => {
                for line in lines.into_iter().filter(|line| !line.open) {
                    let next = self.places.get(&job).map_or(0, |place| place.next);
                    if line.n > next {
                        self.read_up_to(job, attempt, line.n, Open::Lags)?;
                    }
                    self.print(job, &RecordedLine { step, line, missing: false });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether `attempt` is the present one; a new one begins at line 0.
    fn at_attempt(&mut self, job: JobId, attempt: u32) -> bool {
        let place = self.places.entry(job).or_default();
        if attempt > place.attempt {
            let again = place.attempt > 0;
            *place = Place { attempt, ..Place::default() };
            self.running.end_job(job);
            if again || attempt > 1 {
                self.tell(job, Tone::Warning, &format!("▶ attempt {attempt}"));
            }
            return true;
        }
        attempt == place.attempt
    }

    /// What the record holds and the terminal does not show yet.
    fn catch_up(&mut self, view: &BuildView) -> Result<(), Failure> {
        self.seen = view.position.offset;
        self.names = view.jobs.iter().map(|job| (job.id, job.name.clone())).collect();
        for job in &view.jobs {
            if !self.at_attempt(job.id, job.attempt) {
                continue;
            }
            self.places.entry(job.id).or_default().since = job.started_at;
            for step in &job.steps {
                let since = step.started_at.filter(|_| step.state == State::Running);
                self.step_begun(job.id, step.step, &step.name, &step.command, since);
                let following = job.steps.get(step.step as usize + 1).and_then(|step| step.first_line);
                let until = following.filter(|_| step.state == State::Finished).unwrap_or(job.lines);
                self.read_up_to(job.id, job.attempt, until, Open::IsLast)?;
                if let Some(outcome) = step.outcome {
                    self.step_ended(job.id, step.step, outcome, step.exit_code, took(step));
                }
            }
            if let Some(outcome) = job.outcome.filter(|_| job.state == State::Finished) {
                self.job_ended(job.id, outcome, job.reason.as_deref(), job.finished_at);
            }
        }
        Ok(())
    }

    /// Prints the recorded lines before line `until`, waiting a little for a record that lags.
    fn read_up_to(&mut self, job: JobId, attempt: u32, until: u64, open: Open) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let next = self.places.get(&job).map_or(0, |place| place.next);
            if next >= until {
                return Ok(());
            }
            self.draw();
            let limit = u64::from(LINES).min(until - next);
            let text = self.client.get_text(&format!("/jobs/{job}/log?attempt={attempt}&from={next}&limit={limit}"))?;
            let mut printed = false;
            for line in text.lines().filter_map(|line| serde_json::from_str::<RecordedLine>(line).ok()) {
                // A line without an end is no line yet: its end comes as an event, under the same number.
                if line.line.open {
                    match open {
                        Open::IsLast => return Ok(()),
                        Open::Lags => break,
                    }
                }
                self.print(job, &line);
                printed = true;
            }
            if !printed {
                if begun.elapsed() > LAG_MAX {
                    let last = until - 1;
                    self.tell(job, Tone::Warning, &format!("(lines {next} to {last} were not recorded in time)"));
                    self.places.entry(job).or_default().next = until;
                    return Ok(());
                }
                std::thread::sleep(LAG_RETRY);
            }
        }
    }

    /// The build is over: waits for the end of its record, shows the rest, and tells the outcome.
    fn finish(&mut self) -> Result<Done, Failure> {
        self.running.idle = "reading the end of the record";
        let begun = Instant::now();
        let view = loop {
            let view: BuildView = self.client.get(&format!("/builds/{}", self.build))?;
            let complete = view.jobs.iter().all(|job| job.attempt == 0 || job.sealed);
            if complete || begun.elapsed() > LAG_MAX {
                break view;
            }
            self.draw();
            std::thread::sleep(LAG_RETRY);
        };
        self.catch_up(&view)?;
        let Some(outcome) = view.summary.outcome else { return Ok(Done::Well) };
        let took = view.summary.started_at.zip(view.summary.finished_at).map(|(from, to)| to.since(from));
        let told = format!("{} #{} {}{}", view.summary.pipeline, view.summary.number, ended(outcome), within(took));
        self.terminal.say(Tone::of(outcome), &told);
        self.terminal.show(None);
        let well = matches!(outcome, Outcome::Succeeded | Outcome::Skipped);
        Ok(if well { Done::Well } else { Done::BuildFailed })
    }

    /// `since`: it runs, and began then.
    fn step_begun(&mut self, job: JobId, step: u32, name: &str, command: &str, since: Option<Timestamp>) {
        let place = self.places.entry(job).or_default();
        if step < place.begun {
            return;
        }
        place.begun = step + 1;
        if let Some(since) = since {
            let job_name = self.names.get(&job).filter(|_| self.names.len() > 1);
            let label = job_name.map_or(name.to_owned(), |job_name| format!("{job_name} › {name}"));
            self.running.begin(job, step, label, since);
        }
        let command = command.lines().next().unwrap_or_default();
        let shown = if command == name { format!("▶ {name}") } else { format!("▶ {name}: {command}") };
        self.tell(job, Tone::Head, &shown);
    }

    fn step_ended(&mut self, job: JobId, step: u32, outcome: Outcome, exit_code: Option<i32>, micros: Option<u64>) {
        self.running.end(job, step);
        let place = self.places.entry(job).or_default();
        if step < place.ended {
            return;
        }
        place.ended = step + 1;
        let code = exit_code.filter(|code| *code != 0).map_or(String::new(), |code| format!(", exit code {code}"));
        self.tell(job, Tone::of(outcome), &format!("{}{code}{}", ended(outcome), within(micros)));
    }

    fn job_ended(&mut self, job: JobId, outcome: Outcome, reason: Option<&str>, at: Option<Timestamp>) {
        self.running.end_job(job);
        let place = self.places.entry(job).or_default();
        if std::mem::replace(&mut place.over, true) {
            return;
        }
        let took = within(place.since.zip(at).map(|(from, to)| to.since(from)));
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        let name = self.names.get(&job).map_or("", String::as_str);
        let told = format!("job {name} {}{took}{reason}", ended(outcome));
        self.tell(job, Tone::of(outcome), &told);
    }

    /// Prints the next line; what was printed before is dropped.
    fn print(&mut self, job: JobId, line: &RecordedLine) {
        let place = self.places.entry(job).or_default();
        if line.line.n < place.next {
            return;
        }
        place.next = line.line.n + 1;
        self.speak(job);
        if line.missing {
            let text = format!("line {} was never recorded: the event stream has lost it", line.line.n + 1);
            return self.terminal.say(Tone::Warning, &text);
        }
        if line.line.note {
            self.terminal.say(Tone::Warning, &line.line.text);
        } else {
            self.terminal.pass(&line.line.text);
        }
    }

    /// A line of ours, told apart from the build's own.
    fn tell(&mut self, job: JobId, tone: Tone, text: &str) {
        self.speak(job);
        self.terminal.say(tone, text);
    }

    /// Names the job when another one spoke last.
    fn speak(&mut self, job: JobId) {
        if self.speaker.replace(job) != Some(job) && self.names.len() > 1 {
            let name = self.names.get(&job).map_or("", String::as_str);
            self.terminal.say(Tone::Faint, &format!("── {name} ──"));
        }
    }

    /// Writes what was said, and what goes on at present.
    fn draw(&mut self) {
        let status = self.terminal.status_columns().map(|columns| self.running.status(columns, here()));
        self.terminal.show(status.as_deref());
    }
}

/// Reads a live stream beside its follower, which has a status line to draw meanwhile. The channel's end is the stream's.
fn read_aside(events: Events) -> Receiver<Said> {
    let (sender, receiver) = sync_channel(EVENTS_WAITING_MAX);
    // A follower that has gone is noticed at the next thing said, at the latest when the server says that it is alive.
    std::thread::spawn(move || events.map_while(|said| sender.send(said).ok()).for_each(drop));
    receiver
}

/// The time by this machine's clock.
fn here() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn took(step: &StepView) -> Option<u64> {
    step.started_at.zip(step.finished_at).map(|(from, to)| to.since(from))
}

fn within(micros: Option<u64>) -> String {
    micros.map_or(String::new(), |micros| format!(" in {}", spelled(micros)))
}
