//! The executor's side of a guard: starting it, the three pipes, and one that is kept warm for the next job.
//! What the two say to each other stands in [`crate::guard`].

use std::{
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
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

use crate::guard::{
    FILES_VARIABLE, LOCK_VARIABLE,
    protocol::{Command, Status},
};

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
    child: Child,
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
    async fn start(program: &Path, lock: &Path, files: Option<u64>) -> Result<Self, String> {
        let broken = |error: io::Error| format!("the guard {} could not be started: {error}", program.display());
        let (output, printed) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| broken(error.into()))?;
        let _ = fcntl_setpipe_size(&output, PIPE_BYTES); // The default size will do.
        let mut child = tokio::process::Command::new(program)
            .arg("guard")
            .env_clear()
            .env(LOCK_VARIABLE, lock)
            .envs(files.map(|files| (FILES_VARIABLE, files.to_string())))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(printed))
            .spawn()
            .map_err(broken)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(broken(io::Error::other("its pipes are missing")));
        };
        let output = Output(pipe::Receiver::from_owned_fd(output).map_err(broken)?);
        let mut statuses = Statuses { lines: BufReader::new(stdout).lines(), last_word: None };
        match tokio::time::timeout(READY_PATIENCE, statuses.next()).await {
            Ok(Some(Status::Ready {})) => Ok(Self { commands: Commands(stdin), statuses, output, child }),
            Ok(Some(Status::Refused { reason })) => Err(reason),
            Ok(_) => Err(broken(io::Error::other("it ended before it was ready"))),
            Err(_) => Err(broken(io::Error::other(format!("it was not ready within {READY_PATIENCE:?}")))),
        }
    }

    /// Waits until the process is gone, so that its place in the process table is free.
    pub(crate) async fn gone(mut self) {
        drop(self.commands);
        let _ = self.child.wait().await;
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
        let output = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let _ = fcntl_setpipe_size(&output, PIPE_BYTES); // The default size will do.
        Ok(Self(output))
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

/// Starts guards, and keeps one warm: it needs nothing of its job before the first command, so a job that comes
/// finds it ready.
pub(crate) struct Guards {
    program: PathBuf,
    lock: PathBuf,
    /// The limit of open files that steps have.
    files: Option<u64>,
    // A std mutex: held to take or to put, never across an await.
    warm: Mutex<Option<Guard>>,
}

impl Guards {
    pub(crate) fn new(program: PathBuf, lock: PathBuf, files: Option<u64>) -> Self {
        Self { program, lock, files, warm: Mutex::new(None) }
    }

    /// A guard that is ready.
    ///
    /// # Errors
    /// When none can be started; the sentence says why.
    pub(crate) async fn take(&self) -> Result<Guard, String> {
        let warm = self.warm().take();
        let alive = warm.and_then(|mut guard| matches!(guard.child.try_wait(), Ok(None)).then_some(guard));
        match alive {
            Some(guard) => Ok(guard),
            None => Guard::start(&self.program, &self.lock, self.files).await,
        }
    }

    /// Makes sure that one is warm.
    pub(crate) async fn warm_up(self: Arc<Self>) {
        if self.warm().is_some() {
            return;
        }
        match Guard::start(&self.program, &self.lock, self.files).await {
            Ok(guard) => *self.warm() = Some(guard),
            Err(reason) => tracing::warn!(reason, "no guard could be kept warm; the next job starts its own"),
        }
    }

    /// Lets the warm one go.
    pub(crate) async fn cool_down(&self) {
        let warm = self.warm().take();
        if let Some(guard) = warm {
            guard.gone().await;
        }
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, Option<Guard>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
