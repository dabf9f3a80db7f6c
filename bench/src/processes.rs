//! What the system knows of processes: their memory, their children, how many files they may open. Linux only, through
//! `/proc`.

use std::{fs, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::failure::{Explain as _, Result};

/// Sockets and files that this program, and a server that it starts, may open: ten thousand sockets and room.
const FILES: u64 = 16_384;
/// How often a second `/proc` counts, on every Linux.
const TICKS_A_SECOND: u64 = 100;

/// Memory of some processes together, in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident; pages that are shared count in each process.
    pub(crate) rss: u64,
    /// Proportional: a shared page counts in parts.
    pub(crate) pss: u64,
}

/// Raises the limit of open files, which children inherit.
pub(crate) fn allow_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < FILES) {
        limit.current = Some(limit.maximum.map_or(FILES, |maximum| maximum.min(FILES)));
        setrlimit(Resource::Nofile, limit).explain(|| "the limit of open files cannot be raised".to_owned())?;
    }
    Ok(())
}

/// What these processes hold in memory now.
pub(crate) fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).explain(|| format!("{path} cannot be read"))?;
        sum.rss += kib(&text, "Rss:");
        sum.pss += kib(&text, "Pss:");
    }
    Ok(sum)
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time of a process so far, all its threads together.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).explain(|| format!("{path} cannot be read"))?;
    // Behind the name, which may hold anything: the state, ten numbers, then these two.
    let numbers = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = numbers.filter_map(|number| number.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}
