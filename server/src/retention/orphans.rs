//! Artifacts and payloads that no row knows: left by a process that was killed between a row and its file, by an upload
//! whose job was lost before it told of it, by an upload that broke off. They go once they are old: a file comes first, and its row
//! some time later.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use object_store::{ObjectStore, path::Path as ObjectPath};
use store::{Store, StoreError};
use tracing::{info, warn};
use wire::{ArtifactId, JobId, PayloadId};

use crate::{objects::Objects, payloads::FOLDER};

/// No upload takes so long from its file to its row, and no recorder is behind so far without somebody noticing.
const AGE: Duration = Duration::from_secs(24 * 3600);
/// Files asked for at once.
const BATCH: usize = 500;

/// What the name of an object says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Artifact(ArtifactId),
    Payload(PayloadId),
}

/// An old object: a whole one, or a part of an upload that never became one.
struct Old {
    place: Place,
    id: Option<Id>,
}

/// Where it is.
enum Place {
    File(PathBuf),
    Object(ObjectPath),
}

/// Removes what nobody knows.
pub(super) async fn collect(store: &dyn Store, objects: &Objects) -> Result<(), StoreError> {
    let found = match &objects.folder {
        Some(folder) => {
            let looked = folder.clone();
            let found = tokio::task::spawn_blocking(move || old_files(&looked, SystemTime::now())).await;
            let Ok(found) = found else { return Ok(()) }; // The runtime ends.
            found.map_err(|failure| failure.to_string())
        }
        None => old_objects(&*objects.store, SystemTime::now()).await.map_err(|failure| failure.to_string()),
    };
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            warn!(failure, "the artifacts and payloads cannot be looked through");
            return Ok(());
        }
    };
    let mut removed = 0_u64;
    for batch in found.chunks(BATCH) {
        let artifacts: Vec<ArtifactId> = batch.iter().filter_map(|old| old.artifact()).collect();
        let payloads: Vec<PayloadId> = batch.iter().filter_map(|old| old.payload()).collect();
        let artifacts = store.known_artifacts(&artifacts).await?;
        let payloads = store.known_payloads(&payloads).await?;
        let is_known = |id| match id {
            Id::Artifact(id) => artifacts.contains(&id),
            Id::Payload(id) => payloads.contains(&id),
        };
        for old in batch.iter().filter(|old| old.id.is_none_or(|id| !is_known(id))) {
            removed += u64::from(old.place.remove(objects).await);
        }
    }
    if removed > 0 {
        info!(files = removed, "files of artifacts and payloads that nobody knows were removed");
    }
    Ok(())
}

impl Old {
    fn artifact(&self) -> Option<ArtifactId> {
        if let Some(Id::Artifact(id)) = self.id { Some(id) } else { None }
    }

    fn payload(&self) -> Option<PayloadId> {
        if let Some(Id::Payload(id)) = self.id { Some(id) } else { None }
    }
}

impl Place {
    /// Whether it could be removed.
    async fn remove(&self, objects: &Objects) -> bool {
        match self {
            Place::Object(path) => match objects.store.delete(path).await {
                Ok(()) => true,
                Err(failure) => {
                    warn!(%failure, %path, "an orphaned object cannot be removed");
                    false
                }
            },
            Place::File(path) => {
                let removed = tokio::fs::remove_file(path).await;
                if let Err(failure) = &removed {
                    warn!(%failure, file = %path.display(), "an orphaned file cannot be removed");
                }
                // Fails while another file is in it.
                if let Some(folder) = path.parent() {
                    let _ = tokio::fs::remove_dir(folder).await;
                }
                removed.is_ok()
            }
        }
    }
}

/// What a name in a folder says; nothing if it is somebody else's.
fn named(folder: &str, name: &str) -> Option<Id> {
    if folder == FOLDER {
        return name.parse().ok().map(Id::Payload);
    }
    folder.parse::<JobId>().ok()?;
    name.parse().ok().map(Id::Artifact)
}

fn old_files(folder: &Path, now: SystemTime) -> io::Result<Vec<Old>> {
    let mut found = Vec::new();
    for of_one in fs::read_dir(folder)? {
        let of_one = of_one?;
        let folder_name = of_one.file_name();
        let Some(folder_name) = folder_name.to_str() else { continue };
        // What is not named by a job is somebody else's.
        if folder_name != FOLDER && folder_name.parse::<JobId>().is_err() {
            continue;
        }
        for file in fs::read_dir(of_one.path())? {
            let file = file?;
            let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let (name, is_part) = name.split_once('#').map_or((name, false), |(name, _)| (name, true));
            let id = named(folder_name, name);
            if id.is_none() || now.duration_since(modified).unwrap_or_default() < AGE {
                continue;
            }
            found.push(Old { place: Place::File(file.path()), id: id.filter(|_| !is_part) });
        }
    }
    Ok(found)
}

/// The same in a bucket, which shows whole objects only: what broke off there is collected by a rule of the bucket.
async fn old_objects(objects: &dyn ObjectStore, now: SystemTime) -> object_store::Result<Vec<Old>> {
    let mut found = Vec::new();
    let mut listed = objects.list(None);
    while let Some(object) = listed.next().await {
        let object = object?;
        let age = now.duration_since(SystemTime::from(object.last_modified)).unwrap_or_default();
        let id = object.location.as_ref().split_once('/').and_then(|(folder, name)| named(folder, name));
        if age >= AGE && id.is_some() {
            found.push(Old { place: Place::Object(object.location), id });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::local::LocalFileSystem;
    use store::sqlite::SqliteStore;
    use uuid::Uuid;
    use wire::ClaimCheck;

    use super::*;

    #[tokio::test]
    async fn old_files_without_a_row_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
        let artifacts = folder.path().join("artifacts");
        let yesterday = SystemTime::now() - AGE - Duration::from_secs(60);
        let known = PayloadId(Uuid::new_v4());
        let (sha256, content_type) = ("ab".to_owned(), "text/plain".to_owned());
        store.put_payload(&ClaimCheck { reference: known, size: 0, sha256, content_type }).await.unwrap();
        fs::create_dir_all(&artifacts).unwrap();
        let bytes: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(&artifacts).unwrap());
        let objects = Objects { store: bytes, folder: Some(artifacts.clone()) };
        for of_one in [Uuid::now_v7().to_string(), FOLDER.to_owned()] {
            let of_one = artifacts.join(of_one);
            fs::create_dir_all(&of_one).unwrap();
            let [old, fresh, part] = [(); 3].map(|()| Uuid::now_v7().to_string());
            let (part, strange) = (format!("{part}#1"), "notes.txt".to_owned());
            for name in [&old, &fresh, &part, &strange, &known.to_string()] {
                let file = fs::File::create(of_one.join(name)).unwrap();
                if *name != fresh {
                    file.set_modified(yesterday).unwrap();
                }
            }
            collect(&*store, &objects).await.unwrap();
            let there = |name: &str| of_one.join(name).exists();
            assert_eq!([&old, &fresh, &part, &strange].map(|name| there(name)), [false, true, false, true]);
            assert_eq!(there(&known.to_string()), of_one.ends_with(FOLDER));
        }
    }
}
