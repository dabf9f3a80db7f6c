//! The user that jobs run as in a sandbox where the executor is root. Without it they would be root to every file that
//! they can name, and no limit of processes would hold: the kernel exempts root from it.

use std::{fs, path::Path};

/// The number of that user and its group: one that systemd's table of numbers leaves to nobody (60578 to 61183).
const ID: u32 = 60_900;
/// Its name in a sandbox.
pub(crate) const NAME: &str = "stepcast";

/// The user of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Of the user and of the group.
    pub(crate) id: u32,
}

impl Account {
    /// None where this process may not become it, as in a container that has few users.
    pub(super) fn of_jobs() -> Option<Self> {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|map| fs::read_to_string(map).unwrap_or_default());
        maps.iter().all(|map| holds(map, ID)).then_some(Self { id: ID })
    }

    /// Writes this machine's lists of users and groups with this one added, for programs that ask who they are.
    ///
    /// # Errors
    /// One sentence, when the disk does not take them.
    pub(super) fn write_lists(self, folder: &Path, home: &Path) -> Result<(), String> {
        let id = self.id;
        let user = format!("{NAME}:x:{id}:{id}:Stepcast job:{}:/bin/bash\n", home.display());
        let (users, groups) = (with("/etc/passwd", &user), with("/etc/group", &format!("{NAME}:x:{id}:\n")));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join("passwd"), users))
            .and_then(|()| fs::write(folder.join("group"), groups))
            .map_err(|error| {
                format!("the sandbox's list of users could not be written to {}: {error}", folder.display())
            })
    }
}

fn with(list: &str, line: &str) -> String {
    let mut text = fs::read_to_string(list).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + line
}

/// Whether a map of a user namespace (inside, outside, how many) holds a number.
fn holds(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_few_users_has_none_for_jobs() {
        assert!(holds("         0          0 4294967295\n", ID));
        assert!(holds("0 1000 1\n1 100000 65536\n", ID));
        assert!(!holds("0 1000 1\n", ID));
        assert!(!holds("", ID));
    }

    #[test]
    fn the_lists_hold_the_machines_users_and_the_jobs() {
        let folder = tempfile::tempdir().unwrap();
        Account { id: ID }.write_lists(folder.path(), Path::new("/root")).unwrap();
        let users = fs::read_to_string(folder.path().join("passwd")).unwrap();
        assert!(users.contains("root:"), "{users}");
        assert!(users.ends_with("\nstepcast:x:60900:60900:Stepcast job:/root:/bin/bash\n"), "{users}");
        assert!(fs::read_to_string(folder.path().join("group")).unwrap().ends_with("\nstepcast:x:60900:\n"));
    }
}
