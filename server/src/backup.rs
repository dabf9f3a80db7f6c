//! `stepcast backup`: an installation on SQLite in one file, while its server runs. What it needs to go on elsewhere is in
//! it: the database, the files that jobs left behind, payloads, the keys. Workspaces are not: their jobs run again.
//!
//! **What is of one moment.** The database is copied first, so whatever the copy names was there before: a row of an
//! artifact, or an event in the journal that will become one, is written after the file was brought. Then the files are
//! read. One that came since has no row in the copy: the restored server collects it as it collects uploads that broke
//! off. One that went since was deleted with its build, by hand or by age, and its row goes from the copy too; so
//! the database comes last into the archive, and every row of it has its file.

pub(crate) mod archive;
mod draft;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use store::{Kept as _, Payloads as _, audit::NewEntry, sqlite};
use wire::{ArtifactId, JobId, PayloadId, Timestamp, audit::Action};

use crate::{
    backend::open_store_beside,
    config::{
        backend::{self, StoreChoice},
        data_dir::DataDir,
    },
    objects::ObjectsChoice,
    payloads::FOLDER,
};
use archive::{FORMAT, Head, Writer};
pub(crate) use draft::Draft;

/// The database's name in an archive, and in a data folder.
pub(crate) const DATABASE: &str = "stepcast.db";
/// Where keys are in an archive.
pub(crate) const KEYS: &str = "keys/";
/// Where artifacts are in an archive.
pub(crate) const ARTIFACTS: &str = "artifacts/";
/// Where payloads are in an archive.
pub(crate) const PAYLOADS: &str = "payloads/";
/// Artifacts' rows looked at at once.
const ROWS: u32 = 1000;

/// Options of `stepcast backup`.
#[derive(Args)]
pub(crate) struct BackupOptions {
    /// The file to write; it must not be there. The same disk needs room for the database once more meanwhile.
    file: PathBuf,
    /// The data folder of the server.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// The store of the server, as `stepcast serve` is told it.
    #[arg(long, env = "STEPCAST_STORE", default_value = "sqlite", hide_env_values = true, value_parser = backend::parse::<StoreChoice>)]
    store: StoreChoice,
    /// Folder for the files that jobs leave behind, as `stepcast serve` is told it [default: in the data folder].
    #[arg(long, env = "STEPCAST_ARTIFACTS")]
    artifacts: Option<PathBuf>,
    /// Where the server keeps them, as `stepcast serve` is told it: what is in a bucket stays there.
    #[arg(long, env = "STEPCAST_OBJECTS", default_value = "file")]
    objects: ObjectsChoice,
}

/// `stepcast backup FILE`
pub(crate) async fn run(options: BackupOptions) -> Result<(), String> {
    write(&options).await?;
    // The file is there in any case: what cannot be noted is said, and fails nothing.
    if let Err(reason) = note(&options).await {
        eprintln!("the backup is whole, and is not in the audit log: {reason}");
    }
    Ok(())
}

/// Tells the audit log of the installation, not the one in the file.
async fn note(options: &BackupOptions) -> Result<(), String> {
    let store = open_store_beside(&options.store, &DataDir::existing(&options.data_dir)?).await?;
    let name = options.file.file_name().unwrap_or_default().to_string_lossy();
    let entry = NewEntry::by_machine(Action::BackedUp).detail(format!("Into {name}."));
    store.note(entry).await.map_err(|failure| failure.to_string())
}

async fn write(options: &BackupOptions) -> Result<(), String> {
    let file = &options.file;
    if options.store != StoreChoice::Sqlite {
        return Err(
            "a backup is of an installation on SQLite: back up a PostgreSQL database with pg_dump, copy the folder of \
             artifacts after it, and run `stepcast begin-anew` once both are restored"
                .to_owned(),
        );
    }
    let data_dir = DataDir::existing(&options.data_dir)?;
    if fs::symlink_metadata(file).is_ok() {
        return Err(exists(file));
    }
    let artifacts = options.artifacts.clone().unwrap_or_else(|| data_dir.artifacts());
    let draft = Draft::beside(file)?;
    let copy = draft.path().join(DATABASE);
    let taken_at = crate::restore::clock();
    let schema = sqlite::copy(&data_dir.database(), &copy).await.map_err(|failure| failure.to_string())?;
    let head = Head { format: FORMAT, stepcast: env!("CARGO_PKG_VERSION").to_owned(), schema, taken_at };
    let packed = draft.path().join("archive");
    let told = |failure: io::Error| format!("{} cannot be written: {failure}", file.display());
    let mut writer = Writer::begin(draft.file(&packed)?, &head).map_err(told)?;
    keys(&mut writer, &data_dir)?;
    if options.objects != ObjectsChoice::File {
        let size = put_database(writer, &copy, &draft, &packed, file)?;
        println!(
            "{} holds the database ({} MiB) as it was when it was begun, and the keys of the installation: keep it where nobody \
             else can read it. Artifacts and payloads are in the bucket: what is deleted there cannot be restored.",
            file.display(),
            size >> 20
        );
        return Ok(());
    }
    let (files, bytes) = artifact_files(&mut writer, &artifacts)?;
    let (payloads, payload_bytes) = payload_files(&mut writer, &artifacts)?;
    let (missing, missing_payloads) = forget_rows_without_files(&copy, &files, &payloads).await?;
    if missing + missing_payloads > 0 && !artifacts.is_dir() {
        return Err(format!(
            "{missing} artifacts and {missing_payloads} payloads are listed and their folder {} is not there: name it by --artifacts, as `stepcast serve` is told it",
            artifacts.display()
        ));
    }
    let size = put_database(writer, &copy, &draft, &packed, file)?;
    println!(
        "{} holds the database ({} MiB), {} artifacts ({} MiB) and {} payloads ({} MiB) as they were when it was begun. It holds the keys of the \
         installation too: keep it where nobody else can read it.",
        file.display(),
        size >> 20,
        files.len(),
        bytes >> 20,
        payloads.len(),
        payload_bytes >> 20
    );
    if missing + missing_payloads > 0 {
        let all = missing + missing_payloads;
        println!(
            "{all} artifacts and payloads are listed without a file, most likely deleted meanwhile: they are not in it."
        );
    }
    Ok(())
}

/// Ends the archive with the database, and puts it in its place. Gives the database's size.
fn put_database(mut writer: Writer, copy: &Path, draft: &Draft, packed: &Path, file: &Path) -> Result<u64, String> {
    let told = |failure: io::Error| format!("{} cannot be written: {failure}", file.display());
    let database = File::open(copy).map_err(told)?;
    let size = database.metadata().map_err(told)?.len();
    writer.add(DATABASE, size, database).map_err(told)?;
    writer.finish().map_err(told)?;
    draft.put(packed, file).map_err(|failure| match failure.kind() {
        io::ErrorKind::AlreadyExists => exists(file),
        _ => told(failure),
    })?;
    Ok(size)
}

fn exists(file: &Path) -> String {
    format!("{} is there already, and a backup replaces nothing: name another file", file.display())
}

/// The small files that are there. Without the key no token of a job and no session's resume token would be good.
fn keys(writer: &mut Writer, data_dir: &DataDir) -> Result<(), String> {
    for name in DataDir::KEPT {
        let path = data_dir.path().join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => continue,
            Err(failure) => return Err(format!("{} cannot be read: {failure}", path.display())),
        };
        writer
            .add(&format!("{KEYS}{name}"), text.len() as u64, text.as_slice())
            .map_err(|failure| format!("the backup cannot be written: {failure}"))?;
    }
    Ok(())
}

/// All files of artifacts, with or without a row. Others in the folder are parts of uploads under way.
fn artifact_files(writer: &mut Writer, folder: &Path) -> Result<(HashSet<ArtifactId>, u64), String> {
    let (mut files, mut bytes) = (HashSet::new(), 0);
    for (job, path) in named::<JobId>(folder)? {
        for (id, path) in named::<ArtifactId>(&path)? {
            if let Some(size) = file(writer, &format!("{ARTIFACTS}{job}/{id}"), &path)? {
                files.insert(id);
                bytes += size;
            }
        }
    }
    Ok((files, bytes))
}

/// All files of payloads, with or without a row.
fn payload_files(writer: &mut Writer, folder: &Path) -> Result<(HashSet<PayloadId>, u64), String> {
    let (mut files, mut bytes) = (HashSet::new(), 0);
    for (id, path) in named::<PayloadId>(&folder.join(FOLDER))? {
        if let Some(size) = file(writer, &format!("{PAYLOADS}{id}"), &path)? {
            files.insert(id);
            bytes += size;
        }
    }
    Ok((files, bytes))
}

/// Adds a file, and gives its size; none if it is not there any more.
fn file(writer: &mut Writer, name: &str, path: &Path) -> Result<Option<u64>, String> {
    let told = |failure: io::Error| format!("{}: {failure}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(failure) => return Err(told(failure)),
    };
    let size = file.metadata().map_err(told)?.len();
    writer.add(name, size, file.take(size)).map_err(told)?;
    Ok(Some(size))
}

/// What in a folder is named by an id. A folder that is not there (any more) has nothing in it.
fn named<T: std::str::FromStr>(folder: &Path) -> Result<Vec<(T, PathBuf)>, String> {
    let told = |failure: io::Error| format!("{} cannot be read: {failure}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(failure) => return Err(told(failure)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(told)?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

/// Takes the rows from the copy that have no file; tells how many, of artifacts and of payloads.
async fn forget_rows_without_files(
    copy: &Path,
    files: &HashSet<ArtifactId>,
    payloads: &HashSet<PayloadId>,
) -> Result<(u64, u64), String> {
    let told = |failure: store::StoreError| failure.to_string();
    let store = sqlite::SqliteStore::open(copy).await.map_err(told)?;
    let (mut last, mut missing) = (None, 0);
    loop {
        let rows = store.artifacts_behind(last, ROWS).await.map_err(told)?;
        let Some(end) = rows.last() else { break };
        last = Some(end.id);
        let gone: Vec<ArtifactId> = rows.iter().map(|row| row.id).filter(|id| !files.contains(id)).collect();
        missing += gone.len() as u64;
        if !gone.is_empty() {
            store.forget_artifacts(&gone).await.map_err(told)?;
        }
    }
    let (mut last, mut missing_payloads) = (None, 0);
    loop {
        let rows = store.payloads_behind(last, ROWS).await.map_err(told)?;
        let Some(end) = rows.last() else { break };
        last = Some(*end);
        let gone: Vec<PayloadId> = rows.into_iter().filter(|id| !payloads.contains(id)).collect();
        missing_payloads += gone.len() as u64;
        if !gone.is_empty() {
            store.forget_payloads(&gone).await.map_err(told)?;
        }
    }
    store.close().await;
    Ok((missing, missing_payloads))
}

/// The time of an archive in words: people compare backups by it.
pub(crate) fn written(at: Timestamp) -> String {
    let seconds = at.millis().div_euclid(1000);
    let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar, counted in eras of 400 years that begin with March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    format!("{:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", year + era * 400, time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_read_it() {
        let at = |seconds: i64| written(Timestamp(seconds * 1_000_000));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_767_225_600), "2026-01-01 00:00:00 UTC");
    }
}
