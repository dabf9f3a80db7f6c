//! From bytes to lines, and from lines to batches. It reads no pipe and knows no broker. Secrets are masked before lines are
//! made ([`crate::mask`]): what may be the beginning of one is no part of a line yet.
//!
//! The first line after a pause goes at once; while more are coming they wait for each other, for a short time or until
//! they are many.

mod limit;
pub(crate) mod lines;

use std::time::{Duration, Instant};

use wire::{LogLine, Timestamp};

use self::{limit::Limit, lines::Lines};
use crate::mask::{Masked, MaskedStream, Masker};

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
    /// What of each stream has not become lines yet.
    masked_out: MaskedStream,
    masked_err: MaskedStream,
    /// The number of the next line.
    n: u64,
    limit: Limit,
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
    /// An empty log that keeps `limit` bytes, without what `masker` hides.
    pub(crate) fn new(limit: u64, masker: &Masker) -> Self {
        let (out, err) = (Lines::default(), Lines::of_stderr());
        let (masked_out, masked_err) = (masker.stream(), masker.stream());
        Self { out, err, masked_out, masked_err, n: 0, limit: Limit::of(limit), batch: Batch::default() }
    }

    /// Takes what was printed; `send` gets batches that are due.
    pub(crate) fn feed(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        at: Timestamp,
        now: Instant,
        send: &mut impl FnMut(Vec<LogLine>),
    ) {
        if self.limit.is_reached() {
            self.limit.leave_out(bytes.len() as u64);
            return self.tick(at, now, send);
        }
        let mut masked = std::mem::take(self.masked(stream));
        masked.feed(bytes, &mut |bytes| self.read(stream, bytes, at, now, send));
        *self.masked(stream) = masked;
        self.end_at_limit(at, now, send);
        self.tick(at, now, send);
    }

    fn masked(&mut self, stream: Stream) -> &mut MaskedStream {
        match stream {
            Stream::Out => &mut self.masked_out,
            Stream::Err => &mut self.masked_err,
        }
    }

    /// Makes lines of what may be shown.
    fn read(
        &mut self,
        stream: Stream,
        bytes: Masked<'_>,
        at: Timestamp,
        now: Instant,
        send: &mut impl FnMut(Vec<LogLine>),
    ) {
        let (mine, other) = match stream {
            Stream::Out => (&mut self.out, &mut self.err),
            Stream::Err => (&mut self.err, &mut self.out),
        };
        // As on a terminal, what comes on the other stream ends a line that is seen already.
        if other.is_shown() {
            other.close(at, &mut self.n, &mut keep(&mut self.limit, &mut self.batch, now, send));
        }
        mine.feed(bytes, at, now, &mut self.n, &mut keep(&mut self.limit, &mut self.batch, now, send));
    }

    /// Where the limit was just reached, a note stands behind the last line that was kept.
    fn end_at_limit(&mut self, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let Some(note) = self.limit.reached_note(at) else { return };
        for (lines, masked) in [(&mut self.out, &mut self.masked_out), (&mut self.err, &mut self.masked_err)] {
            self.limit.leave_out(lines.forget() + masked.forget());
        }
        // Lines behind the last one that was kept have had numbers, which nobody has seen.
        self.n = note.n + 1;
        self.batch.push(note, now, send);
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
        let (mine, other) = match stream {
            Stream::Out => (&mut self.out, &mut self.err),
            Stream::Err => (&mut self.err, &mut self.out),
        };
        if mine.due().is_none_or(|due| due > now) {
            return;
        }
        // Only one line can be seen without its end: the next number is one line's.
        if other.is_shown() {
            other.close(at, &mut self.n, &mut keep(&mut self.limit, &mut self.batch, now, send));
            if self.limit.is_reached() {
                return self.end_at_limit(at, now, send);
            }
        }
        let mine = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        if let Some(line) = mine.open(now, self.n) {
            self.batch.push(line, now, send);
        }
    }

    /// The step has ended, and with it a line that has no end of its own.
    pub(crate) fn close(&mut self, at: Timestamp, now: Instant, send: &mut impl FnMut(Vec<LogLine>)) {
        let was_reached = self.limit.is_reached();
        for stream in [Stream::Out, Stream::Err] {
            let mut masked = std::mem::take(self.masked(stream));
            masked.end(&mut |bytes| self.read(stream, bytes, at, now, send));
            *self.masked(stream) = masked;
        }
        // The one that is seen has the next number already.
        let (first, second) =
            if self.err.is_shown() { (&mut self.err, &mut self.out) } else { (&mut self.out, &mut self.err) };
        for lines in [first, second] {
            lines.close(at, &mut self.n, &mut keep(&mut self.limit, &mut self.batch, now, send));
        }
        if !was_reached {
            self.end_at_limit(at, now, send);
        }
        if let Some(note) = self.limit.step_note(self.n, at) {
            self.n += 1;
            self.batch.push(note, now, send);
        }
        if !self.batch.lines.is_empty() {
            self.batch.send(now, send);
        }
    }
}

/// Takes lines into the batch, as far as the limit goes.
fn keep(
    limit: &mut Limit,
    batch: &mut Batch,
    now: Instant,
    send: &mut impl FnMut(Vec<LogLine>),
) -> impl FnMut(LogLine) {
    move |line| {
        if let Some(line) = limit.take(line) {
            batch.push(line, now, send);
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
        let (mut log, start) = (Log::new(u64::MAX, &Masker::default()), Instant::now());
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
        let (mut log, start) = (Log::new(u64::MAX, &Masker::default()), Instant::now());
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
        let (mut log, start) = (Log::new(u64::MAX, &Masker::default()), Instant::now());
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

    fn told(all: &[LogLine]) -> Vec<(u64, &str, bool)> {
        all.iter().filter(|line| !line.open).map(|line| (line.n, &line.text[..], line.note)).collect()
    }

    #[test]
    fn a_log_ends_at_its_limit_with_a_note_and_says_of_each_step_how_much_is_missing() {
        let (mut log, now) = (Log::new(30, &Masker::default()), Instant::now());
        let mut all: Vec<LogLine> = Vec::new();
        log.feed(Stream::Out, b"0123456789\n0123456789\nlost\nlost too", Timestamp(1), now, &mut |batch| {
            all.extend(batch)
        });
        log.feed(Stream::Err, b"never seen", Timestamp(2), now, &mut |batch| all.extend(batch));
        log.close(Timestamp(3), now, &mut |batch| all.extend(batch));
        // Of the next step nothing is kept, and of a silent one there is nothing to say.
        log.feed(Stream::Out, &[b'x'; 1_000_000], Timestamp(4), now, &mut |batch| all.extend(batch));
        log.close(Timestamp(5), now, &mut |batch| all.extend(batch));
        log.close(Timestamp(6), now, &mut |batch| all.extend(batch));
        let expected = [
            (0, "0123456789", false),
            (1, "0123456789", false),
            (2, "Log limit of 30 bytes reached: what follows is not kept.", true),
            (3, "23 bytes of this step's output were not kept.", true),
            (4, "1,000,000 bytes of this step's output were not kept.", true),
        ];
        assert_eq!((told(&all), log.due()), (expected.to_vec(), None));
    }

    #[test]
    fn a_line_that_is_seen_without_its_end_keeps_its_number_when_it_is_the_last_one() {
        let (mut log, start) = (Log::new(20, &Masker::default()), Instant::now());
        let mut all: Vec<LogLine> = Vec::new();
        log.feed(Stream::Out, b"downloading", Timestamp(1), start, &mut |batch| all.extend(batch));
        log.feed(Stream::Err, b"warn", Timestamp(1), start, &mut |batch| all.extend(batch));
        log.tick(Timestamp(1), start + Duration::from_millis(200), &mut |batch| all.extend(batch));
        // The other stream's line would be shown now: it ends the first one, which is the last that is kept.
        log.feed(Stream::Out, b" ... ", Timestamp(1), start + Duration::from_millis(210), &mut |batch| {
            all.extend(batch)
        });
        log.tick(Timestamp(1), start + Duration::from_millis(500), &mut |batch| all.extend(batch));
        log.close(Timestamp(2), start + Duration::from_secs(1), &mut |batch| all.extend(batch));
        assert_eq!(all.iter().find(|line| line.open).map(|line| (line.n, &line.text[..])), Some((0, "downloading")));
        let numbers: Vec<u64> = told(&all).iter().map(|(n, ..)| *n).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{all:?}");
        assert_eq!(told(&all).iter().filter(|(.., note)| *note).count(), 2, "{all:?}");
    }

    #[test]
    fn a_long_line_at_the_limit_does_not_run_into_the_note() {
        let (mut log, now) = (Log::new(1000, &Masker::default()), Instant::now());
        let mut all: Vec<LogLine> = Vec::new();
        log.feed(Stream::Out, &vec![b'x'; 200_000], Timestamp(1), now, &mut |batch| all.extend(batch));
        log.close(Timestamp(2), now, &mut |batch| all.extend(batch));
        assert_eq!((all[0].split, all[0].text.len(), all[1].note), (false, wire::log::LINE_BYTES_MAX, true));
        let left_out = 200_000 - wire::log::LINE_BYTES_MAX;
        assert_eq!(left_out, 134_464);
        assert_eq!(all[2].text, "134,464 bytes of this step's output were not kept.");
    }
}
