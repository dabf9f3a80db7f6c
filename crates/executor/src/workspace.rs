//! The directories of one attempt. `<work_dir>/jobs/<start>/<n>/` holds `workspace`, where the steps run, `private`
//! with their scripts, `inputs`, and what a sandbox shows as home and temporary folders. They are made before it is known
//! whose they will be: a guard that is kept warm has them in its sandbox already. Blocking code.

mod removal;

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use self::removal::remove;
use crate::host::sandbox::Account;

/// The directories of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// All of them; nobody but the executor's user may enter it.
    root: PathBuf,
    /// Where the steps run.
    pub(crate) path: PathBuf,
}

impl Workspace {
    /// Makes the directories. What steps write to belongs to `account`, where they run as another user; the rest they
    /// can only read.
    ///
    /// # Errors
    /// One sentence, when the disk does not take them.
    pub(crate) fn make(jobs: &Path, number: u64, account: Option<Account>) -> Result<Self, String> {
        let root = jobs.join(number.to_string());
        let made = Self { path: root.join("workspace"), root };
        let make = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&made.root)?;
            let read = [made.private(), made.inputs()].map(|directory| (directory, 0o755, None));
            // Open to others, or bubblewrap would close the way to them for the steps' user. Out here the root is closed.
            let own = [made.path.clone(), made.home()].map(|directory| (directory, 0o755, account));
            let temporary = made.temporary().map(|directory| (directory, 0o1777, account));
            for (directory, mode, account) in read.into_iter().chain(own).chain(temporary) {
                fs::create_dir(&directory)?;
                fs::set_permissions(&directory, Permissions::from_mode(mode))?;
                if let Some(Account { id }) = account {
                    chown(&directory, Some(id), Some(id))?;
                }
            }
            Ok(())
        };
        make().map_err(|error| {
            made.remove();
            made.not_made(&error)
        })?;
        Ok(made)
    }

    /// Lets whoever an image's steps run as write where they run. Nobody else comes as far: the way there is closed.
    ///
    /// # Errors
    /// One sentence, when the disk does not take it.
    pub(crate) fn open(&self) -> Result<(), String> {
        fs::set_permissions(&self.path, Permissions::from_mode(0o777)).map_err(|error| self.not_made(&error))
    }

    /// Writes the scripts. Tells where they are, in order.
    ///
    /// # Errors
    /// One sentence, when the disk does not take them.
    pub(crate) fn write(&self, scripts: &[String]) -> Result<Vec<PathBuf>, String> {
        let write = |(n, script): (usize, &String)| {
            let file = self.private().join(format!("step-{n}.sh"));
            fs::write(&file, script)?;
            fs::set_permissions(&file, Permissions::from_mode(0o644))?;
            Ok(file)
        };
        scripts.iter().enumerate().map(write).collect::<io::Result<_>>().map_err(|error| self.not_made(&error))
    }

    fn not_made(&self, error: &io::Error) -> String {
        format!("the workspace {} could not be made: {error}", self.path.display())
    }

    /// Where scripts and named pipes are.
    pub(crate) fn private(&self) -> PathBuf {
        self.root.join("private")
    }

    /// Where files that are inputs are put.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    /// The home of steps in a sandbox.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Their `/tmp` and `/var/tmp`. On the disk: what fills them takes no memory.
    pub(crate) fn temporary(&self) -> [PathBuf; 2] {
        [self.root.join("tmp"), self.root.join("var-tmp")]
    }

    /// Takes the directories away. What cannot be removed stays until the executor starts again.
    pub(crate) fn remove(&self) {
        remove(&self.root);
    }
}

/// The directory of all workspaces of one start of the executor: under a name of its own. The start's incarnation, which ends
/// and renews what the executor holds, is nothing that steps may see.
pub(crate) struct Jobs {
    name: String,
    /// The directory.
    pub(crate) path: PathBuf,
}

impl Jobs {
    /// A new one; it is not made yet.
    pub(crate) fn new(work_dir: &Path) -> Self {
        let name = Uuid::new_v4().to_string();
        Self { path: work_dir.join("jobs").join(&name), name }
    }

    /// Removes what former starts of the executor left.
    pub(crate) fn remove_former(self) {
        let former = self.path.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
        for entry in former.filter(|entry| entry.file_name().to_str() != Some(&self.name)) {
            remove(&entry.path());
        }
    }
}
