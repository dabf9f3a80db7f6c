//! The guard: one small process for each job, which owns the job's steps and ends all of them when the lease is over,
//! whatever happened to the executor. Blocking code on one thread; it knows no broker and no runtime.
//!
//! # The conversation
//!
//! The executor starts `<program> guard` with a control pipe on stdin, a status pipe on stdout and the write end of the
//! job's one output pipe on stderr; `STEPCAST_GUARD_LOCK` names the lock file. Then:
//!
//! 1. The guard takes a shared lock on that file, keeps it to its end, and says `ready`. Only then does the executor
//!    send commands. So whoever gets the exclusive lock (an executor that starts, before it registers) knows that no
//!    guard of a former executor has a step or will ever start one: a guard that comes too late finds its stdin closed.
//! 2. `limit` says what the job may use, `extend` sets the deadline, `start` runs a step; answers are `started` (or `not_started`) and `exited`. A step has
//!    exited when its shell has; what it left in the background lives until the end of the job.
//! 3. The tree is ended by SIGKILL when the deadline passes, when stdin is closed (the executor died), or by `end`;
//!    `terminate` asks first. The last word is `ended`: no process of the tree is left. What cannot be ended (it is
//!    another user's, or hangs in the kernel) is waited for no longer than [`tree`] says, and named in `ended`: the guard
//!    goes and gives its lock back, or one such process would stop this executor and every later one for good.
//!
//! The guard is the subreaper of its tree, so no descendant escapes it by forking or by a session of its own.

mod container;
mod inside;
mod keyring;
mod limits;
mod oom_score;
pub(crate) mod protocol;
pub(crate) mod tree;

use std::{
    fs::File,
    io::{self, Write as _},
    ops::ControlFlow::{self, Break, Continue},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, OpenOptionsExt as _},
            process::CommandExt as _,
        },
    },
    process::{ExitCode, Stdio},
};

use wire::Limits;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getrlimit, pidfd_open, set_child_subreaper, setrlimit,
        setsid,
    },
    stdio,
};

use self::{
    limits::Limited,
    oom_score::OomScore,
    protocol::{Command, EndReason, Status},
};
use crate::clock::boot_millis;

/// Names the lock file to the guard.
pub(crate) const LOCK_VARIABLE: &str = "STEPCAST_GUARD_LOCK";

/// Tells the guard where an engine listens whose containers its steps run in; absent where they run in its own tree.
pub(crate) const ENGINE_VARIABLE: &str = "STEPCAST_GUARD_ENGINE";

/// Tells the guard the soft limit of open files that steps have.
pub(crate) const FILES_VARIABLE: &str = "STEPCAST_GUARD_FILES";

/// Tells a guard in a sandbox as which user and group, by one number, it is to run; absent where it is that already.
pub(crate) const USER_VARIABLE: &str = "STEPCAST_GUARD_USER";

/// The longest time between two looks at the clock, in milliseconds: poll counts no sleep of the machine, deadlines do.
const TICK_MS: u64 = 1000;
/// The same where the kernel cannot tell of a child's end through a descriptor (before Linux 5.3).
const TICK_WITHOUT_PIDFD_MS: u64 = 10;

/// The hidden subcommand `guard`. Serves one job and returns when no process of it is left.
#[must_use]
pub fn main() -> ExitCode {
    ignore_signals();
    if let Some(engine) = std::env::var_os(ENGINE_VARIABLE) {
        return container::main(engine.into());
    }
    limit_files();
    match Guard::start() {
        Ok(guard) => {
            guard.run();
            ExitCode::SUCCESS
        }
        Err(reason) => {
            say(&Status::Refused { reason });
            ExitCode::FAILURE
        }
    }
}

/// The executor may hold many sockets, the steps need not: programs that use `select` break with so many.
fn limit_files() {
    let files = std::env::var(FILES_VARIABLE).ok().and_then(|files| files.parse().ok());
    if let Some(files) = files {
        let limit = Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) };
        let _ = setrlimit(Resource::Nofile, limit); // A lower one is always allowed.
    }
}

/// Where a sandbox stands around this process, which is number 1 there.
fn settle() -> io::Result<()> {
    match std::env::var(USER_VARIABLE) {
        Ok(user) => inside::become_user(user.parse().map_err(io::Error::other)?),
        Err(_) if getpid() == Pid::INIT => inside::close(),
        Err(_) => Ok(()),
    }
}

/// Takes the guard's share of the lock.
fn share_lock() -> Result<File, String> {
    let path = std::env::var_os(LOCK_VARIABLE).ok_or_else(|| format!("the guard needs {LOCK_VARIABLE}"))?;
    let lock = File::open(&path).map_err(|error| format!("the guard cannot open {path:?}: {error}"))?;
    lock.try_lock_shared().map_err(|error| format!("the guard cannot share the lock {path:?}: {error}"))?;
    Ok(lock)
}

struct Guard {
    _lock: File,
    /// What was read of a command whose line has not ended yet.
    unread: Vec<u8>,
    step: Option<Step>,
    /// On the boot clock. None until the job begins.
    deadline: Option<u64>,
    /// On the boot clock: when `terminate` stops asking.
    kill_at: Option<u64>,
    limited: Limited,
    oom_score: OomScore,
    /// Why the job's limits do not hold, if they do not: then no step runs.
    unlimited: Option<String>,
}

struct Step {
    pid: Pid,
    /// Readable when the shell has ended.
    ended: Option<OwnedFd>,
}

impl Guard {
    fn start() -> Result<Self, String> {
        // Fails where the guard leads its group already: then it was started by hand and keeps its session.
        let _ = setsid();
        set_child_subreaper(Some(getpid())).map_err(|error| format!("the guard cannot adopt orphans: {error}"))?;
        let lock = share_lock()?;
        let oom_score = OomScore::open();
        // Before it becomes another user: root has room for many.
        keyring::leave().map_err(|error| format!("the guard cannot make a keyring for the job: {error}"))?;
        settle().map_err(|error| format!("the guard cannot become the user of jobs: {error}"))?;
        let limited = Limited::set(Limits::default())?;
        say(&Status::Ready {});
        Ok(Self {
            _lock: lock,
            unread: Vec::new(),
            step: None,
            deadline: None,
            kill_at: None,
            limited,
            oom_score,
            unlimited: None,
        })
    }

    fn run(mut self) {
        let why = loop {
            if let Break(why) = self.turn() {
                break why;
            }
        };
        let step = self.step.as_ref().map(|step| step.pid);
        let limited = &mut self.limited;
        let left = tree::end(|pid, status| {
            report(step, pid, status, limited);
        });
        say(&Status::Ended { why, left });
    }

    /// Waits for something to happen and does what it asks.
    fn turn(&mut self) -> ControlFlow<EndReason> {
        let now = boot_millis();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Break(EndReason::Deadline);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            return Break(EndReason::Told);
        }
        if self.commands_wait(now) {
            self.read_commands()?;
        }
        let step = self.step.as_ref().map(|step| step.pid);
        let mut step_ended = false;
        self.limited.look();
        let limited = &mut self.limited;
        let some_left = tree::reap(|pid, status| step_ended |= report(step, pid, status, limited));
        if step_ended {
            self.step = None;
        }
        if self.kill_at.is_some() && !some_left {
            return Break(EndReason::Told);
        }
        Continue(())
    }

    /// Waits until a command may be read (true), the step ends, or the clock must be looked at.
    fn commands_wait(&self, now: u64) -> bool {
        let stdin = stdio::stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
        let mut tick = TICK_MS;
        match &self.step {
            Some(Step { ended: Some(ended), .. }) => fds.push(PollFd::new(ended, PollFlags::IN)),
            Some(Step { ended: None, .. }) => tick = TICK_WITHOUT_PIDFD_MS,
            None => {}
        }
        if let (Some(look), Some(_)) = (self.limited.tick(), &self.step) {
            tick = tick.min(u64::try_from(look.as_millis()).unwrap_or(tick));
        }
        let next = [self.deadline, self.kill_at].into_iter().flatten().min();
        let timeout = next.map(|next| {
            let millis = next.saturating_sub(now).min(tick);
            Timespec { tv_sec: (millis / 1000).cast_signed(), tv_nsec: ((millis % 1000) * 1_000_000).cast_signed() }
        });
        // An interruption is as good as a timeout: everything is looked at again.
        poll(&mut fds, timeout.as_ref()).is_ok() && !fds[0].revents().is_empty()
    }

    fn read_commands(&mut self) -> ControlFlow<EndReason> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(stdio::stdin(), &mut buffer) {
            Ok(0) => return Break(EndReason::Orphaned),
            Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return Break(EndReason::Orphaned),
        }
        while let Some(end) = memchr::memchr(b'\n', &self.unread) {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(command) => self.obey(command)?,
                // Executor and guard are one program; a line that is none of theirs means that the pipe is not theirs.
                Err(_) => return Break(EndReason::Orphaned),
            }
        }
        Continue(())
    }

    fn obey(&mut self, command: Command) -> ControlFlow<EndReason> {
        match command {
            Command::Extend { until_ms } => self.deadline = Some(until_ms),
            Command::Start { script, cwd, env, stderr } => {
                match self.start_step(&script, &cwd, &env, stderr.as_deref()) {
                    Ok(step) => {
                        say(&Status::Started { pid: step.pid.as_raw_nonzero().get() });
                        self.step = Some(step);
                    }
                    Err(reason) => say(&Status::NotStarted { reason }),
                }
            }
            Command::Contain { .. } => say(&Status::NotStarted { reason: "this guard has no engine".to_owned() }),
            Command::Limit { limits } => match Limited::set(limits) {
                Ok(limited) => self.limited = limited,
                Err(reason) => self.unlimited = Some(reason),
            },
            Command::Terminate { kill_after_ms } => {
                self.kill_at = Some(boot_millis().saturating_add(kill_after_ms));
                tree::signal(Signal::TERM);
                tree::signal(Signal::CONT); // What is stopped cannot obey.
            }
            Command::End {} => return Break(EndReason::Told),
        }
        Continue(())
    }

    fn start_step(
        &self,
        script: &std::path::Path,
        cwd: &std::path::Path,
        env: &std::collections::BTreeMap<String, String>,
        stderr: Option<&std::path::Path>,
    ) -> Result<Step, String> {
        if self.step.is_some() || self.kill_at.is_some() {
            return Err("another step still runs".to_owned());
        }
        if self.deadline.is_none_or(|deadline| deadline <= boot_millis()) {
            return Err("the lease of the job has run out".to_owned());
        }
        if let Some(reason) = &self.unlimited {
            return Err(reason.clone());
        }
        let errors = stderr.map(open_pipe).transpose()?;
        let output = || stdio::stderr().try_clone_to_owned().map(Stdio::from);
        let spawn = || -> io::Result<std::process::Child> {
            std::process::Command::new(shell())
                .args(["-eo", "pipefail"])
                .arg(script)
                .env_clear()
                .envs(env)
                .current_dir(cwd)
                .stdin(Stdio::null())
                .stdout(output()?)
                .stderr(match errors {
                    Some(pipe) => Stdio::from(pipe),
                    None => output()?,
                })
                .process_group(0)
                .spawn()
        };
        let child = self.oom_score.raised(spawn).map_err(|error| format!("bash could not be started: {error}"))?;
        let pid = Pid::from_child(&child);
        Ok(Step { pid, ended: pidfd_open(pid, PidfdFlags::empty()).ok() })
    }
}

/// Opens a named pipe for a step's standard error, and never waits for who reads it: the executor does already, or is
/// gone, and a step may have put something else in its place.
fn open_pipe(path: &std::path::Path) -> Result<File, String> {
    let open = || -> io::Result<File> {
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let pipe = File::options().write(true).custom_flags(flags).open(path)?;
        if !pipe.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("it is no pipe any more"));
        }
        fcntl_setfl(&pipe, OFlags::empty())?;
        Ok(pipe)
    };
    open().map_err(|error| format!("the pipe {} for standard error could not be opened: {error}", path.display()))
}

/// By its full path where it usually stands: a job may set PATH to what it likes.
fn shell() -> &'static str {
    ["/bin/bash", "/usr/bin/bash"].into_iter().find(|path| std::path::Path::new(path).exists()).unwrap_or("bash")
}

/// Tells of the step's end; what else dies is nobody's business. Says whether it was the step.
fn report(step: Option<Pid>, pid: Pid, status: rustix::process::WaitStatus, limited: &mut Limited) -> bool {
    let is_step = step == Some(pid);
    if is_step {
        say(&limited.exited(status.exit_status(), status.terminating_signal()));
    }
    is_step
}

/// A status that cannot be written means that the executor is gone, which stdin tells as well.
fn say(status: &Status) {
    let Ok(mut line) = serde_json::to_vec(status) else { return };
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

/// A signal to the guard (Ctrl-C in the terminal, a service manager that stops all processes at once) must not end it
/// before its tree. By a handler that does nothing, not by SIG_IGN: steps would inherit that, and never see a SIGTERM.
fn ignore_signals() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        #[allow(unsafe_code, reason = "installing a handler that touches nothing; rustix has no safe call for it")]
        unsafe {
            libc::signal(signal, nothing as *const () as libc::sighandler_t);
        }
    }
}
