//! What the machine must have before a command of xtask can work, and how it gets there. A new prerequisite is one more
//! `Need` in the list of the command that wants it. The Rust toolchain and Node.js are taken as given.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Failure, Result};
use crate::process::{answers, command, output, root, run, say};
use crate::release::target_dir;
use crate::{api, machine};

/// The oldest Node.js that wasm-opt is run on: Debian 12 has it.
const NODE_MAJOR_MIN: u32 = 18;
/// The oldest Node.js that Playwright supports, by its own manifest.
const NODE_MAJOR_MIN_PLAYWRIGHT: u32 = 20;

/// The script that starts a private node; the one on the PATH wants the system's user.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Names under which a Chromium that Playwright can drive is installed, in the order of preference.
const CHROMIUM_PATHS: [&str; 5] = [
    "/usr/bin/chromium",
    "/usr/bin/google-chrome-stable",
    "/usr/bin/google-chrome",
    "/opt/google/chrome/chrome",
    "/usr/bin/chromium-browser",
];

/// One prerequisite.
struct Need {
    /// As shown in the progress line.
    name: &'static str,
    present: fn() -> bool,
    provide: fn() -> Result<()>,
}

const WASM_TARGET: Need =
    Need { name: "the Rust target wasm32-unknown-unknown", present: has_wasm_target, provide: add_wasm_target };
const NODE: Need =
    Need { name: "Node.js", present: || has_node(NODE_MAJOR_MIN), provide: || ask_for_node(NODE_MAJOR_MIN) };
const NODE_FOR_PLAYWRIGHT: Need = Need {
    name: "a Node.js for Playwright",
    present: || has_node(NODE_MAJOR_MIN_PLAYWRIGHT),
    provide: || ask_for_node(NODE_MAJOR_MIN_PLAYWRIGHT),
};
const NPM_PACKAGES: Need = Need {
    name: "the npm packages",
    present: || has_npm_packages("end2end"),
    provide: || install_npm_packages("end2end"),
};
const PEER_PACKAGES: Need = Need {
    name: "the npm packages of the peer in bench/peer",
    present: || has_npm_packages("bench/peer"),
    provide: || install_npm_packages("bench/peer"),
};
const BASH: Need =
    Need { name: "bash", present: || answers("bash", "--version"), provide: || install("bash", "steps run under it") };
const GIT: Need = Need {
    name: "git",
    present: || answers("git", "--version"),
    provide: || install("git", "pipelines with a git source need it"),
};
const BUBBLEWRAP: Need = Need {
    name: "bubblewrap",
    present: || answers("bwrap", "--version"),
    provide: || install("bubblewrap", "jobs run in sandboxes of it"),
};
const PODMAN: Need = Need {
    name: "Podman",
    present: || answers("podman", "--version"),
    provide: || install("podman", "the tests of containers start one"),
};
const DOCKER: Need = Need {
    name: "Docker",
    present: || answers("dockerd", "--version") && answers("docker", "--version"),
    provide: install_docker,
};
const RUNC: Need = Need {
    name: "runc",
    // Of the programs that Podman starts containers by, the one that takes every arrangement of control groups.
    present: || answers("runc", "--version"),
    provide: || install("runc", "the tests of containers start theirs by it"),
};
const BUSYBOX: Need = Need {
    name: "a static busybox",
    present: || answers("/bin/busybox", "true"),
    provide: || install("busybox-static", "the tests of containers make their image of it"),
};
const QEMU: Need = Need {
    name: "QEMU",
    present: || answers("qemu-system-x86_64", "--version"),
    provide: || install("qemu-system-x86", "the tests of control groups run in a machine of it"),
};
const KERNEL: Need =
    Need { name: "a kernel for a virtual machine", present: machine::has_kernel, provide: download_kernel };
const POSTGRES: Need = Need { name: "PostgreSQL", present: has_postgres, provide: install_postgres };
const RABBITMQ: Need = Need {
    name: "RabbitMQ",
    present: || Path::new(RABBITMQ_SERVER).exists(),
    provide: || install("rabbitmq-server", "the tests of the broker start nodes of it"),
};
const HAPROXY: Need = Need {
    name: "HAProxy",
    present: || answers("haproxy", "-v") || answers("/usr/sbin/haproxy", "-v"),
    provide: || install("haproxy", "it stands before the gateways of a cluster"),
};
const PIKA: Need = Need {
    name: "pika for Python",
    // The one on the PATH may be another than the system's, which has the package.
    present: || ["python3", "/usr/bin/python3"].into_iter().any(|python| answers(python, "-cimport pika")),
    provide: || install("python3-pika", "the programs in examples/ are tested with it"),
};
const OPENSSL: Need = Need {
    name: "OpenSSL",
    present: || answers("openssl", "version"),
    provide: || install("openssl", "the tests of TLS make their certificates with it"),
};
const PYTHON_VENV: Need = Need {
    name: "Python with venv",
    // `venv` alone is there on Debian without the package, which brings what makes pip.
    present: || answers("python3", "-cimport venv, ensurepip"),
    provide: || install("python3-venv", "schemathesis is installed by it"),
};
const SCHEMATHESIS: Need = Need { name: "schemathesis", present: api::is_installed, provide: api::install };
const CHROMIUM: Need = Need { name: "Chromium", present: || chromium().is_some(), provide: install_chromium };

/// What the browser package needs.
pub(crate) fn for_building() -> Result<()> {
    provide(&[WASM_TARGET, NODE, NPM_PACKAGES])
}

/// What a server that runs builds needs on top of being built.
pub(crate) fn for_running() -> Result<()> {
    provide(&[WASM_TARGET, NODE, NPM_PACKAGES, BASH, GIT, BUBBLEWRAP])
}

/// What a cluster needs on top.
pub(crate) fn for_cluster() -> Result<()> {
    for_running()?;
    provide(&[POSTGRES, RABBITMQ, HAPROXY])
}

/// What a cluster needs to be measured beside its peer.
pub(crate) fn for_cluster_bench() -> Result<()> {
    for_cluster()?;
    provide(&[PEER_PACKAGES])
}

/// What the Rust tests need: they run real steps and real clones, a real database, a real broker and the examples.
pub(crate) fn for_rust_tests() -> Result<()> {
    provide(&[BASH, GIT, BUBBLEWRAP, PODMAN, RUNC, BUSYBOX, POSTGRES, RABBITMQ, PIKA, HAPROXY, OPENSSL])
}

/// What the tests of containers need to run on Docker.
pub(crate) fn for_docker_tests() -> Result<()> {
    provide(&[BASH, GIT, BUBBLEWRAP, DOCKER, BUSYBOX])
}

/// What the tests of control groups need: a machine, its kernel, and the programs that it has.
pub(crate) fn for_machine_tests() -> Result<()> {
    provide(&[BASH, BUBBLEWRAP, BUSYBOX, QEMU, KERNEL])
}

/// What the browser tests need beside a server that runs builds.
pub(crate) fn for_browser_tests() -> Result<()> {
    provide(&[NODE_FOR_PLAYWRIGHT, NPM_PACKAGES, BASH, GIT, BUBBLEWRAP, CHROMIUM])
}

/// What the tests of the HTTP interface need beside a server that runs builds.
pub(crate) fn for_api_tests() -> Result<()> {
    provide(&[BASH, BUBBLEWRAP, PYTHON_VENV, SCHEMATHESIS])
}

/// RabbitMQ 4.3, unpacked in the target folder once: gives the folder with its programs.
pub(crate) fn rabbitmq_4() -> Result<PathBuf> {
    let folder = target_dir().join("rabbitmq-4.3");
    if !folder.join("ready").exists() {
        say("set-up: RabbitMQ 4.3 in a system of its own (a minute, 400 MB, once)");
    }
    run(command("bash").arg(root().join("xtask/rabbitmq/prepare.sh")).arg(&folder))?;
    Ok(folder.join("bin"))
}

/// The Chromium to test with: `STEPCAST_CHROMIUM`, else an installed one that starts.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("STEPCAST_CHROMIUM") {
        return Some(chosen.into());
    }
    CHROMIUM_PATHS.iter().find(|path| answers(path, "--version")).map(PathBuf::from)
}

fn provide(needs: &[Need]) -> Result<()> {
    for need in needs {
        if (need.present)() {
            continue;
        }
        say(&format!("set-up: {}", need.name));
        (need.provide)()?;
        if !(need.present)() {
            return Err(Failure(format!("set-up ended without an error, but {} cannot be used", need.name)));
        }
    }
    Ok(())
}

fn has_wasm_target() -> bool {
    // Asks the compiler and not rustup: a toolchain from elsewhere can have the target too.
    let mut rustc = command(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let folder = output(rustc.args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]));
    folder.is_ok_and(|folder| PathBuf::from(folder.trim()).is_dir())
}

fn add_wasm_target() -> Result<()> {
    run(command("rustup").args(["target", "add", "wasm32-unknown-unknown"])).map_err(|failure| {
        Failure(format!("{failure}; install rustup from https://rustup.rs, or this target for the Rust that you have"))
    })
}

fn has_node(major_min: u32) -> bool {
    let version = command("node").arg("--version").output();
    let major = version.ok().and_then(|version| node_major(&String::from_utf8_lossy(&version.stdout)));
    major.is_some_and(|major| major >= major_min) && answers("npm", "--version")
}

/// `v20.20.2` is 20.
fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn ask_for_node(major_min: u32) -> Result<()> {
    Err(Failure(format!(
        "Node.js {major_min} or newer with npm is not on the PATH; install it from https://nodejs.org, then run this again"
    )))
}

/// `npm ci` copies the lock file here when it is done: equal contents mean that the packages are those of the lock file.
fn npm_stamp(folder: &str) -> PathBuf {
    root().join(folder).join("node_modules/.installed-lock.json")
}

fn has_npm_packages(folder: &str) -> bool {
    let lock = fs::read(root().join(folder).join("package-lock.json"));
    lock.is_ok_and(|lock| fs::read(npm_stamp(folder)).is_ok_and(|stamp| stamp == lock))
}

fn install_npm_packages(folder: &str) -> Result<()> {
    let mut npm = command("npm");
    npm.current_dir(root().join(folder)).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
    // The system's Chromium is used; a second one would be 150 MB more.
    run(npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"))?;
    let (lock, stamp) = (root().join(folder).join("package-lock.json"), npm_stamp(folder));
    fs::copy(&lock, &stamp).explain(|| format!("{} cannot be written", stamp.display()))?;
    Ok(())
}

/// Whether a private PostgreSQL can be made and run; a server that runs already is not looked at. Debian keeps the programs of
/// each version beside each other and off the `PATH`. Where the tests are given a server they start none.
fn has_postgres() -> bool {
    if std::env::var_os("STEPCAST_TEST_POSTGRES_URL").is_some() {
        return true;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.exists())
        || answers("initdb", "--version")
}

/// The package starts a server, which nobody has asked for: it is stopped, and its data stays. There was none before, so
/// whatever runs now is the package's.
fn install_postgres() -> Result<()> {
    install("postgresql", "the tests of the store start one of their own")?;
    for (version, cluster) in running_clusters(&output(command("pg_lsclusters").arg("-h")).unwrap_or_default()) {
        run(command("pg_ctlcluster").args([version, cluster, "stop"]))?;
    }
    Ok(())
}

/// The package starts a daemon, which nobody has asked for: it is stopped. Newer systems have the command line in a package
/// of its own.
fn install_docker() -> Result<()> {
    install("docker.io", "the tests of containers start its daemon")?;
    // Where nothing starts services, that has failed, and there is nothing to stop.
    let _ = run(command("service").args(["docker", "stop"]));
    if answers("docker", "--version") {
        return Ok(());
    }
    install("docker-cli", "the tests of containers speak to its daemon by it")
}

/// Of a package that its archive may have replaced since the list was fetched.
fn download_kernel() -> Result<()> {
    if is_root() {
        run(command("apt-get").args(["update", "-q"]))?;
    }
    machine::download_kernel()
}

/// `15 main 5432 online postgres …` is the cluster `main` of version 15, which runs.
fn running_clusters(list: &str) -> Vec<(&str, &str)> {
    let running = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (version, cluster, _port, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
        state.starts_with("online").then_some((version, cluster))
    });
    running.collect()
}

fn install_chromium() -> Result<()> {
    let advice = "or install Google Chrome, or set STEPCAST_CHROMIUM to the path of a Chromium that starts";
    install("chromium", "the browser tests need it").map_err(|failure| Failure(format!("{failure}, {advice}")))?;
    // On Ubuntu this package is a stub that leads to a snap, which does not start everywhere.
    if chromium().is_some() {
        return Ok(());
    }
    Err(Failure(format!("the package chromium was installed, but it does not start; install another one, {advice}")))
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Installs a package of Debian or Ubuntu when we may, else says what to install.
fn install(package: &str, why: &str) -> Result<()> {
    if !is_root() || !answers("apt-get", "--version") {
        return Err(Failure(format!("{package} is missing, and {why}; run `sudo apt-get install {package}`")));
    }
    run(command("apt-get").args(["update", "-q"]))?;
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-q", "-y", "--no-install-recommends", package]);
    run(&mut apt)
}

#[cfg(test)]
mod tests {
    use super::{node_major, running_clusters};

    #[test]
    fn the_servers_that_a_package_started_are_found_in_the_list() {
        let list = "15 main  5432 online postgres /var/lib/postgresql/15/main /var/log/postgresql/main.log\n\
                    15 other 5433 down   postgres /var/lib/postgresql/15/other /var/log/postgresql/other.log\n";
        assert_eq!(running_clusters(list), [("15", "main")]);
        assert_eq!(running_clusters(""), []);
    }

    #[test]
    fn the_major_version_of_node_is_read_from_its_answer() {
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert_eq!(node_major("v6.1\n"), Some(6));
        assert_eq!(node_major("command not found"), None);
    }
}
