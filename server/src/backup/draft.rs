//! A folder for what is being made, beside the place where it will be: it gets there whole, by one rename, or not at all,
//! and is removed if it does not.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// Removed with all that is in it when dropped.
pub(crate) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Makes the folder for its owner alone: the same file system, so that a rename is enough.
    pub(crate) fn beside(place: &Path) -> Result<Self, String> {
        let name = place.file_name().ok_or_else(|| format!("{} has no name of its own", place.display()))?;
        let mut name = name.to_owned();
        name.push(format!(".part-{}", Uuid::new_v4().simple()));
        let path = place.with_file_name(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|failure| format!("{} cannot be made: {failure}", path.display()))?;
        Ok(Self { path })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it, for its owner alone.
    pub(crate) fn file(&self, path: &Path) -> Result<File, String> {
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.map_err(|failure| format!("{} cannot be made: {failure}", path.display()))
    }

    /// Puts something from here to its place, where nothing may be (but an empty folder in a folder's way).
    pub(crate) fn put(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.is_dir() {
            // The system replaces an empty folder by a folder, and no other.
            fs::rename(from, to)?;
        } else {
            match rustix::fs::renameat_with(
                rustix::fs::CWD,
                from,
                rustix::fs::CWD,
                to,
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Ok(()) => {}
                // Some network file systems cannot promise it: then the look beforehand must do.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
                    fs::rename(from, to)?;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        sync_folder(to)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(failure) = fs::remove_dir_all(&self.path)
            && failure.kind() != io::ErrorKind::NotFound
        {
            eprintln!("stepcast: {} could not be removed: {failure}", self.path.display());
        }
    }
}

/// A rename into the folder of `place` survives the loss of power.
fn sync_folder(place: &Path) -> io::Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
