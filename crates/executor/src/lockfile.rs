//! Two locks in the work directory. `executor.lock` is held by the executor for its life, so no two share a directory.
//! `guards.lock` is shared by all guards for theirs; an executor that starts takes it exclusively for a moment, and knows
//! then that every step of its former incarnation has ended.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::ExecutorError;

/// Between two tries for a lock.
const RETRY: Duration = Duration::from_millis(10);
/// How long an executor that just died may keep its lock. A running one keeps it for longer.
const OWN_PATIENCE: Duration = Duration::from_secs(3);

/// Takes the work directory for this process, for as long as the file is kept.
pub(crate) async fn own(work_dir: &Path) -> Result<File, ExecutorError> {
    let path = work_dir.join("executor.lock");
    let lock = open(&path)?;
    match tokio::time::timeout(OWN_PATIENCE, exclusive(&lock, &path)).await {
        Ok(locked) => locked.map(|()| lock),
        Err(_) => Err(ExecutorError::InUse(work_dir.to_owned())),
    }
}

/// Where guards share their lock.
pub(crate) fn of_guards(work_dir: &Path) -> PathBuf {
    work_dir.join("guards.lock")
}

/// Waits until no guard is left that another process started. It may take a minute where a step cannot be killed: so
/// long does a guard wait for it.
pub(crate) async fn former_guards_gone(work_dir: &Path) -> Result<(), ExecutorError> {
    let path = of_guards(work_dir);
    let lock = open(&path)?;
    exclusive(&lock, &path).await
    // Closing the file gives the lock back, before any guard of ours wants its share.
}

async fn exclusive(lock: &File, path: &Path) -> Result<(), ExecutorError> {
    let mut waits = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(ExecutorError::WorkDir(path.to_owned(), error)),
        }
        if !waits {
            waits = true;
            tracing::info!(lock = %path.display(), "waiting until what a former executor left has ended");
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn open(path: &Path) -> Result<File, ExecutorError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path);
    opened.map_err(|error| ExecutorError::WorkDir(path.to_owned(), error))
}
