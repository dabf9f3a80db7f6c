//! Removal of a tree that steps made: of any depth with a few descriptors and no recursion, and never through a link.
//! Blocking code.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, openat, renameat, unlinkat},
    io::Errno,
    path::Arg,
};
use uuid::Uuid;

/// Folders in each other that are open at a time. What is deeper is moved up to the root of what is removed.
const LEVELS_MAX: usize = 32;

/// Removes a tree. What cannot be removed is left, which the log tells.
pub(super) fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(path = %path.display(), %error, "an old workspace could not be removed");
    }
}

/// A folder that is open.
struct Level {
    folder: OwnedFd,
    /// In the folder above it. Empty for the root.
    name: CString,
    /// Folders in it that are still there.
    folders: Vec<CString>,
}

/// Removes all that it can.
///
/// # Errors
/// The first one.
fn remove_tree(path: &Path) -> io::Result<()> {
    let root = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(CWD, path, AtFlags::empty())?),
        root => root?,
    };
    let mut first_error = None;
    // Under names that nobody could foresee.
    let (moved, mut n) = (Uuid::new_v4(), 0_u64);
    let mut levels = vec![Level::enter(root, CString::default(), &mut first_error)];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.folders.pop() else {
            let name = levels.pop().map(|level| level.name).unwrap_or_default();
            if let Some(above) = levels.last() {
                keep(&mut first_error, unlinkat(&above.folder, &name, AtFlags::REMOVEDIR));
            }
            continue;
        };
        if unlinkat(&level.folder, &name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        // This makes it writable too, without which it could not be moved.
        let opened = open(level.folder.as_fd(), &name);
        let Some(folder) = keep(&mut first_error, opened) else { continue };
        if levels.len() < LEVELS_MAX {
            levels.push(Level::enter(folder, name, &mut first_error));
        } else if let [root, .., deepest] = &mut levels[..] {
            n += 1;
            let new_name = CString::new(format!("{moved}-{n}")).unwrap_or_default();
            if keep(&mut first_error, renameat(&deepest.folder, &name, &root.folder, &new_name)).is_some() {
                root.folders.push(new_name);
            }
        }
    }
    keep(&mut first_error, unlinkat(CWD, path, AtFlags::REMOVEDIR));
    first_error.map_or(Ok(()), |error| Err(error.into()))
}

impl Level {
    /// Removes what is no folder.
    fn enter(folder: OwnedFd, name: CString, first_error: &mut Option<Errno>) -> Self {
        let mut folders = Vec::new();
        let entries = keep(first_error, Dir::read_from(&folder));
        for entry in entries.into_iter().flatten() {
            let Some(entry) = keep(first_error, entry) else { break };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                folders.push(name.to_owned());
                continue;
            }
            match unlinkat(&folder, name, AtFlags::empty()) {
                // Not every file system tells what an entry is.
                Err(Errno::ISDIR) => folders.push(name.to_owned()),
                removed => drop(keep(first_error, removed)),
            }
        }
        Self { folder, name, folders }
    }
}

/// Opens a folder, and lets its owner read and write it: some tools write-protect theirs.
fn open(above: BorrowedFd<'_>, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(above, name, OFlags::RDONLY | flags, Mode::empty());
    let folder = match opened {
        Err(Errno::ACCESS) => {
            let unread = openat(above, name, OFlags::PATH | flags, Mode::empty())?;
            // By its descriptor: the name may have become a link.
            rustix::fs::chmod(format!("/proc/self/fd/{}", unread.as_raw_fd()), Mode::RWXU)?;
            openat(above, name, OFlags::RDONLY | flags, Mode::empty())?
        }
        opened => opened?,
    };
    if !Mode::from_raw_mode(fstat(&folder)?.st_mode).contains(Mode::RWXU) {
        // Where that is not allowed, the removal tells what cannot be removed.
        let _ = fchmod(&folder, Mode::RWXU);
    }
    Ok(folder)
}

/// What went well. Of errors the first one is kept.
fn keep<T>(first_error: &mut Option<Errno>, result: Result<T, Errno>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Errno::NOENT) => None,
        Err(error) => {
            first_error.get_or_insert(error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::mkdirat;

    use super::*;

    /// Makes a folder in a folder, so many times; with an empty one and a file beside it, if there is to be more.
    fn chain(above: &Path, depth: usize, with_more: bool) {
        let mut folder = open(CWD, above).unwrap();
        for _ in 0..depth {
            mkdirat(&folder, "a", Mode::RWXU).unwrap();
            if with_more {
                mkdirat(&folder, "b", Mode::RWXU).unwrap();
                openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            }
            folder = open(folder.as_fd(), "a").unwrap();
        }
    }

    #[test]
    fn a_chain_of_fifty_thousand_folders_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("1");
        fs::create_dir(&root).unwrap();
        chain(&root, 50_000, false);
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn chains_beside_each_other_whose_folders_have_one_name_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("1");
        for beside in ["a", "b", "c/a"] {
            fs::create_dir_all(root.join(beside)).unwrap();
            chain(&root.join(beside), LEVELS_MAX * 3, true);
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn folders_without_permissions_go_and_what_links_lead_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("1"), folder.path().join("outside"));
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink(&outside, root.join("a/link")).unwrap();
        symlink(&root, root.join("a/b/circle")).unwrap();
        for closed in ["a/b/c", "a/b", "a"] {
            rustix::fs::chmod(root.join(closed), Mode::empty()).unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists() && outside.join("kept").exists());
        symlink(&outside, &root).unwrap();
        remove_tree(&root).unwrap();
        assert!(root.symlink_metadata().is_err() && outside.join("kept").exists());
        remove_tree(&root).unwrap();
    }
}
