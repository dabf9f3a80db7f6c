//! Files of the server that hold passwords and keys: by what they are covered in a sandbox. A folder stays covered when the file in
//! it is replaced by another one, which is how passwords are changed; a file that is covered itself does not.

use std::path::{Path, PathBuf};

use super::unreadable::Covered;

/// Folders that programs need, with all that is below them. What lies in one of them is covered alone.
const NEEDED: [&str; 15] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/dev",
    "/proc",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/crypto-policies",
];
/// Folders that hold those of many programs. What is below them is somebody's own.
const SHARED: [&str; 7] = ["/", "/etc", "/opt", "/run", "/tmp", "/var/tmp", "/usr/local/etc"];

/// What covers `files`, each once: the folder that holds one, or the file itself where that folder is not its own.
/// `needed`: paths that a sandbox shows besides the system's. Reads the disk.
pub(super) fn covers(files: &[PathBuf], needed: &[PathBuf]) -> Vec<Covered> {
    let mut covers: Vec<Covered> = files.iter().flat_map(|file| places(file)).map(|file| cover(file, needed)).collect();
    covers.sort();
    covers.dedup();
    covers
}

/// Where a file stands, and where it is named, if that is a link; folders as the kernel names them.
fn places(file: &Path) -> impl Iterator<Item = PathBuf> {
    let named = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    };
    [named(), file.canonicalize().ok()].into_iter().flatten()
}

fn cover(file: PathBuf, needed: &[PathBuf]) -> Covered {
    match file.parent() {
        Some(folder) if is_own(folder, needed) => Covered::Folder(folder.to_owned()),
        _ => Covered::File(file),
    }
}

fn is_own(folder: &Path, needed: &[PathBuf]) -> bool {
    let below_needed = NEEDED.iter().any(|needed| folder.starts_with(needed));
    let is_settings = folder.starts_with("/usr/local/etc");
    let is_shared = SHARED.iter().any(|shared| folder == Path::new(shared));
    // What is let in by a name of its own below it would be gone.
    let holds_needed = needed.iter().any(|needed| needed != folder && needed.starts_with(folder));
    (!below_needed || is_settings) && !is_shared && !holds_needed
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_folder_of_its_own_is_covered_whole_and_one_of_the_system_is_not() {
        let needed = ["/srv/cache".into(), "/home/ci/.rustup".into()];
        let covered = |file: &str| cover(file.into(), &needed);
        for (file, folder) in [
            ("/etc/stepcast/broker", "/etc/stepcast"),
            ("/usr/local/etc/stepcast/broker", "/usr/local/etc/stepcast"),
            ("/opt/stepcast/broker", "/opt/stepcast"),
            ("/srv/cache/broker", "/srv/cache"),
            ("/srv/keys/broker", "/srv/keys"),
            ("/run/credentials/stepcast.service/broker", "/run/credentials/stepcast.service"),
            ("/home/ci/keys/broker", "/home/ci/keys"),
        ] {
            assert_eq!(covered(file), Covered::Folder(folder.into()), "{file}");
        }
        for file in [
            "/broker",
            "/etc/broker",
            "/etc/ssl/private/broker.key",
            "/usr/share/broker",
            "/usr/local/etc/broker",
            "/opt/broker",
            "/srv/broker",
            "/home/ci/broker",
            "/tmp/broker",
        ] {
            assert_eq!(covered(file), Covered::File(file.into()), "{file}");
        }
    }

    #[test]
    fn both_ends_of_a_link_are_covered() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["named", "real"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("real/key"), "").unwrap();
        symlink("../real/key", at("named/key")).unwrap();
        let files = [at("named/../named/key"), at("real/key"), at("named/not-there")];
        assert_eq!(covers(&files, &[]), [Covered::Folder(at("named")), Covered::Folder(at("real"))]);
        assert_eq!(covers(&["/nowhere/at/all".into()], &[]), []);
    }
}
