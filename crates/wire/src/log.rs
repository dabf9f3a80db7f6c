//! One line of a job's log, as it is sent, recorded and shown.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A line longer than this is split, its parts marked [`LogLine::split`]. Bytes of UTF-8.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// One line. Numbers count from 0 through all steps of one attempt and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Line number within the attempt.
    pub n: u64,
    /// When its first byte was read.
    pub t: Timestamp,
    /// Without its line end; ANSI sequences kept; bytes that were not UTF-8 replaced by U+FFFD.
    pub text: String,
    /// The line has no end yet: a later line with the same number takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The line goes on in the next one: it was longer than [`LINE_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split: bool,
    /// It was printed to stderr. Said only of jobs that tell their two streams apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub err: bool,
    /// No step printed it: the executor says it of the log itself, such as that its limit is reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub note: bool,
}

/// A recorded line together with its step, as `GET /jobs/{id}/log` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedLine {
    /// Index of the step that printed it, from 0.
    pub step: u32,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
    /// It was printed and will never be recorded: the event stream has lost it. Time, step and text say nothing then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

impl RecordedLine {
    /// Stands for line `n`, which will never be recorded.
    #[must_use]
    pub fn missing(n: u64) -> Self {
        let line =
            LogLine { n, t: Timestamp(0), text: String::new(), open: false, split: false, err: false, note: false };
        Self { step: 0, line, missing: true }
    }
}

/// What a line says of a group of lines, if it is one of the markers that people know from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker<'a> {
    /// A group begins: `::group::title`, or `##[group]title`.
    Begin(&'a str),
    /// It ends: `::endgroup::`, or `##[endgroup]`.
    End,
}

/// Reads a marker; none where the line is none. A group also ends where the next one begins, and with its step.
#[must_use]
pub fn marker(text: &str) -> Option<Marker<'_>> {
    if let Some(title) = ["::group::", "##[group]"].iter().find_map(|begin| text.strip_prefix(begin)) {
        return Some(Marker::Begin(title.trim()));
    }
    matches!(text.trim_end(), "::endgroup::" | "##[endgroup]").then_some(Marker::End)
}

/// The lines of a group, as `GET /jobs/{id}/log/group` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The line that begins it.
    pub first: u64,
    /// Its last line: the one that ends it, or what stands before the next group or step; or the last one so far.
    pub last: u64,
}

/// Puts `text` without its ANSI sequences into `out`, in the place of what was there: what searching and copying see.
pub fn plain(text: &str, out: &mut String) {
    out.clear();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = match behind.as_bytes().first() {
            // A control sequence ends with its first letter or sign from `@` on.
            Some(b'[') => after(&behind[1..], |c| ('@'..='~').contains(&c)),
            // An operating system command, such as a link, ends with BEL or with the escape of `ESC \`.
            Some(b']') => match behind.find(['\u{7}', '\u{1b}']) {
                Some(end) if behind[end..].starts_with("\u{1b}\\") => &behind[end + 2..],
                Some(end) if behind[end..].starts_with('\u{7}') => &behind[end + 1..],
                Some(end) => &behind[end..],
                None => "",
            },
            Some(_) => after(behind, |_| true),
            None => "",
        };
    }
    out.push_str(rest);
}

/// What stands behind the first such character; nothing where there is none.
fn after(text: &str, is_last: impl Fn(char) -> bool) -> &str {
    text.char_indices().find(|(_, c)| is_last(*c)).map_or("", |(at, c)| &text[at + c.len_utf8()..])
}

#[cfg(test)]
mod tests {
    use super::{Marker, marker, plain};

    #[test]
    fn groups_begin_and_end_with_markers() {
        assert_eq!(marker("::group::Install"), Some(Marker::Begin("Install")));
        assert_eq!(marker("##[group] Install "), Some(Marker::Begin("Install")));
        assert_eq!([marker("::endgroup::"), marker("##[endgroup]\r")], [Some(Marker::End); 2]);
        assert_eq!(["::group:", "say ::group::x", "::endgroup::x", ""].map(marker), [None; 4]);
    }

    #[test]
    fn plain_text_has_no_sequences_left() {
        let cases = [
            ("no colour", "no colour"),
            ("\u{1b}[1;31mred\u{1b}[0m plain", "red plain"),
            ("\u{1b}]8;;https://example.org\u{7}link\u{1b}]8;;\u{1b}\\ end", "link end"),
            ("\u{1b}cä\u{1b}", "ä"),
            ("cut \u{1b}[31", "cut "),
        ];
        let mut out = "former".to_owned();
        for (text, expected) in cases {
            plain(text, &mut out);
            assert_eq!(out, expected, "{text:?}");
        }
    }
}
