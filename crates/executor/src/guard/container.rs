//! The guard of a job whose steps run in a container. The conversation is that of [`super`]; the tree is the container's.
//!
//! The container's first process reads from a stream that this guard holds open, and ends with it, whoever ended the guard:
//! with the first process the kernel ends every other one of the container, and the engine removes what is left. So a
//! container never outlives its guard, and its guard never its lease. Asynchronous code on one thread, since an engine is
//! waited for while commands come and deadlines pass.

mod life;
mod limits;
mod output;
mod script;

use std::{
    fs::File,
    io,
    ops::ControlFlow::{self, Break, Continue},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use rustix::process::setsid;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    life::{Held, NotMade},
    output::Printer,
    script::Ran,
};
use super::{
    TICK_MS,
    protocol::{Command, Container, EndReason, Status},
    say, share_lock,
};
use crate::{
    clock::boot_millis,
    engine::{Engine, PATIENCE},
};

/// How long the making of a container is waited for that nobody wants any more, before it is removed all the same: longer
/// than it waits for its engine.
const MAKING_PATIENCE: Duration = PATIENCE.saturating_add(Duration::from_secs(5));

/// Serves one job with containers of the engine at `socket`.
pub(super) fn main(socket: PathBuf) -> ExitCode {
    let served = || -> Result<(), String> {
        let _ = setsid();
        let lock = share_lock()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the guard's runtime could not be started: {error}"))?;
        runtime.block_on(async {
            let guard = Guard::start(lock, Engine::new(socket))
                .map_err(|error| format!("the guard's pipes cannot be used: {error}"))?;
            say(&Status::Ready {});
            guard.run().await;
            Ok(())
        })
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&Status::Refused { reason });
            ExitCode::FAILURE
        }
    }
}

struct Guard {
    _lock: File,
    engine: Engine,
    commands: Lines<BufReader<pipe::Receiver>>,
    /// On the boot clock. None until the job begins.
    deadline: Option<u64>,
    /// On the boot clock: when `terminate` stops asking.
    kill_at: Option<u64>,
    /// From when it was asked for.
    container: Option<Container>,
    /// Once it runs.
    held: Option<Box<Held>>,
    /// The engine may make the container after it was removed.
    may_come: bool,
    /// No process is started in a container any more.
    stop: CancellationToken,
    /// What was asked for and has not been answered.
    work: Option<JoinHandle<Done>>,
    /// Asks all processes to end; it ends when none is left.
    emptying: Option<JoinHandle<()>>,
    is_empty: bool,
}

/// The answer to a command.
enum Done {
    Made(Result<Box<Held>, NotMade>),
    Ran(Result<Ran, String>),
}

impl Guard {
    fn start(lock: File, engine: Engine) -> io::Result<Self> {
        let commands = pipe::Receiver::from_owned_fd(rustix::io::dup(rustix::stdio::stdin())?)?;
        Ok(Self {
            _lock: lock,
            engine,
            commands: BufReader::new(commands).lines(),
            deadline: None,
            kill_at: None,
            container: None,
            held: None,
            may_come: false,
            stop: CancellationToken::new(),
            work: None,
            emptying: None,
            is_empty: false,
        })
    }

    async fn run(mut self) {
        let why = loop {
            if let Break(why) = self.turn().await {
                break why;
            }
        };
        let left = self.end().await.err();
        say(&Status::Ended { why, left });
    }

    /// Waits for something to happen and does what it asks.
    async fn turn(&mut self) -> ControlFlow<EndReason> {
        let now = boot_millis();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Break(EndReason::Deadline);
        }
        // Whoever runs when all others have gone is told of first.
        if self.kill_at.is_some_and(|at| at <= now) || (self.is_empty && self.work.is_none()) {
            return Break(EndReason::Told);
        }
        let next = [self.deadline, self.kill_at].into_iter().flatten().min();
        // No longer: the runtime's clock counts no sleep of the machine, deadlines do.
        let wait = next.map_or(TICK_MS, |next| next.saturating_sub(now).min(TICK_MS));
        tokio::select! {
            line = self.commands.next_line() => match line.ok().flatten().map(|line| serde_json::from_str(&line)) {
                Some(Ok(command)) => self.obey(command),
                // The executor is gone, or the pipe is not its own.
                None | Some(Err(_)) => Break(EndReason::Orphaned),
            },
            done = finished(&mut self.work) => {
                self.work = None;
                self.tell(done.unwrap_or_else(|| Done::Ran(Err("the guard's work broke off".to_owned()))));
                Continue(())
            }
            _ = finished(&mut self.emptying) => {
                (self.emptying, self.is_empty) = (None, true);
                Continue(())
            }
            () = tokio::time::sleep(Duration::from_millis(wait)) => Continue(()),
        }
    }

    fn obey(&mut self, command: Command) -> ControlFlow<EndReason> {
        match command {
            Command::Extend { until_ms } => self.deadline = Some(until_ms),
            // They came with the container: what this process may use is nobody's concern.
            Command::Limit { .. } => {}
            Command::Contain { container } => {
                match (self.refusal(self.container.is_some()), Printer::new(&container.output)) {
                    (None, Ok(printer)) => {
                        self.container = Some(container.clone());
                        let (engine, stop) = (self.engine.clone(), self.stop.clone());
                        self.work = Some(tokio::spawn(async move {
                            Done::Made(life::make(&engine, container, printer, &stop).await.map(Box::new))
                        }));
                    }
                    (Some(reason), _) | (None, Err(reason)) => say(&Status::NotStarted { reason }),
                }
            }
            Command::Start { script, cwd, env, stderr } => match (&self.held, self.refusal(false)) {
                (Some(held), None) => {
                    let (engine, container, printer) =
                        (self.engine.clone(), held.container.clone(), held.printer.clone());
                    self.work = Some(tokio::spawn(async move {
                        let stderr = stderr.as_deref();
                        Done::Ran(script::run(&engine, &container, &script, &cwd, &env, stderr, &printer).await)
                    }));
                }
                (None, None) => say(&Status::NotStarted { reason: "the job has no container".to_owned() }),
                (_, Some(reason)) => say(&Status::NotStarted { reason }),
            },
            Command::Terminate { kill_after_ms } => {
                self.kill_at = Some(boot_millis().saturating_add(kill_after_ms));
                let Some(held) = &self.held else { return Break(EndReason::Told) };
                let (engine, name) = (self.engine.clone(), held.container.name.clone());
                self.emptying = Some(tokio::spawn(async move { script::empty(&engine, &name).await }));
            }
            Command::End {} => return Break(EndReason::Told),
        }
        Continue(())
    }

    /// Why nothing is begun now, if so.
    fn refusal(&self, is_again: bool) -> Option<String> {
        if self.work.is_some() || self.kill_at.is_some() || is_again {
            return Some("another step still runs".to_owned());
        }
        let is_over = self.deadline.is_none_or(|deadline| deadline <= boot_millis());
        is_over.then(|| "the lease of the job has run out".to_owned())
    }

    fn tell(&mut self, done: Done) {
        match done {
            Done::Made(Ok(held)) => {
                self.held = Some(held);
                say(&Status::Exited { code: Some(0), signal: None, limit: None });
            }
            Done::Ran(Ok(Ran { code, limit })) => {
                let limit = limit
                    .or_else(|| self.container.as_ref().and_then(|container| script::reached(container.limits, code)));
                say(&Status::Exited { code: Some(code), signal: None, limit });
            }
            Done::Made(Err(NotMade { reason, may_come })) => {
                self.may_come = may_come;
                say(&Status::NotStarted { reason });
            }
            Done::Ran(Err(reason)) => say(&Status::NotStarted { reason }),
        }
    }

    /// Ends every process of the job, and takes its container away.
    ///
    /// # Errors
    /// What is left; one sentence.
    async fn end(&mut self) -> Result<(), String> {
        self.stop.cancel();
        let Some(container) = &self.container else { return Ok(()) };
        if let Some(emptying) = self.emptying.take() {
            emptying.abort();
        }
        match (self.work.take(), &self.held) {
            (Some(work), Some(_)) => work.abort(),
            // What asked for it must not leave it to be made after it was removed.
            (Some(mut making), None) => match tokio::time::timeout(MAKING_PATIENCE, &mut making).await {
                Ok(Ok(Done::Made(made))) => self.may_come = made.is_err_and(|not_made| not_made.may_come),
                Ok(_) => {}
                Err(_) => self.may_come = true,
            },
            (None, _) => {}
        }
        // The first process ends with it, also where the engine takes its time.
        self.held = None;
        self.engine.remove(&container.name).await?;
        let name = &container.name;
        let is_left =
            || format!("the container {name} may be made yet: its engine did not answer when it was asked for it");
        self.may_come.then(is_left).map_or(Ok(()), Err)
    }
}

/// Waits for the end of a task, for ever where there is none. None where it panicked.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
