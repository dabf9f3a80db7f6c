//! What one attempt of a job may leave behind: so many files, of so many bytes each and together. It is counted while the
//! bytes come, whichever way they do, so that uploads side by side share it. Each process counts what it takes itself: where
//! several gateways take files, an attempt that goes to all of them may bring the whole to each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wire::{JobId, Problem, size::Size};

/// Files of one attempt; its executor refuses more, too.
const FILES_MAX: u32 = 10_000;
/// Attempts whose files are counted at the same time. Beyond, the one that has been quiet for longest begins anew.
const ATTEMPTS_MAX: usize = 4096;

/// What attempts have brought, and may bring.
pub(crate) struct Allowance {
    /// Bytes of one file, by `--artifact-limit`.
    file_max: u64,
    /// Bytes of all files of an attempt, by `--job-artifacts-limit`.
    all_max: u64,
    // Held for a few additions only, so a std mutex will do.
    used: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_job: HashMap<JobId, Used>,
    /// Counts what is asked.
    turn: u64,
}

#[derive(Clone, Copy, Default)]
struct Used {
    attempt: u32,
    files: u32,
    bytes: u64,
    /// When it was asked last, by [`Table::turn`].
    turn: u64,
}

impl Allowance {
    /// With these limits, in bytes.
    pub(crate) fn new(file_max: u64, all_max: u64) -> Arc<Self> {
        Arc::new(Self { file_max, all_max, used: Mutex::default() })
    }

    /// A file begins to come. Until it is kept it goes back with the share.
    pub(crate) fn begin(self: &Arc<Self>, job: JobId, attempt: u32) -> Result<Share, Problem> {
        let mut table = self.table();
        table.turn += 1;
        let turn = table.turn;
        if table.by_job.len() >= ATTEMPTS_MAX && !table.by_job.contains_key(&job) {
            let quiet = table.by_job.iter().min_by_key(|(_, used)| used.turn).map(|(job, _)| *job);
            quiet.and_then(|job| table.by_job.remove(&job));
        }
        let used = table.by_job.entry(job).or_default();
        if used.attempt != attempt {
            *used = Used { attempt, ..Used::default() };
        }
        used.turn = turn;
        if used.files >= FILES_MAX {
            return Err(too_large(format!("An attempt may leave {FILES_MAX} files behind, and this one has.")));
        }
        used.files += 1;
        Ok(Share { allowance: Arc::clone(self), job, attempt, bytes: 0, is_kept: false })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves numbers, which are right enough.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one file takes of it.
pub(crate) struct Share {
    allowance: Arc<Allowance>,
    job: JobId,
    attempt: u32,
    bytes: u64,
    is_kept: bool,
}

impl Share {
    /// So many bytes more have come, or are going to.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Problem> {
        let mut table = self.allowance.table();
        // Counted under the lock that they were checked under: another file of the attempt may come at this moment.
        if let Some(used) = self.room(&mut table, bytes)? {
            used.bytes = used.bytes.saturating_add(bytes);
        }
        drop(table);
        self.bytes += bytes;
        Ok(())
    }

    /// Refuses what says itself that it is too large.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Problem> {
        self.room(&mut self.allowance.table(), bytes).map(|_| ())
    }

    /// What the attempt has used, if it is still counted and so many bytes more are allowed.
    fn room<'t>(&self, table: &'t mut Table, bytes: u64) -> Result<Option<&'t mut Used>, Problem> {
        let Allowance { file_max, all_max, .. } = *self.allowance;
        if self.bytes.saturating_add(bytes) > file_max {
            let limit = Size(file_max);
            return Err(too_large(format!(
                "The file is longer than {limit}, which is the limit (`--artifact-limit`)."
            )));
        }
        let used = table.by_job.get_mut(&self.job).filter(|used| used.attempt == self.attempt);
        if used.as_ref().map_or(0, |used| used.bytes).saturating_add(bytes) > all_max {
            let limit = Size(all_max);
            return Err(too_large(format!(
                "The files of this attempt are together longer than {limit}, which is the limit (`--job-artifacts-limit`)."
            )));
        }
        Ok(used)
    }

    /// The file is whole.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Some(used) = self.allowance.table().by_job.get_mut(&self.job).filter(|used| used.attempt == self.attempt)
        {
            used.files = used.files.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(self.bytes);
        }
    }
}

fn too_large(sentence: String) -> Problem {
    Problem::new(413, "Too large", sentence)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn job(n: u128) -> JobId {
        JobId(Uuid::from_u128(n))
    }

    #[test]
    fn what_comes_side_by_side_shares_one_allowance_and_what_broke_off_gives_it_back() {
        let allowance = Allowance::new(100, 150);
        let mut one = allowance.begin(job(1), 1).unwrap();
        one.take(100).unwrap();
        assert!(one.take(1).unwrap_err().detail.contains("`--artifact-limit`"));
        let mut two = allowance.begin(job(1), 1).unwrap();
        two.take(50).unwrap();
        assert!(two.take(1).unwrap_err().detail.contains("`--job-artifacts-limit`"));
        drop(one);
        two.take(50).unwrap();
        two.keep();
        let mut three = allowance.begin(job(1), 1).unwrap();
        assert!(three.take(51).is_err());
        three.take(50).unwrap();
        // Others, and the next attempt, have their own.
        allowance.begin(job(2), 1).unwrap().take(100).unwrap();
        allowance.begin(job(1), 2).unwrap().take(100).unwrap();
        drop(three);
        assert_eq!(
            allowance.table().by_job[&job(1)].bytes,
            0,
            "a former attempt gives nothing back to the present one"
        );
    }

    #[test]
    fn of_two_files_that_come_at_one_moment_only_one_gets_the_last_of_it() {
        let allowance = Allowance::new(100, 100);
        for n in 0..2000 {
            let begin = std::sync::Barrier::new(2);
            let took = std::thread::scope(|scope| {
                let side = || {
                    let mut share = allowance.begin(job(n), 1).unwrap();
                    begin.wait();
                    let took = share.take(60).is_ok();
                    share.keep();
                    took
                };
                let other = scope.spawn(side);
                [side(), other.join().unwrap()]
            });
            assert_eq!(took.iter().filter(|took| **took).count(), 1, "round {n}");
        }
    }

    #[test]
    fn files_are_counted_and_attempts_too() {
        let allowance = Allowance::new(1, 1);
        for _ in 0..FILES_MAX {
            allowance.begin(job(1), 1).unwrap().keep();
        }
        assert!(allowance.begin(job(1), 1).is_err());
        for n in 0..ATTEMPTS_MAX as u128 {
            allowance.begin(job(n + 2), 1).unwrap().keep();
        }
        assert_eq!(allowance.table().by_job.len(), ATTEMPTS_MAX);
        assert!(allowance.begin(job(1), 1).is_ok());
    }
}
