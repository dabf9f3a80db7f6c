//! Large things over the broker, for executors that reach nothing else: a file as a stream of chunks, each with a MAC under
//! the attempt's event key, the whole with its SHA-256 at the end. Both sides of the conversation, and the reader's side of
//! putting the chunks together. Pure: no I/O, no clock.
//!
//! # Who speaks first
//!
//! The sender asks the queue `chunks` to [`Open`] a stream, with `reply_to`. Whoever of the readers gets it makes a queue of the
//! stream's own and answers with its name ([`Answer::Opened`]). The sender publishes chunks there from index 0, at most
//! [`WINDOW`] that are not taken, each with the same `reply_to`. The reader says how far it has come ([`Answer::Taken`]), asks for
//! what is missing ([`Answer::Repeat`]), and ends with [`Answer::Kept`] or [`Answer::Refused`].
//!
//! # What may be repeated
//!
//! Everything. A sender that hears nothing repeats from its first chunk that is not taken; what is doubled is dropped, and told
//! as taken once more. A reader that dies takes its queue with it: the sender finds no queue and opens the stream anew.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{ArtifactId, DecodeError, VERSION, event::encode, mac::EventKey, task::LeaseRef};

/// Bytes of one chunk at most: in base64 it stays below [`crate::payload::INLINE_BYTES_MAX`].
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that a sender keeps on their way, not taken yet; and that a reader holds which came too early.
pub const WINDOW: u64 = 16;

/// The request to take a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// [`VERSION`].
    pub version: u16,
    /// A new one for each try.
    pub stream_id: Uuid,
    /// Whose file it is.
    pub lease: LeaseRef,
    /// Path relative to the workspace.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// See [`Open::sealed`].
    pub mac: String,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// [`VERSION`].
    pub version: u16,
    /// Which stream.
    pub stream_id: Uuid,
    /// Counts from 0.
    pub index: u64,
    /// Nothing follows.
    pub last: bool,
    /// Of the whole, in lower-case hex; with the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// In base64 on its way.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub data: Vec<u8>,
    /// See [`Chunk::sealed`].
    pub mac: String,
}

/// What the reader says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Send the chunks to this queue.
    Opened {
        /// Its name.
        queue: String,
    },
    /// There is no room now, or the store is away: ask again.
    Later {
        /// One sentence.
        reason: String,
    },
    /// All before `next` are taken.
    Taken {
        /// Which stream.
        stream_id: Uuid,
        /// The index that is wanted next.
        next: u64,
    },
    /// Some are missing: send again from there.
    Repeat {
        /// Which stream.
        stream_id: Uuid,
        /// The first index that is missing.
        from: u64,
    },
    /// The file is whole.
    Kept {
        /// Which stream.
        stream_id: Uuid,
        /// Its id, for the event.
        artifact: ArtifactId,
        /// In bytes.
        size: u64,
        /// Lower-case hex.
        sha256: String,
    },
    /// It is not taken.
    Refused {
        /// Which stream.
        stream_id: Uuid,
        /// One sentence.
        reason: String,
        /// Whether another stream from the beginning may come through.
        again: bool,
    },
}

impl Open {
    /// With its MAC.
    #[must_use]
    pub fn sealed(key: &EventKey, stream_id: Uuid, lease: LeaseRef, name: String, size: u64) -> Self {
        let mac = key.seal_bytes(&[b"open", stream_id.as_bytes(), name.as_bytes(), &size.to_be_bytes()]);
        Self { version: VERSION, stream_id, lease, name, size, mac }
    }

    /// Whether the holder of the key has written it.
    #[must_use]
    pub fn is_genuine(&self, key: &EventKey) -> bool {
        let parts: [&[u8]; 4] = [b"open", self.stream_id.as_bytes(), self.name.as_bytes(), &self.size.to_be_bytes()];
        key.is_sealed(&parts, &self.mac)
    }

    /// The bytes of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From the bytes of a message.
    ///
    /// # Errors
    /// When they are no such message of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let read: Self = serde_json::from_slice(bytes)?;
        if read.version == VERSION { Ok(read) } else { Err(DecodeError::Version { found: read.version }) }
    }
}

impl Chunk {
    /// With its MAC.
    #[must_use]
    pub fn sealed(key: &EventKey, stream_id: Uuid, index: u64, data: Vec<u8>, sha256: Option<String>) -> Self {
        let last = sha256.is_some();
        let mut chunk = Self { version: VERSION, stream_id, index, last, sha256, data, mac: String::new() };
        chunk.mac = key.seal_bytes(&chunk.parts(&index.to_be_bytes()));
        chunk
    }

    /// Whether the holder of the key has written it.
    #[must_use]
    pub fn is_genuine(&self, key: &EventKey) -> bool {
        key.is_sealed(&self.parts(&self.index.to_be_bytes()), &self.mac)
    }

    fn parts<'a>(&'a self, index: &'a [u8; 8]) -> [&'a [u8]; 6] {
        let sha256 = self.sha256.as_deref().unwrap_or_default().as_bytes();
        let last: &[u8] = if self.last { b"last" } else { b"more" };
        [b"chunk", self.stream_id.as_bytes(), index, last, sha256, &self.data]
    }

    /// The bytes of a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From the bytes of a message.
    ///
    /// # Errors
    /// When they are no such message of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let read: Self = serde_json::from_slice(bytes)?;
        if read.version == VERSION { Ok(read) } else { Err(DecodeError::Version { found: read.version }) }
    }
}

/// Why a stream cannot become a file. It is begun anew, or given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spoiled {
    /// The MAC of a chunk is not right, or it belongs to another stream.
    #[error("chunk {index} was changed on its way")]
    Changed {
        /// Which.
        index: u64,
    },
    /// It is too large, or comes behind the last one.
    #[error("chunk {index} does not fit: {reason}")]
    Unfit {
        /// Which.
        index: u64,
        /// Why.
        reason: &'static str,
    },
    /// There is more than was said.
    #[error("the stream has more than the {size} bytes that it was opened for")]
    Longer {
        /// What was said.
        size: u64,
    },
    /// The end came too early.
    #[error("the stream ended with {found} of {size} bytes")]
    Shorter {
        /// What came.
        found: u64,
        /// What was said.
        size: u64,
    },
    /// The whole is something else.
    #[error("the SHA-256 of the whole is {found}, not {expected}")]
    Digest {
        /// Of what came.
        found: String,
        /// As the sender said.
        expected: String,
    },
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These pieces follow, in order; what was held until now is among them.
    Pieces(Vec<Vec<u8>>),
    /// It was here already: dropped.
    Doubled,
    /// It is held; those from `from` on are missing.
    Early {
        /// The first that is missing.
        from: u64,
    },
    /// It came so early that it is not even held.
    TooEarly {
        /// The first that is missing.
        from: u64,
    },
}

/// A stream that is put together. It holds [`WINDOW`] chunks at most.
pub struct Assembly {
    stream_id: Uuid,
    key: EventKey,
    size: u64,
    next: u64,
    taken: u64,
    early: BTreeMap<u64, Chunk>,
    digest: Sha256,
    sha256: Option<String>,
}

impl Assembly {
    /// Of a stream that was opened for so many bytes.
    #[must_use]
    pub fn new(stream_id: Uuid, key: EventKey, size: u64) -> Self {
        let (next, taken, early) = (0, 0, BTreeMap::new());
        Self { stream_id, key, size, next, taken, early, digest: Sha256::new(), sha256: None }
    }

    /// The index that is wanted next: all before are in what was given.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The SHA-256 of the whole, once it is whole and right.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Takes a chunk, in whatever order they come.
    ///
    /// # Errors
    /// When the stream cannot become what it was opened for. Then it is over.
    pub fn push(&mut self, chunk: Chunk) -> Result<Step, Spoiled> {
        let index = chunk.index;
        if chunk.stream_id != self.stream_id || !chunk.is_genuine(&self.key) {
            return Err(Spoiled::Changed { index });
        }
        if chunk.data.len() > CHUNK_BYTES {
            return Err(Spoiled::Unfit { index, reason: "it is too large" });
        }
        if chunk.last != chunk.sha256.is_some() {
            return Err(Spoiled::Unfit { index, reason: "the digest comes with the last chunk, and with no other" });
        }
        if index < self.next || self.early.contains_key(&index) {
            return Ok(Step::Doubled);
        }
        if self.sha256.is_some() {
            return Err(Spoiled::Unfit { index, reason: "it comes behind the last one" });
        }
        if index >= self.next + WINDOW {
            return Ok(Step::TooEarly { from: self.next });
        }
        self.early.insert(index, chunk);
        let mut pieces = Vec::new();
        while let Some(chunk) = self.early.remove(&self.next) {
            self.next += 1;
            self.taken += chunk.data.len() as u64;
            if self.taken > self.size {
                return Err(Spoiled::Longer { size: self.size });
            }
            self.digest.update(&chunk.data);
            pieces.push(chunk.data);
            if let Some(expected) = chunk.sha256 {
                self.end(expected)?;
            }
        }
        Ok(if pieces.is_empty() { Step::Early { from: self.next } } else { Step::Pieces(pieces) })
    }

    fn end(&mut self, expected: String) -> Result<(), Spoiled> {
        if let Some(index) = self.early.keys().next().copied() {
            return Err(Spoiled::Unfit { index, reason: "it comes behind the last one" });
        }
        if self.taken < self.size {
            return Err(Spoiled::Shorter { found: self.taken, size: self.size });
        }
        let found = hex(&self.digest.clone().finalize());
        if found != expected {
            return Err(Spoiled::Digest { found, expected });
        }
        self.sha256 = Some(found);
        Ok(())
    }
}

/// Lower-case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
