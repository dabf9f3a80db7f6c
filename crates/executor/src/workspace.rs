//! The directories of one attempt. `<work_dir>/jobs/<incarnation>/<job>.<attempt>/` holds `workspace`, where the steps run,
//! and `private` beside it, with their scripts. Blocking code.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;
use wire::task::LeaseRef;

/// The directories of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// Both of them.
    root: PathBuf,
    /// Where the steps run.
    pub(crate) path: PathBuf,
}

impl Workspace {
    /// Makes the directories and writes the scripts. Tells where those are, in order.
    ///
    /// # Errors
    /// One sentence, when the disk does not take them.
    pub(crate) fn prepare(jobs: &Path, lease: LeaseRef, scripts: &[String]) -> Result<(Self, Vec<PathBuf>), String> {
        let root = jobs.join(format!("{}.{}", lease.job, lease.attempt));
        let (path, private) = (root.join("workspace"), root.join("private"));
        let make = || -> io::Result<Vec<PathBuf>> {
            for directory in [&path, &private] {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let write = |(n, script): (usize, &String)| {
                let file = private.join(format!("step-{n}.sh"));
                fs::write(&file, script).map(|()| file)
            };
            scripts.iter().enumerate().map(write).collect()
        };
        match make() {
            Ok(files) => Ok((Self { root, path }, files)),
            Err(error) => {
                let reason = format!("the workspace {} could not be made: {error}", path.display());
                Self { root, path }.remove();
                Err(reason)
            }
        }
    }

    /// Where files that are inputs are put.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    /// Takes the directories away. What cannot be removed stays until the executor starts again.
    pub(crate) fn remove(&self) {
        remove(&self.root);
    }
}

/// The directory of all workspaces of one start of the executor.
pub(crate) fn of_incarnation(work_dir: &Path, incarnation: Uuid) -> PathBuf {
    work_dir.join("jobs").join(incarnation.to_string())
}

/// Removes what former starts of the executor left.
pub(crate) fn remove_former(work_dir: &Path, incarnation: Uuid) {
    let mine = incarnation.to_string();
    let former = fs::read_dir(work_dir.join("jobs")).into_iter().flatten().flatten();
    for entry in former.filter(|entry| entry.file_name().to_str() != Some(&mine)) {
        remove(&entry.path());
    }
}

fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_ok() || !path.exists() {
        return;
    }
    // Some tools write-protect their directories.
    make_writable(path);
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "an old workspace could not be removed");
    }
}

fn make_writable(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        make_writable(&entry.path());
    }
}
