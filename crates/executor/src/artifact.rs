//! Which files of a workspace are kept: patterns to paths. Nothing outside the workspace can be named, neither by `..`
//! nor through a symbolic link, and nothing else is opened: what is found is opened from the workspace on, part by part, and no
//! part may have become a link meanwhile. Blocking code; sending them is [`crate::upload`]'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
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
            let path = directory.join(first);
            if path.symlink_metadata().is_ok() {
                self.entry(&path, &join(name, first), rest);
            }
            return;
        }
        for (entry, entry_name) in self.entries(directory, name) {
            if self.is_over() {
                return;
            }
            let below = join(name, &entry_name);
            if deep {
                // Directories only, and no links: those could lead in a circle.
                if entry.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                    self.walk(&entry, &below, segments);
                }
            } else if matches(first.as_bytes(), entry_name.as_bytes()) {
                self.entry(&entry, &below, rest);
            }
        }
    }

    /// Something that a segment named, and the segments behind it.
    fn entry(&mut self, path: &Path, name: &str, rest: &[&str]) {
        let Ok(real) = path.canonicalize() else { return }; // A link to nowhere names no file.
        if !real.starts_with(&self.root) {
            self.matched = true;
            self.refuse(|| format!("artifact {name:?} is a link that leads out of the workspace"));
            return;
        }
        let Ok(meta) = real.metadata() else { return };
        if meta.is_dir() {
            // The real path: what follows is looked up inside the workspace and nowhere else.
            self.walk(&real, name, rest);
        } else if meta.is_file() && rest.is_empty() {
            self.matched = true;
            // It begins so, as was seen above.
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
        for (entry, entry_name) in self.entries(directory, name) {
            if self.is_over() {
                return;
            }
            let below = join(name, &entry_name);
            let Ok(meta) = entry.symlink_metadata() else { continue };
            if meta.is_dir() {
                self.keep_all(&entry, &below);
            } else if meta.is_symlink()
                && entry.is_dir()
                && entry.canonicalize().is_ok_and(|p| p.starts_with(&self.root))
            {
                // Its files are kept where they stand, if they are asked for there; following it could lead in a circle.
            } else {
                self.entry(&entry, &below, &[]);
            }
        }
    }

    fn entries(&mut self, directory: &Path, name: &str) -> Vec<(PathBuf, String)> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            self.visits += 1;
            if self.is_over() {
                break;
            }
            match entry.file_name().into_string() {
                Ok(file_name) => entries.push((entry.path(), file_name)),
                Err(bytes) => {
                    let shown = join(name, &bytes.to_string_lossy());
                    self.refuse(|| format!("file {shown:?} cannot be kept: its name is not UTF-8"));
                }
            }
        }
        entries
    }
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
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(workspace: &Path, patterns: &[&str]) -> (Vec<String>, Vec<String>) {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let resolved = resolve(workspace, &patterns, &Masker::default(), &CancellationToken::new());
        (resolved.files.into_iter().map(|kept| kept.name).collect(), resolved.refusals)
    }

    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in ["out.tgz", "a/one.txt", "a/b/two.txt", "a/b/three.log"] {
            let path = root.path().join("workspace").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(root.path().join("secret"), "s").unwrap();
        root
    }

    #[test]
    fn patterns_name_files_and_directories_of_the_workspace() {
        let root = workspace();
        let dir = root.path().join("workspace");
        assert_eq!(names(&dir, &["out.tgz", "./a/*.txt"]).0, ["a/one.txt", "out.tgz"]);
        assert_eq!(names(&dir, &["a"]).0, ["a/b/three.log", "a/b/two.txt", "a/one.txt"]);
        assert_eq!(names(&dir, &["**/*.txt", "a/one.txt"]).0, ["a/b/two.txt", "a/one.txt"]);
        assert_eq!(names(&dir, &["a/**"]).0.len(), 3);
        assert_eq!(names(&dir, &["a/*/t*o*t"]).0, ["a/b/two.txt"]);
    }

    #[test]
    fn what_is_outside_the_workspace_is_refused_with_a_sentence() {
        let root = workspace();
        let dir = root.path().join("workspace");
        symlink("../secret", dir.join("link")).unwrap();
        symlink("..", dir.join("up")).unwrap();
        symlink("a/one.txt", dir.join("inside")).unwrap();
        for (pattern, sentence) in [
            ("../secret", "must be a path inside the workspace"),
            ("/etc/passwd", "must be a path inside the workspace"),
            ("a/../../secret", "must be a path inside the workspace"),
            ("link", "leads out of the workspace"),
            ("up/secret", "leads out of the workspace"),
            ("l*", "leads out of the workspace"),
            ("nothing*", "matches no file"),
        ] {
            let (files, refusals) = names(&dir, &[pattern]);
            assert!(files.is_empty(), "{pattern} kept {files:?}");
            assert!(refusals.iter().any(|refusal| refusal.contains(sentence)), "{pattern}: {refusals:?}");
        }
        assert_eq!(names(&dir, &["inside"]), (vec!["inside".to_owned()], Vec::new()));
    }

    #[test]
    fn what_is_no_regular_file_or_has_a_name_that_leads_elsewhere_is_refused() {
        let root = workspace();
        let dir = root.path().join("workspace");
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
        symlink("/dev/zero", dir.join("zero")).unwrap();
        for (pattern, sentence) in
            [("pipe", "no regular file"), ("socket", "no regular file"), ("zero", "leads out of the workspace")]
        {
            let (files, refusals) = names(&dir, &[pattern]);
            assert!(files.is_empty() && refusals.iter().any(|refusal| refusal.contains(sentence)), "{refusals:?}");
        }
        fs::create_dir(dir.join("odd")).unwrap();
        for name in ["..\\up", "new\nline", "\u{202e}gpj.exe", "\u{1b}[2J"] {
            fs::write(dir.join("odd").join(name), "x").unwrap();
        }
        let (files, refusals) = names(&dir, &["odd"]);
        assert!(files.is_empty() && refusals.len() == 4, "{files:?} {refusals:?}");
        assert!(refusals.iter().all(|refusal| refusal.contains("must be a relative path")), "{refusals:?}");
    }

    #[test]
    fn what_was_found_is_not_opened_once_a_link_stands_in_its_place() {
        let root = workspace();
        let dir = root.path().join("workspace");
        symlink("a/one.txt", dir.join("inside")).unwrap();
        let found = resolve(
            &dir,
            &["a/one.txt", "a/b/two.txt", "inside"].map(str::to_owned),
            &Masker::default(),
            &CancellationToken::new(),
        )
        .files;
        let read = |kept: &Kept| kept.open().and_then(io::read_to_string).map_err(|error| error.to_string());
        assert_eq!(
            found.iter().map(|kept| read(kept).unwrap()).collect::<Vec<_>>(),
            ["a/b/two.txt", "a/one.txt", "a/one.txt"]
        );
        // A file becomes a link, a folder on the way becomes one, and so does the whole workspace.
        fs::create_dir_all(root.path().join("outside/b")).unwrap();
        for secret in ["outside/one.txt", "outside/b/two.txt"] {
            fs::write(root.path().join(secret), "secret").unwrap();
        }
        fs::rename(dir.join("a/b"), dir.join("a/moved")).unwrap();
        symlink("../../outside/b", dir.join("a/b")).unwrap();
        fs::remove_file(dir.join("a/one.txt")).unwrap();
        symlink("../../outside/one.txt", dir.join("a/one.txt")).unwrap();
        for kept in &found {
            assert!(read(kept).is_err(), "{}", kept.name);
        }
        fs::remove_file(dir.join("a/one.txt")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("a/one.txt"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(read(&found[1]).unwrap_err().contains("no regular file"), "a pipe without a writer is not waited for");
        fs::rename(&dir, root.path().join("gone")).unwrap();
        symlink("outside", &dir).unwrap();
        assert!(resolve(&dir, &["one.txt".to_owned()], &Masker::default(), &CancellationToken::new()).files.is_empty());
    }

    /// A folder in a folder, so many times, all of one name.
    fn deep(depth: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(vec!["a"; depth].join("/"))).unwrap();
        root
    }

    #[test]
    fn a_pattern_that_names_a_deep_tree_in_many_ways_ends() {
        let root = deep(36);
        // They have millions of ways through it.
        let tried = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            resolve_within(10_000, root.path(), &patterns, &Masker::default(), &CancellationToken::new())
        };
        let found = tried(&["**/**/**/**/**/**/x"]);
        assert_eq!(
            (found.files.len(), &found.refusals[0][..]),
            (0, "artifact \"**/**/**/**/**/**/x\" matches no file")
        );
        let found = tried(&["nothing", "**/a/**/a/**/a/**/a/**/a/**/x", "never"]);
        assert!(found.files.is_empty() && found.refusals.len() == 1, "{:?}", found.refusals);
        assert!(found.refusals[0].contains("more than 10000 files and folders to look at"), "{:?}", found.refusals);
    }

    #[test]
    fn a_tree_of_a_thousand_folders_in_each_other_is_searched() {
        let root = deep(1000);
        for pattern in ["**/x", "a"] {
            assert!(names(root.path(), &[pattern]).0.is_empty());
        }
    }

    #[test]
    fn a_search_that_is_stopped_looks_no_further_and_what_is_refused_is_kept_to_a_number() {
        let root = workspace();
        let dir = root.path().join("workspace");
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(resolve(&dir, &["**".to_owned()], &Masker::default(), &stop).files.is_empty());
        for n in 0..150 {
            symlink("/etc/passwd", dir.join(format!("link-{n}"))).unwrap();
        }
        let (files, refusals) = names(&dir, &["**"]);
        assert_eq!((files.len(), refusals.len()), (4, 100));
    }
}
