//! The rules of the house that neither rustfmt nor clippy knows. Each finding is one sentence that begins with the file
//! and the line. What is said about texts is in `tidy/text.rs`, about the arrows between crates in `tidy/arrows.rs`; here the
//! files are found and the findings shown.

use std::fs;
use std::path::Path;

use crate::failure::{Explain, Failure, Result};
use crate::process::{cargo, output, root};

mod arrows;
mod lexer;
mod text;

/// Folders that hold nothing written by us.
const NOT_OURS: [&str; 6] = ["target", "node_modules", "test-results", "playwright-report", "stepcast-data", ".git"];

/// Checks the whole repository.
pub(crate) fn check() -> Result<()> {
    let root = root();
    let mut findings = Vec::new();
    let mut files = 0;
    walk(&root, &mut |path| {
        let name = path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();
        if text::concerns(&name) {
            let content = fs::read_to_string(path).explain(|| format!("{name} cannot be read as UTF-8 text"))?;
            findings.extend(text::check(&name, &content));
            files += 1;
        }
        Ok(())
    })?;
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    findings.extend(arrows::check(&arrows::members(&metadata)?));
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{files} files are tidy");
            Ok(())
        }
        1 => Err(Failure("tidy has one finding, above".to_owned())),
        count => Err(Failure(format!("tidy has {count} findings, above"))),
    }
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = fs::read_dir(folder).explain(|| format!("{} cannot be listed", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.explain(|| format!("{} cannot be listed", folder.display()))?;
        if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() { walk(&path, see)? } else { see(&path)? }
    }
    Ok(())
}
