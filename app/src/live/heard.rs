//! Frames of the server as the page reads them. Pure. It is [`wire::frame::Incoming`] once more, by hand: the derived
//! reading of an enum is several times as large, and is loaded by everybody before the first page is live.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;
use wire::{Position, SocketMeta, event::Recorded, frame::Resumed};

use super::Unread;

/// What the page does something about.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The socket meta.
    Hello {
        /// Where this tab sits.
        meta: SocketMeta,
        /// The token to come back with.
        resume: String,
        /// Whether the client id is a former one.
        resumed: bool,
        /// Seconds between pings.
        ping_seconds: u64,
    },
    /// An event of a topic.
    Event(Unread),
    /// Where a reader of a topic stands.
    Resumed(Resumed),
    /// The record moved on.
    Recorded(Recorded),
    /// The result of a live query.
    Result {
        /// The query's number.
        id: u64,
        /// Which result.
        position: Position,
        /// The whole result.
        body: Value,
    },
    /// What has changed of it.
    Change {
        /// The query's number.
        id: u64,
        /// Which result the patch makes.
        position: Position,
        /// The offset of the one that it is made of.
        from: u64,
        /// See [`wire::patch`].
        patch: Vec<Value>,
    },
    /// To be acknowledged.
    Callback {
        /// By this id.
        message_id: Uuid,
    },
    /// Something that this tab asked for is refused.
    Problem {
        /// The id that it was asked under.
        id: Option<String>,
        /// The kind.
        title: String,
        /// The sentence.
        detail: String,
    },
    /// Something was heard, and no more.
    Pong,
}

/// Reads a frame; none if it is not one of those.
#[must_use]
pub fn read(text: &str) -> Option<Heard> {
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else { return None };
    let kind = string(&mut frame, "type")?;
    Some(match kind.as_str() {
        "event" => Heard::Event(typed(frame)?),
        "resumed" => Heard::Resumed(typed(frame)?),
        "recorded" => Heard::Recorded(typed(frame)?),
        "hello" => Heard::Hello {
            resume: string(&mut frame, "resume")?,
            resumed: frame.get("resumed")?.as_bool()?,
            ping_seconds: frame.get("ping_seconds")?.as_u64()?,
            meta: SocketMeta { client_id: part(&mut frame, "client_id")?, server_id: part(&mut frame, "server_id")? },
        },
        "result" => Heard::Result { id: number(&mut frame)?, position: position(&frame)?, body: frame.remove("body")? },
        "change" => Heard::Change {
            id: number(&mut frame)?,
            position: position(&frame)?,
            from: frame.get("from")?.as_u64()?,
            patch: match frame.remove("patch")? {
                Value::Array(patch) => patch,
                _ => return None,
            },
        },
        "callback" => Heard::Callback { message_id: string(&mut frame, "message_id")?.parse().ok()? },
        "problem" => Heard::Problem {
            id: string(&mut frame, "id"),
            title: string(&mut frame, "title")?,
            detail: string(&mut frame, "detail")?,
        },
        "pong" => Heard::Pong,
        _ => return None,
    })
}

fn string(frame: &mut Map<String, Value>, name: &str) -> Option<String> {
    match frame.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The number of a query, which is its id.
fn number(frame: &mut Map<String, Value>) -> Option<u64> {
    string(frame, "id")?.parse().ok()
}

fn position(frame: &Map<String, Value>) -> Option<Position> {
    Some(Position { epoch: frame.get("epoch")?.as_u64()?.try_into().ok()?, offset: frame.get("offset")?.as_u64()? })
}

fn part<T: DeserializeOwned>(frame: &mut Map<String, Value>, name: &str) -> Option<T> {
    serde_json::from_value(frame.remove(name)?).ok()
}

fn typed<T: DeserializeOwned>(frame: Map<String, Value>) -> Option<T> {
    serde_json::from_value(Value::Object(frame)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::{
        BuildId, ClientId, ServerFrame, ServerId, Timestamp, Topic,
        frame::{ResumeOutcome, callback_frame, event_frame},
    };

    use super::*;

    fn heard(frame: &ServerFrame) -> Heard {
        read(&serde_json::to_string(frame).unwrap()).unwrap()
    }

    #[test]
    fn what_the_gateway_writes_is_heard() {
        let topic = Topic::Build(BuildId(Uuid::from_u128(1)));
        let client_id: ClientId = ClientId(Uuid::from_u128(7));
        let server_id = ServerId::try_from("north-1".to_owned()).unwrap();
        let hello = ServerFrame::Hello {
            client_id,
            server_id: server_id.clone(),
            resume: "token".into(),
            resumed: true,
            ping_seconds: 25,
            version: "1".into(),
        };
        let Heard::Hello { meta, resume, resumed: true, ping_seconds: 25 } = heard(&hello) else { panic!() };
        assert_eq!((meta, resume.as_str()), (SocketMeta { client_id, server_id }, "token"));

        let resumed = Resumed { topic, outcome: ResumeOutcome::Gap, epoch: 2, from: 3, to: Some(9) };
        assert!(matches!(heard(&ServerFrame::Resumed(resumed)), Heard::Resumed(found) if found == resumed));

        let event = wire::event::raw(&wire::Event::BuildStarted {});
        let text = event_frame(topic, Position { epoch: 1, offset: 2 }, Timestamp(3), &event);
        let Some(Heard::Event(frame)) = read(&text) else { panic!() };
        let frame = frame.read().unwrap();
        assert_eq!((frame.topic, frame.epoch, frame.offset, frame.at), (topic, 1, 2, Timestamp(3)));
        assert_eq!(frame.event, wire::Event::BuildStarted {});

        let at = Position { epoch: u32::MAX, offset: 3 };
        let result = ServerFrame::Result { id: "4".into(), position: at, body: json!([1]) };
        assert!(
            matches!(heard(&result), Heard::Result { id: 4, position, body } if (position, &body) == (at, &json!([1])))
        );
        let patch = vec![json!({"op": "remove", "path": "/0"})];
        let change = ServerFrame::Change { id: "4".into(), position: at, from: 2, patch: patch.clone() };
        let Heard::Change { id: 4, position, from: 2, patch: found } = heard(&change) else { panic!() };
        assert_eq!((position, found), (at, patch));
        let id = Uuid::from_u128(5);
        let payload = serde_json::value::to_raw_value(&json!({"any": 1})).unwrap();
        assert!(
            matches!(read(&callback_frame(id, &payload)), Some(Heard::Callback { message_id }) if message_id == id)
        );
        let problem = ServerFrame::Problem { id: None, title: "no".into(), detail: "not allowed".into() };
        assert!(matches!(heard(&problem), Heard::Problem { id: None, title, .. } if title == "no"));
        assert!(matches!(heard(&ServerFrame::Pong {}), Heard::Pong));
    }

    #[test]
    fn what_is_no_frame_is_not_heard() {
        for text in [
            "",
            "1",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"news"}"#,
            r#"{"type":"hello"}"#,
            r#"{"type":"result","id":"x","body":1}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
