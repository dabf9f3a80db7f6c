//! A disk that is soon full: a file system of its own in memory.

use std::{fs, path::Path};

/// Writes until nothing more fits.
pub(crate) fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let block = [0_u8; 4096];
    while file.write_all(&block).is_ok() {}
}

/// Writes until less than `free` bytes are left.
pub(crate) fn fill_up_to(path: &Path, free: u64) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let block = [0_u8; 65_536];
    loop {
        let disk = rustix::fs::fstatvfs(&file).unwrap();
        if disk.f_bavail * disk.f_frsize < free || file.write_all(&block).is_err() {
            return;
        }
    }
}

/// A file system of its own, gone with the value.
pub(crate) struct SmallDisk {
    pub(crate) path: std::path::PathBuf,
}

impl SmallDisk {
    /// None, and the reason printed, where mounting is refused.
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        if !status.success() {
            eprintln!("left out: a small disk cannot be mounted, which needs root");
            return None;
        }
        Some(Self { path: path.to_owned() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
