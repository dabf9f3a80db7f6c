//! `cargo xtask fuzz`: throws mutated input at what reads text of strangers, until the time is up or something is found. The targets and
//! their seeds are in `fuzz/`, a workspace of its own; what the fuzzer learns is kept in the target folder.

use std::fs;

use crate::{
    failure::{Failure, Result},
    process::{answers, cargo, command, root, run, say},
    release::target_dir,
};

/// Targets, by the name of their file.
const TARGETS: [&str; 5] = ["frames", "pipeline", "ansi", "chunks", "mask"];
/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// A single input that takes longer has found something, in seconds.
const INPUT_SECONDS_MAX: u32 = 10;
/// So does one that takes more memory, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;

/// Options of the command.
pub(crate) struct Options {
    minutes: u32,
    only: Option<String>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { minutes: 5, only: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match (*word, words.next()) {
                ("--minutes", Some(minutes)) => {
                    options.minutes = minutes.parse().ok().filter(|minutes| *minutes > 0).ok_or_else(|| {
                        Failure(format!("`--minutes {minutes}` must be a whole number of minutes, 1 at least"))
                    })?;
                }
                ("--only", Some(name)) if TARGETS.contains(name) => options.only = Some((*name).to_owned()),
                ("--only", Some(name)) => {
                    return Err(Failure(format!("`{name}` is no fuzz target: there are {}", TARGETS.join(", "))));
                }
                (word, _) => return Err(Failure(format!("`{word}` is not an option of fuzz, or lacks its value"))),
            }
        }
        Ok(options)
    }
}

/// Runs the targets, each for so many minutes.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    let tools = root().join("target/tools");
    let mut program = "cargo-fuzz".into();
    if !answers(&program, "--version") {
        program = tools.join("bin/cargo-fuzz").into_os_string();
    }
    if !answers(&program, "--version") {
        say("set-up: cargo fuzz (a minute, once)");
        let mut install = cargo();
        install.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--quiet"]);
        run(install.arg("--root").arg(&tools))?;
    }
    let folder = root().join("fuzz");
    for target in TARGETS.iter().filter(|target| options.only.as_deref().is_none_or(|only| only == **target)) {
        say(&format!("fuzzing {target} for {} minutes", options.minutes));
        let learned = target_dir().join("fuzz").join(target);
        fs::create_dir_all(&learned).map_err(|error| Failure(format!("{}: {error}", learned.display())))?;
        // Nothing here is unsafe code that a sanitizer would watch: without one the usual compiler will do, and it is faster.
        let mut fuzz = command(&program);
        fuzz.args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]).arg(&folder).arg(target).arg(&learned);
        fuzz.arg(folder.join("corpus").join(target)).arg("--");
        fuzz.arg(format!("-max_total_time={}", u64::from(options.minutes) * 60));
        fuzz.arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        let words = folder.join("dictionaries").join(format!("{target}.dict"));
        if words.is_file() {
            fuzz.arg(format!("-dict={}", words.display()));
        }
        run(&mut fuzz)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_a_wrong_one_is_told() {
        let read = |words: &[&str]| Options::parse(words).map(|options| (options.minutes, options.only));
        assert_eq!(read(&[]).ok(), Some((5, None)));
        assert_eq!(read(&["--minutes", "2", "--only", "ansi"]).ok(), Some((2, Some("ansi".to_owned()))));
        for wrong in [&["--minutes", "0"][..], &["--minutes"], &["--only", "nothing"], &["--seed", "1"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_has_its_file_and_its_seeds() {
        for target in TARGETS {
            let folder = root().join("fuzz");
            assert!(folder.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
            assert!(
                fs::read_dir(folder.join("corpus").join(target)).is_ok_and(|mut seeds| seeds.next().is_some()),
                "{target}"
            );
        }
    }
}
