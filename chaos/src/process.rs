//! A process of the run and who looks after it: started, struck by its own process id, started again. Which processes there
//! are is in `cast.rs`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{Explain as _, Failure, Result},
    ledger::Ledger,
    schedule::Kind,
};

/// What ended by itself is started again after this time, as a service manager does.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often a port is tried.
const PORT_AGAIN: Duration = Duration::from_millis(50);

/// How it says that it is there.
pub(crate) enum Sign {
    /// By a line on its standard output that begins so.
    Line(&'static str),
    /// By taking connections at this address.
    Port(String),
}

/// How to start it.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) sign: Sign,
    /// It is a tree of processes that is struck as one; else its children live by rules of their own.
    pub(crate) is_tree: bool,
}

/// See the module.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    log: PathBuf,
    launch: Launch,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    pid: Option<u32>,
    /// When it was killed, until it is back.
    killed: Option<Instant>,
    back_after: Duration,
}

impl Process {
    pub(crate) fn new(name: &str, kind: Kind, folder: &Path, launch: Launch, ledger: Arc<Ledger>) -> Arc<Self> {
        let log = folder.join(format!("{name}.log"));
        let (state, ready) = (Mutex::default(), watch::Sender::new(false));
        Arc::new(Self { name: name.to_owned(), kind, log, launch, ledger, state, ready })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, again and again, until `end`.
    pub(crate) async fn keep(self: Arc<Self>, end: CancellationToken) {
        while !end.is_cancelled() {
            let mut child = match self.spawn() {
                Ok(child) => child,
                Err(failure) => {
                    self.ledger.broken(&failure.to_string());
                    return;
                }
            };
            self.state().pid = child.id();
            let sign = tokio::spawn(Arc::clone(&self).await_sign(child.stdout.take()));
            let status = tokio::select! {
                status = child.wait() => status,
                () = end.cancelled() => {
                    self.signal(Signal::KILL);
                    let _ = child.wait().await; // Killed: there is no other end.
                    sign.abort();
                    return;
                }
            };
            sign.abort();
            let was_ready = self.ready.send_replace(false);
            let wait = {
                let mut state = self.state();
                state.pid = None;
                if state.killed.is_some() { std::mem::take(&mut state.back_after) } else { AGAIN_AFTER }
            };
            if wait == AGAIN_AFTER {
                let how = status.map_or_else(|failure| failure.to_string(), |status| status.to_string());
                let when = if was_ready { "while it ran" } else { "while it started" };
                self.ledger.count(format!("{} ended by itself {when}", self.kind.name()));
                self.ledger.note(&format!("{} ended by itself {when}: {how}", self.name));
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn spawn(&self) -> Result<Child> {
        let log = || File::options().create(true).append(true).open(&self.log);
        let log = || log().explain(|| format!("{} cannot be written", self.log.display()));
        let stdout = match self.launch.sign {
            Sign::Line(_) => Stdio::piped(),
            Sign::Port(_) => Stdio::from(log()?),
        };
        // What is started here ends with this program, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.launch.program).args(&self.launch.arguments);
        command.envs(self.launch.environment.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(stdout).stderr(log()?).kill_on_drop(true);
        command.spawn().explain(|| format!("{} cannot be started", self.launch.program.display()))
    }

    async fn await_sign(self: Arc<Self>, stdout: Option<tokio::process::ChildStdout>) {
        match (&self.launch.sign, stdout) {
            (Sign::Line(begin), Some(stdout)) => {
                let mut lines = BufReader::new(stdout).lines();
                // Read on after the sign: a full pipe must not stop it.
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with(begin) {
                        self.is_there();
                    }
                }
            }
            (Sign::Port(address), _) => {
                while TcpStream::connect(address).await.is_err() {
                    tokio::time::sleep(PORT_AGAIN).await;
                }
                self.is_there();
            }
            (Sign::Line(_), None) => {}
        }
    }

    fn is_there(&self) {
        let killed = self.state().killed.take();
        if let Some(killed) = killed {
            self.ledger.recovered(self.kind.name(), killed.elapsed());
        }
        self.ledger.note(&format!("{} is there", self.name));
        self.ready.send_replace(true);
    }

    /// Waits until it is there.
    pub(crate) async fn until_there(&self, patience: Duration) -> Result<()> {
        let mut ready = self.ready.subscribe();
        match tokio::time::timeout(patience, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure(format!("{} is not there in time; {} says why", self.name, self.log.display()))),
        }
    }

    /// kill -9; it is started again after this time.
    pub(crate) fn kill(&self, back_after: Duration) {
        {
            let mut state = self.state();
            state.killed.get_or_insert_with(Instant::now);
            // Told apart from an end of its own.
            state.back_after = if back_after == AGAIN_AFTER { AGAIN_AFTER * 2 } else { back_after };
        }
        self.signal(Signal::KILL);
    }

    /// To the process, or to all of its tree.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = self.state().pid else { return };
        let mut pids = vec![pid];
        if self.launch.is_tree {
            let mut at = 0;
            while let Some(parent) = pids.get(at).copied() {
                pids.extend(children(parent));
                at += 1;
            }
        }
        for pid in pids {
            // It may have ended this moment.
            let _ = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, signal));
        }
    }

    /// The lines of its log that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.contains("panicked at")).map(|line| format!("{}: {line}", self.name)).collect()
    }
}

/// The children of a process, by `/proc`.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}
