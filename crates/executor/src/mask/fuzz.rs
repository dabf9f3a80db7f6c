//! For programs that throw anything at the masker; nothing else uses it.

use super::{Masked, Masker};

/// What is left of `chunks`, one after the other, without `secrets`; none where one of those cannot be masked.
#[must_use]
pub fn mask(secrets: &[&str], chunks: &[&[u8]]) -> Option<Vec<u8>> {
    let masker = Masker::new(secrets.iter().copied()).ok()?;
    let (mut stream, mut masked) = (masker.stream(), Vec::new());
    let mut keep = |part: Masked<'_>| masked.extend_from_slice(part.bytes());
    chunks.iter().for_each(|chunk| stream.feed(chunk, &mut keep));
    stream.end(&mut keep);
    Some(masked)
}
