//! The life of one build as the client that triggered it sees it on its socket, with the time of everything. Which times
//! make a figure is said in `figures`.

use std::time::{Duration, Instant};

use wire::{BuildId, Event, JobId, Topic, frame::Incoming};

use crate::{
    failure::{Failure, Result},
    server::Server,
    socket::{Socket, clock},
};

/// What happened between a trigger and the build's end. All times count from the moment the trigger was sent.
pub(crate) struct Life {
    /// When the trigger was sent.
    pub(crate) sent: Instant,
    /// The 202 was read.
    pub(crate) answered: Duration,
    /// Log lines that came.
    pub(crate) lines: u64,
    /// Whether the server left lines out, to be read later.
    pub(crate) gap: bool,
    seen: Vec<Seen>,
}

struct Seen {
    topic: Topic,
    event: Event,
    came: Duration,
    /// Its writer's time, in microseconds since the trigger was sent.
    written: i64,
}

impl Life {
    /// Triggers a build of a pipeline with `steps` steps in all its jobs together, and reads until each of them and the build
    /// have ended. Nothing else may come on the socket.
    pub(crate) fn of(server: &Server, socket: &Socket, pipeline: &str, steps: usize) -> Result<Self> {
        let (sent, sent_clock) = (Instant::now(), clock());
        let build = server.trigger(pipeline, Some(&socket.meta))?;
        let mut life = Self { sent, answered: sent.elapsed(), lines: 0, gap: false, seen: Vec::new() };
        while life.came(is_build_finished).is_none() || life.count(is_step_finished) < steps {
            let frame = socket.next()?;
            if let Some(lines) = frame.lines() {
                life.lines += lines;
                continue;
            }
            match frame.parse()? {
                Incoming::Event(event) => {
                    let (came, written) = (frame.at.duration_since(sent), event.at.0 - sent_clock);
                    life.seen.push(Seen { topic: event.topic, event: event.event, came, written });
                }
                Incoming::Resumed(_) => life.gap = true,
                _ => {}
            }
        }
        life.must_have_succeeded(build.id)?;
        Ok(life)
    }

    fn must_have_succeeded(&self, build: BuildId) -> Result<()> {
        let succeeded = self.seen.iter().any(|seen| {
            seen.topic == Topic::Build(build)
                && seen.event == Event::BuildFinished { outcome: wire::Outcome::Succeeded }
        });
        if succeeded { Ok(()) } else { Err(Failure(format!("build {build} did not succeed"))) }
    }

    fn first(&self, wanted: impl Fn(&Event) -> bool) -> Option<&Seen> {
        self.seen.iter().find(|seen| wanted(&seen.event))
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.seen.iter().filter(|seen| wanted(&seen.event)).count()
    }

    /// When the first such event came.
    pub(crate) fn came(&self, wanted: impl Fn(&Event) -> bool) -> Option<Duration> {
        self.first(wanted).map(|seen| seen.came)
    }

    /// When the first such event was written, in microseconds by the machine's clock.
    pub(crate) fn written(&self, wanted: impl Fn(&Event) -> bool) -> Option<i64> {
        self.first(wanted).map(|seen| seen.written)
    }

    /// The job that ran first.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.seen.iter().find_map(|seen| match seen.topic {
            Topic::Job(job) => Some(job),
            Topic::Build(_) => None,
        })
    }
}

pub(crate) fn is_build_finished(event: &Event) -> bool {
    matches!(event, Event::BuildFinished { .. })
}

pub(crate) fn is_job_started(event: &Event) -> bool {
    matches!(event, Event::JobStarted { .. })
}

pub(crate) fn is_step_started(event: &Event) -> bool {
    matches!(event, Event::StepStarted { .. })
}

pub(crate) fn is_step_finished(event: &Event) -> bool {
    matches!(event, Event::StepFinished { .. })
}
