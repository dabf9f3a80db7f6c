//! The program of the commit before this one, for the tests that let both work side by side.

use std::fs;
use std::path::PathBuf;

use crate::failure::{Explain, Result};
use crate::process::{cargo, command, run, say};
use crate::release::{SERVER_SIDE, target_dir};

/// Builds it, and gives its path. Its source and what is built of it lie below the target folder, in places of their own:
/// cargo would take the crates of two commits in one target folder for the same.
pub(crate) fn build() -> Result<PathBuf> {
    let folder = target_dir().join("former");
    let (source, archive, target) = (folder.join("source"), folder.join("source.tar"), folder.join("target"));
    say("building stepcast of the former commit");
    if source.exists() {
        fs::remove_dir_all(&source).explain(|| format!("{} cannot be removed", source.display()))?;
    }
    fs::create_dir_all(&source).explain(|| format!("{} cannot be made", source.display()))?;
    run(command("git").args(["archive", "--format=tar", "-o"]).arg(&archive).arg("HEAD^"))?;
    // With the time of now: cargo takes a file for unchanged that is older than what was built last.
    run(command("tar").arg("-xmf").arg(&archive).arg("-C").arg(&source))?;
    let mut build = cargo();
    build.arg("build").args(SERVER_SIDE).args(["--bin", "stepcast", "--target-dir"]).arg(&target);
    // Which page it serves does not matter: this one's is there already.
    run(build.current_dir(&source).env("STEPCAST_SITE_DIR", target_dir().join("site")))?;
    Ok(target.join("debug/stepcast"))
}
