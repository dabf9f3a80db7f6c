//! `cargo xtask mutations`: plants each fault of `mutations/` in a copy of the last commit and runs the test that must find
//! it. A fault that no test finds, or that cannot be planted any more, is a failure: each check is known to be able to fail.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Failure, Result};
use crate::process::{cargo, command, root, run, say};
use crate::release::target_dir;
use crate::source;

/// A file of `mutations/`: three lines of words, then the change.
#[derive(Debug, PartialEq, Eq)]
struct Mutation {
    /// The promise that it breaks: `P1` to `P8`, or `Security`.
    promise: String,
    /// What goes wrong, in one sentence.
    fault: String,
    /// The words behind `cargo test`; the last one is a part of the name of the test that must fail.
    test: Vec<String>,
}

impl Mutation {
    fn parse(text: &str) -> Result<Self> {
        let said = |word: &str| {
            let line = text.lines().take(3).find_map(|line| line.strip_prefix(word));
            line.map(|line| line.trim().to_owned()).ok_or_else(|| {
                Failure(format!("its first three lines are `Promise:`, `Fault:` and `Test:`; `{word}` is missing"))
            })
        };
        let (promise, fault, test) = (said("Promise:")?, said("Fault:")?, said("Test:")?);
        let test: Vec<String> = test.split_whitespace().map(str::to_owned).collect();
        if test.last().is_none_or(|name| name.starts_with('-')) {
            return Err(Failure("the last word of `Test:` is the name of a test".to_owned()));
        }
        Ok(Self { promise, fault, test })
    }

    /// The test that failed as it must, in what `cargo test` wrote.
    fn found_by<'a>(&self, written: &'a str) -> Option<&'a str> {
        let name = self.test.last()?;
        let failed = written.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        failed.map(str::trim).find(|test| test.contains(name.as_str()))
    }
}

/// Plants those whose file begins with `name`; all if it is empty.
pub(crate) fn run_all(name: &str) -> Result<()> {
    let folder = target_dir().join("mutations");
    let (tree, target) = (folder.join("source"), folder.join("target"));
    let patches = patches(name)?;
    source::unpack("HEAD", &tree)?;
    let mut missed = Vec::new();
    for patch in &patches {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match try_one(patch, &tree, &target) {
            Ok(told) => say(&format!("{name}: {told}")),
            Err(failure) => {
                say(&format!("{name}: {failure}"));
                missed.push(name);
            }
        }
    }
    if missed.is_empty() {
        say(&format!("{} faults, and a test found each", patches.len()));
        return Ok(());
    }
    Err(Failure(format!("{} of {} faults were not found: {}", missed.len(), patches.len(), missed.join(", "))))
}

fn patches(name: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join("mutations");
    let entries = fs::read_dir(&folder).explain(|| format!("{} cannot be read", folder.display()))?;
    let is_wanted = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|extension| extension == "patch") && stem.starts_with(name)
    };
    let mut patches: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_wanted).collect();
    patches.sort();
    if patches.is_empty() {
        return Err(Failure(format!("no file of {} begins with `{name}`", folder.display())));
    }
    Ok(patches)
}

/// Plants one, runs its test, takes it out again.
fn try_one(patch: &Path, tree: &Path, target: &Path) -> Result<String> {
    let text = fs::read_to_string(patch).explain(|| format!("{} cannot be read", patch.display()))?;
    let mutation = Mutation::parse(&text)?;
    apply(patch, tree, &[])
        .map_err(|_| Failure("it cannot be planted: the code has changed, make it anew".to_owned()))?;
    let mut test = cargo();
    test.arg("test").args(&mutation.test).arg("--target-dir").arg(target).current_dir(tree);
    let written = test.output().explain(|| "cargo cannot be started".to_owned());
    apply(patch, tree, &["--reverse"])?;
    let written = written?;
    let told = String::from_utf8_lossy(&written.stdout);
    if let Some(test) = mutation.found_by(&told) {
        return Ok(format!("{} broken ({}); found by {test}", mutation.promise, mutation.fault));
    }
    let why = if written.status.success() { "no test failed" } else { "its test did not come to run" };
    let errors = String::from_utf8_lossy(&written.stderr);
    let last: Vec<&str> = errors.lines().filter(|line| line.starts_with("error")).take(3).collect();
    Err(Failure(format!("{} would be broken unseen ({}): {why} {}", mutation.promise, mutation.fault, last.join("; "))))
}

fn apply(patch: &Path, tree: &Path, options: &[&str]) -> Result<()> {
    let mut git = command("git");
    // Outside of any repository, as far as it sees: the paths of the change are those below the tree.
    git.arg("apply")
        .args(options)
        .arg(patch)
        .current_dir(tree)
        .env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    run(&mut git)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEXT: &str = "Promise: P1\nFault: a thing is forgotten\nTest: -p store --lib p1_a\n\ndiff --git a/x b/x\n";

    #[test]
    fn a_mutation_names_its_promise_its_fault_and_its_test() {
        let mutation = Mutation::parse(TEXT).unwrap();
        assert_eq!((mutation.promise.as_str(), mutation.test.len()), ("P1", 4));
        assert!(Mutation::parse("Promise: P1\nTest: x\n").unwrap_err().0.contains("`Fault:` is missing"));
        assert!(Mutation::parse("Promise: P1\nFault: f\nTest: -p store\n--lib").is_ok());
        assert!(Mutation::parse("Promise: P1\nFault: f\nTest: --lib\n").unwrap_err().0.contains("the name of a test"));
    }

    #[test]
    fn only_the_test_that_is_named_counts_and_only_if_it_failed() {
        let mutation = Mutation::parse(TEXT).unwrap();
        assert_eq!(mutation.found_by("test a::p1_a_thing ... FAILED\n"), Some("a::p1_a_thing"));
        assert_eq!(mutation.found_by("test a::p1_a_thing ... ok\ntest p2 ... FAILED\nerror: test failed\n"), None);
    }

    #[test]
    fn every_promise_has_a_fault_that_is_described() {
        let all: Vec<Mutation> = patches("")
            .unwrap()
            .iter()
            .map(|path| Mutation::parse(&fs::read_to_string(path).unwrap()).unwrap())
            .collect();
        for promise in (1..=8).map(|number| format!("P{number}")).chain(["Security".to_owned()]) {
            assert!(all.iter().any(|mutation| mutation.promise == promise), "{promise} has none");
        }
    }
}
