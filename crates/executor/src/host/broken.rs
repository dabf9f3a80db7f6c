//! Why no guard could be started. Whoever tries whether sandboxes work must know one from the other: a machine on which
//! none can be made stays so, but what failed for want of memory, room or time works again, and steps must not run without
//! a sandbox for that.

use std::{io, process::ExitStatus};

/// Parts of what bubblewrap says when it was not refused something but lacked it.
const LACKS: [&str; 7] = [
    "No space left on device",
    "Disk quota exceeded",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "Too many open files",
    "Input/output error",
    "Interrupted system call",
];

/// Each with one sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoGuard {
    /// The program around it is not there, or has refused to make a sandbox.
    Refused(String),
    /// Anything else, which may be otherwise the next time.
    Failed(String),
}

impl NoGuard {
    /// The sentence.
    pub(crate) fn into_reason(self) -> String {
        let (Self::Refused(reason) | Self::Failed(reason)) = self;
        reason
    }

    /// The first program could not be started.
    pub(super) fn not_begun(kind: io::ErrorKind, reason: String) -> Self {
        if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
            Self::Refused(reason)
        } else {
            Self::Failed(reason)
        }
    }

    /// The first program ended, and this is what it had said. One that was killed has refused nothing.
    pub(super) fn ended(status: Option<ExitStatus>, said: &str, reason: String) -> Self {
        // bubblewrap tells by 128 and more that what runs in it was killed.
        let has_exited = status.and_then(|status| status.code()).is_some_and(|code| code < 128);
        if has_exited && !LACKS.iter().any(|lack| said.contains(lack)) {
            Self::Refused(reason)
        } else {
            Self::Failed(reason)
        }
    }
}

impl From<String> for NoGuard {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn only_a_program_that_is_missing_or_exits_of_its_own_has_refused() {
        let no = || "no".to_owned();
        assert_eq!(NoGuard::not_begun(io::ErrorKind::NotFound, no()), NoGuard::Refused(no()));
        assert_eq!(NoGuard::not_begun(io::ErrorKind::OutOfMemory, no()), NoGuard::Failed(no()));
        let ended = |raw: i32, said: &str| NoGuard::ended(Some(ExitStatus::from_raw(raw)), said, no());
        assert_eq!(ended(1 << 8, ": bwrap: setting up uid map: Permission denied"), NoGuard::Refused(no()));
        assert_eq!(ended(1 << 8, ": bwrap: Can't mkdir /srv: No space left on device"), NoGuard::Failed(no()));
        for killed in [9, 137 << 8] {
            assert_eq!(ended(killed, ""), NoGuard::Failed(no()));
        }
        assert_eq!(NoGuard::ended(None, "", no()), NoGuard::Failed(no()));
    }
}
