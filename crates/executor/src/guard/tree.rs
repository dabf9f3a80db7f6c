//! Finding and signalling every process below this one, those included that left their group and session.
//!
//! A process that is a subreaper inherits all orphans of its tree, so its descendants are all below it in `/proc`, and
//! once it has no child left, no descendant is left either.
//!
//! Not everything can be ended. A step that may become another user (`sudo`) can leave a process behind that refuses
//! every signal of ours; waiting for it would hold the job, its slot and the guards' lock for as long as it likes. A
//! process that hangs in the kernel obeys once the kernel lets it, mostly when a disk answers, so it is waited for much
//! longer. Both waits end ([`REFUSED_PATIENCE`], [`DEAF_PATIENCE`]), and what was left is told.

use std::{
    collections::HashMap,
    fs, thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait},
};

/// The first pause between two looks at what is left.
const PAUSE_MIN: Duration = Duration::from_micros(200);
/// The longest one: a process that cannot be killed costs little.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long a tree is waited for of which only processes are left that refuse our signals. They might end by themselves
/// because all others did; nothing else will change.
const REFUSED_PATIENCE: Duration = Duration::from_secs(5);
/// How long any tree is waited for: the kernel's own time after which it reports a task as hung is of this size.
const DEAF_PATIENCE: Duration = Duration::from_secs(60);
/// So many processes that outlive a signal are taken for a crowd that grows.
const CROWD: usize = 32;
/// So many times a crowd is stopped before it is killed as it is.
const FREEZES_MAX: u32 = 50;
/// How long processes without a guard are looked for.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
/// So many looks in a row, with longer and longer pauses, must find nothing: one can miss a process that forks and ends
/// while `/proc` is read, or that has no environment for a moment because it begins another program.
const SWEEP_QUIET_LOOKS: u32 = 10;

/// Collects dead children and hands each to `dead`. Says whether any child is left.
pub(crate) fn reap(mut dead: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => dead(pid, status),
            Ok(None) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false, // ECHILD: there is none.
        }
    }
}

/// Sends `signal` to every descendant, and tells which of them live.
pub(crate) fn signal(signal: Signal) -> Vec<Living> {
    let mut living = Vec::new();
    if getpid() == Pid::INIT {
        // All of the namespace in one call, so that nothing that forks meanwhile is missed.
        #[allow(unsafe_code, reason = "a system call without memory; rustix knows no process -1")]
        unsafe {
            libc::kill(-1, signal.as_raw());
        }
    }
    for (pid, stat) in descendants() {
        let sent = kill_process(pid, signal);
        if !stat.is_dead && sent != Err(Errno::SRCH) {
            living.push(Living { pid, refuses: sent == Err(Errno::PERM) });
        }
    }
    living
}

/// SIGKILL to every descendant until none is left, or waiting has no use any more: then one sentence tells what is left.
pub(crate) fn end(mut dead: impl FnMut(Pid, WaitStatus)) -> Option<String> {
    let mut patience = Patience::from(Instant::now());
    let mut pause = PAUSE_MIN;
    while reap(&mut dead) {
        let mut living = signal(Signal::KILL);
        if living.len() >= CROWD {
            living = frozen();
        }
        if patience.is_over(Instant::now(), &living) {
            return Some(sentence(&living));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    None
}

/// Stops every descendant until none is left that could still fork, and only then kills them: processes that fork faster than
/// they are found would never end, but one that is stopped keeps its place and makes no other.
fn frozen() -> Vec<Living> {
    let mut stopped = 0;
    for _ in 0..FREEZES_MAX {
        let living = signal(Signal::STOP).len();
        if living <= stopped {
            break;
        }
        stopped = living;
    }
    signal(Signal::KILL)
}

/// Processes below this one, their threads included.
pub(crate) fn threads() -> u64 {
    descendants().iter().filter(|(_, stat)| !stat.is_dead).map(|(_, stat)| stat.threads).sum()
}

/// A process that was sent a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Living {
    pid: Pid,
    /// It is another user's: the signal was not delivered.
    refuses: bool,
}

/// How long a tree is still waited for.
struct Patience {
    began: Instant,
    /// Since when nothing is left that takes our signals.
    refused: Option<Instant>,
}

impl Patience {
    fn from(began: Instant) -> Self {
        Self { began, refused: None }
    }

    /// `living` is what a child that is left consists of; nothing, where it cannot even be seen.
    fn is_over(&mut self, now: Instant, living: &[Living]) -> bool {
        if living.iter().all(|process| process.refuses) {
            self.refused.get_or_insert(now);
        } else {
            self.refused = None;
        }
        let refused_for = self.refused.map_or(Duration::ZERO, |since| now - since);
        refused_for >= REFUSED_PATIENCE || now - self.began >= DEAF_PATIENCE
    }
}

fn sentence(living: &[Living]) -> String {
    let worst = living.iter().find(|process| process.refuses).or(living.first());
    let Some(Living { pid, refuses }) = worst else {
        return "a process of the job could not be ended, and cannot be seen".to_owned();
    };
    let why = if *refuses { "may not be killed by the executor's user" } else { "does not end though it was killed" };
    let more = match living.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("process {} of user {} was left behind: it {why}{more}", pid.as_raw_nonzero(), user_of(*pid))
}

/// The name of the user that a process runs as, or the number where it has no name here.
fn user_of(pid: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    // Real, effective, saved, file system.
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let Some(id) = ids.and_then(|ids| ids.split_ascii_whitespace().nth(1)) else { return "(unknown)".to_owned() };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.get(2) == Some(&id));
    found.and_then(|fields| fields.first().map(|name| (*name).to_owned())).unwrap_or_else(|| id.to_owned())
}

/// SIGKILL to every process whose environment at its start held all of `marks` (`NAME=value`), until none is found: the
/// last resort where a guard was killed and its tree is nobody's any more. One sentence tells if some are left. What a
/// process of another user holds cannot be read, so it is not found.
pub(crate) fn end_marked(marks: &[String]) -> Option<String> {
    let (began, mut quiet, mut pause) = (Instant::now(), 0, PAUSE_MIN);
    loop {
        let living: Vec<Living> = marked(marks)
            .filter_map(|pid| {
                let sent = kill_process(pid, Signal::KILL);
                (sent != Err(Errno::SRCH)).then_some(Living { pid, refuses: sent == Err(Errno::PERM) })
            })
            .collect();
        (quiet, pause) = if living.is_empty() { (quiet + 1, (pause * 2).min(PAUSE_MAX)) } else { (0, PAUSE_MIN) };
        if quiet == SWEEP_QUIET_LOOKS {
            return None;
        }
        if !living.is_empty() && began.elapsed() >= SWEEP_PATIENCE {
            return Some(sentence(&living));
        }
        thread::sleep(pause);
    }
}

fn marked(marks: &[String]) -> impl Iterator<Item = Pid> {
    let me = getpid();
    all_pids().filter(move |pid| {
        let environ = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        let holds = |mark: &String| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes());
        *pid != me && marks.iter().all(holds)
    })
}

fn all_pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

fn descendants() -> Vec<(Pid, Stat)> {
    let mut children: HashMap<i32, Vec<(Pid, Stat)>> = HashMap::new();
    for pid in all_pids() {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let mut found = children.remove(&getpid().as_raw_nonzero().get()).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        let below = children.remove(&found[next].0.as_raw_nonzero().get()).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

struct Stat {
    parent: i32,
    /// Nobody has collected it yet (or only its first thread has ended: a signal still reaches the others).
    is_dead: bool,
    threads: u64,
}

impl Stat {
    /// The fields behind the command's name, which stands in parentheses and may hold anything.
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let behind = stat.iter().rposition(|b| *b == b')')? + 1;
        let mut fields = std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        // Of what follows the fifth field, number 20 of the whole line.
        Some(Self { parent, is_dead, threads: fields.nth(15)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn what_refuses_signals_is_waited_for_shortly_and_what_hangs_for_longer() {
        let (refuses, hangs) = (Living { pid: getpid(), refuses: true }, Living { pid: getpid(), refuses: false });
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut patience = Patience::from(began);
        assert!(!patience.is_over(at(0), &[refuses]));
        assert!(!patience.is_over(at(4), &[refuses]));
        assert!(!patience.is_over(at(6), &[refuses, hangs]), "one that may still end was not waited for");
        assert!(!patience.is_over(at(59), &[hangs]));
        assert!(patience.is_over(at(60), &[hangs]));
        let mut patience = Patience::from(began);
        assert!(!patience.is_over(at(1), &[refuses]));
        assert!(patience.is_over(at(6), &[refuses]));
        let mut patience = Patience::from(began);
        assert!(!patience.is_over(at(0), &[]));
        assert!(patience.is_over(at(5), &[]), "a child that cannot be seen is waited for");
    }

    #[test]
    fn the_sentence_names_process_and_user() {
        let me = Living { pid: getpid(), refuses: true };
        let user = user_of(getpid());
        assert!(!user.is_empty() && user != "(unknown)");
        assert_eq!(
            sentence(&[Living { refuses: false, ..me }, me]),
            format!(
                "process {} of user {user} was left behind: it may not be killed by the executor's user (and 1 more)",
                std::process::id()
            )
        );
    }

    /// A process in the middle of an exec shows no environment, which is why one quiet look is not believed; here all stand
    /// still, each in a session of its own, and none of them is a child of who sweeps but the first.
    #[test]
    fn processes_of_several_generations_are_swept_until_none_is_left() {
        let mark = format!("SWEEP_TEST={}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let stands = "echo; exec tail -f /dev/null";
        let script = format!("setsid bash -c 'setsid bash -c \"{stands}\" & {stands}' & {stands}");
        let mut first = Command::new("bash");
        let mut first = first.args(["-c", &script]).env(name, value).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(first.stdout.take().unwrap()).lines();
        assert_eq!(lines.take(3).count(), 3, "not all of them run");
        let marks = [mark.clone()];
        assert_eq!(end_marked(&marks), None);
        first.wait().unwrap();
        assert_eq!(marked(&marks).count(), 0);
    }
}
