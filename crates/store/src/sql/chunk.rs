//! How log lines lie in a chunk: numbers follow from the first one's, times are differences, and the whole is compressed.
//!
//! Each line is: its step (varint), the difference to the time of the line before (zigzag varint; the first one's to
//! `t0`), a byte of flags (1: split, 2: stderr, 4: a note), the length of its text in bytes (varint), its text. LZ4 packs all of it, behind the
//! plain length in four bytes.

use wire::{LogLine, Timestamp, log::RecordedLine};

use crate::StoreError;

/// Lines in one chunk: what a reader of a single line has to unpack.
pub(super) const LINES_MAX: usize = 1000;

/// Bytes of text after which a chunk is ended.
pub(super) const BYTES_MAX: usize = 64 * 1024;

const SPLIT: u8 = 1;
const ERR: u8 = 2;
const NOTE: u8 = 4;

/// A chunk's time and bytes.
pub(super) fn pack(lines: &[RecordedLine]) -> (Timestamp, Vec<u8>) {
    let t0 = lines.first().map_or(Timestamp(0), |first| first.line.t);
    let mut plain = Vec::with_capacity(lines.iter().map(|line| line.line.text.len() + 8).sum());
    let mut before = t0.0;
    for RecordedLine { step, line, .. } in lines {
        put(&mut plain, u64::from(*step));
        let difference = line.t.0.wrapping_sub(before);
        before = line.t.0;
        put(&mut plain, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
        plain.push(flag(line.split, SPLIT) | flag(line.err, ERR) | flag(line.note, NOTE));
        put(&mut plain, line.text.len() as u64);
        plain.extend_from_slice(line.text.as_bytes());
    }
    (t0, lz4_flex::compress_prepend_size(&plain))
}

/// The lines of a chunk, the first one numbered `first`.
pub(super) fn unpack(first: u64, t0: Timestamp, packed: &[u8]) -> Result<Vec<RecordedLine>, StoreError> {
    let broken = || StoreError::Corrupt(format!("the chunk of log lines from {first} does not unpack"));
    let plain = lz4_flex::decompress_size_prepended(packed).map_err(|_| broken())?;
    let mut rest = plain.as_slice();
    let (mut lines, mut n, mut t) = (Vec::new(), first, t0.0);
    while !rest.is_empty() {
        let step = u32::try_from(take(&mut rest).ok_or_else(broken)?).map_err(|_| broken())?;
        let zigzag = take(&mut rest).ok_or_else(broken)?;
        t = t.wrapping_add((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        let (flags, behind) = rest.split_first().ok_or_else(broken)?;
        rest = behind;
        let length = usize::try_from(take(&mut rest).ok_or_else(broken)?).map_err(|_| broken())?;
        let (text, behind) = rest.split_at_checked(length).ok_or_else(broken)?;
        rest = behind;
        let text = String::from_utf8(text.to_vec()).map_err(|_| broken())?;
        let line = LogLine {
            n,
            t: Timestamp(t),
            text,
            open: false,
            split: flags & SPLIT != 0,
            err: flags & ERR != 0,
            note: flags & NOTE != 0,
        };
        lines.push(RecordedLine { step, line, missing: false });
        n = n.saturating_add(1);
    }
    Ok(lines)
}

fn flag(is: bool, bit: u8) -> u8 {
    if is { bit } else { 0 }
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64, t: i64, text: &str, split: bool) -> RecordedLine {
        let line = LogLine { n, t: Timestamp(t), text: text.to_owned(), open: false, split, err: t < 0, note: n == 9 };
        RecordedLine { step: (n % 3) as u32 * 100_000, line, missing: false }
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let long = "x".repeat(70_000);
        let lines = [
            line(7, i64::MAX, "", true),
            line(8, i64::MIN, "\u{1b}[31mrot\u{1b}[0m ü", false),
            line(9, 0, &long, true),
            line(10, -5, "end", false),
        ];
        let (t0, packed) = pack(&lines);
        assert!(packed.len() < 2_000, "{} bytes for a line that repeats itself", packed.len());
        assert_eq!(unpack(7, t0, &packed).unwrap(), lines);
    }

    #[test]
    fn a_damaged_chunk_is_told_and_not_guessed() {
        let (t0, packed) = pack(&[line(0, 1, "hello", false), line(1, 2, "world", false)]);
        for cut in 0..packed.len() {
            assert!(matches!(unpack(0, t0, &packed[..cut]), Err(StoreError::Corrupt(_))), "cut at {cut}");
        }
    }
}
