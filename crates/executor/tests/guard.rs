//! The guard alone, spoken to as the executor does: it ends its tree when the executor dies or sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs::{File, Permissions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// Nothing that a test waits for takes longer; only a broken one gets there.
const PATIENCE: Duration = Duration::from_secs(60);

struct Guard {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Guard {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &mut Command::new(env!("CARGO_BIN_EXE_executor-guard")))
    }

    fn start_in(dir: tempfile::TempDir, program: &mut Command) -> Self {
        File::create(dir.path().join("guards.lock")).unwrap();
        let mut process = program
            .arg("guard")
            .env("STEPCAST_GUARD_LOCK", dir.path().join("guards.lock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, stdin, stdout, dir }
    }

    fn tell(&mut self, command: serde_json::Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Starts a step that leaves a deaf process with a session of its own behind, and tells the pids of both.
    fn start_deaf_step(&mut self, trusted_for: Duration) -> [String; 2] {
        assert_eq!(self.heard(), r#"{"is":"ready"}"#);
        let pids = self.dir.path().join("pids");
        let script = self.dir.path().join("step.sh");
        let text =
            "trap '' TERM INT HUP; setsid bash -c 'echo $$; exec sleep 1000' > pid & until [ -s pid ]; do :; done
            echo $$ >> pid; mv pid pids; while :; do sleep 1000; done";
        std::fs::write(&script, text).unwrap();
        let until_ms = boot_millis() + u64::try_from(trusted_for.as_millis()).unwrap();
        let cwd = self.dir.path().to_owned();
        self.tell(serde_json::json!({"do": "extend", "until_ms": until_ms}));
        let env = serde_json::json!({"PATH": std::env::var("PATH").unwrap()});
        self.tell(serde_json::json!({"do": "start", "script": script, "cwd": cwd, "env": env}));
        assert!(self.heard().starts_with(r#"{"is":"started""#));
        let began = Instant::now();
        while !pids.exists() {
            assert!(began.elapsed() < PATIENCE, "the step does not begin");
            std::thread::yield_now();
        }
        let text = std::fs::read_to_string(pids).unwrap();
        let mut pids = text.lines().map(str::to_owned);
        [pids.next().unwrap(), pids.next().unwrap()]
    }
}

fn boot_millis() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    std::time::Duration::from_secs_f64(seconds).as_millis().try_into().unwrap()
}

fn alive(pids: &[String]) -> bool {
    pids.iter().any(|pid| Path::new("/proc").join(pid).exists())
}

#[test]
fn p2_the_tree_ends_when_the_executor_dies() {
    let mut guard = Guard::start();
    let pids = guard.start_deaf_step(Duration::from_secs(100));
    assert!(alive(&pids));
    let lock = File::open(guard.dir.path().join("guards.lock")).unwrap();
    assert!(lock.try_lock().is_err(), "the guard holds no lock");
    guard.stdin = None;
    assert_eq!(guard.heard(), r#"{"is":"exited","code":null,"signal":9}"#);
    assert_eq!(guard.heard(), r#"{"is":"ended","why":"orphaned"}"#);
    assert!(!alive(&pids), "a step outlived its executor");
    assert!(guard.process.wait().unwrap().success());
    lock.try_lock().expect("the lock is free once the tree is gone");
}

#[test]
fn p2_the_tree_ends_when_the_deadline_passes_while_the_executor_is_stopped() {
    let mut guard = Guard::start();
    let pids = guard.start_deaf_step(Duration::from_secs(100));
    guard.tell(serde_json::json!({"do": "extend", "until_ms": boot_millis() + 400}));
    assert_eq!(guard.heard(), r#"{"is":"exited","code":null,"signal":9}"#);
    assert_eq!(guard.heard(), r#"{"is":"ended","why":"deadline"}"#);
    assert!(!alive(&pids), "a step outlived its lease");
}

#[test]
fn p2_a_pipe_that_nobody_reads_or_that_is_none_keeps_no_guard_waiting() {
    let mut guard = Guard::start();
    assert_eq!(guard.heard(), r#"{"is":"ready"}"#);
    let (script, pipe) = (guard.dir.path().join("step.sh"), guard.dir.path().join("stderr"));
    std::fs::write(&script, "echo never").unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let cwd = guard.dir.path().to_owned();
    let start = serde_json::json!({"do": "start", "script": script, "cwd": cwd, "env": {}, "stderr": pipe});
    guard.tell(serde_json::json!({"do": "extend", "until_ms": boot_millis() + 100_000}));
    guard.tell(start.clone());
    let said = guard.heard();
    assert!(said.contains("not_started") && said.contains("could not be opened"), "{said}");
    std::fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("/dev/null", &pipe).unwrap();
    guard.tell(start.clone());
    assert!(guard.heard().contains("not_started"), "a link was followed");
    std::fs::remove_file(&pipe).unwrap();
    std::fs::write(&pipe, "").unwrap();
    guard.tell(start);
    assert!(guard.heard().contains("it is no pipe any more"));
    guard.stdin = None;
    assert_eq!(guard.heard(), r#"{"is":"ended","why":"orphaned"}"#);
}

/// Ends what a test left as root.
struct Killed(String);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-9", &self.0]).status();
    }
}

/// Only root can prepare this: a guard of a common user, and below it a process that became root.
/// Copies a program. In another process: a file that is open for writing here would be open in what other tests start
/// meanwhile, and a program that anybody can write to cannot be run.
fn copied(from: &str, to: &std::path::Path) -> bool {
    Command::new("cp").arg(from).arg(to).status().is_ok_and(|status| status.success())
}

#[test]
fn a_process_of_another_user_holds_neither_the_guard_nor_its_lock() {
    const NOBODY: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    let (guard_program, setpriv) = (dir.path().join("guard"), dir.path().join("setpriv"));
    let became = chown(dir.path(), Some(NOBODY), Some(NOBODY)).is_ok()
        && copied("/usr/bin/setpriv", &setpriv)
        && std::fs::set_permissions(&setpriv, Permissions::from_mode(0o4755)).is_ok();
    if !became {
        eprintln!("skipped: only root, with setpriv, can leave a process behind that a guard may not kill");
        return;
    }
    assert!(copied(env!("CARGO_BIN_EXE_executor-guard"), &guard_program));
    let script = dir.path().join("step.sh");
    let text = "./setpriv --reuid=0 --regid=0 --clear-groups sleep 120 & echo $! > pid
        for i in {1..500}; do grep -q '^Uid:.0.0.0' /proc/$!/status && break; sleep 0.01; done";
    std::fs::write(&script, text).unwrap();
    let cwd = dir.path().to_owned();
    let mut guard = Guard::start_in(dir, Command::new(guard_program).uid(NOBODY).gid(NOBODY));
    assert_eq!(guard.heard(), r#"{"is":"ready"}"#);
    guard.tell(serde_json::json!({"do": "extend", "until_ms": boot_millis() + 100_000}));
    let env = serde_json::json!({"PATH": std::env::var("PATH").unwrap()});
    guard.tell(serde_json::json!({"do": "start", "script": script, "cwd": cwd, "env": env}));
    assert!(guard.heard().starts_with(r#"{"is":"started""#));
    assert_eq!(guard.heard(), r#"{"is":"exited","code":0,"signal":null}"#);
    let pid = Killed(std::fs::read_to_string(cwd.join("pid")).unwrap().trim().to_owned());
    if !std::fs::read_to_string(format!("/proc/{}/status", pid.0)).unwrap().contains("Uid:\t0\t0\t0") {
        eprintln!("skipped: a program cannot become another user here");
        return;
    }
    guard.stdin = None;
    let left = format!("process {} of user root was left behind: it may not be killed by the executor's user", pid.0);
    assert_eq!(guard.heard(), format!(r#"{{"is":"ended","why":"orphaned","left":"{left}"}}"#));
    assert!(guard.process.wait().unwrap().success());
    assert!(alive(std::slice::from_ref(&pid.0)), "it was to be left behind");
    let lock = File::open(guard.dir.path().join("guards.lock")).unwrap();
    lock.try_lock().expect("the lock is free though a process is left");
}

#[test]
fn p2_signals_of_the_terminal_do_not_end_a_guard_before_its_tree() {
    let mut guard = Guard::start();
    let pids = guard.start_deaf_step(Duration::from_secs(100));
    let pid = guard.process.id().to_string();
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT"] {
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
    guard.tell(serde_json::json!({"do": "terminate", "kill_after_ms": 100}));
    assert_eq!(guard.heard(), r#"{"is":"exited","code":null,"signal":9}"#);
    assert_eq!(guard.heard(), r#"{"is":"ended","why":"told"}"#);
    assert!(!alive(&pids));
}

#[test]
fn p2_no_step_starts_without_a_lease() {
    let mut guard = Guard::start();
    assert_eq!(guard.heard(), r#"{"is":"ready"}"#);
    let cwd = guard.dir.path().to_owned();
    guard.tell(serde_json::json!({"do": "start", "script": "x", "cwd": cwd, "env": {}}));
    assert!(guard.heard().contains("the lease of the job has run out"));
}

#[test]
fn a_guard_that_comes_too_late_refuses_to_work() {
    let dir = tempfile::tempdir().unwrap();
    let lock = File::create(dir.path().join("guards.lock")).unwrap();
    lock.lock().unwrap();
    let late = Command::new(env!("CARGO_BIN_EXE_executor-guard"))
        .env("STEPCAST_GUARD_LOCK", dir.path().join("guards.lock"))
        .output()
        .unwrap();
    assert!(!late.status.success());
    assert!(String::from_utf8(late.stdout).unwrap().contains("cannot share the lock"));
}

#[test]
fn a_guard_is_ready_within_moments() {
    let began = Instant::now();
    let mut guard = Guard::start();
    assert_eq!(guard.heard(), r#"{"is":"ready"}"#);
    eprintln!("a guard is ready after {:?}", began.elapsed());
    guard.stdin = None;
    let mut printed = String::new();
    guard.process.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "", "a guard itself prints nothing into the job's log");
}
