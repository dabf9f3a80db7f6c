//! The sandbox of one job: a guard under bubblewrap (`bwrap`), in namespaces of its own.
//!
//! What keeps what apart:
//!
//! - **Mounts**: of the file system there is only what [`view`] lists; nothing else has a name in there.
//! - **Processes**: the guard is process 1 of its namespace. Nobody outside can be seen or signalled, no signal from inside
//!   ends the guard, and with the guard the kernel ends every process of the job. bubblewrap's own `--die-with-parent` is
//!   not used: it would end the tree with the *thread* that started it, and without the guard's last word. An executor
//!   that dies closes the control pipe, and the guard knows the rest (see [`crate::guard`]).
//! - **User**: an executor of a common user gets a user namespace. One that is root gives its jobs a user of their own
//!   ([`Account`]): files that only root may read stay closed even where they can be named.
//! - **IPC, host name, terminal session**: of its own; and the network, where a job says `network: false`.

mod account;
mod credentials;
mod granted;
mod trial;
mod unreadable;
mod view;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

pub(crate) use account::Account;
pub use trial::sandbox_works;
pub(crate) use trial::works;

use self::unreadable::Covered;
use super::NoGuard;
use crate::workspace::Workspace;

/// Where the guard's program and its lock stand in a sandbox.
const GUARD: &str = "/run/stepcast/guard";
/// See [`GUARD`].
pub(crate) const LOCK: &str = "/run/stepcast/guards.lock";
/// The home of steps where the executor's user has none.
const HOME: &str = "/home/stepcast";

/// What the executor's owner wants between steps and machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationChoice {
    /// A sandbox where one works here.
    #[default]
    Auto,
    /// A sandbox; the executor refuses to start where none works.
    Sandbox,
    /// None.
    Plain,
}

/// What the executor's owner lets into sandboxes, and what never gets there.
#[derive(Clone, Debug, Default)]
pub struct SandboxOptions {
    /// Paths that all jobs can read.
    pub read: Vec<PathBuf>,
    /// Paths that all jobs can write: they are shared between jobs.
    pub write: Vec<PathBuf>,
    /// Folders that are empty in a sandbox, whatever else lets them in: the server's own.
    pub hidden: Vec<PathBuf>,
    /// Files that hold passwords and keys of the server, and sockets that are worth as much. The folder that holds one is empty
    /// in a sandbox, whatever else lets it in; where that folder is not its own, such as `/etc`, the file alone cannot be
    /// opened there.
    pub credentials: Vec<PathBuf>,
}

/// Makes sandboxes.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    bwrap: PathBuf,
    options: SandboxOptions,
    /// Files that cannot be opened in it.
    covered: Vec<PathBuf>,
    /// As whom steps run, where that is not the executor's user.
    account: Option<Account>,
    /// Of steps, by the same path as the executor's, so that what PATH names stays where it is.
    home: PathBuf,
    /// Where the lists of users and groups are that tell of [`Sandbox::account`].
    lists: PathBuf,
}

impl Sandbox {
    /// # Errors
    /// When bubblewrap is not here, or the disk does not take the lists in `lists`; one sentence.
    pub(crate) fn new(mut options: SandboxOptions, lists: &Path) -> Result<Self, NoGuard> {
        let missing = || NoGuard::Refused("bubblewrap is not installed: install the package bubblewrap".to_owned());
        let bwrap = found("bwrap").ok_or_else(missing)?;
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute() && home.parent().is_some()).unwrap_or_else(|| HOME.into());
        let account = if geteuid().is_root() { Account::of_jobs() } else { None };
        if let Some(account) = account {
            account.write_lists(lists, &home)?;
        }
        // Links resolved, as everything is named that is let in.
        for hidden in &mut options.hidden {
            if let Ok(real) = hidden.canonicalize() {
                *hidden = real;
            }
        }
        let mut sandbox = Self { bwrap, options, covered: Vec::new(), account, home, lists: lists.to_owned() };
        sandbox.cover_credentials();
        Ok(sandbox)
    }

    fn cover_credentials(&mut self) {
        for cover in credentials::covers(&self.options.credentials, &view::shown(self)) {
            match cover {
                Covered::Folder(folder) => self.options.hidden.push(folder),
                Covered::File(file) if view::shows(self, &file) => {
                    tracing::warn!(
                        file = %file.display(),
                        "a file with a password of this server, or the socket of a container engine, lies in a folder that \
                         sandboxes show: it is covered there, but once it is replaced, jobs that run then can reach it; move it \
                         to a folder of its own, such as /etc/stepcast"
                    );
                    self.covered.push(file);
                }
                Covered::File(_) => {}
            }
        }
    }

    /// As whom steps run, where that is not the executor's user.
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// Variables of steps that are others in it.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let home = ("HOME".to_owned(), self.home.display().to_string());
        let names = self.account.map(|_| ["USER", "LOGNAME"].map(|name| (name.to_owned(), account::NAME.to_owned())));
        std::iter::once(home).chain(names.into_iter().flatten())
    }

    /// Prepares the directories of an attempt for [`Sandbox::command`].
    ///
    /// # Errors
    /// One sentence, when the disk does not take it.
    pub(crate) fn furnish(&self, workspace: &Workspace) -> Result<(), String> {
        let furnished = view::furnish(self, workspace);
        furnished.map_err(|error| format!("the home of the job could not be made: {error}"))
    }

    /// Program and arguments that run a guard in a sandbox around these directories. Reads the disk.
    pub(crate) fn command(&self, guard: &Path, lock: &Path, workspace: &Workspace, network: bool) -> Vec<OsString> {
        let mut words = vec![OsString::from(&self.bwrap)];
        let fixed = ["--unshare-pid", "--as-pid-1", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"];
        words.extend(fixed.map(OsString::from));
        words.extend(["--new-session", "--cap-drop", "ALL"].map(OsString::from));
        if self.account.is_some() {
            // For the guard to become that user, which takes them away.
            words.extend(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"].map(OsString::from));
        } else {
            words.push("--unshare-user".into());
        }
        if !network {
            words.push("--unshare-net".into());
        }
        words.extend(view::arguments(self, guard, lock, workspace, network));
        words.extend(["--chdir", "/", "--", GUARD, "guard"].map(OsString::from));
        words
    }
}

/// A program by its name, in the folders of PATH and where it usually stands.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin"), PathBuf::from("/bin")]);
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(program)).find(|file| file.is_file())
}
