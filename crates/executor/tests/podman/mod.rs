//! A private Podman for a test: its own storage, its own socket, one image of a static busybox, and nothing of the internet.
//! Shared by the tests of executor and server.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The image: a shell and the usual small programs, a PATH of its own, no bash.
pub(crate) const IMAGE: &str = "localhost/stepcast-test:1";
/// Set to 1 where these tests must run: then a Podman that does not work is a failure.
const REQUIRED: &str = "STEPCAST_TEST_PODMAN";

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

/// A running service.
pub(crate) struct Podman {
    folder: tempfile::TempDir,
    service: Child,
}

impl Podman {
    /// Starts one; none where none works on this machine, which is said.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match prepare(folder.path()) {
            Ok(()) => {}
            Err(reason) if std::env::var(REQUIRED).is_ok_and(|required| required == "1") => {
                panic!("{REQUIRED} is set, but no Podman works here: {reason}")
            }
            Err(reason) => {
                eprintln!("skipped: no Podman works here: {reason}");
                return None;
            }
        }
        let service = serve(folder.path());
        Some(Self { folder, service })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Whether containers can have a network here, by a bridge.
    pub(crate) fn has_bridge(&self) -> bool {
        let tried =
            podman(self.folder.path()).args(["run", "--rm", "--network", "bridge", IMAGE, "true"]).output().unwrap();
        if !tried.status.success() {
            eprintln!("skipped in part: no bridge here: {}", String::from_utf8_lossy(&tried.stderr));
        }
        tried.status.success()
    }

    /// Its containers, running or not, that have a label; one line each.
    pub(crate) fn containers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let listed = self.run(&["ps", "--all", "--filter", &filter, "--format", "{{.ID}} {{.State}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Runs podman over the same storage, and tells what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let output = podman(self.folder.path()).args(words).output().unwrap();
        assert!(output.status.success(), "podman {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The service ends, and another one begins on the same storage.
    pub(crate) fn restart(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
        let _ = fs::remove_file(self.socket());
        self.service = serve(self.folder.path());
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = podman(self.folder.path()).args(["rm", "--force", "--all", "--time", "0"]).output();
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

fn podman(folder: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.env("CONTAINERS_CONF", folder.join("containers.conf")).args(["--storage-driver", "vfs"]);
    for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        podman.arg(option).arg(folder.join(name));
    }
    podman
}

fn serve(folder: &Path) -> Child {
    let address = format!("unix://{}", folder.join("sock").display());
    let mut service = podman(folder);
    // Its log tells when it listens.
    service.args(["--log-level", "info", "system", "service", "--time", "0", &address]);
    let mut service = service.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines();
    let listens = |line: &String| line.contains("API service listening");
    lines.by_ref().map_while(Result::ok).find(listens).expect("the service listens");
    std::thread::spawn(move || lines.for_each(drop));
    service
}

/// Writes settings and image, and tries whether a container runs.
fn prepare(folder: &Path) -> Result<(), String> {
    let (oci, image) = (folder.join("oci"), folder.join("image"));
    let settings = format!(
        "[engine]\nruntime = \"stage\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
         [engine.runtimes]\nstage = [\"{}\"]\n",
        oci.display()
    );
    fs::write(folder.join("containers.conf"), settings).unwrap();
    fs::write(&oci, RUNTIME).unwrap();
    fs::set_permissions(&oci, fs::Permissions::from_mode(0o755)).unwrap();
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
    let layer = folder.join("image.tar");
    said(Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&layer).arg("."))?;
    said(Command::new("runc").arg("--version"))?;
    let changes = ["--change", "ENV PATH=/opt/own:/bin", "--change", "ENV OF_THE_IMAGE=yes"];
    said(podman(folder).arg("import").args(changes).arg(&layer).arg(IMAGE))?;
    said(podman(folder).args(["run", "--rm", "--network", "none", "--pids-limit", "50", IMAGE, "true"]))?;
    Ok(())
}

fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
