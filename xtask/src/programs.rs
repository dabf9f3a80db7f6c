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
use crate::tally::Tally;

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
/// each program wrote is printed when it has ended.
pub(crate) fn run(packages: &[&str], variables: &[(&str, &str)], first: &[&str], tally: &mut Tally) -> Result<()> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]).args(packages);
    let mut programs = built(&output(&mut build)?)?;
    programs.sort_by_key(|program| !first.contains(&program.name.as_str()));
    let outputs = target_dir().join("tests");
    fs::create_dir_all(&outputs).explain(|| format!("{} cannot be made", outputs.display()))?;
    run_all(programs, variables, &outputs, tally)
}

/// Those that take longest one after the other, and the others, from the end, beside them.
fn run_all(programs: Vec<Program>, variables: &[(&str, &str)], outputs: &Path, tally: &mut Tally) -> Result<()> {
    let (programs, told) = (Mutex::new(VecDeque::from(programs)), Mutex::new((tally, Vec::new())));
    let ends: [End; 2] = [VecDeque::pop_front, VecDeque::pop_back];
    let work = |end: End| {
        let next = || end(&mut programs.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(program) = next() {
            let (written, is_right) =
                run_one(&program, variables, outputs).unwrap_or_else(|failure| (failure.to_string(), false));
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            println!("     Running {} ({})", program.name, program.path.display());
            for line in written.lines() {
                println!("{line}");
                told.0.cargo(line);
            }
            if !is_right {
                told.1.push(program.name);
            }
        }
    };
    thread::scope(|scope| {
        for end in ends {
            scope.spawn(move || work(end));
        }
    });
    let (_, failed) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { Err(Failure(format!("tests failed in {}", failed.join(", ")))) }
}

/// Runs one to its end: what it wrote, and whether all that it tests is as it should be.
fn run_one(program: &Program, variables: &[(&str, &str)], outputs: &Path) -> Result<(String, bool)> {
    let path = outputs.join(program.path.file_name().unwrap_or_default()).with_extension("txt");
    let open = || File::create(&path).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = open().explain(|| format!("{} cannot be written", path.display()))?;
    let mut tests = command(&program.path);
    tests.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder).envs(variables.iter().copied());
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
        assert!(all(&["/bin/true", "/usr/bin/env", "/bin/true"]).is_ok());
        // At either end, in the middle, and where it cannot even begin.
        for wrong in ["/bin/false", "/bin/no-such"] {
            for place in 0..3 {
                let mut paths = ["/bin/true"; 3];
                paths[place] = wrong;
                assert_eq!(all(&paths).unwrap_err().0, format!("tests failed in {wrong}"));
            }
        }
        assert_eq!(run_one(&program("/bin/true"), &[], &folder).unwrap(), (String::new(), true));
        let (written, is_right) = run_one(&program("/bin/false"), &[], &folder).unwrap();
        assert!(!is_right && written.contains("error: one ended with exit status: 1"), "{written}");
        assert!(run_one(&program("/bin/no-such"), &[], &folder).unwrap_err().0.contains("/bin/no-such"));
        let (written, _) = run_one(&program("/usr/bin/env"), &[("OF_THE_TESTS", "1")], &folder).unwrap();
        assert!(written.lines().any(|line| line == "OF_THE_TESTS=1"), "{written}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
