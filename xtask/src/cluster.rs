//! `cargo xtask cluster`: many processes on this machine. Its two scripts do the work: `servers.sh` starts a private RabbitMQ
//! and a private PostgreSQL, `stepcast.sh` is the program `stepcast`, whose `serve` is a cluster over them.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use crate::failure::{Failure, Result};
use crate::process::{root, say};
use crate::release::target_dir;
use crate::{browser, release, setup};

/// A script of this command.
fn script(name: &str) -> PathBuf {
    root().join("xtask/cluster").join(name)
}

/// A command beside private servers, for clusters of this program.
pub(crate) fn beside_servers(program: PathBuf) -> Command {
    let mut servers = Command::new("bash");
    servers.arg(script("servers.sh")).current_dir(root()).env("CLUSTER_PROGRAM", program);
    servers
}

/// What stands for the program `stepcast` where `serve` is to be a cluster.
pub(crate) fn program() -> PathBuf {
    script("stepcast.sh")
}

/// Sets up, builds, and becomes the cluster.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    setup::for_cluster()?;
    browser::package()?;
    let server = release::build_server(false)?;
    say("a cluster (Ctrl-C ends it)");
    let mut cluster = beside_servers(server);
    let data = target_dir().join("cluster-data");
    // Its database and its virtual host go with the servers, so nothing of a former run is of use.
    let _ = std::fs::remove_dir_all(&data);
    let error = cluster.arg(program()).arg("serve").arg("--data-dir").arg(data).args(arguments).exec();
    Err(Failure(format!("the cluster cannot be started: {error}")))
}
