//! The file with the keys for secrets: read as a whole, and written so that all see the new text at once or not at all.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use vault::{KEYS_BYTES_MAX, Keyring, Zeroizing};

use super::secrets_key::MAKE;

/// Stands above the keys.
const HEAD: &str = "# Keys that Stepcast encrypts secrets with, the newest first. Keep a copy apart from backups.\n";
/// Who may read and write a file, in its mode.
const PERMISSIONS: u32 = 0o777;

/// A file with keys that nobody else adds one to, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// The file itself, whatever links lead to it.
    path: PathBuf,
    /// Of its folder: the file is replaced by another one, and a lock of its own would go with it.
    _lock: fs::File,
}

impl KeyFile {
    /// Of the file that this path leads to.
    ///
    /// # Errors
    /// One sentence, when it is not there or another process adds a key to it.
    pub(crate) fn lock(path: &Path) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|failure| not_read(path, &failure))?;
        let folder = fs::File::open(folder_of(&path)).map_err(|failure| not_read(&path, &failure))?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { path, _lock: folder }),
            Err(fs::TryLockError::WouldBlock) => Err(format!(
                "another `stepcast secret rotate` works on the secrets key {}: wait until it has ended, then look whether this one is \
                 needed still",
                path.display()
            )),
            Err(fs::TryLockError::Error(failure)) => {
                Err(format!("the folder of the secrets key {} cannot be locked: {failure}", path.display()))
            }
        }
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) fn keyring(&self) -> Result<Keyring, String> {
        read(&self.path)
    }

    /// Puts a new key in front of those that are there. The file stays where it is and whose it is.
    ///
    /// # Errors
    /// When it cannot be written, or not for its owner; then nothing has changed.
    pub(crate) fn add(&self) -> Result<Keyring, String> {
        let former = self.keyring()?;
        let key = Keyring::new_key().map_err(|error| error.to_string())?;
        let text = Zeroizing::new(format!("{HEAD}{}\n{}", *key, *former.text()));
        let shown = self.path.display();
        let failed = |failure: io::Error| format!("the secrets key {shown} cannot be written: {failure}");
        let draft = Draft::new(&self.path).map_err(failed)?;
        let (meta, own) = (fs::metadata(&self.path).map_err(failed)?, draft.file.metadata().map_err(failed)?);
        let (user, group) = (meta.uid(), meta.gid());
        if (user, group) != (own.uid(), own.gid()) {
            fchown(&draft.file, Some(user), Some(group)).map_err(|failure| {
                format!(
                    "the secrets key {shown} belongs to user {user} and group {group}, and a new one cannot be given to them \
                     ({failure}): run this as that user, or as root"
                )
            })?;
        }
        let mode = fs::Permissions::from_mode(meta.mode() & PERMISSIONS);
        draft.file.set_permissions(mode).map_err(failed)?;
        draft.write(&text, |draft| fs::rename(draft, &self.path)).map_err(failed)?;
        self.keyring()
    }
}

/// The keys in a file.
///
/// # Errors
/// One sentence that says what is missing, and never what is there.
pub(super) fn read(path: &Path) -> Result<Keyring, String> {
    let mut text = Zeroizing::new(String::new());
    let file = fs::File::open(path).map_err(|failure| not_read(path, &failure))?;
    file.take(KEYS_BYTES_MAX).read_to_string(&mut text).map_err(|failure| not_read(path, &failure))?;
    Keyring::parse(&text).map_err(|wrong| format!("{} is no secrets key: {wrong}", path.display()))
}

/// Makes a file with one new key, for its owner alone, if none is there.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when one is there; else when it cannot be written.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let key = Keyring::new_key().map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{HEAD}{}\n", *key));
    // Unlike a rename, a link never takes the place of what is there.
    Draft::new(path)?.write(&text, |draft| fs::hard_link(draft, path))
}

fn not_read(path: &Path, failure: &io::Error) -> String {
    let shown = path.display();
    match failure.kind() {
        io::ErrorKind::NotFound => format!(
            "the secrets key {shown} is not there: put it back, or if it is lost, set the secrets again; {MAKE}"
        ),
        _ => format!("the secrets key {shown} cannot be read: {failure}"),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file beside the one that it is for, gone when this is dropped unless it took that one's place.
struct Draft<'p> {
    folder: &'p Path,
    path: PathBuf,
    file: fs::File,
}

impl<'p> Draft<'p> {
    /// For its owner alone, and empty.
    fn new(beside: &'p Path) -> io::Result<Self> {
        let folder = folder_of(beside);
        let path = folder.join(format!("draft-{}", uuid::Uuid::new_v4().simple()));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { folder, path, file })
    }

    /// Writes it, and lets `place` put it where it belongs once the disk has it.
    fn write(mut self, text: &str, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        place(&self.path)?;
        fs::File::open(self.folder)?.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.path.display(), %failure, "a copy of the secrets key cannot be removed: remove it");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// A file with a key.
    fn made(folder: &Path) -> PathBuf {
        let path = folder.join("secrets.key");
        make(&path).unwrap();
        path
    }

    #[test]
    fn a_new_key_stands_before_the_former_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path());
        let former = read(&path).unwrap();
        let both = KeyFile::lock(&path).unwrap().add().unwrap();
        assert_eq!(both.ids().count(), 2);
        assert_ne!(both.newest(), former.newest());
        assert_eq!(read(&path).unwrap().newest(), both.newest());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_to_the_file_stays_one_and_leads_to_the_new_key() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, link) = (made(elsewhere.path()), folder.path().join("link"));
        symlink(&path, &link).unwrap();
        let both = KeyFile::lock(&link).unwrap().add().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(read(&path).unwrap().newest(), both.newest());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_stays_its_owners_and_may_be_read_by_whom_it_might() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away; for another user its own must do.
        let owner = if chown(&path, Some(4_321), Some(1_234)).is_ok() {
            (4_321, 1_234)
        } else {
            let meta = fs::metadata(&path).unwrap();
            (meta.uid(), meta.gid())
        };
        KeyFile::lock(&path).unwrap().add().unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & PERMISSIONS), (owner.0, owner.1, 0o640));
    }

    #[test]
    fn of_two_that_would_add_a_key_the_second_is_refused_and_both_keys_are_there_when_it_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path());
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let first = KeyFile::lock(&path).unwrap();
        for other in [&path, &link] {
            let sentence = KeyFile::lock(other).unwrap_err();
            assert!(sentence.contains("another `stepcast secret rotate`"), "{sentence}");
        }
        let added = first.add().unwrap();
        drop(first);
        let both = KeyFile::lock(&link).unwrap().add().unwrap();
        assert_eq!((both.ids().count(), both.ids().nth(1)), (3, Some(added.newest())));
    }
}
