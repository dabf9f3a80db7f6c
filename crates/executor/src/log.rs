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

/// The log of one attempt while it is written.
#[derive(Default)]
pub(crate) struct Log {
    lines: Lines,
    batch: Batch,
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
    pub(crate) fn feed(&mut self, bytes: &[u8], at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let batch = &mut self.batch;
        self.lines.feed(bytes, at, now, &mut |line| batch.push(line, now, send));
        self.tick(now, send);
    }

    /// When [`Log::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.batch.due(), self.lines.due()].into_iter().flatten().min()
    }

    /// Sends what has waited for long enough.
    pub(crate) fn tick(&mut self, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        if self.lines.due().is_some_and(|due| due <= now)
            && let Some(line) = self.lines.open(now)
        {
            self.batch.push(line, now, send);
        }
        if self.batch.due().is_some_and(|due| due <= now) {
            self.batch.send(now, send);
        }
    }

    /// The step has ended, and with it a line that has no end of its own.
    pub(crate) fn close(&mut self, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let batch = &mut self.batch;
        self.lines.close(at, &mut |line| batch.push(line, now, send));
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
        log.feed(b"one\n", Timestamp(1), start, &mut |batch| sent.push(batch.len()));
        log.feed(b"two\n", Timestamp(2), start, &mut |batch| sent.push(batch.len()));
        log.feed(b"three\n", Timestamp(2), start + BATCH_TIME / 2, &mut |batch| sent.push(batch.len()));
        assert_eq!((&sent[..], log.due()), (&[1][..], Some(start + BATCH_TIME)));
        log.tick(start + BATCH_TIME, &mut |batch| sent.push(batch.len()));
        assert_eq!((&sent[..], log.due()), (&[1, 2][..], None));
    }

    #[test]
    fn many_lines_do_not_wait_and_no_batch_is_much_larger_than_its_limit() {
        let (mut log, start) = (Log::default(), Instant::now());
        let mut batches: Vec<Vec<LogLine>> = Vec::new();
        let text = "0123456789abcdef\n".repeat(20_000);
        log.feed(text.as_bytes(), Timestamp(1), start, &mut |batch| batches.push(batch));
        log.close(Timestamp(1), start, &mut |batch| batches.push(batch));
        let bytes = |batch: &Vec<LogLine>| batch.iter().map(|line| line.text.len() + LINE_BYTES).sum::<usize>();
        assert!(batches.iter().all(|batch| bytes(batch) < BATCH_BYTES_MAX + 1024));
        assert!(batches.iter().flatten().map(|line| line.n).eq(0..20_000));
    }
}
