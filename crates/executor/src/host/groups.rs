//! Control groups (version 2) for jobs, where this process was given a part of the tree to divide: then memory and processes
//! are limited for a job as a whole, and the kernel tells which limit it has reached. Everywhere else the guard's own
//! limits hold ([`crate::guard`]). Blocking code, of a few small writes.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Access, access, getxattr},
    process::geteuid,
};
use wire::{Limits, size::Size};

/// Where the tree is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// What groups of jobs are divided by.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// How long a group is waited for whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(5);
/// The name of a job's group begins so.
const JOB: &str = "job-";

/// Where groups of jobs are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    parent: PathBuf,
}

impl Groups {
    /// Takes the part of the tree that this process was given, and moves the process into a leaf of it: groups that hold
    /// processes cannot be divided.
    ///
    /// # Errors
    /// Why there is none; one clause.
    pub(crate) fn take() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let parent = divisible(Path::new(MOUNT), &own, geteuid().is_root(), is_delegated)?;
        let groups = Self { parent };
        groups
            .prepare()
            .map_err(|error| format!("the control group {} cannot be divided: {error}", groups.parent.display()))?;
        Ok(groups)
    }

    fn prepare(&self) -> io::Result<()> {
        let leaf = self.parent.join("executor");
        if !leaf.exists() {
            fs::create_dir(&leaf)?;
        }
        for pid in fs::read_to_string(self.parent.join("cgroup.procs"))?.lines() {
            // One that has ended meanwhile needs no moving.
            let _ = fs::write(leaf.join("cgroup.procs"), pid);
        }
        fs::write(self.parent.join("cgroup.subtree_control"), CONTROLLERS.map(|name| format!("+{name}")).join(" "))?;
        // Of a former start: every guard of it has ended.
        for entry in fs::read_dir(&self.parent)?.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(JOB)) {
                Group { path: entry.path() }.remove();
            }
        }
        Ok(())
    }

    /// A group for one guard and its tree.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn make(&self, number: u64) -> Result<Group, String> {
        let path = self.parent.join(format!("{JOB}{number}"));
        fs::create_dir(&path)
            .map_err(|error| format!("the control group {} could not be made: {error}", path.display()))?;
        Ok(Group { path })
    }
}

/// The group of this process, if it is one that may be divided. `own` is what `/proc/self/cgroup` says.
fn divisible(mount: &Path, own: &str, root: bool, is_delegated: impl Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let path =
        own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("control groups are not of version 2 here")?;
    let group = mount.join(path.trim_start_matches('/'));
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let has = |name: &&str| controllers.split_ascii_whitespace().any(|controller| controller == *name);
    if let Some(missing) = CONTROLLERS.iter().find(|name| !has(name)) {
        return Err(format!("the control group {} has no controller `{missing}`", group.display()));
    }
    // Who may write is not always who was given it: root may everywhere, and a common user in every group below its service
    // manager, whose books would not fit any more. The root of what is seen is a container's own, unless it is the machine's,
    // which has no type: every process of the machine would be moved.
    let is_own_root = path == "/" && group.join("cgroup.type").exists();
    let is_given = (is_own_root || is_delegated(&group)) && (root || may_write(&group));
    if !is_given {
        return Err(format!("the control group {} is not given to this process (`Delegate=yes`)", group.display()));
    }
    Ok(group)
}

fn may_write(group: &Path) -> bool {
    let files = ["", "cgroup.procs", "cgroup.subtree_control"];
    files.iter().all(|file| access(group.join(file), Access::WRITE_OK).is_ok())
}

/// What systemd notes at a group that it has given away.
fn is_delegated(group: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0; 1];
        matches!(getxattr(group, *name, &mut value), Ok(1)) && value == *b"1"
    })
}

/// The group of one guard.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// A program that is in this group from its first moment.
    pub(crate) fn entered(&self, words: &[OsString]) -> Vec<OsString> {
        let enter = ["/bin/sh", "-c", r#"echo 0 > "$0" && exec "$@""#].map(OsString::from);
        let file = self.path.join("cgroup.procs").into_os_string();
        enter.into_iter().chain([file]).chain(words.iter().cloned()).collect()
    }

    /// # Errors
    /// One sentence, when the kernel does not take a limit.
    pub(crate) fn limit(&self, limits: Limits) -> Result<(), String> {
        let set = |file: &str, value: Option<u64>| {
            let text = value.map_or_else(|| "max".to_owned(), |value| value.to_string());
            fs::write(self.path.join(file), text)
                .map_err(|error| format!("the limit {file} of the job could not be set: {error}"))
        };
        set("memory.max", limits.memory)?;
        // There is no such file where nothing is swapped.
        if self.path.join("memory.swap.max").exists() {
            set("memory.swap.max", limits.memory.map(|_| 0))?;
        }
        set("pids.max", limits.processes)
    }

    /// Which limit was reached, one sentence.
    pub(crate) fn reached(&self, limits: Limits) -> Option<String> {
        if let Some(memory) = limits.memory.filter(|_| self.count("memory.events", "oom_kill") > 0) {
            return Some(format!("a process was killed: the job had reached its limit of {} of memory", Size(memory)));
        }
        let processes = limits.processes.filter(|_| self.count("pids.events", "max") > 0)?;
        Some(format!("the job had reached its limit of {processes} processes"))
    }

    fn count(&self, file: &str, event: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix(event)?.strip_prefix(' ')?.trim().parse().ok());
        count.unwrap_or(0)
    }

    /// Ends what is left in it, which is nothing unless the guard was killed, and takes it away.
    pub(crate) fn remove(&self) {
        let began = Instant::now();
        let _ = fs::write(self.path.join("cgroup.kill"), "1"); // Since Linux 5.14.
        while let Err(error) = fs::remove_dir(&self.path) {
            if error.kind() == io::ErrorKind::NotFound {
                return;
            }
            if began.elapsed() > PATIENCE {
                tracing::warn!(group = %self.path.display(), %error, "a control group could not be removed");
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Guards;

    /// A tree as the kernel shows it, of plain files.
    fn tree(controllers: &str) -> (tempfile::TempDir, PathBuf) {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join("system.slice/stepcast.service");
        fs::create_dir_all(&own).unwrap();
        for (file, text) in
            [("cgroup.controllers", controllers), ("cgroup.procs", "41\n42\n"), ("cgroup.subtree_control", "")]
        {
            fs::write(own.join(file), text).unwrap();
        }
        (mount, own)
    }

    const OWN: &str = "0::/system.slice/stepcast.service\n";

    #[test]
    fn only_a_group_that_was_given_away_is_divided() {
        let (mount, own) = tree("cpu io memory pids\n");
        let found = |own: &str, root, delegated| divisible(mount.path(), own, root, |_| delegated);
        assert_eq!(found(OWN, true, true), Ok(own.clone()));
        assert_eq!(found(OWN, false, true), Ok(own.clone()));
        for root in [true, false] {
            // A common user may write it too: it owns every group below its service manager.
            assert!(found(OWN, root, false).unwrap_err().contains("Delegate=yes"));
        }
        let whole = || divisible(&mount.path().join("system.slice/stepcast.service"), "0::/\n", true, |_| false);
        assert!(whole().unwrap_err().contains("Delegate=yes"), "the machine's");
        fs::write(own.join("cgroup.type"), "domain\n").unwrap();
        assert_eq!(whole(), Ok(own), "a container's own");
        assert!(found("9:pids:/a\n1:name=systemd:/a\n", true, true).unwrap_err().contains("version 2"));
        let (mount, _) = tree("cpu pids\n");
        let poor = divisible(mount.path(), OWN, true, |_| true);
        assert!(poor.unwrap_err().contains("no controller `memory`"));
    }

    #[test]
    fn the_executor_moves_into_a_leaf_before_it_divides() {
        let (_mount, own) = tree("memory pids");
        fs::create_dir(own.join("executor")).unwrap();
        fs::create_dir(own.join("job-7")).unwrap();
        let groups = Groups { parent: own.clone() };
        groups.prepare().unwrap();
        // A real file takes one process with each write.
        assert_eq!(fs::read_to_string(own.join("executor/cgroup.procs")).unwrap(), "42");
        assert_eq!(fs::read_to_string(own.join("cgroup.subtree_control")).unwrap(), "+memory +pids");
        assert!(!own.join("executor/cgroup.kill").exists());
    }

    #[test]
    fn a_job_is_limited_as_a_whole_and_tells_what_it_reached() {
        let (_mount, own) = tree("memory pids");
        let group = Groups { parent: own.clone() }.make(3).unwrap();
        fs::write(group.path.join("memory.swap.max"), "max").unwrap();
        let limits = Limits { memory: Some(64 << 20), processes: Some(20), ..Limits::default() };
        group.limit(limits).unwrap();
        let text = |file: &str| fs::read_to_string(own.join("job-3").join(file)).unwrap();
        assert_eq!([text("memory.max"), text("memory.swap.max"), text("pids.max")], ["67108864", "0", "20"]);
        assert_eq!(group.reached(limits), None);
        fs::write(group.path.join("pids.events"), "max 4\n").unwrap();
        assert_eq!(group.reached(limits).unwrap(), "the job had reached its limit of 20 processes");
        fs::write(group.path.join("memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 0\n").unwrap();
        assert!(group.reached(limits).unwrap().contains("limit of 64 MiB of memory"));
        assert_eq!(group.reached(Limits::default()), None);
        group.limit(Limits::default()).unwrap();
        assert_eq!([text("memory.max"), text("pids.max")], ["max", "max"]);
    }

    #[tokio::test]
    async fn the_group_of_a_guard_that_does_not_start_is_removed() {
        let (mount, own) = tree("memory pids");
        let (jobs, groups) = (mount.path().join("jobs"), Groups { parent: own.clone() });
        let guards = Guards::new("/bin/false".into(), mount.path().join("lock"), None, jobs, None, Some(groups));
        let starting = tokio::spawn(async move { guards.start(true).await.is_err() });
        while !own.join("job-1/cgroup.kill").exists() {
            assert!(!starting.is_finished(), "it is left");
            tokio::task::yield_now().await;
        }
        // Of a real one the files go with the folder.
        fs::remove_dir_all(own.join("job-1")).unwrap();
        assert!(starting.await.unwrap());
    }

    #[test]
    fn a_program_enters_its_group_before_it_begins() {
        let (_mount, own) = tree("memory pids");
        let group = Groups { parent: own.clone() }.make(1).unwrap();
        let words = group.entered(&["/bin/echo".into(), "a b".into()]);
        let output = std::process::Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b\n");
        assert_eq!(fs::read_to_string(own.join("job-1/cgroup.procs")).unwrap(), "0\n");
    }
}
