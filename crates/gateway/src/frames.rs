//! The text of frames to the client. Event and callback frames are written by [`wire::frame`] from their own bytes.

use std::sync::Arc;

use serde_json::value::RawValue;
use wire::{Position, ServerFrame, frame::Resumed};

use crate::LiveResult;

/// The text of a frame.
pub(crate) fn text(frame: &ServerFrame) -> Arc<str> {
    // Encoding fails only for maps whose keys are not text, and no frame holds one.
    serde_json::to_string(frame).unwrap_or_default().into()
}

/// The text of a `resumed` frame.
pub(crate) fn resumed(resumed: Resumed) -> Arc<str> {
    text(&ServerFrame::Resumed(resumed))
}

/// The text of a `problem` frame.
pub(crate) fn problem(id: Option<String>, title: &str, detail: impl Into<String>) -> Arc<str> {
    text(&ServerFrame::Problem { id, title: title.to_owned(), detail: detail.into() })
}

/// The text of a `result` frame with the result's own bytes.
pub(crate) fn result(id: &str, result: &LiveResult) -> Arc<str> {
    let (id, Position { epoch, offset }) = (serde_json::Value::from(id), result.position);
    format!(r#"{{"type":"result","id":{id},"epoch":{epoch},"offset":{offset},"body":{}}}"#, result.body.get()).into()
}

/// The text of a `change` frame with the patches' own bytes, one behind the other.
pub(crate) fn change<'p>(
    id: &str,
    position: Position,
    from: u64,
    patches: impl Iterator<Item = &'p RawValue>,
) -> Arc<str> {
    let (id, Position { epoch, offset }) = (serde_json::Value::from(id), position);
    let mut text = format!(r#"{{"type":"change","id":{id},"epoch":{epoch},"offset":{offset},"from":{from},"patch":["#);
    let begin = text.len();
    for patch in patches {
        let changes = patch.get().trim().trim_start_matches('[').trim_end_matches(']');
        if text.len() > begin && !changes.is_empty() {
            text.push(',');
        }
        text.push_str(changes);
    }
    text.push_str("]}");
    text.into()
}

#[cfg(test)]
mod tests {
    use wire::frame::Incoming;

    use super::*;

    fn raw(json: &str) -> Arc<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap().into()
    }

    #[test]
    fn frames_of_a_live_query_carry_its_own_bytes_and_an_id_of_any_text() {
        let position = Position { epoch: 7, offset: 3 };
        let patches = [
            r#"[{"op":"remove","path":"/0"},{"op":"remove","path":"/0"}]"#,
            r#"[{"op":"add","path":"/0","value":[]}]"#,
        ];
        let live = LiveResult {
            position,
            body: raw(r#"[{"a": 1}]"#),
            patches: patches.iter().map(|patch| raw(patch)).collect(),
        };
        let text = result("q\"1", &live);
        let Incoming::Result { id, position: at, body } = serde_json::from_str(&text).unwrap() else {
            panic!("{text}")
        };
        assert_eq!((id.as_str(), at, body), ("q\"1", position, serde_json::json!([{"a": 1}])));
        for (from, changes) in [(3, 0), (2, 1), (1, 3)] {
            let text = change("q", position, from, live.since(Position { epoch: 7, offset: from }).unwrap());
            let Incoming::Change { from: told, patch, .. } = serde_json::from_str(&text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!((told, patch.len()), (from, changes), "{text}");
        }
        for unknown in
            [Position { epoch: 7, offset: 0 }, Position { epoch: 7, offset: 4 }, Position { epoch: 6, offset: 2 }]
        {
            assert!(live.since(unknown).is_none(), "{unknown:?}");
        }
    }
}
