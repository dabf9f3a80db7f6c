//! One step: started in the guard, its output read while it runs, its end awaited. Which steps there are, and what
//! comes of them, is [`crate::job`]'s business.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use wire::{
    Event, Limits,
    pipeline::{Stderr, StepSpec},
    task::LeaseRef,
};

use crate::{
    clock::now,
    environment,
    guard::{
        protocol::{Command, Container, EndReason, Status},
        tree,
    },
    host::{Guard, LastWord, Output},
    lease::Lease,
    log::{Log, Stream},
    mask::Masker,
    publish::{LeaseLost, Publisher},
};

/// What is read from the output pipe at once, in bytes.
const READ_BYTES: usize = 128 * 1024;

/// How the shell of a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It never ran; one sentence.
    NotStarted(String),
    /// The guard died, and the step with it.
    GuardDied,
}

/// Why a job ends before its steps do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Somebody wants it.
    Cancelled,
    /// Its time is up.
    TimedOut,
}

/// Why nothing more is said of an attempt. It runs again elsewhere, or after the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The lease is another's, or not trusted any more.
    LeaseLost,
    /// This executor stops.
    Shutdown,
}

impl From<LeaseLost> for Dropped {
    fn from(_: LeaseLost) -> Self {
        Dropped::LeaseLost
    }
}

/// What the steps of one attempt share.
pub(crate) struct Steps<'a> {
    pub(crate) guard: &'a mut Guard,
    pub(crate) publisher: &'a Publisher,
    pub(crate) lease: &'a Lease,
    pub(crate) shutdown: &'a CancellationToken,
    /// When the attempt's time is up.
    pub(crate) timeout_at: tokio::time::Instant,
    /// Between SIGTERM and SIGKILL.
    pub(crate) kill_after: Duration,
    pub(crate) workspace: PathBuf,
    /// The named pipe of steps that tell their standard error apart, and its reading end; none until one does.
    errors: Option<(PathBuf, Output)>,
    log: Log,
    buffer: Vec<u8>,
    /// Set once: the tree was asked to end.
    ending: Option<Ending>,
    /// What the last step that failed seems to have run into, by the guard's word.
    limit: Option<String>,
}

/// One step that is to run.
pub(crate) struct Planned {
    pub(crate) index: u32,
    pub(crate) spec: StepSpec,
    /// What people see.
    pub(crate) command: String,
    pub(crate) script: PathBuf,
    /// It makes this container, instead of running its script.
    pub(crate) container: Option<Container>,
    pub(crate) env: std::collections::BTreeMap<String, String>,
    /// No step follows.
    pub(crate) last: bool,
}

impl<'a> Steps<'a> {
    #[allow(clippy::too_many_arguments, reason = "each is one fact of the attempt, named at the only caller")]
    pub(crate) fn new(
        guard: &'a mut Guard,
        publisher: &'a Publisher,
        lease: &'a Lease,
        shutdown: &'a CancellationToken,
        timeout_at: tokio::time::Instant,
        kill_after: Duration,
        workspace: PathBuf,
        log_limit: u64,
        masker: &Masker,
    ) -> Self {
        let (errors, log, buffer, ending, limit) = (None, Log::new(log_limit, masker), vec![0; READ_BYTES], None, None);
        Self {
            guard,
            publisher,
            lease,
            shutdown,
            timeout_at,
            kill_after,
            workspace,
            errors,
            log,
            buffer,
            ending,
            limit,
        }
    }

    /// Runs one step to its end, and its tree too where no step will follow. Its output is published before it returns.
    ///
    /// # Errors
    /// When nothing more may be said of the attempt.
    pub(crate) async fn run(&mut self, step: &Planned) -> Result<(Exit, Option<Ending>), Dropped> {
        let (index, name, command) = (step.index, step.spec.name.clone(), step.command.clone());
        self.publisher.publish(&Event::StepStarted { step: index, name, command })?;
        let mut until = self.lease.until();
        let extend = Command::Extend { until_ms: *until.borrow_and_update() };
        let stderr = match self.errors_of(step) {
            Ok(stderr) => stderr,
            Err(reason) => return Ok((Exit::NotStarted(reason), None)),
        };
        let (script, cwd, env) = (step.script.clone(), self.workspace.clone(), step.env.clone());
        let begin = match &step.container {
            Some(container) => Command::Contain { container: container.clone() },
            None => Command::Start { script, cwd, env, stderr },
        };
        self.guard.commands.send(&[extend, begin]).await;
        let (mut exit, mut tree_ended, mut readable) = (None, false, true);
        // The two streams take turns, or one that floods would keep the other waiting.
        let mut errors_first = false;
        let mut held_since: Option<tokio::time::Instant> = None;
        while exit.is_none() || !(tree_ended || (self.ending.is_none() && !step.last && exit == Some(Exit::Code(0)))) {
            let (is_full, is_held) = (!self.publisher.has_room(), self.lease.is_held());
            let has_room = !is_full && !is_held;
            // The time for which control held it is not the job's.
            match (is_held, held_since) {
                (true, None) => held_since = Some(tokio::time::Instant::now()),
                (false, Some(since)) => {
                    self.timeout_at += since.elapsed();
                    held_since = None;
                }
                _ => {}
            }
            let due = self.log.due();
            tokio::select! {
                biased;
                () = self.lease.lost() => return Err(Dropped::LeaseLost),
                () = self.shutdown.cancelled() => return Err(Dropped::Shutdown),
                status = self.guard.statuses.next() => match status {
                    Some(Status::Exited { code, signal, limit }) => {
                        self.limit = limit;
                        exit = Some(code.map_or_else(|| Exit::Signal(signal.unwrap_or_default()), Exit::Code));
                        if self.ending.is_none() && (step.last || exit != Some(Exit::Code(0))) {
                            // No step follows: what the steps left in the background ends now.
                            self.guard.commands.send(&[Command::End {}]).await;
                        }
                    }
                    Some(Status::NotStarted { reason }) => {
                        exit = Some(Exit::NotStarted(reason));
                        self.guard.commands.send(&[Command::End {}]).await;
                    }
                    // By its clock the lease ran out, or it took this executor for dead.
                    Some(Status::Ended { why: EndReason::Deadline | EndReason::Orphaned, .. }) => {
                        return Err(Dropped::LeaseLost);
                    }
                    Some(Status::Ended { why: EndReason::Told, .. }) => {
                        tree_ended = true;
                        exit.get_or_insert(Exit::Signal(rustix::process::Signal::KILL.as_raw()));
                    }
                    Some(Status::Started { .. } | Status::Ready {} | Status::Refused { .. }) => {}
                    None => {
                        tree_ended = true;
                        exit = Some(Exit::GuardDied);
                    }
                },
                () = self.lease.cancelled(), if self.ending.is_none() && exit.is_none() => {
                    self.end(Ending::Cancelled).await;
                }
                () = tokio::time::sleep_until(self.timeout_at), if self.ending.is_none() && exit.is_none() && !is_held => {
                    self.end(Ending::TimedOut).await;
                }
                Ok(()) = until.changed() => {
                    let until_ms = *until.borrow_and_update();
                    self.guard.commands.send(&[Command::Extend { until_ms }]).await;
                }
                () = readable_errors(self.errors.as_ref()), if has_room && errors_first => {
                    errors_first = false;
                    self.read(Stream::Err, index)?;
                }
                ready = self.guard.output.readable(), if readable && has_room => {
                    errors_first = true;
                    readable = ready.is_ok() && self.read(Stream::Out, index)?;
                }
                () = readable_errors(self.errors.as_ref()), if has_room && !errors_first => {
                    self.read(Stream::Err, index)?;
                }
                () = self.publisher.room(), if is_full => {}
                () = self.lease.released(), if is_held => {}
                () = sleep_until(due), if due.is_some() => self.tick(index)?,
            }
        }
        self.drain(index)?;
        Ok((exit.unwrap_or(Exit::GuardDied), self.ending))
    }

    /// Which of its limits the job has reached, after a step that failed: one sentence.
    pub(crate) fn reached(&self, limits: Limits) -> Option<String> {
        self.guard.reached(limits).or_else(|| self.limit.clone())
    }

    async fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        let kill_after_ms = u64::try_from(self.kill_after.as_millis()).unwrap_or(u64::MAX);
        self.guard.commands.send(&[Command::Terminate { kill_after_ms }]).await;
    }

    /// The named pipe for the step's standard error, made for the first step that tells it apart.
    fn errors_of(&mut self, step: &Planned) -> Result<Option<PathBuf>, String> {
        if step.spec.stderr == Stderr::Merged {
            return Ok(None);
        }
        if self.errors.is_none() {
            let path = step.script.with_file_name("stderr");
            let output = Output::named(&path).map_err(|error| {
                format!("the pipe {} for standard error could not be made: {error}", path.display())
            })?;
            self.errors = Some((path, output));
        }
        Ok(self.errors.as_ref().map(|(path, _)| path.clone()))
    }

    fn output(&self, stream: Stream) -> Option<&Output> {
        match stream {
            Stream::Out => Some(&self.guard.output),
            Stream::Err => self.errors.as_ref().map(|(_, output)| output),
        }
    }

    /// Takes what is there. Says whether more can come.
    fn read(&mut self, stream: Stream, step: u32) -> Result<bool, LeaseLost> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.output(stream).map_or(Ok(Some(0)), |output| output.read(&mut buffer));
        self.buffer = buffer;
        match read {
            Ok(Some(0)) | Err(_) => Ok(false),
            Ok(None) => Ok(true),
            Ok(Some(read)) => self.feed(stream, step, read).map(|()| true),
        }
    }

    /// Takes what stood in the pipe when the step had ended. No more: a process in the background may print for ever.
    fn drain(&mut self, step: u32) -> Result<(), LeaseLost> {
        for stream in [Stream::Out, Stream::Err] {
            let mut left = self.output(stream).map_or(0, Output::waiting);
            while left > 0 {
                let mut buffer = std::mem::take(&mut self.buffer);
                let most = left.min(buffer.len());
                let read = self.output(stream).and_then(|output| output.read_now(&mut buffer[..most]));
                self.buffer = buffer;
                let Some(read) = read else { break };
                left -= read;
                self.feed(stream, step, read)?;
            }
        }
        let mut sent = Ok(());
        self.log.close(now(), Instant::now(), &mut send(self.publisher, step, &mut sent));
        sent
    }

    fn feed(&mut self, stream: Stream, step: u32, read: usize) -> Result<(), LeaseLost> {
        let mut sent = Ok(());
        self.log.feed(stream, &self.buffer[..read], now(), Instant::now(), &mut send(self.publisher, step, &mut sent));
        sent
    }

    fn tick(&mut self, step: u32) -> Result<(), LeaseLost> {
        let mut sent = Ok(());
        self.log.tick(now(), Instant::now(), &mut send(self.publisher, step, &mut sent));
        sent
    }
}

/// Publishes batches of lines; what went wrong is left in `sent`.
fn send<'a>(
    publisher: &'a Publisher,
    step: u32,
    sent: &'a mut Result<(), LeaseLost>,
) -> impl FnMut(Vec<wire::LogLine>) + 'a {
    move |lines| {
        if sent.is_ok() {
            *sent = publisher.publish(&Event::Log { step, lines });
        }
    }
}

/// Waits until something may be read of standard error; for ever where no step tells it apart.
async fn readable_errors(errors: Option<&(PathBuf, Output)>) {
    match errors {
        Some((_, output)) => drop(output.readable().await),
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Waits until the tree of the attempt has ended, without listening to what is still printed. A sentence tells what could
/// not be ended.
pub(crate) async fn tree_gone(guard: &mut Guard, attempt: LeaseRef) -> Option<String> {
    guard.commands.send(&[Command::End {}]).await;
    match guard.statuses.last_word().await {
        Some(LastWord { left }) => left,
        // Its guard was killed: nobody else ends it.
        None => {
            if let Some(reason) = guard.remove_container().await {
                return Some(reason);
            }
            let sweep = move || tree::end_marked(&environment::marks(attempt));
            let swept = tokio::task::spawn_blocking(sweep).await;
            swept.unwrap_or_else(|panic| Some(format!("what the job left behind could not be looked for: {panic}")))
        }
    }
}
