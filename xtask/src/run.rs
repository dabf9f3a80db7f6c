//! `cargo xtask run`: from a clean checkout to a server in the foreground. `open_link` is its helper process, which
//! opens the one-time sign-in link on a desktop.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::failure::{Explain, Failure, Result};
use crate::process::{command, root, run as run_to_end, say};
use crate::{browser, release, setup};

/// The subcommand under which xtask starts itself as the helper process. Not for people.
pub(crate) const OPEN_LINK: &str = "open-link";

/// How the line with the one-time link begins, as `stepcast serve` prints it.
const SIGN_IN: &str = "Sign in: ";

/// Sets up, builds, and becomes `stepcast serve` with these arguments.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    setup::for_running()?;
    browser::package()?;
    let program = release::build_server(false)?;
    say("stepcast serve (Ctrl-C ends it)");
    let mut serve = Command::new(program);
    serve.current_dir(root()).arg("serve").args(arguments);
    if has_desktop() {
        serve.stdout(start_link_opener()?);
    }
    // This process becomes the server, so that every signal reaches it and nothing stands between.
    let error = serve.exec();
    Err(Failure(format!("stepcast cannot be started: {error}")))
}

fn has_desktop() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The write end of a pipe to a second xtask, which passes on what it reads and outlives the exec.
fn start_link_opener() -> Result<Stdio> {
    let own = std::env::current_exe().explain(|| "the path of xtask is unknown".to_owned())?;
    let mut opener = Command::new(own);
    // Its own process group: Ctrl-C must end the server first, whose last lines still pass through here.
    opener.arg(OPEN_LINK).stdin(Stdio::piped()).process_group(0);
    let mut opener =
        opener.spawn().explain(|| "the helper that opens the sign-in link cannot be started".to_owned())?;
    opener.stdin.take().map(Stdio::from).ok_or_else(|| Failure("the helper has no standard input".to_owned()))
}

/// Copies standard input to standard output until its end, and opens the first sign-in link that it sees.
pub(crate) fn open_link() -> Result<()> {
    let mut opened = false;
    for line in std::io::stdin().lock().lines() {
        let line = line.explain(|| "the server's output cannot be read".to_owned())?;
        println!("{line}");
        if !opened && let Some(link) = sign_in_link(&line) {
            opened = true;
            // The link stands on the terminal as well: a desktop without xdg-open loses only the comfort.
            if let Err(failure) = run_to_end(command("xdg-open").arg(link).stdout(Stdio::null()).stderr(Stdio::null()))
            {
                say(&format!("the link was not opened by itself: {failure}"));
            }
        }
    }
    Ok(())
}

fn sign_in_link(line: &str) -> Option<&str> {
    line.strip_prefix(SIGN_IN).map(str::trim).filter(|link| link.starts_with("http://") || link.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::sign_in_link;

    #[test]
    fn only_the_line_that_begins_with_the_words_has_the_link() {
        assert_eq!(
            sign_in_link("Sign in: http://127.0.0.1:3000/welcome?t=1"),
            Some("http://127.0.0.1:3000/welcome?t=1")
        );
        assert_eq!(sign_in_link("Listening on http://127.0.0.1:3000"), None);
        assert_eq!(sign_in_link("Sign in: file:///etc/passwd"), None);
    }
}
