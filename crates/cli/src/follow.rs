//! `stepcast follow BUILD`: steps and lines as they happen, exactly once and in order.
//!
//! Lines have numbers without gaps in each attempt, so the follower needs no offsets: it prints the next number, drops
//! what it has, and reads from the record what it misses. It binds first (the live stream), then reads the record.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use clap::Args;
use wire::{
    BuildId, Event, JobId, Outcome, Topic,
    frame::Incoming,
    log::RecordedLine,
    view::{BuildView, State},
};

use crate::{
    Done,
    client::{Client, Events, Failure, Said},
    words::{ended, spelled},
};

/// Options of `stepcast follow`.
#[derive(Args)]
pub struct Options {
    /// The build's id.
    pub(crate) build: BuildId,
}

/// A connection that is lost is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(300);
/// The wait between two tries.
const RETRY: Duration = Duration::from_millis(500);
/// The record may lag so long before its follower goes on without it.
const LAG_MAX: Duration = Duration::from_secs(10);
/// The wait between two looks at a record that lags.
const LAG_RETRY: Duration = Duration::from_millis(50);
/// Lines that are read from the record at once.
const LINES: u32 = 5000;

/// How far the follower is in one job.
#[derive(Default)]
struct Place {
    attempt: u32,
    /// The next line to print.
    next: u64,
    /// Steps whose begin and end were told.
    begun: u32,
    ended: u32,
}

struct Follower<'a> {
    client: &'a Client,
    build: BuildId,
    names: HashMap<JobId, String>,
    places: HashMap<JobId, Place>,
    /// The last event of the build's topic that the view included.
    seen: u64,
    colours: bool,
    /// The job that spoke last: with several jobs its name is told when another one speaks.
    speaker: Option<JobId>,
}

pub(crate) fn run(client: &Client, build: BuildId) -> Result<Done, Failure> {
    let mut follower = None;
    let mut lost: Option<Instant> = None;
    loop {
        let reason = match connect(client, build, &mut follower, &mut lost) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => "the live stream ended".to_owned(),
            Err(Failure::Unreachable { reason, .. }) if follower.is_some() => reason,
            Err(failure) => return Err(failure),
        };
        let since = *lost.get_or_insert_with(|| {
            eprintln!("stepcast: the connection is lost ({reason}), trying again for {} s", PATIENCE.as_secs());
            Instant::now()
        });
        if since.elapsed() > PATIENCE {
            return Err(Failure::Unreachable { url: client.url().to_owned(), reason });
        }
        std::thread::sleep(RETRY);
    }
}

/// One connection: its end is the build's (`Some`) or its own (`None`).
fn connect<'a>(
    client: &'a Client,
    build: BuildId,
    follower: &mut Option<Follower<'a>>,
    lost: &mut Option<Instant>,
) -> Result<Option<Done>, Failure> {
    let mut events = client.events(&format!("/builds/{build}/events?jobs=true"))?;
    // The first thing said is that the bindings stand; from then on nothing is missed.
    if !matches!(events.next(), Some(Said::Bound)) {
        return Ok(None);
    }
    let view: BuildView = client.get(&format!("/builds/{build}"))?;
    let follower = follower.get_or_insert_with(|| {
        println!("{} #{}  {}/builds/{build}", view.summary.pipeline, view.summary.number, client.url());
        let colours = std::io::stdout().is_terminal();
        Follower { client, build, names: HashMap::new(), places: HashMap::new(), seen: 0, colours, speaker: None }
    });
    if lost.take().is_some() {
        eprintln!("stepcast: connected again");
    }
    follower.catch_up(&view)?;
    if view.summary.state == State::Finished {
        return follower.finish().map(Some);
    }
    follower.listen(events)
}

impl Follower<'_> {
    fn listen(&mut self, events: Events) -> Result<Option<Done>, Failure> {
        for said in events {
            let Said::Data(text) = said else { continue };
            // A frame of a newer server that this client does not know is no reason to stop.
            let Ok(Incoming::Event(frame)) = serde_json::from_str(&text) else { continue };
            // The stream begins with the record, and the view includes that: an earlier end of a build that runs again.
            if matches!(frame.topic, Topic::Build(_)) && frame.offset <= self.seen {
                continue;
            }
            match (frame.topic, frame.event) {
                (Topic::Job(job), event) => self.job_event(job, frame.epoch, event)?,
                (_, Event::JobLost { job, reason, .. }) => self.tell(job, &format!("✗ lost: {reason}")),
                (_, Event::JobFinished { job, outcome, reason, .. }) => {
                    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                    self.tell(job, &format!("{}{reason}", ended(outcome)));
                }
                (_, Event::BuildFinished { .. }) => return self.finish().map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    fn job_event(&mut self, job: JobId, attempt: u32, event: Event) -> Result<(), Failure> {
        if !self.at_attempt(job, attempt) {
            return Ok(());
        }
        match event {
            Event::StepStarted { step, name, command } => self.step_begun(job, step, &name, &command),
            Event::StepFinished { step, outcome, exit_code, .. } => {
                self.step_ended(job, step, outcome, exit_code, None)
            }
            Event::Log { step, lines } => {
                for line in lines.into_iter().filter(|line| !line.open) {
                    let next = self.places.get(&job).map_or(0, |place| place.next);
                    if line.n > next {
                        self.read_up_to(job, attempt, line.n)?;
                    }
                    self.print(job, &RecordedLine { step, line });
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
            if again || attempt > 1 {
                self.tell(job, &format!("▶ attempt {attempt}"));
            }
            return true;
        }
        attempt == place.attempt
    }

    /// What the record holds and the terminal does not show yet.
    fn catch_up(&mut self, view: &BuildView) -> Result<(), Failure> {
        self.seen = view.position.offset;
        self.names = view.jobs.iter().map(|job| (job.id, job.name.clone())).collect();
        for job in view.jobs.iter().filter(|job| job.attempt > 0) {
            if !self.at_attempt(job.id, job.attempt) {
                continue;
            }
            for step in &job.steps {
                self.step_begun(job.id, step.step, &step.name, &step.command);
                let following = job.steps.get(step.step as usize + 1).and_then(|step| step.first_line);
                let until = following.filter(|_| step.state == State::Finished).unwrap_or(job.lines);
                self.read_up_to(job.id, job.attempt, until)?;
                if let Some(outcome) = step.outcome {
                    let took = step.started_at.zip(step.finished_at).map(|(from, to)| to.since(from));
                    self.step_ended(job.id, step.step, outcome, step.exit_code, took);
                }
            }
        }
        Ok(())
    }

    /// Prints the recorded lines before line `until`, waiting a little for a record that lags.
    fn read_up_to(&mut self, job: JobId, attempt: u32, until: u64) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let next = self.places.get(&job).map_or(0, |place| place.next);
            if next >= until {
                return Ok(());
            }
            let limit = u64::from(LINES).min(until - next);
            let text = self.client.get_text(&format!("/jobs/{job}/log?attempt={attempt}&from={next}&limit={limit}"))?;
            let mut printed = false;
            for line in text.lines().filter_map(|line| serde_json::from_str::<RecordedLine>(line).ok()) {
                // A line without an end is no line yet: its end comes as an event, under the same number.
                if line.line.open {
                    return Ok(());
                }
                self.print(job, &line);
                printed = true;
            }
            if !printed {
                if begun.elapsed() > LAG_MAX {
                    self.tell(job, &format!("(lines {next} to {} were not recorded in time)", until - 1));
                    self.places.entry(job).or_default().next = until;
                    return Ok(());
                }
                std::thread::sleep(LAG_RETRY);
            }
        }
    }

    /// The build is over: waits for the end of its record, shows the rest, and tells the outcome.
    fn finish(&mut self) -> Result<Done, Failure> {
        let begun = Instant::now();
        let view = loop {
            let view: BuildView = self.client.get(&format!("/builds/{}", self.build))?;
            let complete = view.jobs.iter().all(|job| job.attempt == 0 || job.sealed);
            if complete || begun.elapsed() > LAG_MAX {
                break view;
            }
            std::thread::sleep(LAG_RETRY);
        };
        self.catch_up(&view)?;
        let Some(outcome) = view.summary.outcome else { return Ok(Done::Well) };
        let took = view.summary.started_at.zip(view.summary.finished_at).map(|(from, to)| to.since(from));
        let took = took.map_or(String::new(), |micros| format!(" in {}", spelled(micros)));
        println!("{} #{} {}{took}", view.summary.pipeline, view.summary.number, ended(outcome));
        let well = matches!(outcome, Outcome::Succeeded | Outcome::Skipped);
        Ok(if well { Done::Well } else { Done::BuildFailed })
    }

    fn step_begun(&mut self, job: JobId, step: u32, name: &str, command: &str) {
        let place = self.places.entry(job).or_default();
        if step < place.begun {
            return;
        }
        place.begun = step + 1;
        let command = command.lines().next().unwrap_or_default();
        let shown = if command == name { format!("▶ {name}") } else { format!("▶ {name}: {command}") };
        self.tell(job, &shown);
    }

    fn step_ended(&mut self, job: JobId, step: u32, outcome: Outcome, exit_code: Option<i32>, micros: Option<u64>) {
        let place = self.places.entry(job).or_default();
        if step < place.ended {
            return;
        }
        place.ended = step + 1;
        let code = exit_code.filter(|code| *code != 0).map_or(String::new(), |code| format!(", exit code {code}"));
        let took = micros.map_or(String::new(), |micros| format!(" in {}", spelled(micros)));
        self.tell(job, &format!("{}{code}{took}", ended(outcome)));
    }

    /// Prints the next line; what was printed before is dropped.
    fn print(&mut self, job: JobId, line: &RecordedLine) {
        let place = self.places.entry(job).or_default();
        if line.line.n < place.next {
            return;
        }
        place.next = line.line.n + 1;
        self.speak(job);
        let text = if self.colours { line.line.text.clone() } else { plain(&line.line.text) };
        let end = if self.colours && text.contains('\u{1b}') { "\u{1b}[0m" } else { "" };
        // Whoever reads may have gone: the exit status still tells how the build ended.
        let _ = writeln!(std::io::stdout(), "{text}{end}");
    }

    /// A line of ours, told apart from the build's own.
    fn tell(&mut self, job: JobId, text: &str) {
        self.speak(job);
        let line = if self.colours { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() };
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Names the job when another one spoke last.
    fn speak(&mut self, job: JobId) {
        if self.speaker.replace(job) != Some(job) && self.names.len() > 1 {
            let name = self.names.get(&job).map_or("", String::as_str);
            let _ = writeln!(std::io::stdout(), "── {name} ──");
        }
    }
}

/// Without escape sequences, for what is no terminal.
fn plain(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(start) = rest.find('\u{1b}') {
        plain.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        rest = match rest.strip_prefix('[') {
            // A control sequence ends with a byte from @ to ~.
            Some(sequence) => sequence.find(|c: char| ('@'..='~').contains(&c)).map_or("", |end| &sequence[end + 1..]),
            None => rest.get(1..).unwrap_or_default(),
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn escape_sequences_do_not_reach_a_file() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m and \u{1b}[38;5;208morange"), "red and orange");
        assert_eq!(plain("cut \u{1b}["), "cut ");
    }
}
