//! Which guard a job gets: the one that is kept warm for it, with its directories made and, where jobs run in sandboxes, with
//! its sandbox around it; or its own, where it asks for what the warm one does not have.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Guard, NoGuard, Start,
    groups::Groups,
    sandbox::{self, Sandbox},
};
use crate::workspace::Workspace;

/// What a job hears that must not use the network where nothing keeps it from that.
const NO_SANDBOX: &str = "the job says `network: false`, but this executor runs steps without a sandbox, so nothing could keep \
                          them from the network: run it where `serve --isolation sandbox` works, or without that key";

/// How long a job's steps run before the next one's guard is begun beside them.
const WARM_UP_AFTER: Duration = Duration::from_millis(50);

/// Starts guards, and keeps one warm: it needs nothing of its job before the first command, so a job that comes
/// finds it ready.
pub(crate) struct Guards {
    program: PathBuf,
    lock: PathBuf,
    /// The limit of open files that steps have.
    files: Option<u64>,
    /// Where directories of attempts are made, by number.
    jobs_dir: PathBuf,
    next: AtomicU64,
    /// None: guards run plain.
    sandbox: Option<Sandbox>,
    groups: Option<Groups>,
    // A std mutex: held to take or to put, never across an await.
    warm: Mutex<Warm>,
}

/// The guard that is kept warm.
#[derive(Default)]
enum Warm {
    /// There is none.
    #[default]
    Cold,
    /// One gets ready. At most one job waits for it, others start their own.
    Making(Option<oneshot::Sender<Guard>>),
    /// It waits for a job.
    Ready(Box<Guard>),
}

impl Warm {
    /// The one that waits, if one does.
    fn take(&mut self) -> Option<Guard> {
        match std::mem::take(self) {
            Self::Ready(guard) => Some(*guard),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// One that gets ready. Whatever becomes of that, the next one may be begun when this is dropped.
struct Making<'a>(&'a Guards);

impl Making<'_> {
    /// It is ready: for the job that waits, or to be kept.
    fn done(self, guard: Guard) {
        let mut warm = self.0.warm();
        let taker = if let Warm::Making(taker) = &mut *warm { taker.take() } else { None };
        // A job that has gone meanwhile leaves it to the next one.
        let left = match taker {
            Some(taker) => taker.send(guard).err(),
            None => Some(guard),
        };
        if let Some(guard) = left {
            *warm = Warm::Ready(Box::new(guard));
        }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut warm = self.0.warm();
        if matches!(*warm, Warm::Making(_)) {
            *warm = Warm::Cold; // Who waits hears of it, and starts its own.
        }
    }
}

impl Guards {
    pub(crate) fn new(
        program: PathBuf,
        lock: PathBuf,
        files: Option<u64>,
        jobs_dir: PathBuf,
        sandbox: Option<Sandbox>,
        groups: Option<Groups>,
    ) -> Self {
        Self { program, lock, files, jobs_dir, next: AtomicU64::new(1), sandbox, groups, warm: Mutex::default() }
    }

    /// What steps run in; none where they run plain.
    pub(crate) fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// A guard that is ready.
    ///
    /// # Errors
    /// When none can be started, or none that keeps its steps from the network though it must; the sentence says why.
    pub(crate) async fn take(&self, network: bool) -> Result<Guard, String> {
        if !network {
            return self.start(false).await.map_err(NoGuard::into_reason);
        }
        if let Some(mut guard) = self.take_warm().await {
            if guard.is_alive() {
                return Ok(guard);
            }
            guard.gone().await;
        }
        self.start(true).await.map_err(NoGuard::into_reason)
    }

    /// The warm one, also where it is still getting ready: that takes less than a new one would.
    async fn take_warm(&self) -> Option<Guard> {
        let ready = {
            let mut warm = self.warm();
            match &mut *warm {
                Warm::Making(taker) if taker.as_ref().is_none_or(oneshot::Sender::is_closed) => {
                    let (sender, ready) = oneshot::channel();
                    *taker = Some(sender);
                    ready
                }
                Warm::Ready(_) => return warm.take(),
                Warm::Making(_) | Warm::Cold => return None,
            }
        };
        ready.await.ok()
    }

    /// Starts one. `network`: whether its steps may use it.
    ///
    /// # Errors
    /// As [`Guards::take`].
    pub(crate) async fn start(&self, network: bool) -> Result<Guard, NoGuard> {
        if !network && self.sandbox.is_none() {
            return Err(NO_SANDBOX.to_owned().into());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (jobs_dir, sandbox, groups) = (self.jobs_dir.clone(), self.sandbox.clone(), self.groups.clone());
        let (program, lock) = (self.program.clone(), self.lock.clone());
        let user = sandbox.as_ref().and_then(Sandbox::account);
        let prepare = move || -> Result<_, String> {
            let workspace = Workspace::make(&jobs_dir, number, user)?;
            let words = match &sandbox {
                None => vec![OsString::from(&program), "guard".into()],
                Some(sandbox) => {
                    sandbox.furnish(&workspace).inspect_err(|_| workspace.remove())?;
                    sandbox.command(&program, &lock, &workspace, network)
                }
            };
            let group = groups.map(|groups| groups.make(number)).transpose().inspect_err(|_| workspace.remove())?;
            Ok((workspace, words, group))
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let (workspace, words, group) = prepared.map_err(|panic| format!("the guard was not prepared: {panic}"))??;
        let lock = if self.sandbox.is_some() { Path::new(sandbox::LOCK) } else { &self.lock };
        let user = user.map(|account| account.id);
        let start = Start { words: &words, program: &self.program, lock, files: self.files, user, engine: None };
        let started = Guard::start(start, workspace.clone(), group.clone()).await;
        if started.is_err() {
            let remove = move || {
                // With what is left of the program in it: its folders are free then.
                if let Some(group) = group {
                    group.remove();
                }
                workspace.remove();
            };
            let _ = tokio::task::spawn_blocking(remove).await;
        }
        started
    }

    /// A guard whose steps run in containers of an engine, over directories that are there. It is plain itself: it starts no
    /// program.
    ///
    /// # Errors
    /// When none can be started; one sentence.
    pub(crate) async fn of_container(&self, engine: &Path, workspace: Workspace) -> Result<Guard, String> {
        let words = [OsString::from(&self.program), "guard".into()];
        let (program, lock) = (&*self.program, &*self.lock);
        let start = Start { words: &words, program, lock, files: None, user: None, engine: Some(engine) };
        Guard::start(start, workspace, None).await.map_err(NoGuard::into_reason)
    }

    /// Makes sure that one is warm. Where one is, or gets ready, nothing is done.
    pub(crate) async fn warm_up(self: Arc<Self>) {
        let making = {
            let mut warm = self.warm();
            if !matches!(*warm, Warm::Cold) {
                return;
            }
            *warm = Warm::Making(None);
            Making(&self)
        };
        match self.start(true).await {
            Ok(guard) => making.done(guard),
            Err(no_guard) => {
                tracing::warn!(
                    reason = no_guard.into_reason(),
                    "no guard could be kept warm; the next job starts its own"
                );
            }
        }
    }

    /// As [`Guards::warm_up`], once the steps of a job have ended or have run for a while: what it takes they would miss.
    pub(crate) async fn warm_up_after(self: Arc<Self>, steps_ended: CancellationToken) {
        let _ = tokio::time::timeout(WARM_UP_AFTER, steps_ended.cancelled()).await;
        self.warm_up().await;
    }

    /// Lets the warm one go.
    pub(crate) async fn cool_down(&self) {
        let warm = self.warm().take();
        if let Some(guard) = warm {
            guard.gone().await;
        }
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, Warm> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards of a program that notes its start, and is ready when it may be opened: a named pipe holds it up.
    struct Slow {
        folder: tempfile::TempDir,
        guards: Arc<Guards>,
    }

    impl Slow {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let text = format!(
                "#!/bin/bash\ncd '{}'\necho started >> starts\nread -r go < gate\necho '{{\"is\":\"ready\"}}'\nread -r end\n",
                folder.path().display()
            );
            // By another process: one that another test begins at that moment would have it open to write, and the system
            // then runs it for nobody ("text file busy").
            let mut write = std::process::Command::new("sh");
            write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(at("guard")).arg(text);
            assert!(write.status().unwrap().success());
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, at("gate"), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
            let guards = Guards::new(at("guard"), at("lock"), None, at("jobs"), None, None);
            Self { guards: Arc::new(guards), folder }
        }

        fn starts(&self) -> usize {
            std::fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default().lines().count()
        }

        /// Lets one that holds at the gate go on.
        async fn open(&self) {
            let gate = self.folder.path().join("gate");
            tokio::task::spawn_blocking(move || std::fs::write(gate, "go\n").unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_job_that_comes_while_a_guard_gets_ready_has_that_one_and_no_second_is_begun() {
        let slow = Slow::new();
        let warming = tokio::spawn(Arc::clone(&slow.guards).warm_up());
        while !matches!(*slow.guards.warm(), Warm::Making(None)) {
            tokio::task::yield_now().await;
        }
        // Beside it nothing is begun.
        Arc::clone(&slow.guards).warm_up().await;
        let guards = Arc::clone(&slow.guards);
        let job = tokio::spawn(async move { guards.take(true).await });
        while !matches!(*slow.guards.warm(), Warm::Making(Some(_))) {
            tokio::task::yield_now().await;
        }
        slow.open().await;
        let mut guard = job.await.unwrap().unwrap();
        warming.await.unwrap();
        assert!(guard.is_alive());
        assert_eq!(slow.starts(), 1);
        guard.gone().await;
        // A job that has gone leaves it to the next one.
        let warming = tokio::spawn(Arc::clone(&slow.guards).warm_up());
        while !matches!(*slow.guards.warm(), Warm::Making(None)) {
            tokio::task::yield_now().await;
        }
        let guards = Arc::clone(&slow.guards);
        let gone = tokio::spawn(async move { guards.take_warm().await });
        while !matches!(*slow.guards.warm(), Warm::Making(Some(_))) {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        slow.open().await;
        warming.await.unwrap();
        slow.guards.take(true).await.unwrap().gone().await;
        assert_eq!(slow.starts(), 2);
    }

    #[tokio::test]
    async fn a_guard_that_cannot_get_ready_holds_nobody_up() {
        let guards = Arc::new(Guards::new("/nowhere".into(), "/lock".into(), None, "/proc/none".into(), None, None));
        Arc::clone(&guards).warm_up().await;
        assert!(matches!(*guards.warm(), Warm::Cold));
        assert!(guards.take(true).await.is_err());
    }
}
