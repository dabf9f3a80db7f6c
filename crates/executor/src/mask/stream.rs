//! Masking what comes bit by bit. It knows forms and bytes, no lines and no logs.
//!
//! What may be the beginning of a form is held back until it is known for one or for something else. So the result is the same
//! wherever the bytes are cut.

use std::sync::Arc;

use super::{MASK, Patterns, filter::DEPTH, states::State};

/// Readings of what is known for a secret already and only becomes longer: more than these are the same bytes, repeated.
const LONGER_MAX: usize = 256;

/// One reading of a form: where it began, in bytes of what is held, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Reading {
    state: State,
    start: usize,
}

/// The masking of one stream of bytes.
#[derive(Default)]
pub(crate) struct MaskedStream {
    /// None where there is nothing to hide.
    patterns: Option<Arc<Patterns>>,
    /// What was read and not given out, all of it looked at.
    held: Vec<u8>,
    readings: Vec<Reading>,
    next: Vec<Reading>,
    /// What is to be masked of `held`: in order, apart.
    hits: Vec<(usize, usize)>,
}

impl MaskedStream {
    pub(super) fn of(patterns: Option<Arc<Patterns>>) -> Self {
        Self { patterns, ..Self::default() }
    }

    /// Takes what was read; `out` gets what of it may be shown.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut impl FnMut(Masked<'_>)) {
        let Some(patterns) = self.patterns.clone() else { return out(Masked(bytes)) };
        if self.held.is_empty() {
            self.read(&patterns, bytes, 0);
            let given = self.give(bytes, self.free(bytes.len()), out);
            self.held.extend_from_slice(&bytes[given..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            let from = held.len();
            held.extend_from_slice(bytes);
            self.read(&patterns, &held, from);
            let given = self.give(&held, self.free(held.len()), out);
            held.drain(..given);
            self.held = held;
        }
    }

    /// Nothing follows: what is held is the beginning of nothing.
    pub(crate) fn end(&mut self, out: &mut impl FnMut(Masked<'_>)) {
        self.readings.clear();
        let held = std::mem::take(&mut self.held);
        self.give(&held, held.len(), out);
    }

    /// Bytes that are held back.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Forgets what is held; tells how many bytes that are.
    pub(crate) fn forget(&mut self) -> u64 {
        let bytes = self.held.len();
        *self = Self::of(self.patterns.take());
        bytes as u64
    }

    /// Looks at all bytes from `at` on.
    fn read(&mut self, patterns: &Patterns, bytes: &[u8], mut at: usize) {
        // Which of the last places may begin a form, the last one in the lowest bit: it is looked up when four bytes are read.
        let mut recent = 0_u8;
        loop {
            if self.readings.is_empty() && recent & 0b111 == 0 {
                let Some(found) = patterns.filter.find(bytes, at) else { return };
                (at, recent) = (found, 0);
            }
            let Some(byte) = bytes.get(at) else { return };
            self.next.clear();
            for reading in &self.readings {
                step(patterns, *reading, *byte, &mut self.next);
            }
            let may_begin = patterns.filter.may_begin(bytes, at);
            let is_whole = at + DEPTH <= bytes.len();
            recent = recent << 1 | u8::from(may_begin && is_whole);
            if may_begin && !is_whole {
                for state in patterns.filter.starts(*byte) {
                    step(patterns, Reading { state: *state, start: at }, *byte, &mut self.next);
                }
            }
            at += 1;
            if recent & 0b1000 != 0 {
                let start = at - DEPTH;
                let begun = patterns.filter.begun(&bytes[start..at]).iter();
                self.next.extend(begun.map(|state| Reading { state: *state, start }));
            }
            for reading in &self.next {
                if reading.state.is_hit(&patterns.forms) {
                    hit(&mut self.hits, reading.start, at);
                }
            }
            thin_out(patterns, &mut self.next);
            std::mem::swap(&mut self.readings, &mut self.next);
        }
    }

    /// How many bytes nobody reads any more.
    fn free(&self, len: usize) -> usize {
        let free = self.readings.iter().map(|reading| reading.start).min().unwrap_or(len);
        // A hit that may become longer is given out as a whole.
        self.hits.iter().find(|(_, end)| *end > free).map_or(free, |(start, _)| free.min(*start))
    }

    /// Gives out the first `free` bytes, and counts on from there.
    fn give(&mut self, bytes: &[u8], free: usize, out: &mut impl FnMut(Masked<'_>)) -> usize {
        let mut from = 0;
        let mut given = 0;
        for (start, end) in self.hits.iter().take_while(|(_, end)| *end <= free) {
            if *start > from {
                out(Masked(&bytes[from..*start]));
            }
            out(Masked(MASK.as_bytes()));
            from = *end;
            given += 1;
        }
        if free > from {
            out(Masked(&bytes[from..free]));
        }
        self.hits.drain(..given);
        for (start, end) in &mut self.hits {
            (*start, *end) = (*start - free, *end - free);
        }
        for reading in &mut self.readings {
            reading.start -= free;
        }
        free
    }
}

/// Bytes in which no secret is known: made here alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masked<'b>(&'b [u8]);

impl<'b> Masked<'b> {
    pub(crate) fn bytes(self) -> &'b [u8] {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn without_secrets(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }
}

fn step(patterns: &Patterns, reading: Reading, byte: u8, next: &mut Vec<Reading>) {
    reading.state.next(&patterns.forms, &mut |class, state| {
        if class.has(byte) {
            next.push(Reading { state, ..reading });
        }
    });
}

/// Adds what ends last, together with what it overlaps.
fn hit(hits: &mut Vec<(usize, usize)>, mut start: usize, end: usize) {
    while let Some((other, _)) = hits.pop_if(|(_, other_end)| *other_end > start) {
        start = start.min(other);
    }
    hits.push((start, end));
}

/// Of readings that stand at the same place the one that began first covers the others.
fn thin_out(patterns: &Patterns, readings: &mut Vec<Reading>) {
    if readings.len() < 2 {
        return;
    }
    readings.sort_unstable_by_key(|reading| (reading.state, reading.start));
    readings.dedup_by_key(|reading| reading.state);
    if readings.len() > LONGER_MAX {
        let mut longer = 0;
        readings.sort_unstable_by_key(|reading| (reading.start, reading.state));
        readings.retain(|reading| {
            let is_longer = reading.state.is_behind_head(&patterns.forms);
            longer += usize::from(is_longer);
            !is_longer || longer <= LONGER_MAX
        });
    }
}
