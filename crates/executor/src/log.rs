//! From bytes to lines, and from lines to batches. It reads no pipe and knows no broker.
//!
//! The first line after a pause goes at once; while more are coming they wait for each other, for a short time or until
//! they are many.

pub(crate) mod lines;

use std::time::{Duration, Instant};

use wire::{LogLine, Timestamp};

use self::lines::Lines;

/// The longest time that lines wait for more.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// Bytes of lines that go without waiting for more.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// What a line costs beside its text, roughly, in bytes of JSON.
const LINE_BYTES: usize = 48;

/// Which of a step's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output; and standard error too, unless the step tells them apart.
    Out,
    /// Standard error of a step that tells them apart.
    Err,
}

/// The log of one attempt while it is written: lines of both streams, under one count.
pub(crate) struct Log {
    out: Lines,
    err: Lines,
    /// The number of the next line.
    n: u64,
    batch: Batch,
}

impl Default for Log {
    fn default() -> Self {
        Self { out: Lines::default(), err: Lines::of_stderr(), n: 0, batch: Batch::default() }
    }
}

#[derive(Default)]
struct Batch {
    lines: Vec<LogLine>,
    bytes: usize,
    /// When the next batch may go: at once, unless one went a moment ago.
    next_at: Option<Instant>,
}

impl Log {
    /// Takes what was printed; `send` gets batches that are due.
    pub(crate) fn feed(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        at: Timestamp,
        now: Instant,
        send: &mut impl FnMut(Vec<LogLine>),
    ) {
        let batch = &mut self.batch;
        let (mine, other) = match stream {
            Stream::Out => (&mut self.out, &mut self.err),
            Stream::Err => (&mut self.err, &mut self.out),
        };
        // As on a terminal, what comes on the other stream ends a line that is seen already.
        if other.is_shown() {
            other.close(at, &mut self.n, &mut |line| batch.push(line, now, send));
        }
        mine.feed(bytes, at, now, &mut self.n, &mut |line| batch.push(line, now, send));
        self.tick(at, now, send);
    }

    /// When [`Log::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.batch.due(), self.out.due(), self.err.due()].into_iter().flatten().min()
    }

    /// Sends what has waited for long enough.
    pub(crate) fn tick(&mut self, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        for stream in [Stream::Out, Stream::Err] {
            self.show_open(stream, at, now, send);
        }
        if self.batch.due().is_some_and(|due| due <= now) {
            self.batch.send(now, send);
        }
    }

    /// Shows the line of a stream that has had no end for a while.
    fn show_open(&mut self, stream: Stream, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let (batch, n) = (&mut self.batch, &mut self.n);
        let (mine, other) = match stream {
            Stream::Out => (&mut self.out, &mut self.err),
            Stream::Err => (&mut self.err, &mut self.out),
        };
        if mine.due().is_none_or(|due| due > now) {
            return;
        }
        // Only one line can be seen without its end: the next number is one line's.
        if other.is_shown() {
            other.close(at, n, &mut |line| batch.push(line, now, send));
        }
        if let Some(line) = mine.open(now, *n) {
            batch.push(line, now, send);
        }
    }

    /// The step has ended, and with it a line that has no end of its own.
    pub(crate) fn close(&mut self, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let (batch, n) = (&mut self.batch, &mut self.n);
        // The one that is seen has the next number already.
        let (first, second) =
            if self.err.is_shown() { (&mut self.err, &mut self.out) } else { (&mut self.out, &mut self.err) };
        for lines in [first, second] {
            lines.close(at, n, &mut |line| batch.push(line, now, send));
        }
        if !self.batch.lines.is_empty() {
            self.batch.send(now, send);
        }
    }
}

impl Batch {
    fn push(&mut self, line: LogLine, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        self.bytes += line.text.len() + LINE_BYTES;
        self.next_at.get_or_insert(now);
        self.lines.push(line);
        if self.bytes >= BATCH_BYTES_MAX {
            self.send(now, send);
        }
    }

    /// None while nothing waits.
    fn due(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.lines.is_empty())
    }

    fn send(&mut self, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        self.bytes = 0;
        self.next_at = Some(now + BATCH_TIME);
        send(std::mem::take(&mut self.lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_goes_at_once_and_the_next_ones_wait_for_each_other() {
        let (mut log, start) = (Log::default(), Instant::now());
        let mut sent: Vec<usize> = Vec::new();
        log.feed(Stream::Out, b"one\n", Timestamp(1), start, &mut |batch| sent.push(batch.len()));
        log.feed(Stream::Out, b"two\n", Timestamp(2), start, &mut |batch| sent.push(batch.len()));
        log.feed(Stream::Out, b"three\n", Timestamp(2), start + BATCH_TIME / 2, &mut |batch| sent.push(batch.len()));
        assert_eq!((&sent[..], log.due()), (&[1][..], Some(start + BATCH_TIME)));
        log.tick(Timestamp(1), start + BATCH_TIME, &mut |batch| sent.push(batch.len()));
        assert_eq!((&sent[..], log.due()), (&[1, 2][..], None));
    }

    #[test]
    fn many_lines_do_not_wait_and_no_batch_is_much_larger_than_its_limit() {
        let (mut log, start) = (Log::default(), Instant::now());
        let mut batches: Vec<Vec<LogLine>> = Vec::new();
        let text = "0123456789abcdef\n".repeat(20_000);
        log.feed(Stream::Out, text.as_bytes(), Timestamp(1), start, &mut |batch| batches.push(batch));
        log.close(Timestamp(1), start, &mut |batch| batches.push(batch));
        let bytes = |batch: &Vec<LogLine>| batch.iter().map(|line| line.text.len() + LINE_BYTES).sum::<usize>();
        assert!(batches.iter().all(|batch| bytes(batch) < BATCH_BYTES_MAX + 1024));
        assert!(batches.iter().flatten().map(|line| line.n).eq(0..20_000));
    }

    #[test]
    fn two_streams_share_one_count_and_never_show_two_open_lines() {
        let (mut log, start) = (Log::default(), Instant::now());
        let mut all: Vec<LogLine> = Vec::new();
        let mut feed = |log: &mut Log, stream, bytes: &[u8], after: Duration| {
            log.feed(stream, bytes, Timestamp(1), start + after, &mut |batch| all.extend(batch));
        };
        feed(&mut log, Stream::Out, b"building", Duration::ZERO);
        feed(&mut log, Stream::Err, b"warning: x\nwarn", Duration::from_millis(10));
        // Both have had no end for long enough: the second ends the first, as on a terminal.
        log.tick(Timestamp(1), start + Duration::from_millis(200), &mut |batch| all.extend(batch));
        log.tick(Timestamp(1), start + Duration::from_millis(400), &mut |batch| all.extend(batch));
        let mut feed = |log: &mut Log, stream, bytes: &[u8], after: Duration| {
            log.feed(stream, bytes, Timestamp(1), start + after, &mut |batch| all.extend(batch));
        };
        feed(&mut log, Stream::Err, b"ing: y\n", Duration::from_millis(500));
        feed(&mut log, Stream::Out, b" is done\n", Duration::from_millis(600));
        log.close(Timestamp(1), start + Duration::from_secs(1), &mut |batch| all.extend(batch));
        let told: Vec<_> = all.iter().map(|line| (line.n, &line.text[..], line.err, line.open)).collect();
        let expected = [
            (0, "warning: x", true, false),
            (1, "building", false, true),
            (1, "building", false, false),
            (2, "warn", true, true),
            (2, "warning: y", true, false),
            (3, " is done", false, false),
        ];
        assert_eq!(told, expected);
        assert_eq!(log.due(), None);
    }
}
