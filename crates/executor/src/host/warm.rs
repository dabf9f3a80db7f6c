//! Which guard a job gets: the one that is kept warm for it, with its directories made and, where jobs run in sandboxes, with
//! its sandbox around it; or its own, where it asks for what the warm one does not have.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Guard, Start,
    groups::Groups,
    sandbox::{self, Sandbox},
};
use crate::workspace::Workspace;

/// What a job hears that must not use the network where nothing keeps it from that.
const NO_SANDBOX: &str = "the job says `network: false`, but this executor runs steps without a sandbox, so nothing could keep \
                          them from the network: run it where `serve --isolation sandbox` works, or without that key";

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
    warm: Mutex<Option<Guard>>,
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
        Self { program, lock, files, jobs_dir, next: AtomicU64::new(1), sandbox, groups, warm: Mutex::new(None) }
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
            return self.start(false).await;
        }
        let warm = self.warm().take();
        if let Some(mut guard) = warm {
            if guard.is_alive() {
                return Ok(guard);
            }
            guard.gone().await;
        }
        self.start(true).await
    }

    /// Starts one. `network`: whether its steps may use it.
    ///
    /// # Errors
    /// As [`Guards::take`].
    pub(crate) async fn start(&self, network: bool) -> Result<Guard, String> {
        if !network && self.sandbox.is_none() {
            return Err(NO_SANDBOX.to_owned());
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
        let started = Guard::start(start, workspace.clone(), group).await;
        if started.is_err() {
            let _ = tokio::task::spawn_blocking(move || workspace.remove()).await;
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
        Guard::start(start, workspace, None).await
    }

    /// Makes sure that one is warm.
    pub(crate) async fn warm_up(self: Arc<Self>) {
        if self.warm().is_some() {
            return;
        }
        match self.start(true).await {
            Ok(guard) => {
                // Another one may have been quicker.
                let former = self.warm().replace(guard);
                if let Some(former) = former {
                    former.gone().await;
                }
            }
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
