//! For programs that throw anything at the masker; nothing else uses it.

use super::{Masked, Masker};

pub use super::stream::HELD_BYTES_MAX;

/// What is left of `chunks`, one after the other, without `secrets`, and how many bytes were held back at most; none where one
/// of the secrets cannot be masked.
#[must_use]
pub fn mask(secrets: &[&str], chunks: &[&[u8]]) -> Option<(Vec<u8>, usize)> {
    let masker = Masker::new(secrets.iter().copied()).ok()?;
    let (mut stream, mut masked, mut held) = (masker.stream(), Vec::new(), 0);
    let mut keep = |part: Masked<'_>| masked.extend_from_slice(part.bytes());
    for chunk in chunks {
        stream.feed(chunk, &mut keep);
        held = held.max(stream.held());
    }
    stream.end(&mut keep);
    Some((masked, held))
}
