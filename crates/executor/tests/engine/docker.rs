//! Docker's daemon as a private engine.

use std::{fs, path::Path, process::Command};

use super::Kind;

pub(super) const KIND: Kind = Kind { name: "Docker", prepare, service, listens: "API listen on", client };

/// Writes settings that say nothing, instead of this machine's.
fn prepare(folder: &Path) -> Result<(), String> {
    fs::write(folder.join("daemon.json"), "{}").unwrap();
    Ok(())
}

/// In a network namespace of its own: its bridge and its rules are nobody else's, and end with it.
fn service(folder: &Path) -> Command {
    let mut daemon = Command::new("unshare");
    daemon.args(["--net", "dockerd", "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
    for (option, name) in
        [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid"), ("--config-file", "daemon.json")]
    {
        daemon.arg(option).arg(folder.join(name));
    }
    daemon.arg("--host").arg(address(folder));
    daemon
}

fn client(folder: &Path) -> Command {
    let mut docker = Command::new("docker");
    // No settings of this machine's user.
    docker.arg("--config").arg(folder.join("client")).arg("--host").arg(address(folder));
    docker
}

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("sock").display())
}
