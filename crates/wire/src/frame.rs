//! Frames on the socket: JSON text, each with `type`. What they mean and who speaks first stands in `docs/asyncapi.yaml`.
//!
//! The server speaks first ([`ServerFrame::Hello`]). A client that was here before answers with `attach`, gets a second
//! `hello` with its former client id, and then one `resumed` for each position. `subscribe` is answered by `resumed` as
//! well: the binding stands, and the outcome says whether the frames that follow continue the given position
//! (`complete`) or the record must be read first (`gap`).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    ClientId, Position, ServerId, Timestamp, Topic,
    command::{Command, Query},
    event::Recorded,
    topic::TopicPosition,
};

/// A frame above this many bytes is answered with close code 1009.
pub const CLIENT_FRAME_BYTES_MAX: usize = 64 * 1024;

/// From the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The socket meta, and with it the resume token to come back with.
    Hello {
        /// This tab's id.
        client_id: ClientId,
        /// The worker that holds the socket.
        server_id: ServerId,
        /// To be returned by `attach`; good for this session only.
        resume: String,
        /// Whether the client id is a former one, taken up again.
        resumed: bool,
        /// The server pings this often, and wants a `ping` frame or any other this often from clients that cannot see pings.
        ping_seconds: u64,
        /// Of the program.
        version: String,
    },
    /// The answer to `subscribe` and, for each position, to `attach`.
    Resumed(Resumed),
    /// The record of a topic moved on.
    Recorded(Recorded),
    /// The answer to a command or a query.
    Reply {
        /// The id that the client chose.
        id: String,
        /// As in HTTP.
        status: u16,
        /// As in HTTP.
        body: serde_json::Value,
    },
    /// The present result of a live query.
    Result {
        /// The id that the client chose when it subscribed.
        id: String,
        /// Names the evaluator, and counts its results.
        #[serde(flatten)]
        position: Position,
        /// The whole result.
        body: serde_json::Value,
    },
    /// What has changed of it, to a client that asked for `patch`.
    Change {
        /// The id that the client chose when it subscribed.
        id: String,
        /// Of the result that the patch makes. Its epoch is that of the result before.
        #[serde(flatten)]
        position: Position,
        /// The offset of the result that it is made of: the last one that this client was told.
        from: u64,
        /// A JSON Patch (RFC 6902), see [`crate::patch`]; empty if nothing has changed.
        patch: Vec<serde_json::Value>,
    },
    /// A frame could not be understood or allowed; the socket stays open.
    Problem {
        /// The id of the command, query or subscription, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The kind in a few words.
        title: String,
        /// The sentence.
        detail: String,
    },
    /// The answer to `ping`.
    Pong {},
}

/// Where a reader of a topic stands after `subscribe`, `attach` or when its queue ran full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The topic.
    pub topic: Topic,
    /// How.
    pub outcome: ResumeOutcome,
    /// The epoch that `from` and `to` count in; the reader's own if nothing newer is known.
    pub epoch: u32,
    /// `complete`: the first offset that follows from the replay. `gap`: the first one that must be read.
    pub from: u64,
    /// `complete`: the last one that follows from the replay, absent if none does. `gap`: the last one that must be
    /// read, binding; absent when the gateway cannot know it: read to the end of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Whether the replay held all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeOutcome {
    /// The frames that follow continue the position.
    Complete,
    /// Read the record first, and set aside what comes meanwhile.
    Gap,
}

/// An event frame as a client reads it. The gateway writes it with the event's own bytes ([`event_frame`]).
pub type EventFrame = EventFrameOf<crate::Event>;

/// An [`EventFrame`] whose event may not have been read yet.
#[derive(Clone, Debug, Deserialize)]
pub struct EventFrameOf<E> {
    /// What it is about.
    pub topic: Topic,
    /// Which numbering.
    pub epoch: u32,
    /// Its place.
    pub offset: u64,
    /// When its writer wrote it.
    pub at: Timestamp,
    /// The fact.
    pub event: E,
}

impl EventFrameOf<serde_json::Value> {
    /// Reads the event.
    ///
    /// # Errors
    /// When it is none that this version knows.
    pub fn read(self) -> serde_json::Result<EventFrame> {
        let Self { topic, epoch, offset, at, event } = self;
        Ok(EventFrame { topic, epoch, offset, at, event: serde_json::from_value(event)? })
    }
}

/// Any frame of the server, as a client reads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Incoming {
    /// See [`ServerFrame::Hello`].
    Hello {
        /// This tab's id.
        client_id: ClientId,
        /// The worker.
        server_id: ServerId,
        /// The token to come back with.
        resume: String,
        /// Whether the client id is a former one.
        resumed: bool,
        /// Seconds between pings.
        ping_seconds: u64,
        /// Of the program.
        version: String,
    },
    /// An event of a topic.
    Event(EventFrame),
    /// See [`ServerFrame::Resumed`].
    Resumed(Resumed),
    /// See [`ServerFrame::Recorded`].
    Recorded(Recorded),
    /// For this client alone.
    Callback {
        /// To be acknowledged by `receipt`.
        message_id: Uuid,
        /// Any JSON, or the claim check of what is too large.
        payload: serde_json::Value,
        /// `payload` is a [`crate::ClaimCheck`]: fetch it by `GET /payloads/{ref}`, and verify it.
        #[serde(default)]
        claim_check: bool,
    },
    /// See [`ServerFrame::Reply`].
    Reply {
        /// The chosen id.
        id: String,
        /// As in HTTP.
        status: u16,
        /// As in HTTP.
        body: serde_json::Value,
    },
    /// See [`ServerFrame::Result`].
    Result {
        /// The chosen id.
        id: String,
        /// Which result.
        #[serde(flatten)]
        position: Position,
        /// The whole result.
        body: serde_json::Value,
    },
    /// See [`ServerFrame::Change`].
    Change {
        /// The chosen id.
        id: String,
        /// Of the result that the patch makes.
        #[serde(flatten)]
        position: Position,
        /// The offset of the result that it is made of.
        from: u64,
        /// A JSON Patch.
        patch: Vec<serde_json::Value>,
    },
    /// See [`ServerFrame::Problem`].
    Problem {
        /// The chosen id, if any.
        #[serde(default)]
        id: Option<String>,
        /// The kind.
        title: String,
        /// The sentence.
        detail: String,
    },
    /// The answer to `ping`.
    Pong {},
}

/// The text of an event frame, with the event's own bytes.
#[must_use]
pub fn event_frame(topic: Topic, position: Position, at: Timestamp, event: &RawValue) -> String {
    let (epoch, offset, at, event) = (position.epoch, position.offset, at.0, event.get());
    format!(r#"{{"type":"event","topic":"{topic}","epoch":{epoch},"offset":{offset},"at":{at},"event":{event}}}"#)
}

/// The text of a callback frame, with the payload's own bytes.
#[must_use]
pub fn callback_frame(message_id: Uuid, payload: &RawValue) -> String {
    format!(r#"{{"type":"callback","message_id":"{message_id}","payload":{}}}"#, payload.get())
}

/// The same with a claim check in the payload's place.
#[must_use]
pub fn claim_check_frame(message_id: Uuid, check: &RawValue) -> String {
    format!(r#"{{"type":"callback","message_id":"{message_id}","claim_check":true,"payload":{}}}"#, check.get())
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// I was here before.
    Attach {
        /// From the former `hello`.
        resume: String,
        /// What I watched, and how far I got.
        #[serde(default)]
        positions: Vec<TopicPosition>,
    },
    /// Tell me of a topic, or of a query whenever its result changes.
    Subscribe {
        /// `build.<id>`, `job.<id>`, or `query` together with `id` and `query`.
        topic: String,
        /// The last event of the topic that I have, from the page or the record; of a query, the last result, if `patch`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// Names a query, to tell its results and to unsubscribe.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The query.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<Query>,
        /// I apply JSON Patches: after its first result tell me what has changed of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        patch: bool,
    },
    /// No more of that.
    Unsubscribe {
        /// As in `subscribe`.
        topic: String,
        /// As in `subscribe`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Change something.
    Command {
        /// Comes back in the reply.
        id: String,
        /// What.
        command: Command,
    },
    /// Read something.
    Query {
        /// Comes back in the reply.
        id: String,
        /// What.
        query: Query,
    },
    /// A callback arrived.
    Receipt {
        /// Which.
        message_id: Uuid,
    },
    /// Are you there? Answer: `pong`.
    Ping {},
}

/// Why a socket is closed. The range tells the client what to do ([`CloseCode::may_return`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// Done.
    Normal = 1000,
    /// The tab or the server goes away.
    GoingAway = 1001,
    /// A frame that is not text.
    Unsupported = 1003,
    /// A frame or a client that breaks the rules.
    Policy = 1008,
    /// A frame above [`CLIENT_FRAME_BYTES_MAX`].
    TooLarge = 1009,
    /// Our fault.
    Internal = 1011,
    /// The worker restarts: come back.
    Restart = 1012,
    /// Too many sockets: try later.
    TryLater = 1013,
    /// The client reads too slowly: come back and resume.
    Slow = 4000,
    /// The same client id attached elsewhere.
    Moved = 4001,
    /// Nothing was heard for two ping periods.
    NoPong = 4002,
    /// What the session may do has changed: come back and resume.
    Renewed = 4003,
    /// The session has ended.
    SignedOut = 4500,
    /// Not allowed.
    Forbidden = 4501,
    /// The subprotocol is not spoken here.
    Version = 4502,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Whether a client that was closed with `code` should come back and resume.
    #[must_use]
    pub fn may_return(code: u16) -> bool {
        !matches!(code, 1003 | 1008 | 1009 | 4500..=4999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_reference_are_read_as_they_stand_there() {
        let attach = r#"{"type":"attach","resume":"t","positions":[{"topic":"job.00000000-0000-0000-0000-000000000001","epoch":1,"offset":16},{"topic":"build.00000000-0000-0000-0000-000000000001"}]}"#;
        let ClientFrame::Attach { positions, .. } = serde_json::from_str(attach).unwrap() else { panic!("no attach") };
        assert_eq!(positions[0].position, Some(Position { epoch: 1, offset: 16 }));
        assert_eq!(positions[1].position, None);
        let query =
            r#"{"type":"subscribe","topic":"query","id":"q1","query":{"builds":{"pipeline":"site","limit":20}}}"#;
        assert!(matches!(
            serde_json::from_str(query),
            Ok(ClientFrame::Subscribe { query: Some(Query::Builds(_)), .. })
        ));
        let wrong = r#"{"type":"subscribe","topik":"query"}"#;
        assert!(serde_json::from_str::<ClientFrame>(wrong).is_err());
    }

    #[test]
    fn an_event_frame_carries_the_events_own_bytes() {
        let build = crate::BuildId(Uuid::nil());
        let event = crate::event::raw(&crate::Event::BuildStarted {});
        let text = event_frame(Topic::Build(build), Position { epoch: 1, offset: 2 }, Timestamp(3), &event);
        let Incoming::Event(frame) = serde_json::from_str(&text).unwrap() else { panic!("no event") };
        assert_eq!(
            (frame.epoch, frame.offset, frame.at, frame.event),
            (1, 2, Timestamp(3), crate::Event::BuildStarted {})
        );
    }
}
