//! Where memory runs out, of the job or of the machine, the kernel chooses steps and what they have started before their
//! guard, the executor and others.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
};

/// From -1000 to 1000: how much more readily than its size says the kernel ends a process.
const PATH: &str = "/proc/self/oom_score_adj";
const MOST: i32 = 1000;
/// How much is added for steps.
const FOR_STEPS: i32 = 500;

/// This process's score.
#[derive(Debug)]
pub(super) struct OomScore {
    /// With what it is without steps. None where the kernel has no such file, and chooses by size alone.
    file: Option<(File, i32)>,
}

impl OomScore {
    /// Opens it while it is this user's: once nobody may look into the guard, its files are root's.
    pub(super) fn open() -> Self {
        let open = || -> io::Result<(File, i32)> {
            let mut file = File::options().read(true).write(true).open(PATH)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok((file, text.trim().parse().map_err(io::Error::other)?))
        };
        Self { file: open().ok() }
    }

    /// What is started meanwhile inherits the raised score, and hands it on. Anybody may raise their own and take that back.
    pub(super) fn raised<T>(&self, start: impl FnOnce() -> T) -> T {
        let Some((file, own)) = &self.file else { return start() };
        let set = |score: i32| file.write_all_at(score.min(MOST).to_string().as_bytes(), 0);
        // A score that stays as it was leaves the choice to the sizes.
        let _ = set(own + FOR_STEPS);
        let started = start();
        let _ = set(*own);
        started
    }
}
