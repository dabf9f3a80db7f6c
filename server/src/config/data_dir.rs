//! What is made once and kept in the data folder: the instance's name, the installation key, the executor's id. The
//! database and the artifacts live there too; their own crates read them.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;
use wire::{ExecutorId, mac::InstallationKey, task::ExecutorSecret};

/// A data folder that exists and can be written.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Makes the folder if it is not there, for its owner alone.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|failure| {
            format!("the data folder {} cannot be made: {failure}; name another one by --data-dir", path.display())
        })?;
        let path = path.canonicalize().map_err(|failure| format!("{}: {failure}", path.display()))?;
        Ok(Self { path })
    }

    /// The folder of a running installation; an error if there is none.
    pub(crate) fn existing(path: &Path) -> Result<Self, String> {
        let data_dir = Self { path: path.to_owned() };
        if data_dir.database().is_file() {
            Ok(data_dir)
        } else {
            Err(format!(
                "{} holds no Stepcast database: start `stepcast serve` first, or name its --data-dir",
                path.display()
            ))
        }
    }

    /// A folder by its name, there or not.
    pub(crate) fn named(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("stepcast.db")
    }

    /// Where artifacts are kept.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// The small files that are made once, by name: whoever has them is this installation.
    pub(crate) const KEPT: [&str; 5] = ["installation-key", "instance", "executor", "executor-secret", "holder"];

    /// Where jobs run.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The instance's name: 8 letters and digits, made once.
    pub(crate) fn instance(&self) -> Result<String, String> {
        let text = self.kept("instance", || Ok(Uuid::new_v4().simple().to_string()[..8].to_owned()))?;
        let name = text.trim();
        if wire::id::is_instance(name) {
            Ok(name.to_owned())
        } else {
            Err(format!("{} must hold letters, digits and `_` only", self.path.join("instance").display()))
        }
    }

    /// Whether an executor was ever started with it.
    pub(crate) fn has_executor(&self) -> bool {
        self.path.join("executor").is_file()
    }

    /// The executor's id, made once.
    pub(crate) fn executor_id(&self) -> Result<ExecutorId, String> {
        let text = self.kept("executor", || Ok(Uuid::new_v4().to_string()))?;
        text.trim().parse().map_err(|_| format!("{} must hold a UUID", self.path.join("executor").display()))
    }

    /// What the executor shows that it is the one of this id, made once.
    pub(crate) fn executor_secret(&self) -> Result<ExecutorSecret, String> {
        let text = self.kept("executor-secret", || Ok(crate::secret::hex(&crate::secret::random()?)))?;
        let secret = text.trim().to_owned().try_into();
        secret.map_err(|wrong: String| format!("{}: {wrong}", self.path.join("executor-secret").display()))
    }

    /// Who this process is where turns are taken, made once: after a restart it goes on with what it held.
    pub(crate) fn holder(&self) -> Result<Uuid, String> {
        let text = self.kept("holder", || Ok(Uuid::new_v4().to_string()))?;
        text.trim().parse().map_err(|_| format!("{} must hold a UUID", self.path.join("holder").display()))
    }

    /// Makes the folder this process's own until it ends, however it ends.
    pub(crate) fn own(&self) -> Result<fs::File, String> {
        let path = self.path.join("serve.lock");
        let opened = fs::OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|failure| format!("{} cannot be opened: {failure}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(format!(
                "the data folder {} is used by another process: give each its own by --data-dir",
                self.path.display()
            )),
            Err(fs::TryLockError::Error(failure)) => Err(format!("{} cannot be locked: {failure}", path.display())),
        }
    }

    /// The installation key: 32 random bytes as hex, made once.
    pub(crate) fn installation_key(&self) -> Result<InstallationKey, String> {
        let text = self.kept("installation-key", || Ok(crate::secret::hex(&crate::secret::random()?)))?;
        let wrong = || format!("{} must hold 64 hexadecimal digits", self.path.join("installation-key").display());
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(InstallationKey(key))
    }

    /// A small file, made with `make` if it is not there. Only its owner may read it.
    fn kept(&self, name: &str, make: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
            Err(failure) => return Err(format!("{} cannot be read: {failure}", path.display())),
        }
        let text = make()?;
        let failed = |failure: io::Error| format!("{} cannot be written: {failure}", path.display());
        match self.write_whole(&path, &text) {
            Ok(()) => Ok(text),
            // Another process made it a moment ago: its text is the one that counts.
            Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(&path).map_err(failed),
            Err(failure) => Err(failed(failure)),
        }
    }

    /// Makes a file that is there with its whole text or not at all, whatever happens meanwhile.
    fn write_whole(&self, path: &Path, text: &str) -> io::Result<()> {
        let draft = self.path.join(format!("draft-{}", Uuid::new_v4().simple()));
        let written = (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link never takes the place of what is there.
            fs::hard_link(&draft, path)?;
            fs::File::open(&self.path)?.sync_all()
        })();
        let removed = fs::remove_file(&draft);
        written.and(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_once_is_the_same_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(&folder.path().join("data")).unwrap();
        let (instance, executor, key) =
            (first.instance().unwrap(), first.executor_id().unwrap(), first.installation_key().unwrap());
        let again = DataDir::open(&folder.path().join("data")).unwrap();
        assert_eq!(again.instance().unwrap(), instance);
        assert_eq!(again.executor_id().unwrap(), executor);
        assert_eq!(again.installation_key().unwrap().0, key.0);
    }

    #[test]
    fn a_broken_key_is_told_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("installation-key"), "short").unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        assert!(data_dir.installation_key().unwrap_err().contains("64 hexadecimal digits"));
        assert_eq!(fs::read_to_string(folder.path().join("installation-key")).unwrap(), "short");
    }
}
