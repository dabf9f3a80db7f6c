//! What a terminal would show, line by line: carriage returns and the sequences that mean the same rewrite the line, other
//! ANSI sequences are kept, bytes that are not UTF-8 become U+FFFD, a line without an end is shown as open after a short
//! while, a very long one is split.

use std::{
    mem::take,
    time::{Duration, Instant},
};

use memchr::memchr3;
use wire::{LogLine, Timestamp, log::LINE_BYTES_MAX};

use crate::mask::Masked;

/// A line that has no end by then is shown as it is; and again no more often than this while it changes.
const OPEN_TIME: Duration = Duration::from_millis(100);

/// The lines of one stream of an attempt while they are read. Their numbers are given out by who owns both streams.
#[derive(Default)]
pub(crate) struct Lines {
    /// What is read is stderr.
    err: bool,
    /// The line that is read was shown open: the next number is its own until it ends.
    is_shown: bool,
    /// What the line showed before its last carriage return.
    shown: String,
    /// What came since. Bytes, because a character may be cut by a read.
    part: Vec<u8>,
    /// The last byte was a carriage return; what follows says whether it ends the line or rewrites it.
    returned: bool,
    /// The beginning of what may be a [`Sequence`], cut by a read: at most 3 bytes.
    cut: Vec<u8>,
    /// When the line's first byte was read.
    began: Option<Timestamp>,
    /// When the line may be shown open (next). None while it has no byte.
    open_at: Option<Instant>,
    /// Whether it changed since it was shown open.
    changed: bool,
}

impl Lines {
    /// Of stderr, told apart.
    pub(crate) fn of_stderr() -> Self {
        Self { err: true, ..Self::default() }
    }

    /// Takes bytes as they were read; `out` gets the lines that they end. `n` is the next line's number.
    pub(crate) fn feed(
        &mut self,
        bytes: Masked<'_>,
        at: Timestamp,
        now: Instant,
        n: &mut u64,
        out: &mut impl FnMut(LogLine),
    ) {
        let bytes = bytes.bytes();
        let joined;
        let mut rest = bytes;
        if !self.cut.is_empty() {
            joined = [take(&mut self.cut).as_slice(), bytes].concat();
            rest = &joined;
        }
        while let Some(first) = rest.first() {
            if self.returned && *first != b'\r' {
                self.returned = false;
                if *first == b'\n' {
                    self.end_line(at, n, out);
                    rest = &rest[1..];
                    continue;
                }
                self.rewind();
            }
            let Some((stop, sequence)) = stop(rest) else {
                self.append(rest, at, now, n, out);
                break;
            };
            if let Some(sequence) = sequence {
                self.append(&rest[..stop], at, now, n, out);
                rest = &rest[stop..];
                let bytes = match sequence {
                    Sequence::Cut => {
                        self.cut = rest.to_vec();
                        rest.len()
                    }
                    Sequence::Return { bytes } => {
                        self.rewind();
                        bytes
                    }
                    // Behind what was written since the line's beginning nothing is known to stand.
                    Sequence::EraseRight { bytes } if !self.part.is_empty() => {
                        self.append(&rest[..bytes], at, now, n, out);
                        bytes
                    }
                    Sequence::EraseRight { bytes } | Sequence::EraseLine { bytes } => {
                        self.changed |= self.began.is_some();
                        self.shown.clear();
                        self.part.clear();
                        bytes
                    }
                };
                rest = &rest[bytes..];
                continue;
            }
            let (text, end) = (&rest[..stop], rest[stop]);
            rest = &rest[stop + 1..];
            if end == b'\n' && self.began.is_none() && text.len() <= LINE_BYTES_MAX {
                self.emit(String::from_utf8_lossy(text).into_owned(), at, false, n, out);
                continue;
            }
            self.append(text, at, now, n, out);
            if end == b'\n' {
                self.end_line(at, n, out);
            } else {
                self.returned = true;
            }
        }
    }

    /// When the line that has no end is to be shown.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.open_at.filter(|_| self.changed)
    }

    /// Whether the next number is shown as this stream's open line.
    pub(crate) fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// The line that has no end yet.
    pub(crate) fn open(&mut self, now: Instant, n: u64) -> Option<LogLine> {
        let t = self.began?;
        (self.changed, self.is_shown) = (false, true);
        self.open_at = Some(now + OPEN_TIME);
        let mut text = overlay(self.shown.clone(), &String::from_utf8_lossy(whole_characters(&self.part)));
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        Some(LogLine { n, t, text, open: true, split: false, err: self.err, note: false })
    }

    /// Nothing more comes: the open line ends here.
    pub(crate) fn close(&mut self, at: Timestamp, n: &mut u64, out: &mut impl FnMut(LogLine)) {
        self.returned = false;
        if !self.cut.is_empty() {
            self.began.get_or_insert(at);
            self.part.append(&mut self.cut);
        }
        // What was erased and never shown is no line.
        let is_erased = self.part.is_empty() && self.shown.is_empty() && !self.is_shown;
        if self.began.is_some() && !is_erased {
            self.end_line(at, n, out);
        }
    }

    /// Forgets the line that is read; tells how many bytes of it had come.
    pub(crate) fn forget(&mut self) -> u64 {
        let bytes = self.shown.len() + self.part.len() + self.cut.len();
        *self = Self { err: self.err, ..Self::default() };
        bytes as u64
    }

    /// What is written next stands over the line from its beginning.
    fn rewind(&mut self) {
        let part = take(&mut self.part);
        self.shown = overlay(take(&mut self.shown), &String::from_utf8_lossy(&part));
    }

    fn append(&mut self, bytes: &[u8], at: Timestamp, now: Instant, n: &mut u64, out: &mut impl FnMut(LogLine)) {
        if bytes.is_empty() {
            return;
        }
        self.began.get_or_insert(at);
        self.open_at.get_or_insert(now + OPEN_TIME);
        self.changed = true;
        self.part.extend_from_slice(bytes);
        while self.part.len() > LINE_BYTES_MAX {
            let rest = self.part.split_off(split_at(&self.part));
            let part = std::mem::replace(&mut self.part, rest);
            let text = overlay(take(&mut self.shown), &String::from_utf8_lossy(&part));
            let t = self.began.replace(at).unwrap_or(at);
            self.emit(text, t, true, n, out);
        }
    }

    fn end_line(&mut self, at: Timestamp, n: &mut u64, out: &mut impl FnMut(LogLine)) {
        let part = take(&mut self.part);
        let text = overlay(take(&mut self.shown), &String::from_utf8_lossy(&part));
        let t = self.began.take().unwrap_or(at);
        self.open_at = None;
        self.changed = false;
        self.emit(text, t, false, n, out);
    }

    /// One line; or several where replaced bytes made the text longer than what was read.
    fn emit(&mut self, mut text: String, t: Timestamp, split: bool, n: &mut u64, out: &mut impl FnMut(LogLine)) {
        self.is_shown = false;
        while text.len() > LINE_BYTES_MAX {
            let rest = text.split_off(text.floor_char_boundary(LINE_BYTES_MAX));
            out(LogLine { n: *n, t, text, open: false, split: true, err: self.err, note: false });
            *n += 1;
            text = rest;
        }
        out(LogLine { n: *n, t, text, open: false, split, err: self.err, note: false });
        *n += 1;
    }
}

/// Where a line ends or is rewritten: at a newline, a carriage return, or a sequence.
fn stop(bytes: &[u8]) -> Option<(usize, Option<Sequence>)> {
    let mut from = 0;
    loop {
        let at = from + memchr3(b'\n', b'\r', ESCAPE, &bytes[from..])?;
        if bytes[at] != ESCAPE {
            return Some((at, None));
        }
        if let Some(sequence) = Sequence::of(&bytes[at + 1..]) {
            return Some((at, Some(sequence)));
        }
        from = at + 1;
    }
}

const ESCAPE: u8 = b'\x1b';

/// What spinners write between two pictures (ECMA-48: CHA to the first column, EL), with its length.
enum Sequence {
    /// As a carriage return.
    Return { bytes: usize },
    /// Erases what stands from the cursor on.
    EraseRight { bytes: usize },
    /// Erases all of the line.
    EraseLine { bytes: usize },
    /// The bytes end before it can be told.
    Cut,
}

impl Sequence {
    /// By what follows the escape.
    fn of(rest: &[u8]) -> Option<Self> {
        match rest {
            [] | [b'['] | [b'[', b'0'..=b'2'] => Some(Self::Cut),
            [b'[', b'G', ..] => Some(Self::Return { bytes: 3 }),
            [b'[', b'0' | b'1', b'G', ..] => Some(Self::Return { bytes: 4 }),
            [b'[', b'K', ..] => Some(Self::EraseRight { bytes: 3 }),
            [b'[', b'0', b'K', ..] => Some(Self::EraseRight { bytes: 4 }),
            [b'[', b'2', b'K', ..] => Some(Self::EraseLine { bytes: 4 }),
            _ => None,
        }
    }
}

/// What stands on the line when `part` is written over `shown` from its beginning. Escape sequences move the cursor
/// and clear, so where one is in play, what was written last is taken for the whole.
fn overlay(shown: String, part: &str) -> String {
    if part.is_empty() {
        return shown;
    }
    if shown.is_empty() || shown.contains('\x1b') || part.contains('\x1b') {
        return part.to_owned();
    }
    let covered = part.chars().count();
    let rest = shown.char_indices().nth(covered).map_or("", |(at, _)| &shown[at..]);
    format!("{part}{rest}")
}

/// Where to cut a line that is too long: at the limit, or up to three bytes before it where it would cut a character.
fn split_at(part: &[u8]) -> usize {
    let starts = |at: &usize| part[*at] & 0xC0 != 0x80;
    (LINE_BYTES_MAX - 3..=LINE_BYTES_MAX).rev().find(starts).unwrap_or(LINE_BYTES_MAX)
}

/// Without the beginning of a character whose end was not read yet.
fn whole_characters(part: &[u8]) -> &[u8] {
    let cut = part.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &part[..part.len() - cut.len()],
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(bytes: &[u8]) -> Masked<'_> {
        Masked::without_secrets(bytes)
    }

    fn read(reads: &[&[u8]]) -> Vec<LogLine> {
        let (mut lines, mut n, mut out) = (Lines::default(), 0, Vec::new());
        for (at, bytes) in (0..).zip(reads) {
            lines.feed(clean(bytes), Timestamp(at), Instant::now(), &mut n, &mut |line| out.push(line));
        }
        lines.close(Timestamp(99), &mut n, &mut |line| out.push(line));
        out
    }

    fn texts(reads: &[&[u8]]) -> Vec<String> {
        read(reads).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_end_with_newline_or_both_wherever_a_read_cuts_them() {
        let expected = ["one", "", "two", "three"];
        let bytes = b"one\n\r\ntwo\r\nthree";
        assert_eq!(texts(&[bytes]), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(texts(&single), expected);
    }

    #[test]
    fn a_carriage_return_rewrites_the_line_as_a_terminal_would() {
        assert_eq!(texts(&[b" 10%\r 50%\r100%\ndone\n"]), ["100%", "done"]);
        assert_eq!(texts(&[b"downloading\rdone\n"]), ["doneloading"]);
        assert_eq!(texts(&["größe\rGRÖ\n".as_bytes()]), ["GRÖße"]);
        assert_eq!(texts(&[b"long text\r\x1b[Kdone\r\n"]), ["done"]);
        assert_eq!(texts(&[b"\x1b[32mgreen\x1b[0m\rok\n"]), ["ok"]);
        assert_eq!(texts(&[b"50%\r"]), ["50%"]);
        assert_eq!(texts(&[b"a\r\r\nb\r", b"\nc\r", b"d"]), ["a", "b", "d"]);
    }

    #[test]
    fn a_spinner_that_moves_by_sequences_rewrites_its_line_wherever_a_read_cuts_them() {
        for (bytes, expected) in [
            (&b"\x1b[2K\x1b[1G| one\x1b[2K\x1b[1G/ two\x1b[2K\x1b[1Gdone\nnext\n"[..], &["done", "next"][..]),
            (b"\x1b[1G\x1b[0Klong one\x1b[0G\x1b[Ktwo\n", &["two"]),
            (b"downloading\x1b[Gdone\n", &["doneloading"]),
            (b"50%\x1b[1G\n", &["50%"]),
            (b"working\r\x1b[2Kend", &["end"]),
            (b"last\nspinner\x1b[2K\x1b[1G", &["last"]),
            (b"\x1b[31m\x1b[Kred\x1b[m\x1b[K\n", &["\x1b[31m\x1b[Kred\x1b[m\x1b[K"]),
            (b"\x1b[10Gtab\x1b[1m!\n\x1b[", &["\x1b[10Gtab\x1b[1m!", "\x1b["]),
        ] {
            assert_eq!(texts(&[bytes]), expected, "{bytes:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(texts(&single), expected, "{bytes:?}, byte by byte");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_characters_survive_the_border_of_a_read() {
        assert_eq!(texts(&[b"a\xFFb\n", b"\xC3", b"\xA4\n", b"end\xE2\x82"]), ["a\u{FFFD}b", "ä", "end\u{FFFD}"]);
    }

    #[test]
    fn a_line_without_an_end_is_shown_open_and_later_ends_under_the_same_number() {
        let (mut lines, mut n, mut out, start) = (Lines::default(), 0, Vec::new(), Instant::now());
        lines.feed(clean(b"first\nPassword: \xE2"), Timestamp(5), start, &mut n, &mut |line| out.push(line));
        assert_eq!(lines.due(), Some(start + OPEN_TIME));
        let open = lines.open(start + OPEN_TIME, n).unwrap();
        assert_eq!((open.n, open.t, &open.text[..], open.open), (1, Timestamp(5), "Password: ", true));
        assert_eq!(lines.due(), None);
        lines.feed(clean(b"\x82\xAC"), Timestamp(6), start + OPEN_TIME, &mut n, &mut |line| out.push(line));
        assert_eq!(lines.due(), Some(start + OPEN_TIME * 2));
        lines.close(Timestamp(7), &mut n, &mut |line| out.push(line));
        let last = out.last().unwrap();
        assert_eq!((last.n, last.t, &last.text[..], last.open), (1, Timestamp(5), "Password: €", false));
    }

    #[test]
    fn a_long_line_is_split_between_characters_and_says_so() {
        let text = format!("x{}", "ä".repeat(LINE_BYTES_MAX));
        let lines = read(&[text.as_bytes(), b"\n"]);
        assert!(lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.iter().map(|line| line.split).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(lines.iter().map(|line| &line.text[..]).collect::<String>(), text);
        assert_eq!(read(&[&vec![b'x'; LINE_BYTES_MAX], b"\n"]).len(), 1);
        let binary = read(&[&vec![0xFF; LINE_BYTES_MAX + 1], b"\n"]);
        assert!(binary.iter().all(|line| line.text.len() <= LINE_BYTES_MAX));
        assert_eq!(binary.iter().map(|line| line.text.chars().count()).sum::<usize>(), LINE_BYTES_MAX + 1);
    }

    #[test]
    fn a_progress_bar_that_never_ends_its_line_takes_no_more_memory_than_one_line() {
        let (mut lines, mut n, mut out) = (Lines::default(), 0, 0);
        for _ in 0..10_000 {
            lines.feed(clean(b"[=====>    ]\r"), Timestamp(0), Instant::now(), &mut n, &mut |_| out += 1);
        }
        assert_eq!((out, lines.shown.len(), lines.part.len()), (0, 12, 12));
    }
}
