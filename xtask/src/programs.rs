//! Runs the test programs that cargo builds, two at a time: for most of their time they wait, for brokers that start, for
//! leases that end. `cargo test` runs one after the other.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::failure::{Explain, Failure, Result};
use crate::process::{cargo, command, output};
use crate::release::target_dir;
use crate::tally::{Tally, UNSTEADY_MAX};

/// A program that runs tests.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    path: PathBuf,
    /// Where cargo runs it: the folder of its crate.
    folder: PathBuf,
}

/// How the next one is taken.
type End = fn(&mut VecDeque<Program>) -> Option<Program>;

/// Builds the tests of these packages and runs all of them with these variables; those that are `first` take longest. What
/// each program wrote is printed when it has ended. Unless this is strict, a few tests that failed are repeated at the end,
/// when nothing else runs: see [`Tally::repeated`].
pub(crate) fn run(
    packages: &[&str],
    variables: &[(&str, &str)],
    first: &[&str],
    is_strict: bool,
    tally: &mut Tally,
) -> Result<()> {
    let mut programs = build(packages)?;
    programs.sort_by_key(|program| !first.contains(&program.name.as_str()));
    let outputs = target_dir().join("tests");
    fs::create_dir_all(&outputs).explain(|| format!("{} cannot be made", outputs.display()))?;
    let mut failed = run_all(programs, variables, &outputs, tally);
    if !is_strict {
        repeat(&mut failed, variables, &outputs, tally);
    }
    let names: Vec<_> = failed.into_iter().map(|(program, _)| program.name).collect();
    if names.is_empty() { Ok(()) } else { Err(Failure(format!("tests failed in {}", names.join(", ")))) }
}

/// Builds the one test program of this name, and gives its path.
pub(crate) fn path(packages: &[&str], name: &str) -> Result<PathBuf> {
    let programs = build(&[packages, &["--test", name]].concat())?;
    let program = programs.into_iter().find(|program| program.name == name);
    program.map(|program| program.path).ok_or_else(|| Failure(format!("cargo built no test program {name}")))
}

fn build(words: &[&str]) -> Result<Vec<Program>> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).args(words);
    built(&output(&mut build)?)
}

/// Repeats the tests that failed, if they are few. Of the programs, those stay in which one fails again.
fn repeat(failed: &mut Vec<(Program, Vec<String>)>, variables: &[(&str, &str)], outputs: &Path, tally: &mut Tally) {
    // A program that names none has ended otherwise.
    let is_chance = failed.iter().all(|(_, tests)| !tests.is_empty());
    if !is_chance || failed.iter().map(|(_, tests)| tests.len()).sum::<usize>() > UNSTEADY_MAX {
        return;
    }
    failed.retain(|(program, tests)| {
        let words = tests.iter().map(String::as_str).chain(["--exact", "--test-threads=1"]);
        println!("   Repeating {} of {}", tests.join(", "), program.name);
        let (written, is_right) = run_one(program, &words.collect::<Vec<_>>(), variables, outputs)
            .unwrap_or_else(|failure| (failure.to_string(), false));
        println!("{written}");
        if is_right {
            tally.repeated(tests.len() as u64);
        }
        !is_right
    });
}

/// Those that take longest one after the other, and the others, from the end, beside them. Gives the programs that failed, each
/// with its tests that did.
fn run_all(
    programs: Vec<Program>,
    variables: &[(&str, &str)],
    outputs: &Path,
    tally: &mut Tally,
) -> Vec<(Program, Vec<String>)> {
    let (programs, told) = (Mutex::new(VecDeque::from(programs)), Mutex::new((tally, Vec::new())));
    let ends: [End; 2] = [VecDeque::pop_front, VecDeque::pop_back];
    let work = |end: End| {
        let next = || end(&mut programs.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(program) = next() {
            let (written, is_right) =
                run_one(&program, &[], variables, outputs).unwrap_or_else(|failure| (failure.to_string(), false));
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            println!("     Running {} ({})", program.name, program.path.display());
            for line in written.lines() {
                println!("{line}");
                told.0.cargo(line);
            }
            if !is_right {
                told.1.push((program, failures(&written)));
            }
        }
    };
    thread::scope(|scope| {
        for end in ends {
            scope.spawn(move || work(end));
        }
    });
    told.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// The tests that failed, by what their program wrote: `test a::b ... FAILED`. What else is written may stand in between, so
/// that they are taken from the list at the end.
fn failures(written: &str) -> Vec<String> {
    let (_, list) = written.rsplit_once("\nfailures:\n").unwrap_or_default();
    list.lines().take_while(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()).collect()
}

/// Runs one to its end with these words: what it wrote, and whether all that it tests is as it should be.
fn run_one(program: &Program, words: &[&str], variables: &[(&str, &str)], outputs: &Path) -> Result<(String, bool)> {
    let path = outputs.join(program.path.file_name().unwrap_or_default()).with_extension("txt");
    let open = || File::create(&path).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = open().explain(|| format!("{} cannot be written", path.display()))?;
    let mut tests = command(&program.path);
    tests
        .args(words)
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .envs(variables.iter().copied());
    let status = tests.stdout(out).stderr(err).status();
    let status = status.explain(|| format!("{} cannot be started", program.path.display()))?;
    let written = fs::read(&path).explain(|| format!("{} cannot be read", path.display()))?;
    let mut written = String::from_utf8_lossy(&written).into_owned();
    if !status.success() {
        let _ = write!(written, "\nerror: {} ended with {status}\n", program.name);
    }
    Ok((written, status.success()))
}

/// The programs in what cargo says that it built.
fn built(messages: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).explain(|| format!("cargo said what is no JSON: {line}"))?;
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let is_test = message.pointer("/profile/test") == Some(&Value::Bool(true));
        if let (true, Some(path), Some(name), Some(manifest)) =
            (is_test, text("/executable"), text("/target/name"), text("/manifest_path"))
        {
            let folder = Path::new(manifest).parent().unwrap_or(Path::new("/")).to_owned();
            programs.push(Program { name: name.to_owned(), path: path.into(), folder });
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_cargo_built_to_test_is_found_with_its_folder_and_nothing_else() {
        let messages = [
            r#"{"reason":"compiler-artifact","manifest_path":"/s/crates/wire/Cargo.toml","target":{"name":"mac"},"profile":{"test":true},"executable":"/t/mac-1"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/s/server/Cargo.toml","target":{"name":"stepcast"},"profile":{"test":false},"executable":"/t/stepcast"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/r/serde/Cargo.toml","target":{"name":"serde"},"profile":{"test":false},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let expected = Program { name: "mac".to_owned(), path: "/t/mac-1".into(), folder: "/s/crates/wire".into() };
        assert_eq!(built(&messages.join("\n")).unwrap(), [expected]);
        assert!(built("error: nothing").unwrap_err().0.contains("error: nothing"));
    }

    #[test]
    fn all_are_run_and_what_fails_is_told() {
        let folder = std::env::temp_dir().join(format!("stepcast-programs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let named =
            |name: &str, path: &str| Program { name: name.to_owned(), path: path.into(), folder: folder.clone() };
        let program = |path: &str| named("one", path);
        let all = |paths: &[&str]| {
            let programs = paths.iter().map(|path| named(path, path)).collect();
            run_all(programs, &[], &folder, &mut Tally::default())
        };
        assert!(all(&["/bin/true", "/usr/bin/env", "/bin/true"]).is_empty());
        // At either end, in the middle, and where it cannot even begin.
        for wrong in ["/bin/false", "/bin/no-such"] {
            for place in 0..3 {
                let mut paths = ["/bin/true"; 3];
                paths[place] = wrong;
                assert_eq!(all(&paths), [(named(wrong, wrong), Vec::new())]);
            }
        }
        assert_eq!(run_one(&program("/bin/true"), &[], &[], &folder).unwrap(), (String::new(), true));
        let (written, is_right) = run_one(&program("/bin/false"), &[], &[], &folder).unwrap();
        assert!(!is_right && written.contains("error: one ended with exit status: 1"), "{written}");
        assert!(run_one(&program("/bin/no-such"), &[], &[], &folder).unwrap_err().0.contains("/bin/no-such"));
        let (written, _) = run_one(&program("/usr/bin/env"), &[], &[("OF_THE_TESTS", "1")], &folder).unwrap();
        assert!(written.lines().any(|line| line == "OF_THE_TESTS=1"), "{written}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_few_that_failed_are_repeated_and_told() {
        let folder = std::env::temp_dir().join(format!("stepcast-repeated-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Fails as a test program does: at its first start, and at each where `always` is there.
        let path = folder.join("program");
        let script = "#!/bin/sh\nif [ -e passes ]; then echo \"$@\"; exit 0; fi\n[ -e always ] || touch passes\n\
            printf 'test a ... FAILED\\n\\nfailures:\\n\\n---- a stdout ----\\nfailures:\\n    x\\n\\nfailures:\\n    a\\n    b::c\\n\\n'\n\
            echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; exit 101\n";
        // By another process: one that another test begins at that moment would have it open to write.
        let mut write = command("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&path).arg(script);
        assert!(write.status().unwrap().success());
        let program = || Program { name: "one".to_owned(), path: path.clone(), folder: folder.clone() };
        let tests = vec!["a".to_owned(), "b::c".to_owned()];
        let mut tally = Tally::default();
        let mut failed = run_all(vec![program()], &[], &folder, &mut tally);
        assert_eq!(failed, [(program(), tests.clone())]);
        assert_eq!((tally.passed, tally.failed, tally.unsteady), (3, 2, 0));
        repeat(&mut failed, &[], &folder, &mut tally);
        assert!(failed.is_empty());
        assert_eq!((tally.passed, tally.failed, tally.unsteady), (3, 0, 2));
        assert_eq!(fs::read_to_string(folder.join("program.txt")).unwrap(), "a b::c --exact --test-threads=1\n");
        // What fails again has failed, as has what names no test, and what is too much.
        fs::remove_file(folder.join("passes")).unwrap();
        fs::write(folder.join("always"), "").unwrap();
        let mut tally = Tally::default();
        tally.failed = 9;
        for tests in [tests, Vec::new(), vec!["a".to_owned(); UNSTEADY_MAX + 1]] {
            let mut failed = vec![(program(), tests.clone())];
            repeat(&mut failed, &[], &folder, &mut tally);
            assert_eq!(failed, [(program(), tests)]);
        }
        assert_eq!((tally.failed, tally.unsteady), (9, 0));
        fs::remove_dir_all(&folder).unwrap();
    }
}
