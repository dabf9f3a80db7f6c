//! How much of an attempt's log is kept, and the notes that stand in it where it ends. It reads no output and sends nothing.
//!
//! What is beyond the limit is still read, so that the step goes on as if all were well, but it becomes no lines.

use wire::{
    LogLine, Timestamp,
    size::{self, Size},
};

/// What a line costs beside its text, in bytes: what the record keeps of it (its step, time, flags and length) once the
/// texts are packed. So a log of empty lines has its end, too.
const LINE_BYTES: u64 = 8;

/// The limit of one attempt, and what of it is used.
pub(super) struct Limit {
    bytes: u64,
    left: u64,
    /// The number of the note that says so, once the limit is reached.
    note: Option<u64>,
    /// Bytes of the present step that were not kept.
    left_out: u64,
}

impl Limit {
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes, left: bytes, note: None, left_out: 0 }
    }

    /// Whether nothing more is kept.
    pub(super) fn is_reached(&self) -> bool {
        self.note.is_some()
    }

    /// Takes a line that has its end, or counts it as left out. The one that reaches the limit is kept whole. A line that is
    /// shown without its end costs nothing: the next one takes its place.
    pub(super) fn take(&mut self, mut line: LogLine) -> Option<LogLine> {
        if self.is_reached() {
            self.leave_out(line.text.len() as u64 + u64::from(!line.split));
            return None;
        }
        self.left = self.left.saturating_sub(line.text.len() as u64 + LINE_BYTES);
        if self.left == 0 {
            self.note = Some(line.n + 1);
            // What it would go on in is not kept.
            line.split = false;
        }
        Some(line)
    }

    /// Counts bytes that nobody will see.
    pub(super) fn leave_out(&mut self, bytes: u64) {
        self.left_out += bytes;
    }

    /// The note that stands behind the last line that was kept.
    pub(super) fn reached_note(&self, t: Timestamp) -> Option<LogLine> {
        let text = format!("Log limit of {} reached: what follows is not kept.", Size(self.bytes));
        self.note.map(|n| note(n, t, text))
    }

    /// The note at the end of a step of whose output something was left out, numbered `n`.
    pub(super) fn step_note(&mut self, n: u64, t: Timestamp) -> Option<LogLine> {
        let left_out = std::mem::take(&mut self.left_out);
        let text = match left_out {
            0 => return None,
            1 => "1 byte of this step's output was not kept.".to_owned(),
            bytes => format!("{} bytes of this step's output were not kept.", size::grouped(bytes)),
        };
        Some(note(n, t, text))
    }
}

fn note(n: u64, t: Timestamp, text: String) -> LogLine {
    LogLine { n, t, text, open: false, split: false, err: false, note: true }
}
