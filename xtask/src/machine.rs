//! A virtual machine for the tests that need what this one may not have: control groups of version 2, and a part of their tree to
//! divide. It has a kernel of the distribution, and in its memory the programs that the tests start, by the paths that they have
//! here: no disk and no network. What it does is in `machine/init.sh`.
//!
//! Its processor is emulated, also where this one could help: that takes a minute at most, and it is the same everywhere. Not every
//! `/dev/kvm` that can be opened runs a common kernel (where it is a virtual machine's own, it may hang).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Failure, Result};
use crate::process::{command, output, run, watch};
use crate::release::target_dir;

/// Depends on the newest kernel for virtual machines: on Debian, and on Ubuntu.
const KERNEL_PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];
/// Tests and their steps start these.
const PROGRAMS: [&str; 7] = ["bash", "bwrap", "cat", "head", "perl", "rm", "sleep"];
const BUSYBOX: &str = "/bin/busybox";
/// Of the machine, in MiB. Its files are in there too.
const MEMORY_MIB: &str = "1024";
/// For the whole run, in seconds; it takes thirty, and sixty where others work too.
const SECONDS_MAX: &str = "600";
/// How the line begins that comes after the tests.
const STATUS: &str = "the tests ended with status ";

fn kernel() -> PathBuf {
    target_dir().join("tools/kernel/vmlinuz")
}

pub(crate) fn has_kernel() -> bool {
    kernel().exists()
}

/// Unpacks one in the target folder. It is not installed: this machine would start with it the next time.
pub(crate) fn download_kernel() -> Result<()> {
    let folder = kernel().with_file_name("unpacked");
    let _ = fs::remove_dir_all(&folder); // Of a try that failed.
    fs::create_dir_all(&folder).explain(|| format!("{} cannot be made", folder.display()))?;
    let package = KERNEL_PACKAGES.iter().find_map(|package| {
        let list = command("apt-cache").args(["depends", package]).output().ok()?;
        image(&String::from_utf8_lossy(&list.stdout)).map(str::to_owned)
    });
    let package = package.ok_or_else(|| Failure(format!("apt-get knows none of {}", KERNEL_PACKAGES.join(", "))))?;
    run(command("apt-get").args(["download", "-q", &package]).current_dir(&folder))?;
    let archive = one(&folder, &package)?;
    run(command("dpkg-deb").arg("-x").arg(&archive).arg(&folder))?;
    let image = one(&folder.join("boot"), "vmlinuz")?;
    fs::rename(&image, kernel()).explain(|| format!("{} cannot be moved", image.display()))?;
    // The rest is 100 MB of modules.
    fs::remove_dir_all(&folder).explain(|| format!("{} cannot be removed", folder.display()))
}

/// `  Depends: linux-image-6.1.0-57-cloud-amd64`, as apt-cache tells it.
fn image(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-"))
}

/// The file in the folder whose name begins so.
fn one(folder: &Path, begin: &str) -> Result<PathBuf> {
    let mut names = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = names.find(|entry| entry.file_name().to_string_lossy().starts_with(begin));
    found.map(|entry| entry.path()).ok_or_else(|| Failure(format!("{} has no {begin}…", folder.display())))
}

/// Runs a program of tests that starts another one of ours; each line of its goes to the terminal and to `see`.
pub(crate) fn run_tests(tests: &Path, other: &Path, mut see: impl FnMut(&str)) -> Result<()> {
    let files = files(tests, other)?;
    let mut machine = command("timeout");
    machine.args([SECONDS_MAX, "qemu-system-x86_64", "-accel", "tcg", "-smp", "2"]);
    machine.args(["-m", MEMORY_MIB, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    machine.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1", "-kernel"]).arg(kernel());
    let mut status = None;
    watch(machine.arg("-initrd").arg(files), |line| {
        // It has a terminal.
        let line = line.trim_end_matches('\r');
        see(line);
        status = line.strip_prefix(STATUS).map(str::to_owned).or(status.take());
    })?;
    match status.as_deref() {
        Some("0") => Ok(()),
        Some(status) => Err(Failure(format!("{} ended with status {status} in the machine", tests.display()))),
        None => Err(Failure("the machine ended before it told the status of the tests".to_owned())),
    }
}

/// The archive of all files that the machine has.
fn files(tests: &Path, other: &Path) -> Result<PathBuf> {
    let folder = target_dir().join("machine");
    let root = folder.join("root");
    let _ = fs::remove_dir_all(&root); // Of the last run.
    let mut paths: BTreeSet<PathBuf> = PROGRAMS.iter().map(|name| Path::new("/usr/bin").join(name)).collect();
    paths.extend([tests.to_owned(), other.to_owned()]);
    paths.extend(libraries(&output(command("ldd").args(&paths))?));
    paths.insert(BUSYBOX.into());
    let made = (|| {
        for path in &paths {
            let place = root.join(path.strip_prefix("/").unwrap_or(path));
            fs::create_dir_all(place.parent().unwrap_or(&root))?;
            fs::copy(path, place)?;
        }
        symlink(BUSYBOX, root.join("bin/sh"))?;
        symlink(tests, root.join("tests"))?;
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        fs::write(root.join("init"), include_str!("../machine/init.sh"))?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
    })();
    made.explain(|| format!("{} cannot be filled", root.display()))?;
    let archive = folder.join("files");
    let pack = "cd \"$1\" && find . | /bin/busybox cpio -o -H newc -R 0:0 > \"$2\"";
    run(command("sh").args(["-c", pack, "sh"]).arg(&root).arg(&archive))?;
    Ok(archive)
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`, as ldd tells it, or the path alone.
fn libraries(list: &str) -> impl Iterator<Item = PathBuf> {
    let lines = list.lines().filter(|line| line.starts_with(char::is_whitespace));
    lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_and_the_libraries_are_found_in_what_is_told_of_them() {
        let depends =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-57-cloud-amd64\n    linux-image-6.1-unsigned\n";
        assert_eq!(image(depends), Some("linux-image-6.1.0-57-cloud-amd64"));
        assert_eq!(image("linux-image-virtual\n  Depends: libc6\n"), None);
        let told = "/usr/bin/bash:\n\tlinux-vdso.so.1 (0x00007ff5)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007ff5)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007ff5)\n/bin/one:\n\tstatically linked\n";
        let found: Vec<_> = libraries(told).collect();
        assert_eq!(found, [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
    }
}
