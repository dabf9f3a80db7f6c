//! Masking what comes bit by bit. It knows forms and bytes, no lines and no logs.
//!
//! What may be the beginning of a form is held back until it is known for one or for something else. So the result is the same
//! wherever the bytes are cut. What is known for a secret already is not held: it may become longer, and what it becomes
//! longer by vanishes behind the same [`MASK`]. So however long a secret is and whatever is printed, no more than
//! [`HELD_BYTES_MAX`] is held.

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

use super::{MASK, Patterns, filter::DEPTH, states::State};

/// Readings of what is known for a secret already and only becomes longer. Each form keeps the one that began first; more
/// than these are the same bytes, repeated.
const LONGER_MAX: usize = 256;

/// The most that is held of one stream, in bytes: 32 units, each of up to 20 bytes (a character of four, percent-encoded
/// twice) with 16 gaps of up to 65 bytes behind it.
pub const HELD_BYTES_MAX: usize = 32 * (20 + 16 * 65);

/// One reading of a form, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Reading {
    state: State,
    /// Where in what is held it began; of one that is known for a secret, where that ends so far.
    start: usize,
    /// It is known for a secret, and only becomes longer.
    goes_on: bool,
    /// Where in the stream it began.
    since: u64,
}

/// What is to be masked of what is held.
#[derive(Clone, Copy, Debug)]
struct Hit {
    start: usize,
    end: usize,
    /// It belongs to what ends where it starts.
    goes_on: bool,
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
    hits: Vec<Hit>,
    /// Where in the stream what is held begins.
    given: u64,
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
    pub(super) fn held(&self) -> usize {
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
        let given = self.given;
        let begun = |state, start| Reading { state, start, goes_on: false, since: given + start as u64 };
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
                    step(patterns, begun(*state, at), *byte, &mut self.next);
                }
            }
            at += 1;
            if recent & 0b1000 != 0 {
                let start = at - DEPTH;
                let states = patterns.filter.begun(&bytes[start..at]).iter();
                self.next.extend(states.map(|state| begun(*state, start)));
            }
            for reading in &mut self.next {
                if reading.state.is_hit(&patterns.forms) {
                    hit(&mut self.hits, Hit { start: reading.start, end: at, goes_on: reading.goes_on });
                    (reading.start, reading.goes_on) = (at, true);
                }
            }
            thin_out(patterns, &mut self.next);
            std::mem::swap(&mut self.readings, &mut self.next);
        }
    }

    /// How many bytes nobody reads any more.
    fn free(&self, len: usize) -> usize {
        self.readings.iter().map(|reading| reading.start).min().unwrap_or(len)
    }

    /// Gives out the first `free` bytes, and counts on from there.
    fn give(&mut self, bytes: &[u8], free: usize, out: &mut impl FnMut(Masked<'_>)) -> usize {
        let mut from = 0;
        for hit in self.hits.iter().take_while(|hit| hit.start < free) {
            if hit.start > from {
                out(Masked(&bytes[from..hit.start]));
            }
            if !hit.goes_on {
                out(Masked(MASK.as_bytes()));
            }
            from = hit.end.min(free);
        }
        if free > from {
            out(Masked(&bytes[from..free]));
        }
        self.hits.retain(|hit| hit.end > free);
        for hit in &mut self.hits {
            // What is left of one goes on.
            hit.goes_on |= hit.start < free;
            (hit.start, hit.end) = (hit.start.saturating_sub(free), hit.end - free);
        }
        self.given += free as u64;
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

/// Adds what ends last, together with what it overlaps or goes on with.
fn hit(hits: &mut Vec<Hit>, mut added: Hit) {
    let belongs = |other: &Hit, added: &Hit| other.end > added.start || (added.goes_on && other.end == added.start);
    while let Some(other) = hits.pop_if(|other| belongs(other, &added)) {
        // Where both start at one place, what ended there is the added one's as well.
        added.goes_on = match other.start.cmp(&added.start) {
            Ordering::Less => other.goes_on,
            Ordering::Equal => other.goes_on || added.goes_on,
            Ordering::Greater => added.goes_on,
        };
        added.start = added.start.min(other.start);
    }
    hits.push(added);
}

/// Of readings that stand at the same place the one that began first covers the others.
fn thin_out(patterns: &Patterns, readings: &mut Vec<Reading>) {
    if readings.len() < 2 {
        return;
    }
    readings.sort_unstable_by_key(|reading| (reading.state, reading.start));
    readings.dedup_by_key(|reading| reading.state);
    if readings.len() > LONGER_MAX {
        let (mut longer, mut forms) = (0, HashSet::new());
        readings.sort_unstable_by_key(|reading| (reading.since, reading.state));
        readings.retain(|reading| {
            let is_longer = reading.state.is_behind_head(&patterns.forms);
            let is_first = is_longer && forms.insert(reading.state.form);
            longer += usize::from(is_longer);
            !is_longer || is_first || longer <= LONGER_MAX
        });
    }
}
