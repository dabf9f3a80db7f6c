//! A private container engine for a test: its own storage, its own socket, one image of a static busybox, and nothing of the
//! internet. Podman, or Docker where `STEPCAST_TEST_ENGINE=docker`; a test cannot tell which. Shared by the tests of executor
//! and server.
#![allow(dead_code, reason = "each test binary uses its part of this")]

mod docker;
mod podman;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// The image: a shell and the usual small programs, a PATH of its own, no bash.
pub(crate) const IMAGE: &str = "localhost/stepcast-test:1";
/// `podman` or `docker`.
const CHOSEN: &str = "STEPCAST_TEST_ENGINE";
/// Set to 1 where these tests must run: then an engine that does not work is a failure.
const REQUIRED: &str = "STEPCAST_TEST_CONTAINERS_REQUIRED";

/// How an engine differs from the other one.
struct Kind {
    name: &'static str,
    /// What it needs in its folder before it starts; one sentence where that cannot be had.
    prepare: fn(&Path) -> Result<(), String>,
    /// The service over a folder, listening at `sock` in it.
    service: fn(&Path) -> Command,
    /// What its log says when it listens.
    listens: &'static str,
    /// The command line for the same folder.
    client: fn(&Path) -> Command,
}

/// A running service.
pub(crate) struct Engine {
    kind: &'static Kind,
    folder: tempfile::TempDir,
    service: Child,
}

impl Engine {
    /// Starts one; none where none works on this machine, which is said.
    pub(crate) fn start() -> Option<Self> {
        let kind = match std::env::var(CHOSEN).as_deref() {
            Err(_) | Ok("podman") => &podman::KIND,
            Ok("docker") => &docker::KIND,
            Ok(other) => panic!("{CHOSEN} is podman or docker, and not {other}"),
        };
        match Self::tried(kind) {
            Ok(engine) => Some(engine),
            Err(reason) if std::env::var(REQUIRED).is_ok_and(|required| required == "1") => {
                panic!("{REQUIRED} is set, but no {} works here: {reason}", kind.name)
            }
            Err(reason) => {
                eprintln!("skipped: no {} works here: {reason}", kind.name);
                None
            }
        }
    }

    /// Starts one with the image, and tries whether a container runs.
    fn tried(kind: &'static Kind) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        (kind.prepare)(folder.path())?;
        let service = serve(kind, folder.path())?;
        let engine = Self { kind, folder, service };
        let layer = layer(engine.folder.path())?;
        let changes = ["--change", "ENV PATH=/opt/own:/bin", "--change", "ENV OF_THE_IMAGE=yes"];
        said(engine.client().arg("import").args(changes).arg(&layer).arg(IMAGE))?;
        said(engine.client().args(["run", "--rm", "--network", "none", "--pids-limit", "50", IMAGE, "true"]))?;
        Ok(engine)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Whether containers can have a network here, by a bridge.
    pub(crate) fn has_bridge(&self) -> bool {
        let tried = said(self.client().args(["run", "--rm", "--network", "bridge", IMAGE, "true"]));
        if let Err(reason) = &tried {
            eprintln!("skipped in part: no bridge here: {reason}");
        }
        tried.is_ok()
    }

    /// Its containers, running or not, that have a label; one line each.
    pub(crate) fn containers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let listed = self.run(&["ps", "--all", "--filter", &filter, "--format", "{{.ID}} {{.State}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Runs its command line, and tells what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        said(self.client().args(words)).unwrap_or_else(|reason| panic!("{words:?}: {reason}"))
    }

    fn client(&self) -> Command {
        (self.kind.client)(self.folder.path())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // At once: who is only asked to stop may take its time.
        for (list, act) in [(&["ps", "--quiet"][..], &["kill"][..]), (&["ps", "--all", "--quiet"], &["rm", "--force"])]
        {
            let ids = said(self.client().args(list)).unwrap_or_default();
            if !ids.is_empty() {
                let _ = said(self.client().args(act).args(ids.lines()));
            }
        }
        // Asked to, it ends what it has started, too.
        if let Some(service) = Pid::from_raw(self.service.id().cast_signed()) {
            let _ = kill_process(service, Signal::TERM);
        }
        let _ = self.service.wait();
    }
}

/// Starts the service, and waits until it listens.
fn serve(kind: &Kind, folder: &Path) -> Result<Child, String> {
    let mut service = (kind.service)(folder);
    let started = service.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut service = started.map_err(|error| format!("{}: {error}", kind.name))?;
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut last = String::new();
    while !last.contains(kind.listens) {
        let Some(line) = lines.next() else {
            let _ = service.wait();
            return Err(format!("{} ended: {last}", kind.name));
        };
        last = line;
    }
    std::thread::spawn(move || lines.for_each(drop));
    Ok(service)
}

/// Makes the image's only layer.
fn layer(folder: &Path) -> Result<PathBuf, String> {
    let (image, layer) = (folder.join("image"), folder.join("image.tar"));
    for inside in ["bin", "etc", "root", "opt/own", "tmp"] {
        fs::create_dir_all(image.join(inside)).unwrap();
    }
    fs::set_permissions(image.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(image.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/tmp:/bin/sh\n").unwrap();
    fs::write(image.join("opt/own/of-the-image"), "#!/bin/sh\necho 'a program of the image'\n").unwrap();
    fs::set_permissions(image.join("opt/own/of-the-image"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy("/bin/busybox", image.join("bin/busybox")).map_err(|error| format!("/bin/busybox: {error}"))?;
    let applets = said(Command::new("/bin/busybox").arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    said(Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&layer).arg("."))?;
    Ok(layer)
}

/// Runs to the end; what it printed, or why it failed.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
