//! What others may not read in folders that are let in whole: passwords, keys, the server's own configuration. A step may
//! run as the user who owns them, so their permissions alone do not close them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Something to cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Covered {
    /// By an empty folder.
    Folder(PathBuf),
    /// By a file that cannot be opened.
    File(PathBuf),
}

/// Everything below `folder` that others may not read, to a depth. What lies in a folder that is covered is covered with it.
pub(super) fn below(folder: &Path, depth: usize) -> Vec<Covered> {
    let mut found = Vec::new();
    look(folder, depth, &mut found);
    found
}

fn look(folder: &Path, depth: usize, found: &mut Vec<Covered>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        // Links have no permissions: what they lead to is looked at where it stands, or is not there.
        let Ok(meta) = entry.metadata() else { continue };
        let mode = meta.permissions().mode();
        if meta.is_dir() {
            if mode & 0o005 != 0o005 {
                found.push(Covered::Folder(entry.path()));
            } else if depth > 1 {
                look(&entry.path(), depth - 1, found);
            }
        } else if !meta.is_symlink() && mode & 0o004 == 0 {
            found.push(Covered::File(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_not_read_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["open", "closed", "open/deep", "open/deep/deeper"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["readable", "shadow", "closed/key", "open/key", "open/deep/deeper/key"] {
            fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/shadow", at("link")).unwrap();
        for (name, mode) in [("closed", 0o700), ("shadow", 0o640), ("open/key", 0o600), ("open/deep/deeper/key", 0o600)]
        {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = |depth| {
            let mut found = below(folder.path(), depth);
            found.sort();
            found
        };
        let mut all = vec![Covered::Folder(at("closed")), Covered::File(at("open/key")), Covered::File(at("shadow"))];
        assert_eq!(found(2), all);
        all.insert(1, Covered::File(at("open/deep/deeper/key")));
        assert_eq!(found(9), all);
    }
}
