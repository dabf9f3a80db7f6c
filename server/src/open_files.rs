//! The limit of open files: raised at the start for the sockets that may come, kept as it was for the steps of jobs.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files that are open beside sockets: database, broker, pages, pipes of jobs.
const BESIDE_SOCKETS: u64 = 4096;

/// Raises the soft limit to what `sockets` need, as far as the hard one allows. Gives the soft limit that was there, for the
/// steps of jobs: programs that still use `select` must not be given descriptors above 1,024. None where it stayed.
pub(crate) fn allow(sockets: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = sockets.saturating_add(BESIDE_SOCKETS);
    let wanted = limit.maximum.map_or(wanted, |hard| hard.min(wanted));
    let former = limit.current.filter(|current| *current < wanted)?;
    let raised = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(wanted), ..limit });
    match raised {
        Ok(()) => {
            tracing::debug!(former, now = wanted, "the limit of open files was raised for the sockets that may come");
            Some(former)
        }
        Err(failure) => {
            tracing::warn!(%failure, former, "the limit of open files cannot be raised: so many sockets at most can be held");
            None
        }
    }
}
