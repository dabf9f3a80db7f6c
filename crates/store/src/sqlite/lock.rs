//! The lock file beside the database: one process at a time. The kernel lets go of it when the process ends, so a lock
//! is never left behind by a kill.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::StoreError;

/// Holds the lock until it is dropped.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, and leaves this process's id in it for who comes second.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let told = |what: &str, failure: std::io::Error| {
            StoreError::Unavailable(format!("{} {what}: {failure}", Path::new(&name).display()))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(super::FILE_MODE)
            .open(&name)
            .map_err(|failure| told("cannot be opened", failure))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let process = match file.read_to_string(&mut holder) {
                Ok(_) if !holder.trim().is_empty() => format!("process {}", holder.trim()),
                _ => "another process".to_owned(),
            };
            return Err(StoreError::Unavailable(format!("{} is in use by {process}", path.display())));
        }
        // The id is for people; a full disk must not keep Stepcast from starting.
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .and_then(|()| file.flush());
        if let Err(failure) = noted {
            tracing::warn!(%failure, path = %Path::new(&name).display(), "the process id could not be noted in the lock file");
        }
        Ok(Self { _file: file })
    }
}
