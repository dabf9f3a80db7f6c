//! The file of a backup: a tar of members, each with its SHA-256 in a manifest behind them. What is in it is decided by
//! [`super`] and [`crate::restore`].
//!
//! | member, in this order | |
//! |---|---|
//! | `stepcast-backup.json` | [`Head`]: who reads the file knows at once whether it can |
//! | `keys/*` | the small files that make an installation this one |
//! | `artifacts/<job>/<artifact>` | files that jobs left behind |
//! | `payloads/<ref>` | payloads, such as files that are inputs of builds |
//! | `stepcast.db` | the database |
//! | `manifest.json` | [`Member`]s, all of the above |
//! | `manifest.sha256` | of the manifest: a file without it was cut off |

use std::{
    fs::File,
    io::{self, Read},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wire::Timestamp;

use crate::secret::hex;

/// Raised when a reader of the former one could not read it any more.
pub(crate) const FORMAT: u32 = 2;
/// The first member.
const HEAD: &str = "stepcast-backup.json";
/// The last but one.
const MANIFEST: &str = "manifest.json";
/// The last.
const SEAL: &str = "manifest.sha256";
/// The head is a few numbers.
const HEAD_BYTES_MAX: u64 = 64 * 1024;
/// A member takes about 200 bytes of the manifest: this is more than a million of them.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// See [`FORMAT`].
    pub(crate) format: u32,
    /// The version that wrote it.
    pub(crate) stepcast: String,
    /// Of the database.
    pub(crate) schema: i64,
    /// When it was begun: later changes are not in it.
    pub(crate) taken_at: Timestamp,
}

/// One file of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its path in the archive.
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

/// Counts and digests what passes.
struct Digesting<R> {
    inner: R,
    size: u64,
    digest: Sha256,
}

impl<R> Digesting<R> {
    fn new(inner: R) -> Self {
        Self { inner, size: 0, digest: Sha256::new() }
    }

    fn member(self, name: String) -> Member {
        Member { name, size: self.size, sha256: hex(&self.digest.finalize()) }
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.size += count as u64;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// A backup that is being written.
pub(crate) struct Writer {
    tar: tar::Builder<File>,
    seconds: u64,
    members: Vec<Member>,
}

impl Writer {
    /// Begins with the head.
    pub(crate) fn begin(file: File, head: &Head) -> io::Result<Self> {
        let seconds = u64::try_from(head.taken_at.millis() / 1000).unwrap_or(0);
        let mut writer = Self { tar: tar::Builder::new(file), seconds, members: Vec::new() };
        let text = serde_json::to_vec(head)?;
        writer.add(HEAD, text.len() as u64, text.as_slice())?;
        Ok(writer)
    }

    /// Adds a member of `size` bytes; gives its digest.
    pub(crate) fn add(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<&Member> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        let mut content = Digesting::new(content.take(size));
        self.tar.append_data(&mut header, name, &mut content)?;
        if content.size != size {
            return Err(io::Error::other(format!("{name} became shorter while it was read")));
        }
        self.members.push(content.member(name.to_owned()));
        self.members.last().ok_or_else(|| io::Error::other("no member was written"))
    }

    /// Ends it with the manifest; all is on the disk when this returns.
    pub(crate) fn finish(mut self) -> io::Result<File> {
        let manifest = serde_json::to_vec(&self.members)?;
        if manifest.len() as u64 > MANIFEST_BYTES_MAX {
            let (files, most) = (self.members.len(), MANIFEST_BYTES_MAX >> 20);
            return Err(io::Error::other(format!("its list of {files} files is longer than {most} MiB")));
        }
        let seal = self.add(MANIFEST, manifest.len() as u64, manifest.as_slice())?.sha256.clone();
        self.add(SEAL, seal.len() as u64, seal.as_bytes())?;
        let file = self.tar.into_inner()?;
        file.sync_all()?;
        Ok(file)
    }
}

/// Why a backup cannot be read. One sentence each, to stand behind the file's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Something else.
    #[error("is no backup of Stepcast")]
    Other,
    /// A newer one.
    #[error("was written in format {0} by a newer Stepcast, this one reads format {FORMAT}: use the newer one")]
    Newer(u32),
    /// Changed, or without its end.
    #[error("is damaged or cut off ({0}): nothing was restored from it; take another backup")]
    Damaged(String),
    /// The reader of its members says why not.
    #[error("{0}")]
    Refused(String),
}

fn damaged(failure: impl ToString) -> Unreadable {
    Unreadable::Damaged(failure.to_string())
}

/// Reads a backup once: `begin` is told its head, `take` each member's name and content, before anything of it is
/// verified; only when this returns all of it was right.
pub(crate) fn read(
    file: File,
    begin: impl FnOnce(&Head) -> Result<(), String>,
    mut take: impl FnMut(&str, &mut dyn Read) -> Result<(), String>,
) -> Result<Head, Unreadable> {
    let mut tar = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
    let mut entries = tar.entries().map_err(damaged)?;
    let first = entries.next().ok_or(Unreadable::Other)?.map_err(|_| Unreadable::Other)?;
    if name(&first)? != HEAD {
        return Err(Unreadable::Other);
    }
    let (text, member) = whole(first, HEAD_BYTES_MAX)?;
    // The format alone, since the rest may have another shape.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format > FORMAT {
        return Err(Unreadable::Newer(format));
    }
    let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
    begin(&head).map_err(Unreadable::Refused)?;
    let mut members = vec![member];
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(damaged)?;
        let name = name(&entry)?;
        if name != MANIFEST {
            let mut content = Digesting::new(entry);
            take(&name, &mut content).map_err(Unreadable::Refused)?;
            io::copy(&mut content, &mut io::sink()).map_err(damaged)?;
            members.push(content.member(name));
            continue;
        }
        let (manifest, member) = whole(entry, MANIFEST_BYTES_MAX)?;
        let seal = entries.next().ok_or_else(|| damaged("it ends before its end"))?.map_err(damaged)?;
        let (seal, _) = whole(seal, HEAD_BYTES_MAX)?;
        if seal != member.sha256.as_bytes() {
            return Err(damaged("its manifest was changed"));
        }
        let told: Vec<Member> = serde_json::from_slice(&manifest).map_err(damaged)?;
        return match told.iter().zip(&members).find(|(told, found)| told != found) {
            Some((told, _)) => Err(damaged(format!("{} is not what was written", told.name))),
            None if told.len() != members.len() => Err(damaged("a member is missing")),
            None => Ok(head),
        };
    }
    Err(damaged("it ends before its end"))
}

fn name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, Unreadable> {
    if entry.header().entry_type() != tar::EntryType::Regular {
        return Err(damaged("a member is no file"));
    }
    String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| damaged("the name of a member is no UTF-8"))
}

fn whole<R: Read>(mut entry: tar::Entry<'_, R>, max: u64) -> Result<(Vec<u8>, Member), Unreadable> {
    let name = name(&entry)?;
    let (mut text, mut content) = (Vec::new(), Digesting::new((&mut entry).take(max + 1)));
    content.read_to_end(&mut text).map_err(damaged)?;
    if content.size > max {
        return Err(damaged(format!("{name} is too large")));
    }
    Ok((text, content.member(name)))
}
