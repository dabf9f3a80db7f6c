//! How much room the disk has, and what follows when it has too little: nothing new is accepted or begun, what runs is held
//! back, reading goes on, and all of it ends by itself when there is room. What a full disk does to the database stands in
//! the store.
//!
//! It is looked at before the database itself fails, so that there is room left for what must go on: leases, the ends of
//! jobs, sign-ins. So nobody's job is lost because somebody else's artifacts filled the disk.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::service::{Brake, BrakedBy};
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};
use wire::{Problem, size::Size};

/// Bytes that are to stay free unless the option says otherwise; on a small disk it is [`SHARE`] of it.
const FLOOR: u64 = 256 << 20;
/// The part of a small disk that is to stay free: a twentieth.
const SHARE: u64 = 20;
/// The disk is looked at this often. A program of the same machine can fill it faster; then the database says so.
const LOOK: Duration = Duration::from_secs(1);

/// The room of the folders that this process writes to. Clones are the same.
#[derive(Clone)]
pub(crate) struct Room(Arc<Inner>);

struct Inner {
    /// Each with what people call it; the first one has the database.
    folders: Vec<(&'static str, PathBuf)>,
    floor: Option<u64>,
    // A std mutex: held to read or replace a sentence, never across an await.
    full: Mutex<Option<String>>,
}

impl Room {
    /// Watches nothing yet. `floor` is what is to stay free, in bytes; 0 turns the look off.
    pub(crate) fn new(folders: Vec<(&'static str, PathBuf)>, floor: Option<u64>) -> Self {
        Self(Arc::new(Inner { folders, floor, full: Mutex::default() }))
    }

    /// The sentence for people while there is too little room.
    pub(crate) fn full(&self) -> Option<String> {
        self.0.full.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What whoever wants to write gets to hear while there is too little room.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.full().map_or(Ok(()), |sentence| Err(Problem::new(503, "Disk full", sentence)))
    }

    /// Looks until `shutdown`, and draws the brake while there is too little room.
    pub(crate) async fn watch(self, store: Arc<dyn Store>, brake: Brake, shutdown: CancellationToken) {
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = timer.tick() => {}
            }
            // What builds that were deleted have left in the database's file is room, too.
            let inside = store.free_inside().await.unwrap_or(0);
            let room = self.clone();
            // A file system of the network may not answer for long.
            let looked = tokio::task::spawn_blocking(move || room.look(inside));
            let Ok(full) = looked.await else { continue };
            brake.set(BrakedBy::Disk, full.is_some());
            let was = std::mem::replace(&mut *self.0.full.lock().unwrap_or_else(PoisonError::into_inner), full.clone());
            match (was, full) {
                (None, Some(sentence)) => error!("{sentence}"),
                (Some(_), None) => info!("the disk has room again: builds are taken as before"),
                _ => {}
            }
        }
    }

    /// The sentence for the first folder without room. `inside` is free in the database's file.
    fn look(&self, inside: u64) -> Option<String> {
        let was_full = self.full().is_some();
        let mut seen = Vec::new();
        self.0.folders.iter().find_map(|(name, path)| {
            let disk = Disk::of(path)?;
            if seen.contains(&disk.id) {
                return None;
            }
            let inside = if seen.is_empty() { inside } else { 0 };
            seen.push(disk.id);
            disk.has_too_little(inside, self.0.floor, was_full).then(|| {
                let free = Size(disk.free);
                format!(
                    "The disk of the {name} is full ({free} free); Stepcast takes no new builds until there is room."
                )
            })
        })
    }
}

/// A file system, in bytes.
#[derive(Clone, Copy, Debug)]
struct Disk {
    id: u64,
    /// What an ordinary user may still write.
    free: u64,
    total: u64,
}

impl Disk {
    fn of(path: &Path) -> Option<Self> {
        match rustix::fs::statvfs(path) {
            Ok(told) => Some(Self {
                id: fs::metadata(path).map_or(0, |of| of.dev()),
                free: told.f_bavail.saturating_mul(told.f_frsize),
                total: told.f_blocks.saturating_mul(told.f_frsize),
            }),
            Err(failure) => {
                debug!(path = %path.display(), %failure, "a file system does not tell how much room it has");
                None
            }
        }
    }

    /// Once there was too little, there must be a quarter more than the floor: it would open and close by the second. A quarter
    /// of it must be free outside the database whatever is free inside: its log and artifacts are files of their own.
    fn has_too_little(self, inside: u64, floor: Option<u64>, was_full: bool) -> bool {
        let floor = floor.unwrap_or(FLOOR.min(self.total / SHARE));
        let needed = if was_full { floor.saturating_add(floor / 4) } else { floor };
        self.free.saturating_add(inside) < needed || self.free < needed / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_small_on_small_disks_and_left_with_a_margin() {
        let (mib, gib) = (1_u64 << 20, 1_u64 << 30);
        let too_little = |free: u64, total: u64, floor: Option<u64>, was_full: bool| {
            Disk { id: 0, free, total }.has_too_little(0, floor, was_full)
        };
        assert!(too_little(255 * mib, 100 * gib, None, false));
        assert!(!too_little(256 * mib, 100 * gib, None, false));
        assert!(too_little(256 * mib, 100 * gib, None, true), "it comes back only with a margin");
        assert!(!too_little(320 * mib, 100 * gib, None, true));
        assert!(!too_little(2 * mib, 32 * mib, None, false), "a twentieth of a small disk is enough");
        assert!(too_little(mib, 32 * mib, None, false));
        assert!(!too_little(0, 100 * gib, Some(0), true), "0 turns it off");
        assert!(too_little(gib, 100 * gib, Some(2 * gib), false));
        let with_inside = |free: u64| Disk { id: 0, free, total: 100 * gib }.has_too_little(gib, None, true);
        assert!(!with_inside(100 * mib), "what is free in the database is room");
        assert!(with_inside(79 * mib), "but not for everything");
    }
}
