//! The program of the commit before this one, for the tests that let both work side by side.

use std::path::PathBuf;

use crate::failure::Result;
use crate::process::{cargo, run, say};
use crate::release::{SERVER_SIDE, target_dir};
use crate::source;

/// Builds it, and gives its path. Its source and what is built of it lie below the target folder, in places of their own:
/// cargo would take the crates of two commits in one target folder for the same.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = target_dir().join("former");
    let (source, target) = (folder.join("source"), folder.join("target"));
    say("building stepcast of the former commit");
    source::unpack("HEAD^", &source)?;
    let mut build = cargo();
    build.arg("build").args(SERVER_SIDE).args(["--bin", "stepcast", "--target-dir"]).arg(&target);
    // Which page it serves does not matter: this one's is there already.
    run(build.current_dir(&source).env("STEPCAST_SITE_DIR", target_dir().join("site")))?;
    Ok(target.join("debug/stepcast"))
}
