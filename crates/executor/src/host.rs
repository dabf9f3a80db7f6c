//! The executor's side of a guard: starting it, plain or in a [`sandbox`], and the three pipes. Which guard a job gets is the
//! business of [`warm`]; what the two say to each other stands in [`crate::guard`].

mod broken;
pub(crate) mod container;
pub(crate) mod groups;
pub(crate) mod sandbox;
mod warm;

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::unix::pipe,
    process::{Child, ChildStdin, ChildStdout},
};

use self::groups::Group;
pub(crate) use self::{broken::NoGuard, warm::Guards};
use crate::{
    engine::Engine,
    guard::{
        ENGINE_VARIABLE, FILES_VARIABLE, LOCK_VARIABLE, USER_VARIABLE,
        protocol::{Command, Status},
    },
    workspace::Workspace,
};
use wire::Limits;

/// The job's output pipe, where the system allows it: what a step may print before it waits for the executor, in bytes.
const PIPE_BYTES: usize = 256 * 1024;
/// A guard that has not said `ready` by then is broken.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// A running guard. Dropping it closes the guard's stdin, so that it ends its tree at once.
pub(crate) struct Guard {
    /// To the guard.
    pub(crate) commands: Commands,
    /// From the guard.
    pub(crate) statuses: Statuses,
    /// What the steps print.
    pub(crate) output: Output,
    /// The directories that it was started for.
    pub(crate) workspace: Workspace,
    /// Its control group, where there are such.
    group: Option<Group>,
    /// The container that it was told to make, to be removed where the guard dies.
    container: Option<(Engine, String)>,
    child: Child,
}

/// What a guard is started with.
struct Start<'a> {
    /// Program and arguments: its own, or a sandbox's around it.
    words: &'a [OsString],
    /// For people.
    program: &'a Path,
    /// As the guard sees it.
    lock: &'a Path,
    /// The soft limit of open files of steps.
    files: Option<u64>,
    /// As whom it is to run, where that is another user.
    user: Option<u32>,
    /// Where the engine listens whose containers its steps run in, if they do.
    engine: Option<&'a Path>,
}

/// The control pipe.
pub(crate) struct Commands(ChildStdin);

/// The status pipe.
pub(crate) struct Statuses {
    lines: Lines<BufReader<ChildStdout>>,
    /// The guard's last word, once it was heard.
    last_word: Option<LastWord>,
}

/// No process of the tree is left but this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastWord {
    /// What could not be ended, if anything: one sentence.
    pub(crate) left: Option<String>,
}

/// The reading end of the job's output pipe, or of the one for the standard error of steps that tell it apart.
pub(crate) struct Output(pipe::Receiver);

impl Guard {
    async fn start(start: Start<'_>, workspace: Workspace, group: Option<Group>) -> Result<Self, NoGuard> {
        let program = start.program.display();
        let sentence = |error: io::Error| format!("the guard {program} could not be started: {error}");
        let broken = |error: io::Error| NoGuard::Failed(sentence(error));
        let (output, printed) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| broken(error.into()))?;
        let _ = fcntl_setpipe_size(&output, PIPE_BYTES); // The default size will do.
        let words = group.as_ref().map_or_else(|| start.words.to_vec(), |group| group.entered(start.words));
        let Some((first, rest)) = words.split_first() else {
            return Err(broken(io::Error::other("it has no program")));
        };
        let mut child = tokio::process::Command::new(first)
            .args(rest)
            .env_clear()
            .env(LOCK_VARIABLE, start.lock)
            .envs(start.files.map(|files| (FILES_VARIABLE, files.to_string())))
            .envs(start.engine.map(|engine| (ENGINE_VARIABLE, engine)))
            .envs(start.user.map(|user| (USER_VARIABLE, user.to_string())))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(printed))
            // A signal of the terminal is the executor's business alone, also where something stands around the guard.
            .process_group(0)
            .spawn()
            .map_err(|error| NoGuard::not_begun(error.kind(), sentence(error)))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(broken(io::Error::other("its pipes are missing")));
        };
        let output = Output(pipe::Receiver::from_owned_fd(output).map_err(broken)?);
        let mut statuses = Statuses { lines: BufReader::new(stdout).lines(), last_word: None };
        let why = match tokio::time::timeout(READY_PATIENCE, statuses.next()).await {
            Ok(Some(Status::Ready {})) => {
                return Ok(Self {
                    commands: Commands(stdin),
                    statuses,
                    output,
                    workspace,
                    group,
                    container: None,
                    child,
                });
            }
            Ok(Some(Status::Refused { reason })) => return Err(NoGuard::Failed(reason)),
            Ok(_) => {
                let said = output.said().await;
                let ended = tokio::time::timeout(READY_PATIENCE, child.wait()).await.ok().and_then(Result::ok);
                let why = sentence(io::Error::other(format!("it ended before it was ready{said}")));
                return Err(NoGuard::ended(ended, &said, why));
            }
            Err(_) => format!("it was not ready within {READY_PATIENCE:?}"),
        };
        Err(broken(io::Error::other(why)))
    }

    /// Whether it still runs.
    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Limits what the job may use, before its first step.
    ///
    /// # Errors
    /// One sentence, when a limit cannot be set.
    pub(crate) async fn limit(&mut self, limits: Limits) -> Result<(), String> {
        if let Some(group) = &self.group {
            group.limit(limits)?;
        }
        // Also where a control group limits the whole: of memory it leaves to each process what it has.
        let of_each = if self.group.is_some() { Limits { memory: None, processes: None, ..limits } } else { limits };
        self.commands.send(&[Command::Limit { limits: of_each }]).await;
        Ok(())
    }

    /// Removes the container of a guard that cannot any more. Tells what is left; one sentence.
    pub(crate) async fn remove_container(&self) -> Option<String> {
        let (engine, name) = self.container.as_ref()?;
        engine.remove(name).await.err()
    }

    /// Which limit the job has reached, where its control group tells; one sentence.
    pub(crate) fn reached(&self, limits: Limits) -> Option<String> {
        self.group.as_ref().and_then(|group| group.reached(limits))
    }

    /// Waits until the process is gone, so that its place in the process table is free.
    /// Its directories are left to who has them.
    pub(crate) async fn ended(mut self) {
        drop(self.commands);
        let _ = self.child.wait().await;
        if let Some(group) = self.group {
            let _ = tokio::task::spawn_blocking(move || group.remove()).await;
        }
    }

    /// The same for one that no job has had; its directories go too.
    pub(crate) async fn gone(self) {
        let workspace = self.workspace.clone();
        self.ended().await;
        let _ = tokio::task::spawn_blocking(move || workspace.remove()).await;
    }
}

impl Commands {
    /// Sends commands in one write. That the guard is gone shows as the end of its statuses, so it is no error here.
    pub(crate) async fn send(&mut self, commands: &[Command]) {
        let mut lines = Vec::new();
        for command in commands {
            lines.extend(serde_json::to_vec(command).unwrap_or_default());
            lines.push(b'\n');
        }
        let _ = self.0.write_all(&lines).await;
    }
}

impl Statuses {
    /// The next status; none when the guard is gone. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Status> {
        let line = self.lines.next_line().await.ok()??;
        let status = serde_json::from_str(&line).ok();
        if let Some(Status::Ended { left, .. }) = &status {
            self.last_word = Some(LastWord { left: left.clone() });
        }
        status
    }

    /// Waits until the guard has ended its tree, or tells at once if it has; none when the guard died before.
    pub(crate) async fn last_word(&mut self) -> Option<LastWord> {
        while self.last_word.is_none() && self.next().await.is_some() {}
        self.last_word.clone()
    }
}

impl Output {
    /// Makes a named pipe. It is held open for writing too, so that it does not end between two steps.
    pub(crate) fn named(path: &Path) -> io::Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Whoever the steps run as; nobody else comes as far as its folder.
        fs::set_permissions(path, fs::Permissions::from_mode(0o622))?;
        let output = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let _ = fcntl_setpipe_size(&output, PIPE_BYTES); // The default size will do.
        Ok(Self(output))
    }

    /// What was printed by a program that has ended, for a sentence.
    async fn said(&self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        while text.len() < 4096 {
            match self.read(&mut buffer) {
                Ok(Some(0)) | Err(_) => break,
                Ok(Some(read)) => text.extend_from_slice(&buffer[..read]),
                Ok(None) if self.readable().await.is_ok() => {}
                Ok(None) => break,
            }
        }
        let text = String::from_utf8_lossy(&text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() { text } else { format!(": {text}") }
    }

    /// Waits until something may be read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// What is there: none when nothing is, 0 bytes when nobody can write any more.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.try_read(buffer) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many bytes stand in the pipe now.
    pub(crate) fn waiting(&self) -> usize {
        rustix::io::ioctl_fionread(self.0.as_fd()).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// As [`Output::read`], but asks the system and not what the runtime remembers of the pipe.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> Option<usize> {
        rustix::io::read(self.0.as_fd(), buffer).ok().filter(|read| *read > 0)
    }
}
