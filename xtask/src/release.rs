//! `cargo xtask build`: the one file that is Stepcast, with the browser package embedded in it.

use std::fs;
use std::path::PathBuf;

use crate::failure::{Explain, Result};
use crate::process::{cargo, root, run, say};
use crate::{browser, setup};

/// Everything that is compiled for the server's side. Selecting always the same members gives `app` and the dependencies
/// always the same features, so that whatever one command has compiled, the next one uses. Frontend and server apart:
/// joined, `app` would get the features of the browser and of the server at once. xtask apart: its own are used as they are.
pub(crate) const SERVER_SIDE: [&str; 7] =
    ["--workspace", "--exclude", "frontend", "--exclude", "xtask", "--features", "store/postgres"];

/// A test to be built beside a program: dependencies have more features in tests, and so programs have those too. Else sixty
/// of them, and all that is ours, would be compiled once for the tests and once for the program.
pub(crate) const AS_IN_TESTS: [&str; 2] = ["--test", "cli"];

/// Leaves `target/release/stepcast`, or `target/debug/stepcast` for development.
pub(crate) fn build(release: bool) -> Result<()> {
    setup::for_building()?;
    browser::package()?;
    let program = build_server(release)?;
    let size = fs::metadata(&program).explain(|| format!("{} is missing after the build", program.display()))?.len();
    say(&format!("{}: {:.1} MB", program.display(), size as f64 / 1e6));
    Ok(())
}

/// Compiles the server around the browser package as it lies in `target/site`; returns the path of the binary.
pub(crate) fn build_server(release: bool) -> Result<PathBuf> {
    say(if release { "building stepcast for release" } else { "building stepcast" });
    let mut build = cargo();
    build.arg("build").args(SERVER_SIDE).args(["--bin", "stepcast"]);
    if release {
        build.arg("--release");
    } else {
        build.args(AS_IN_TESTS);
    }
    run(&mut build)?;
    Ok(target_dir().join(if release { "release" } else { "debug" }).join("stepcast"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |chosen| root().join(chosen))
}
