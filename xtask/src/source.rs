//! The source of a commit, unpacked below the target folder: for what must not be done in the tree that people work in.

use std::fs;
use std::path::Path;

use crate::failure::{Explain, Result};
use crate::process::{command, run};

/// Unpacks it into `folder`, in the place of what is there.
pub(crate) fn unpack(commit: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).explain(|| format!("{} cannot be removed", folder.display()))?;
    }
    fs::create_dir_all(folder).explain(|| format!("{} cannot be made", folder.display()))?;
    let archive = folder.with_extension("tar");
    run(command("git").args(["archive", "--format=tar", "-o"]).arg(&archive).arg(commit))?;
    // With the time of now: cargo takes a file for unchanged that is older than what was built last.
    run(command("tar").arg("-xmf").arg(&archive).arg("-C").arg(folder))
}
