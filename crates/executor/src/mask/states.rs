//! How a form is read, byte by byte: where a reading stands, and where the next byte may lead.
//!
//! Between two units may stand: an ANSI control sequence (colours that `grep` puts into a match); in base64 a line break,
//! also an escaped one, and the white space around it; in hex one of the separators of common dumps. Of these a few in a row
//! ([`GAPS_MAX`]): what may stand there without end would be held back without end.

use super::{
    class::Class,
    forms::{Forms, Gap, UNWRAPPED_DIGITS, number},
};

/// Bytes of an ANSI sequence.
const SEQUENCE_BYTES_MAX: u8 = 32;
/// White space around a line break, in bytes.
const BREAK_BYTES_MAX: u8 = 64;
/// Sequences, line breaks and rows of separators between two units, all together. `grep` puts up to four, and a wrapped line
/// two or three.
const GAPS_MAX: u8 = 16;
/// Separators between two bytes in hex.
const SEPARATORS_MAX: u8 = 4;
/// Bytes in hex before the first line break that may stand within: a line of a dump is longer.
const UNBROKEN_BYTES: u32 = 2;

const ESCAPE: Class = Class::of(b"\x1b");
const BRACKET: Class = Class::of(b"[");
const PARAMETERS: Class = Class::of(b"0123456789;:?");
const FINAL: Class = Class::of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
const BREAK: Class = Class::of(b"\r\n");
const SPACE: Class = Class::of(b"\r\n\t ");
const BACKSLASH: Class = Class::of(b"\\");
const ESCAPED_BREAK: Class = Class::of(b"nr");
const SEPARATOR: Class = Class::of(b" \t:-,");

/// Where the reading of a form stands. What it has read of the form are `unit` units and a part of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    pub(super) form: u32,
    pub(super) unit: u32,
    /// How many of what is not the secret's were begun since the last unit.
    gaps: u8,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Right behind a unit.
    Between,
    /// So many bytes of a way to write the next unit were read.
    Within { way: u32, done: u8 },
    /// In an ANSI sequence, so many bytes behind the escape.
    Sequence(u8),
    /// Behind so many bytes of a line break, or separators.
    Break(u8),
    /// Behind a backslash that may escape a line break.
    Backslash,
}

impl State {
    /// The beginning of a form.
    pub(super) fn start(form: usize) -> Self {
        Self { form: number(form), unit: 0, gaps: 0, place: Place::Between }
    }

    /// Whether what was read is to be masked.
    pub(super) fn is_hit(self, forms: &Forms) -> bool {
        self.place == Place::Between && self.unit as usize >= forms.forms[self.form as usize].head
    }

    /// Whether it is known already for what it is: what follows only makes it longer.
    pub(super) fn is_behind_head(self, forms: &Forms) -> bool {
        self.unit as usize >= forms.forms[self.form as usize].head
    }

    /// Tells each set of bytes that may come next, and what that leads to.
    pub(super) fn next(self, forms: &Forms, told: &mut impl FnMut(Class, State)) {
        let form = &forms.forms[self.form as usize];
        let at = |place| State { place, ..self };
        let behind_unit = State { unit: self.unit + 1, gaps: 0, place: Place::Between, ..self };
        match self.place {
            Place::Between | Place::Break(_) => {
                let Some(unit) = form.units.get(self.unit as usize) else { return };
                for way in &forms.units[*unit as usize] {
                    let bytes = &forms.ways[*way as usize];
                    let next = if bytes.len() == 1 { behind_unit } else { at(Place::Within { way: *way, done: 1 }) };
                    told(bytes[0], next);
                }
                if self.unit > 0 {
                    self.gap(form.gap, told);
                }
            }
            Place::Within { way, done } => {
                let bytes = &forms.ways[way as usize];
                let is_last = usize::from(done) + 1 == bytes.len();
                let next = if is_last { behind_unit } else { at(Place::Within { way, done: done + 1 }) };
                told(bytes[usize::from(done)], next);
            }
            Place::Sequence(0) => told(BRACKET, at(Place::Sequence(1))),
            Place::Sequence(read) => {
                if read < SEQUENCE_BYTES_MAX {
                    told(PARAMETERS, at(Place::Sequence(read + 1)));
                }
                told(FINAL, at(Place::Between));
            }
            Place::Backslash => told(ESCAPED_BREAK, at(Place::Break(1))),
        }
    }

    /// What may begin or go on between two units.
    fn gap(self, gap: Gap, told: &mut impl FnMut(Class, State)) {
        let at = |place| State { place, ..self };
        // What begins counts.
        let begun = |place| State { gaps: self.gaps + 1, place, ..self };
        let (may_begin, read) = (self.gaps < GAPS_MAX, if let Place::Break(read) = self.place { read } else { 0 });
        if may_begin {
            told(ESCAPE, begun(Place::Sequence(0)));
        }
        match gap {
            Gap::Text => {}
            Gap::Base64 if (self.unit as usize) < UNWRAPPED_DIGITS => {}
            Gap::Base64 => {
                if read == 0 && may_begin {
                    told(BREAK, begun(Place::Break(1)));
                } else if read > 0 && read < BREAK_BYTES_MAX {
                    told(SPACE, at(Place::Break(read + 1)));
                }
                if may_begin {
                    told(BACKSLASH, begun(Place::Backslash));
                }
            }
            Gap::Hex if read >= SEPARATORS_MAX || (read == 0 && !may_begin) => {}
            Gap::Hex => {
                let is_long = self.unit >= UNBROKEN_BYTES;
                let next = if read == 0 { begun(Place::Break(1)) } else { at(Place::Break(read + 1)) };
                told(if is_long { SEPARATOR.or(BREAK) } else { SEPARATOR }, next);
            }
        }
    }
}
