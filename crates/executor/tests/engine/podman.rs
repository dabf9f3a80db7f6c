//! Podman as a private engine.

use std::{fs, path::Path, process::Command};

use super::{Kind, said};

pub(super) const KIND: Kind = Kind { name: "Podman", prepare, service, listens: "API service listening", client };

/// Takes out of what podman asks for the limits that only a process with CAP_SYS_RESOURCE may set.
const RUNTIME: &str = r#"#!/bin/sh
next=
for word; do
    case $next in
        bundle) file=$word/config.json ;;
        process) file=$word ;;
    esac
    [ -z "$next" ] || sed -i -E 's/\{"type":"RLIMIT_(NOFILE|NPROC)","hard":1048576,"soft":1048576\},?//g; s/,\]/]/g' "$file"
    next=
    case $word in --bundle|-b) next=bundle ;; --process|-p) next=process ;; esac
done
exec runc "$@"
"#;

/// Writes its settings.
fn prepare(folder: &Path) -> Result<(), String> {
    let oci = folder.join("oci");
    let settings = format!(
        "[engine]\nruntime = \"stage\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
         [engine.runtimes]\nstage = [\"{}\"]\n",
        oci.display()
    );
    fs::write(folder.join("containers.conf"), settings).unwrap();
    // By another process: what another test begins at that moment would have it open to write, and the system then runs it
    // for nobody ("text file busy").
    said(Command::new("sh").args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&oci).arg(RUNTIME))?;
    said(Command::new("runc").arg("--version")).map(drop)
}

fn service(folder: &Path) -> Command {
    let mut service = client(folder);
    // Its log tells when it listens.
    service.args(["--log-level", "info", "system", "service", "--time", "0"]);
    service.arg(format!("unix://{}", folder.join("sock").display()));
    service
}

fn client(folder: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.env("CONTAINERS_CONF", folder.join("containers.conf")).args(["--storage-driver", "vfs"]);
    for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        podman.arg(option).arg(folder.join(name));
    }
    podman
}
