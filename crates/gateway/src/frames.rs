//! The text of frames to the client. Event and callback frames are written by [`wire::frame`] from their own bytes.

use std::sync::Arc;

use serde_json::value::RawValue;
use wire::{ServerFrame, frame::Resumed};

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
pub(crate) fn result(id: &str, body: &RawValue) -> Arc<str> {
    let id = serde_json::Value::from(id);
    format!(r#"{{"type":"result","id":{id},"body":{}}}"#, body.get()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_frame_carries_the_results_own_bytes_and_an_id_of_any_text() {
        let body = RawValue::from_string(r#"[{"a": 1}]"#.to_owned()).unwrap();
        let text = result("q\"1", &body);
        let wire::frame::Incoming::Result { id, body } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!((id.as_str(), body), ("q\"1", serde_json::json!([{"a": 1}])));
    }
}
