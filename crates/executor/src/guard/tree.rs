//! Finding and signalling every process below this one, those included that left their group and session.
//!
//! A process that is a subreaper inherits all orphans of its tree, so its descendants are all below it in `/proc`, and
//! once it has no child left, no descendant is left either.

use std::{collections::HashMap, fs, thread, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// The first pause between two looks at what is left.
const PAUSE_MIN: Duration = Duration::from_micros(200);
/// The longest one: a process that cannot be killed (it belongs to another user, or hangs in the kernel) costs little.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Collects dead children and hands each to `dead`. Says whether any child is left.
pub(crate) fn reap(mut dead: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => dead(pid, status),
            Ok(None) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false, // ECHILD: there is none.
        }
    }
}

/// Sends `signal` to every descendant.
pub(crate) fn signal(signal: Signal) {
    for pid in descendants() {
        let _ = kill_process(pid, signal); // Fails when it is gone already, or is another user's.
    }
}

/// SIGKILL to every descendant until none is left.
pub(crate) fn end(mut dead: impl FnMut(Pid, WaitStatus)) {
    let mut pause = PAUSE_MIN;
    while reap(&mut dead) {
        signal(Signal::KILL);
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// SIGKILL to every process whose environment at its start held all of `marks` (`NAME=value`): the last resort
/// where a guard was killed and its tree is nobody's any more.
pub(crate) fn end_marked(marks: &[String]) {
    let me = getpid();
    for pid in all_pids().filter(|pid| *pid != me) {
        let Ok(environ) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else { continue };
        let holds = |mark: &String| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes());
        if marks.iter().all(holds) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn all_pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<Pid>> = HashMap::new();
    for pid in all_pids() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&getpid().as_raw_nonzero().get()).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        let below = children.remove(&found[next].as_raw_nonzero().get()).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

/// The second field behind the command's name, which stands in parentheses and may hold anything.
fn parent_of(pid: Pid) -> Option<i32> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let behind = stat.iter().rposition(|b| *b == b')')? + 1;
    std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}
