//! The limits of a job that the guard itself sets: those of the system for each process (`setrlimit`), which every step
//! inherits, and cannot raise. Which of them a step has run into is not told by the system; what can be seen of it when a
//! step fails is said.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wire::{Limits, size::Size};

use super::{protocol::Status, tree};

/// How often processes are counted, where their number is limited.
const LOOK: Duration = Duration::from_millis(250);
/// So many fewer processes, and a sixteenth, are taken for the limit.
const CROWDED_SLACK: u64 = 4;
/// A process that had this part of its memory, in percent, when it ended is taken to have wanted more.
const NEAR_PERCENT: u64 = 75;
/// What a shell exits with when its command was ended by SIGXFSZ.
const FILE_TOO_LARGE: i32 = 128 + libc::SIGXFSZ;

/// The limits of this job, and what was seen of it.
#[derive(Debug, Default)]
pub(super) struct Limited {
    limits: Limits,
    looked: Option<Instant>,
    /// It had as many processes as it may once.
    is_crowded: bool,
}

impl Limited {
    /// Sets them for this process and all that it starts.
    ///
    /// # Errors
    /// Which one cannot be set; one sentence.
    pub(super) fn set(limits: Limits) -> Result<Self, String> {
        let kinds = [
            // What a process writes of its own, and not what it reserves: some reserve terabytes.
            (Resource::Data, limits.memory, "memory"),
            (Resource::Nproc, limits.processes, "processes"),
            (Resource::Fsize, limits.file_size, "file_size"),
            (Resource::Nofile, limits.open_files, "open_files"),
            // A picture of a process's memory, which the system may put anywhere.
            (Resource::Core, Some(0), "core"),
        ];
        for (resource, limit, name) in kinds {
            let Some(limit) = limit else { continue };
            // A lower one that is there holds.
            let limit = getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
                .map_err(|error| format!("the limit `{name}` of the job could not be set: {error}"))?;
        }
        Ok(Self { limits, ..Self::default() })
    }

    /// The longest time until processes must be counted again.
    pub(super) fn tick(&self) -> Option<Duration> {
        (self.limits.processes.is_some() && !self.is_crowded).then_some(LOOK)
    }

    /// Counts processes, if it is time.
    pub(super) fn look(&mut self) {
        if self.tick().is_some() && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.count();
        }
    }

    fn count(&mut self) {
        self.looked = Some(Instant::now());
        if let Some(most) = self.limits.processes {
            // The guard counts too, and what hit the limit has mostly ended before it is looked for.
            self.is_crowded |= tree::threads() + CROWDED_SLACK + most / 16 >= most;
        }
    }

    /// What a step that has failed seems to have run into.
    fn reached(&mut self, code: Option<i32>, signal: Option<i32>) -> Option<String> {
        if !self.is_crowded {
            self.count();
        }
        if let Some(most) = self.limits.processes.filter(|_| self.is_crowded) {
            return Some(format!("the job had reached its limit of {most} processes"));
        }
        if let Some(most) = self.limits.file_size
            && (code == Some(FILE_TOO_LARGE) || signal == Some(libc::SIGXFSZ))
        {
            return Some(format!("a file had reached the job's limit of {}", Size(most)));
        }
        let memory = self.limits.memory?;
        let is_near = largest_bytes() >= memory / 100 * NEAR_PERCENT;
        is_near.then(|| format!("a process of the job had come near its limit of {} of memory", Size(memory)))
    }

    /// A step has ended so.
    pub(super) fn exited(&mut self, code: Option<i32>, signal: Option<i32>) -> Status {
        let limit = if code == Some(0) { None } else { self.reached(code, signal) };
        Status::Exited { code, signal, limit }
    }
}

/// The most memory that a process of the job had which has ended and was collected.
fn largest_bytes() -> u64 {
    #[allow(unsafe_code, reason = "rustix has no call for it; the kernel fills the whole of what it is given")]
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024)
}
