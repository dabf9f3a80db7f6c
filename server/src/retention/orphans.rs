//! Files in the folder of artifacts that no row knows: left by a process that was killed between a row and its file, by an upload
//! whose job was lost before it told of it, by an upload that broke off. They go once they are old: a file comes first, and its row
//! some time later.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use store::{Store, StoreError};
use tracing::{info, warn};
use wire::{ArtifactId, JobId};

/// No upload takes so long from its file to its row, and no recorder is behind so far without somebody noticing.
const AGE: Duration = Duration::from_secs(24 * 3600);
/// Files asked for at once.
const BATCH: usize = 500;

/// An old file: a whole artifact, or a part of an upload that never became one.
struct Old {
    path: PathBuf,
    id: Option<ArtifactId>,
}

/// Removes what nobody knows.
pub(super) async fn collect(store: &dyn Store, folder: &Path) -> Result<(), StoreError> {
    let looked = folder.to_owned();
    let found = tokio::task::spawn_blocking(move || old_files(&looked, SystemTime::now())).await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(failure)) => {
            warn!(%failure, folder = %folder.display(), "the folder of artifacts cannot be looked through");
            return Ok(());
        }
        Err(_) => return Ok(()), // The runtime ends.
    };
    let mut removed = 0_u64;
    for batch in found.chunks(BATCH) {
        let ids: Vec<ArtifactId> = batch.iter().filter_map(|old| old.id).collect();
        let known = store.known_artifacts(&ids).await?;
        for old in batch.iter().filter(|old| old.id.is_none_or(|id| !known.contains(&id))) {
            match tokio::fs::remove_file(&old.path).await {
                Ok(()) => removed += 1,
                Err(failure) => warn!(%failure, file = %old.path.display(), "an orphaned file cannot be removed"),
            }
            // Fails while another file is in it.
            if let Some(of_job) = old.path.parent() {
                let _ = tokio::fs::remove_dir(of_job).await;
            }
        }
    }
    if removed > 0 {
        info!(files = removed, "files of artifacts that no build knows were removed");
    }
    Ok(())
}

fn old_files(folder: &Path, now: SystemTime) -> io::Result<Vec<Old>> {
    let mut found = Vec::new();
    for of_job in fs::read_dir(folder)? {
        let of_job = of_job?;
        // What is not named by a job is somebody else's.
        if of_job.file_name().to_str().is_none_or(|name| name.parse::<JobId>().is_err()) {
            continue;
        }
        for file in fs::read_dir(of_job.path())? {
            let file = file?;
            let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
            let name = file.file_name();
            let (id, part) = match name.to_str().and_then(|name| name.split_once('#')) {
                Some((id, part)) => (id.parse().ok(), Some(part.to_owned())),
                None => (name.to_str().and_then(|name| name.parse::<ArtifactId>().ok()), None),
            };
            if id.is_none() || now.duration_since(modified).unwrap_or_default() < AGE {
                continue;
            }
            found.push(Old { path: file.path(), id: id.filter(|_| part.is_none()) });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::sqlite::SqliteStore;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn old_files_without_a_row_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let artifacts = folder.path().join("artifacts");
        let of_job = artifacts.join(Uuid::now_v7().to_string());
        fs::create_dir_all(&of_job).unwrap();
        let [old, fresh, part] = [(); 3].map(|()| Uuid::now_v7().to_string());
        let (part, strange) = (format!("{part}#1"), "notes.txt".to_owned());
        let yesterday = SystemTime::now() - AGE - Duration::from_secs(60);
        for name in [&old, &fresh, &part, &strange] {
            let file = fs::File::create(of_job.join(name)).unwrap();
            if *name != fresh {
                file.set_modified(yesterday).unwrap();
            }
        }
        collect(&*store, &artifacts).await.unwrap();
        let there = |name: &str| of_job.join(name).exists();
        assert_eq!([&old, &fresh, &part, &strange].map(|name| there(name)), [false, true, false, true]);
    }
}
