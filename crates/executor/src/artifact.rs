//! Which files of a workspace are kept: patterns to paths. Nothing outside the workspace can be named, neither by `..`
//! nor through a symbolic link, and nothing else is opened: what is found is opened from the workspace on, part by part, and no
//! part may have become a link meanwhile. Blocking code; sending them is [`crate::upload`]'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, Metadata},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, openat};
use tokio_util::sync::CancellationToken;
use wire::artifact::check_name;

use crate::mask::Masker;

/// More files than this are refused for one job.
const FILES_MAX: usize = 10_000;
/// Files and folders that are looked at for one job, each as often as a pattern comes by.
const VISITS_MAX: usize = 1_000_000;
/// Links that are followed one after another, as by Linux.
const LINKS_MAX: usize = 40;
/// Sentences that are kept of what is wrong; one is enough to fail a job.
const REFUSALS_MAX: usize = 100;

/// A file to keep.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Relative to the workspace, segments joined by `/`.
    pub(crate) name: String,
    /// Where it really stands below the workspace, links resolved.
    place: PathBuf,
    workspace: Arc<OwnedFd>,
}

impl Kept {
    /// Opens it for reading.
    ///
    /// # Errors
    /// When it is not there any more, is no regular file, or is reached by a link by now.
    pub(crate) fn open(&self) -> io::Result<File> {
        // Neither waits for the other end of a pipe, nor becomes anybody's terminal.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut parts = self.place.components().peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let Component::Normal(part) = part else { break };
            let is_last = parts.peek().is_none();
            let flags = if is_last { flags } else { flags | OFlags::DIRECTORY };
            let beside = folder.as_ref().map_or(self.workspace.as_fd(), OwnedFd::as_fd);
            let opened = openat(beside, part, flags, Mode::empty())?;
            if is_last {
                let file = File::from(opened);
                if file.metadata()?.is_file() {
                    return Ok(file);
                }
                break;
            }
            folder = Some(opened);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file any more"))
    }
}

/// What the patterns came to.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Sorted by name, each once.
    pub(crate) files: Vec<Kept>,
    /// What is wrong with the rest: one sentence for each pattern or file that could not be kept.
    pub(crate) refusals: Vec<String>,
}

impl Resolved {
    /// Nothing, for this reason.
    pub(crate) fn refused(sentence: String) -> Self {
        Self { files: Vec::new(), refusals: vec![sentence] }
    }
}

/// Finds the files that `patterns` name. A directory stands for all files in it; `*` is any part of a name, `**` any
/// number of directories. Names come out as they may be told, and so does what is wrong. Ends soon after `stop`: then
/// nobody waits for what was found.
pub(crate) fn resolve(workspace: &Path, patterns: &[String], masker: &Masker, stop: &CancellationToken) -> Resolved {
    resolve_within(VISITS_MAX, workspace, patterns, masker, stop)
}

fn resolve_within(
    visits_max: usize,
    workspace: &Path,
    patterns: &[String],
    masker: &Masker,
    stop: &CancellationToken,
) -> Resolved {
    let mut found = Search {
        root: workspace.to_owned(),
        files: BTreeMap::new(),
        refusals: Vec::new(),
        matched: false,
        visits: 0,
        visits_max,
        stop,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(workspace, flags, Mode::empty()).map_err(io::Error::from);
    let workspace = match opened.and_then(|opened| Ok((opened, workspace.canonicalize()?))) {
        Ok((opened, root)) => {
            found.root = root;
            Arc::new(opened)
        }
        Err(error) => {
            return Resolved::refused(format!("the workspace could not be read for artifacts: {error}"));
        }
    };
    for pattern in patterns {
        let mut segments: Vec<&str> = pattern.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
        if pattern.starts_with('/') || segments.contains(&"..") || segments.is_empty() {
            found.refuse(|| format!("artifact {pattern:?} must be a path inside the workspace, without `..`"));
            continue;
        }
        // Several in a row name what one names, in as many ways as there are folders.
        segments.dedup_by(|next, former| *next == "**" && *former == "**");
        found.matched = false;
        found.walk(&found.root.clone(), "", &segments);
        let too_many = if found.files.len() > FILES_MAX {
            format!("artifact {pattern:?} makes more than {FILES_MAX} files, which is too many")
        } else if found.visits > visits_max {
            format!(
                "artifact {pattern:?} makes more than {visits_max} files and folders to look at, which is too many: name the folder \
                 that it is in"
            )
        } else {
            if !found.matched {
                found.refuse(|| format!("artifact {pattern:?} matches no file"));
            }
            continue;
        };
        found.refusals = vec![too_many];
        found.files.clear();
        break;
    }
    let kept = |(name, place)| Kept { name, place, workspace: Arc::clone(&workspace) };
    let found_files = named(masker, found.files.into_iter().map(kept));
    let mut resolved = Resolved { files: Vec::new(), refusals: found.refusals };
    for kept in found_files {
        // Judged as it will be told: a secret may hold what a name must not.
        match check_name(&kept.name) {
            Ok(()) => resolved.files.push(kept),
            Err(sentence) if resolved.refusals.len() < REFUSALS_MAX => resolved.refusals.push(sentence),
            Err(_) => {}
        }
    }
    resolved.refusals.iter_mut().for_each(|refusal| *refusal = masker.owned(std::mem::take(refusal)));
    resolved
}

/// Files under names that may be told. Two of which only the masked part differs are told apart by a number.
fn named(masker: &Masker, files: impl Iterator<Item = Kept>) -> Vec<Kept> {
    let mut names = BTreeSet::new();
    let named = files.map(|mut kept| {
        let masked = masker.owned(kept.name);
        let mut name = masked.clone();
        let mut n = 2;
        while !names.insert(name.clone()) {
            name = format!("{masked} ({n})");
            n += 1;
        }
        kept.name = name;
        kept
    });
    named.collect()
}

struct Search<'a> {
    root: PathBuf,
    files: BTreeMap<String, PathBuf>,
    refusals: Vec<String>,
    matched: bool,
    visits: usize,
    visits_max: usize,
    stop: &'a CancellationToken,
}

impl Search<'_> {
    /// Whether nothing more is to be looked at.
    fn is_over(&self) -> bool {
        self.files.len() > FILES_MAX || self.visits > self.visits_max || self.stop.is_cancelled()
    }

    fn refuse(&mut self, sentence: impl FnOnce() -> String) {
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(sentence());
        }
    }

    /// `directory` (`name` relative to the workspace) and what is left of the pattern.
    fn walk(&mut self, directory: &Path, name: &str, segments: &[&str]) {
        self.visits += 1;
        if self.is_over() {
            return;
        }
        let Some((first, rest)) = segments.split_first() else {
            return self.keep_all(directory, name);
        };
        let deep = *first == "**";
        if deep {
            if rest.is_empty() {
                return self.keep_all(directory, name);
            }
            self.walk(directory, name, rest);
        } else if !first.contains('*') {
            return self.entry(directory, first, name, rest);
        }
        for entry in self.entries(directory, name) {
            if self.is_over() {
                return;
            }
            if deep {
                let (path, below) = (directory.join(&entry), join(name, &entry));
                // Directories only, and no links: those could lead in a circle.
                if self.metadata(&path, &below).is_some_and(|meta| meta.is_dir()) {
                    self.walk(&path, &below, segments);
                }
            } else if matches(first.as_bytes(), entry.as_bytes()) {
                self.entry(directory, &entry, name, rest);
            }
        }
    }

    /// `file_name` in `directory`, which a segment named, and the segments behind it.
    fn entry(&mut self, directory: &Path, file_name: &str, name: &str, rest: &[&str]) {
        let name = &join(name, file_name);
        let (real, meta) = match follow(&self.root, directory, file_name) {
            Ok(Leads::To(real, meta)) => (real, meta),
            Ok(Leads::Nowhere) => return,
            Ok(Leads::Out) => {
                self.matched = true;
                return self.refuse(|| format!("artifact {name:?} is a link that leads out of the workspace"));
            }
            Err(error) => return self.unread(name, &error),
        };
        if meta.is_dir() {
            // The real path: what follows is looked up inside the workspace and nowhere else.
            self.walk(&real, name, rest);
        } else if meta.is_file() && rest.is_empty() {
            self.matched = true;
            // It begins so, since nothing leads out of it.
            if let Ok(place) = real.strip_prefix(&self.root) {
                self.files.insert(name.to_owned(), place.to_owned());
            }
        } else if rest.is_empty() {
            self.matched = true;
            self.refuse(|| format!("artifact {name:?} is no regular file"));
        }
    }

    /// Every file below a directory.
    fn keep_all(&mut self, directory: &Path, name: &str) {
        for entry in self.entries(directory, name) {
            if self.is_over() {
                return;
            }
            let (path, below) = (directory.join(&entry), join(name, &entry));
            let Some(meta) = self.metadata(&path, &below) else { continue };
            if meta.is_dir() {
                self.keep_all(&path, &below);
            } else if meta.is_symlink()
                && matches!(follow(&self.root, directory, &entry), Ok(Leads::To(_, meta)) if meta.is_dir())
            {
                // Its files are kept where they stand, if they are asked for there; following it could lead in a circle.
            } else {
                self.entry(directory, &entry, name, &[]);
            }
        }
    }

    /// The names of what is in a directory.
    fn entries(&mut self, directory: &Path, name: &str) -> Vec<String> {
        let mut entries = Vec::new();
        let read = match fs::read_dir(directory) {
            Ok(read) => read,
            Err(error) => {
                self.unread(name, &error);
                return entries;
            }
        };
        for entry in read {
            self.visits += 1;
            if self.is_over() {
                break;
            }
            match entry.map(|entry| entry.file_name().into_string()) {
                Ok(Ok(file_name)) => entries.push(file_name),
                Ok(Err(bytes)) => {
                    let shown = join(name, &bytes.to_string_lossy());
                    self.refuse(|| format!("file {shown:?} cannot be kept: its name is not UTF-8"));
                }
                Err(error) => {
                    self.unread(name, &error);
                    break;
                }
            }
        }
        entries
    }

    /// What stands at a path, links not followed. None where nothing does, or nobody can tell, which is refused.
    fn metadata(&mut self, path: &Path, name: &str) -> Option<Metadata> {
        path.symlink_metadata().map_err(|error| self.unread(name, &error)).ok()
    }

    /// What could not be read might be asked for: it is not left out in silence, unless it is not there.
    fn unread(&mut self, name: &str, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.matched = true;
            let shown = if name.is_empty() { "." } else { name };
            self.refuse(|| format!("{shown:?} could not be read for artifacts: {error}"));
        }
    }
}

/// Where a name leads.
enum Leads {
    /// To this below the workspace, links resolved.
    To(PathBuf, Metadata),
    /// To nothing in the workspace.
    Nowhere,
    /// Out of the workspace. Whether something is there is nobody's concern, and is not looked at.
    Out,
}

/// Follows `file_name` in `directory`, a real one of the workspace `root`, link by link.
///
/// # Errors
/// When it cannot be told.
fn follow(root: &Path, directory: &Path, file_name: &str) -> io::Result<Leads> {
    let (mut real, mut last, mut links) = (directory.to_owned(), None, 0);
    // From behind.
    let mut parts = vec![OsString::from(file_name)];
    while let Some(part) = parts.pop() {
        if part == ".." {
            if real == root {
                return Ok(Leads::Out);
            }
            (real, last) = (real.parent().unwrap_or(root).to_owned(), None);
            continue;
        }
        real.push(part);
        let meta = match real.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Leads::Nowhere);
            }
            Err(error) => return Err(error),
        };
        if !meta.is_symlink() {
            last = Some(meta);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Ok(Leads::Nowhere);
        }
        let mut target = real.read_link()?;
        real.pop();
        if target.is_absolute() {
            let Ok(within) = target.strip_prefix(root) else { return Ok(Leads::Out) };
            (real, target) = (root.to_owned(), within.to_owned());
        }
        last = None;
        let named = target.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        let named: Vec<OsString> = named.map(|part| part.as_os_str().to_owned()).collect();
        parts.extend(named.into_iter().rev());
    }
    let meta = last.map_or_else(|| real.symlink_metadata(), Ok)?;
    Ok(Leads::To(real, meta))
}

fn join(name: &str, below: &str) -> String {
    if name.is_empty() { below.to_owned() } else { format!("{name}/{below}") }
}

/// Whether `name` fits `pattern`, where `*` is any text. Linear in practice: on a mismatch only the last `*` grows.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && pattern[p] == name[n] {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests;
