//! One script in a container that runs: its start, its output, its end.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use wire::{Limits, size::Size};

use super::output::{Printer, collected};
use crate::{
    engine::{Engine, Stream},
    guard::protocol::Container,
};

/// What runs a script, with the pipes for its output and its errors behind it: bash where the image has it, else its shell,
/// told as much of the same as it knows.
const RUN: &str = r#"exec </dev/null >"$1"
if [ -n "$2" ]; then exec 2>"$2"; else exec 2>&1; fi
for bash in /bin/bash /usr/bin/bash /usr/local/bin/bash; do
    [ ! -x "$bash" ] || exec "$bash" -eo pipefail "$0"
done
if (set -o pipefail) 2>/dev/null; then exec /bin/sh -eo pipefail "$0"; fi
exec /bin/sh -e "$0""#;
/// Asks all processes to end but the first one, and wakes those that are stopped: they could not obey.
const TERMINATE: &str = "kill -TERM -1; kill -CONT -1; exit 0";
/// Says how many processes there are.
const COUNT: &str = "set -- /proc/[0-9]*; echo $#";
/// The first process and the shell that counts.
const ALWAYS_THERE: usize = 2;

/// Between two looks at whether processes are left.
const COUNT_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at whether a script has ended whose stream has not.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// Between two looks at a script whose stream has ended.
const END_PAUSE: Duration = Duration::from_millis(20);
/// How long it may take to end after that.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What a shell exits with when its command was ended by SIGKILL.
const KILLED: i32 = 128 + libc::SIGKILL;
/// The same for SIGXFSZ.
const FILE_TOO_LARGE: i32 = 128 + libc::SIGXFSZ;

/// How a script ended.
pub(super) struct Ran {
    pub(super) code: i32,
    /// Which limit the engine says that it has run into; one sentence.
    pub(super) limit: Option<String>,
}

/// Runs a script to its end. It prints into the container's pipe, and its standard error into `errors`, if that is to be told
/// apart: else both share one pipe, so that lines keep their order.
///
/// # Errors
/// When it could not be started, or nobody knows how it ended; one sentence.
pub(super) async fn run(
    engine: &Engine,
    container: &Container,
    script: &Path,
    cwd: &Path,
    env: &BTreeMap<String, String>,
    errors: Option<&Path>,
    printer: &Printer,
) -> Result<Ran, String> {
    let text = |path: &Path| path.display().to_string();
    let errors = errors.map(text).unwrap_or_default();
    let words = ["/bin/sh".into(), "-c".into(), RUN.into(), text(script), text(&container.output), errors];
    let env: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (exec, stream) = start(engine, &container.name, &words, cwd, &env).await?;
    let mut said = tokio::spawn(collected(stream));
    loop {
        tokio::select! {
            said = &mut said => {
                let ran = ended(engine, &container.name, &exec).await?;
                // Nothing, unless the shell could not do what it was told.
                if let Some(said) = said.ok().filter(|said| !said.is_empty()) {
                    printer.line(&said).await;
                }
                return Ok(ran);
            }
            // An engine may keep the stream open for what is left in the background.
            () = sleep(LOOK_PAUSE) => {
                if exit_code(engine, &exec).await?.is_some() {
                    return ended(engine, &container.name, &exec).await;
                }
            }
        }
    }
}

async fn start(
    engine: &Engine,
    container: &str,
    words: &[String],
    cwd: &Path,
    env: &[String],
) -> Result<(String, Stream), String> {
    let failed = |reason: String| format!("it could not be started in the job's container: {reason}");
    let asked = json!({"Cmd": words, "Env": env, "WorkingDir": cwd, "AttachStdout": true, "AttachStderr": true});
    let made = engine.ask(Method::POST, &format!("/containers/{container}/exec"), Some(asked)).await.map_err(failed)?;
    let Some(exec) = made.body["Id"].as_str().filter(|_| made.status.is_success()) else {
        return Err(failed(made.said()));
    };
    let how = json!({"Detach": false, "Tty": false});
    let stream = engine.stream(&format!("/exec/{exec}/start"), Some(how)).await.map_err(failed)?;
    Ok((exec.to_owned(), stream))
}

/// The exit status, once there is one.
async fn exit_code(engine: &Engine, exec: &str) -> Result<Option<i32>, String> {
    let state = engine.ask(Method::GET, &format!("/exec/{exec}/json"), None).await?;
    if !state.status.is_success() {
        return Err(format!("how the step ended cannot be told: {}", state.said()));
    }
    if state.body["Running"].as_bool().unwrap_or(true) {
        return Ok(None);
    }
    Ok(state.body["ExitCode"].as_i64().and_then(|code| i32::try_from(code).ok()))
}

/// How a script ended whose stream has.
async fn ended(engine: &Engine, container: &str, exec: &str) -> Result<Ran, String> {
    let ended = async {
        loop {
            if let Some(code) = exit_code(engine, exec).await? {
                return Ok::<_, String>(code);
            }
            sleep(END_PAUSE).await;
        }
    };
    let code = tokio::time::timeout(END_PATIENCE, ended).await;
    let state = engine.ask(Method::GET, &format!("/containers/{container}/json"), None).await?;
    if state.status == StatusCode::NOT_FOUND || state.body["State"]["Running"] == Value::Bool(false) {
        return Err("its container has ended".to_owned());
    }
    let code = code.map_err(|_| "its stream ended, but it did not".to_owned())??;
    let was_killed = code != 0 && state.body["State"]["OOMKilled"] == Value::Bool(true);
    let limit = was_killed.then(|| "a process was killed: the job had reached its limit of memory".to_owned());
    Ok(Ran { code, limit })
}

/// What a script that exited so seems to have run into.
pub(super) fn reached(limits: Limits, code: i32) -> Option<String> {
    match code {
        FILE_TOO_LARGE => limits.file_size.map(|most| format!("a file had reached the job's limit of {}", Size(most))),
        KILLED => limits
            .memory
            .map(|most| format!("a process was killed, as happens at the job's limit of {} of memory", Size(most))),
        _ => None,
    }
}

/// Asks all processes of the container to end, and returns when none is left.
pub(super) async fn empty(engine: &Engine, container: &str) {
    let said = async |script: &str| -> Result<String, String> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let (_, stream) = start(engine, container, &words, Path::new("/"), &[]).await?;
        Ok(collected(stream).await)
    };
    let _ = said(TERMINATE).await; // Those that were not asked are ended a little later.
    loop {
        if said(COUNT).await.is_ok_and(|count| count.parse().is_ok_and(|count: usize| count <= ALWAYS_THERE)) {
            return;
        }
        sleep(COUNT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_ran_into_shows_in_its_exit() {
        let limits = Limits { memory: Some(64 << 20), file_size: Some(1 << 20), ..Limits::default() };
        assert_eq!(reached(limits, 153).unwrap(), "a file had reached the job's limit of 1 MiB");
        assert!(reached(limits, 137).unwrap().contains("64 MiB of memory"));
        assert_eq!((reached(limits, 1), reached(Limits::default(), 137)), (None, None));
    }

    #[test]
    fn a_script_fails_with_any_of_its_commands_in_this_machines_shell_too() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("step.sh");
        std::fs::write(&script, "echo one\nfalse\necho two\n").unwrap();
        let mut ran = std::process::Command::new("/bin/sh");
        ran.args(["-c", RUN]).arg(&script).arg("/dev/stdout").arg("");
        let ran = ran.output().unwrap();
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(1), &b"one\n"[..]));
    }
}
