//! Events: facts in the past tense, and the messages that carry them to gateways, watchers and the stream.
//!
//! | topic | kinds | writer | offset | epoch |
//! |---|---|---|---|---|
//! | `build.<id>` | `build_*`, `job_*`, `attempt_closed` | control | the build's revision | raised by a restore |
//! | `job.<id>` | `step_started`, `log`, `step_finished`, `artifact` | the lease holder | counted from 0 | the attempt |

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    ArtifactId, BuildId, Callback, ClientId, DecodeError, ExecutorId, JobId, LogLine, Outcome, PipelineName, Position,
    Timestamp, Topic, VERSION,
    callback::{Refused, decode_batch, is_batch},
};

/// A fact. The topic says of which build or job; job ids are repeated where the topic is the build's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The build was accepted, or is to run again (`retry`).
    BuildQueued {
        /// The pipeline.
        pipeline: PipelineName,
        /// True when jobs of a finished build were queued again.
        #[serde(default)]
        retry: bool,
    },
    /// Its first job was taken by an executor.
    BuildStarted {},
    /// All of its jobs are finished.
    BuildFinished {
        /// The worst outcome of its jobs.
        outcome: Outcome,
    },
    /// The job's needs are met: it waits for an executor.
    JobQueued {
        /// The job.
        job: JobId,
        /// The attempt that will run, from 1.
        attempt: u32,
    },
    /// An executor took it.
    JobStarted {
        /// The job.
        job: JobId,
        /// The attempt that runs, from 1: the epoch of the job's topic.
        attempt: u32,
        /// Who runs it.
        executor: ExecutorId,
        /// The name of who runs it, for people.
        executor_name: String,
    },
    /// It ended for good (an attempt that failed and will be repeated ends with this too, followed by `job_queued`).
    JobFinished {
        /// The job.
        job: JobId,
        /// The attempt that ended; 0 if none ever ran.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// The last offset of the job's topic in this attempt; none if nothing was said there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_offset: Option<u64>,
        /// Why, where the outcome alone does not tell: one sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Its executor was lost: the lease ran out, or the executor came back without it.
    JobLost {
        /// The job.
        job: JobId,
        /// The attempt that died.
        attempt: u32,
        /// The executor that was lost.
        executor: ExecutorId,
        /// Its name, for people.
        executor_name: String,
        /// One sentence.
        reason: String,
    },
    /// Nothing that the attempt says from here on counts: the recorder seals its log.
    AttemptClosed {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A step began.
    StepStarted {
        /// Index of the step, from 0.
        step: u32,
        /// Its name.
        name: String,
        /// Its command, as written in the pipeline.
        command: String,
    },
    /// Lines were printed.
    Log {
        /// Index of the step that printed them.
        step: u32,
        /// At least one, in order.
        lines: Vec<LogLine>,
    },
    /// A step ended.
    StepFinished {
        /// Index of the step.
        step: u32,
        /// How.
        outcome: Outcome,
        /// The exit status of its shell; none if it was ended by a signal or never started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Why, where code and outcome do not tell: one sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A file was kept.
    Artifact {
        /// Its id, for `GET /artifacts/{id}`.
        artifact: ArtifactId,
        /// Path relative to the workspace.
        name: String,
        /// Bytes.
        size: u64,
        /// Lower-case hex.
        sha256: String,
    },
}

impl Event {
    /// Tells every text in it that is not an id, a name of ours or a checksum: what came from a pipeline, a command or an answer.
    pub fn each_text_mut(&mut self, told: &mut impl FnMut(&mut String)) {
        match self {
            Event::BuildQueued { pipeline: _, retry: _ }
            | Event::BuildStarted {}
            | Event::BuildFinished { outcome: _ }
            | Event::JobQueued { job: _, attempt: _ }
            | Event::AttemptClosed { job: _, attempt: _ } => {}
            Event::JobStarted { job: _, attempt: _, executor: _, executor_name } => told(executor_name),
            Event::JobFinished { job: _, attempt: _, outcome: _, last_offset: _, reason } => {
                reason.as_mut().into_iter().for_each(told);
            }
            Event::JobLost { job: _, attempt: _, executor: _, executor_name, reason } => {
                told(executor_name);
                told(reason);
            }
            Event::StepStarted { step: _, name, command } => {
                told(name);
                told(command);
            }
            Event::Log { step: _, lines } => lines.iter_mut().for_each(|line| told(&mut line.text)),
            Event::StepFinished { step: _, outcome: _, exit_code: _, reason } => {
                reason.as_mut().into_iter().for_each(told);
            }
            Event::Artifact { artifact: _, name, size: _, sha256: _ } => told(name),
        }
    }
}

/// How a log event begins when a program of ours wrote it: by far the most events do.
const LOG: &str = r#"{"kind":"log","#;

/// A log event, read without serde's detour for tagged enums, which holds all lines once more.
#[derive(Deserialize)]
struct LogEvent {
    step: u32,
    lines: Vec<LogLine>,
}

/// An event on its way: what a reader needs stands in the body. `event` is kept as the writer wrote it, so that it is
/// encoded once, verified byte for byte and sent on unchanged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventMessage {
    /// [`VERSION`].
    pub version: u16,
    /// What it is about.
    pub topic: Topic,
    /// The build that the topic belongs to (the same id for a build's own topic).
    pub build: BuildId,
    /// Which numbering `offset` belongs to.
    pub epoch: u32,
    /// Counts from 0 without gaps within the epoch.
    pub offset: u64,
    /// When the writer wrote it.
    pub at: Timestamp,
    /// The client that asked for the build, if any: its worker finds the socket by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// On events of executors: see [`crate::mac`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// An [`Event`] in JSON.
    pub event: Box<RawValue>,
}

impl EventMessage {
    /// Where it stands in its topic.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset }
    }

    /// The fact itself.
    ///
    /// # Errors
    /// When it is of a kind that this Stepcast does not know.
    pub fn parse(&self) -> Result<Event, DecodeError> {
        let text = self.event.get();
        if text.starts_with(LOG)
            && let Ok(LogEvent { step, lines }) = serde_json::from_str(text)
        {
            return Ok(Event::Log { step, lines });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Whether the fact is lines of a log, without reading them.
    ///
    /// # Errors
    /// When it has no kind.
    pub fn is_log(&self) -> Result<bool, DecodeError> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow)]
            kind: Cow<'a, str>,
        }
        let text = self.event.get();
        Ok(text.starts_with(LOG) || serde_json::from_str::<Kind<'_>>(text)?.kind == "log")
    }

    /// From the bytes of a message.
    ///
    /// # Errors
    /// When they are not an event message of this version.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match GatewayMessage::decode(body)? {
            GatewayMessage::Event(event) => Ok(event),
            _ => Err(DecodeError::Shape),
        }
    }

    /// The bytes of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// A hint of the recorder: the record of a topic reaches at least this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The topic.
    pub topic: Topic,
    /// Which numbering `offset` belongs to.
    pub epoch: u32,
    /// The last offset recorded; none if nothing was (a sealed epoch that never spoke).
    pub offset: Option<u64>,
    /// Nothing will ever be recorded behind it: what a reader holds beyond `offset` was never recorded.
    #[serde(default)]
    pub sealed: bool,
}

/// What arrives in a worker's queue.
#[derive(Clone, Debug)]
pub enum GatewayMessage {
    /// An event, for the one who asked and for watchers.
    Event(EventMessage),
    /// The record moved on, for watchers.
    Recorded(Recorded),
    /// For one client. It may come from any program, so it needs no version.
    Callback(Callback),
    /// The same, many in one message.
    Callbacks(Vec<Result<Callback, Refused>>),
}

/// One flat look at a body; which fields are there says what it is.
#[derive(Deserialize)]
struct Body {
    version: Option<u16>,
    topic: Option<Topic>,
    build: Option<BuildId>,
    epoch: Option<u32>,
    offset: Option<u64>,
    at: Option<Timestamp>,
    client_id: Option<ClientId>,
    mac: Option<String>,
    event: Option<Box<RawValue>>,
    recorded: Option<Recorded>,
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    claim_check: bool,
}

/// All that is known of a message of another version.
#[derive(Deserialize)]
struct Head {
    version: u16,
}

impl GatewayMessage {
    /// From the bytes of a message.
    ///
    /// # Errors
    /// When they are not JSON, of another version, or of no known shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if is_batch(bytes) {
            return decode_batch(bytes).map(Self::Callbacks);
        }
        let body: Body = match serde_json::from_slice(bytes) {
            Ok(body) => body,
            // Another version may have other types in its fields: then the version is the reason.
            Err(error) => match serde_json::from_slice(bytes) {
                Ok(Head { version }) if version != VERSION => return Err(DecodeError::Version { found: version }),
                _ => return Err(error.into()),
            },
        };
        if let (Some(client_id), Some(payload)) = (body.client_id, body.payload) {
            let callback = Callback { client_id, payload, claim_check: body.claim_check };
            return callback.check().map(|()| Self::Callback(callback));
        }
        match body.version {
            Some(VERSION) => {}
            Some(found) => return Err(DecodeError::Version { found }),
            None => return Err(DecodeError::Shape),
        }
        if let Some(recorded) = body.recorded {
            return Ok(Self::Recorded(recorded));
        }
        let (Some(topic), Some(build), Some(epoch), Some(offset), Some(at), Some(event)) =
            (body.topic, body.build, body.epoch, body.offset, body.at, body.event)
        else {
            return Err(DecodeError::Shape);
        };
        let (client_id, mac) = (body.client_id, body.mac);
        Ok(Self::Event(EventMessage { version: VERSION, topic, build, epoch, offset, at, client_id, mac, event }))
    }
}

/// The bytes of a `recorded` hint.
#[must_use]
pub fn encode_recorded(recorded: &Recorded) -> Vec<u8> {
    #[derive(Serialize)]
    struct Hint<'a> {
        version: u16,
        recorded: &'a Recorded,
    }
    encode(&Hint { version: VERSION, recorded })
}

/// JSON bytes of a value whose encoding cannot fail: only maps with keys that are not text can, and none here has any.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// An event as raw JSON, ready for [`EventMessage::event`].
#[must_use]
pub fn raw(event: &Event) -> Box<RawValue> {
    serde_json::value::to_raw_value(event).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn message() -> EventMessage {
        let build = BuildId(Uuid::from_u128(1));
        let event = raw(&Event::BuildFinished { outcome: Outcome::Succeeded });
        EventMessage {
            version: VERSION,
            topic: Topic::Build(build),
            build,
            epoch: 1,
            offset: 7,
            at: Timestamp(5),
            client_id: None,
            mac: None,
            event,
        }
    }

    #[test]
    fn an_event_message_comes_back_as_it_was_written() {
        let sent = message();
        let back = EventMessage::decode(&sent.encode()).unwrap();
        assert_eq!((back.topic, back.position(), back.at), (sent.topic, sent.position(), sent.at));
        assert_eq!(back.event.get(), sent.event.get());
        assert_eq!(back.parse().unwrap(), Event::BuildFinished { outcome: Outcome::Succeeded });
    }

    #[test]
    fn a_log_is_known_and_read_however_it_is_written() {
        let line = LogLine {
            n: 7,
            t: Timestamp(3),
            text: "é\"".to_owned(),
            open: false,
            split: false,
            err: true,
            note: false,
        };
        let event = Event::Log { step: 1, lines: vec![line] };
        let ours = raw(&event);
        assert!(ours.get().starts_with(LOG));
        let mut fields: serde_json::Value = serde_json::from_str(ours.get()).unwrap();
        let kind = fields.as_object_mut().unwrap().remove("kind").unwrap();
        let theirs = format!("{{ \"lines\": {}, \"step\": 1, \"kind\": {kind} }}", fields["lines"]);
        for text in [ours, RawValue::from_string(theirs).unwrap()] {
            let sent = EventMessage { event: text, ..message() };
            assert!(sent.is_log().unwrap());
            assert_eq!(sent.parse().unwrap(), event);
        }
        assert!(!message().is_log().unwrap());
        let none = EventMessage { event: RawValue::from_string("{}".to_owned()).unwrap(), ..message() };
        assert!(none.is_log().is_err());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut sent = message();
        sent.version = 9;
        let error = GatewayMessage::decode(&sent.encode()).unwrap_err();
        assert_eq!(error.to_string(), "the message has version 9, this Stepcast reads version 1");
        let other_types = GatewayMessage::decode(br#"{"version":9,"topic":{"build":1},"epoch":"second"}"#).unwrap_err();
        assert_eq!(other_types.to_string(), error.to_string());
    }

    #[test]
    fn a_callback_of_any_program_needs_only_client_id_and_payload() {
        let body = br#"{"client_id":"00000000-0000-0000-0000-000000000001","payload":{"hi":1}}"#;
        let GatewayMessage::Callback(callback) = GatewayMessage::decode(body).unwrap() else { panic!("no callback") };
        assert_eq!(callback.payload.get(), r#"{"hi":1}"#);
    }
}
