//! The program of the commit before this one, for the tests that let both work side by side.

use std::fs;
use std::path::PathBuf;

use crate::failure::{Explain, Result};
use crate::process::{cargo, command, run, say};
use crate::release::{SERVER_SIDE, build_server, target_dir};

/// Builds it, and gives its path. Its source lies below the target folder; what it depends on is shared with this commit.
pub(crate) fn build() -> Result<PathBuf> {
    let (folder, target) = (target_dir().join("former"), target_dir());
    let (source, program, archive) = (folder.join("source"), folder.join("stepcast"), folder.join("source.tar"));
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
    run(build.current_dir(&source).env("STEPCAST_SITE_DIR", target.join("site")))?;
    let built = target.join("debug/stepcast");
    fs::copy(&built, &program).explain(|| format!("{} cannot be kept", built.display()))?;
    // In that place is the program of this commit again.
    build_server(false)?;
    Ok(program)
}
