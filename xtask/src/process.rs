//! Starting other programs from the repository's root, and saying what is going on. What to start is decided elsewhere.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Explain, Failure, Result};

/// The repository's root, whatever the current folder is.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A short progress line.
pub(crate) fn say(line: &str) {
    println!("> {line}");
}

/// `program`, to be run at the root. Nothing that xtask starts asks questions, so its standard input is empty.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this xtask, so that one toolchain builds everything.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with the output on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().explain(|| cannot_start(command))?;
    if status.success() { Ok(()) } else { Err(Failure(format!("`{}` failed ({status})", line_of(command)))) }
}

/// Runs to the end and returns what it wrote to its standard output; its errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().explain(|| cannot_start(command))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure(format!("`{}` failed ({})", line_of(command), output.status)))
    }
}

/// Runs to the end; each line of its standard output goes to the terminal and to `see`.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().explain(|| cannot_start(command))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.explain(|| format!("the output of `{}` cannot be read", line_of(command)))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            see(&line);
        }
    }
    let status = child.wait().explain(|| format!("`{}` cannot be waited for", line_of(command)))?;
    if status.success() { Ok(()) } else { Err(Failure(format!("`{}` failed ({status})", line_of(command)))) }
}

/// Whether the program is there and answers `argument` with success; its output is dropped.
pub(crate) fn answers(program: impl AsRef<OsStr>, argument: &str) -> bool {
    let mut command = command(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn cannot_start(command: &Command) -> String {
    format!("`{}` cannot be started", command.get_program().to_string_lossy())
}

fn line_of(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().unwrap_or(command.get_program())];
    words.extend(command.get_args());
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
