//! `stepcast restore`: a data folder from a backup. Everything is read and verified in a folder beside it, which is then
//! renamed: the data folder is there whole, or not at all. What a restored installation must forget stands in [`anew`].

mod anew;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use store::sqlite::{self, SqliteStore};
use wire::{ArtifactId, JobId, PayloadId, Timestamp};

use crate::{
    backup::{
        self, ARTIFACTS, DATABASE, Draft, KEYS, PAYLOADS,
        archive::{self, Head},
    },
    config::data_dir::DataDir,
    payloads::FOLDER,
};
pub(crate) use anew::{AnewOptions, begin as begin_anew};

/// Options of `stepcast restore`.
#[derive(Args)]
pub(crate) struct RestoreOptions {
    /// A file that `stepcast backup` wrote.
    file: PathBuf,
    /// The data folder to make; it must be missing or empty.
    #[arg(long, env = "STEPCAST_DATA_DIR", default_value = "./stepcast-data")]
    data_dir: PathBuf,
    /// Move a data folder that is there aside, to its name with `.replaced-` and the time. Its server must be stopped.
    #[arg(long)]
    replace: bool,
}

/// `stepcast restore FILE`
pub(crate) async fn run(options: RestoreOptions) -> Result<(), String> {
    let (file, place) = (&options.file, &options.data_dir);
    let opened = fs::File::open(file).map_err(|failure| format!("{} cannot be read: {failure}", file.display()))?;
    let is_taken = is_taken(place)?;
    if is_taken && !options.replace {
        return Err(format!(
            "{} is not empty: name another folder by --data-dir, or stop its server and add --replace, which moves it aside",
            place.display()
        ));
    }
    // Held until it is out of the way: nobody starts a server there meanwhile.
    let _unused = if is_taken { Some(DataDir::named(place).own()?) } else { None };
    let draft = Draft::beside(place)?;
    let data = draft.path().join("data");
    folder(&data)?;
    let mut artifacts = 0;
    let head = archive::read(opened, can_be_read, |name, content| {
        artifacts += u64::from(name.starts_with(ARTIFACTS));
        unpack(&draft, &data, name, content)
    })
    .map_err(|failure| format!("{} {failure}", file.display()))?;
    if !data.join(DATABASE).is_file() || !data.join("installation-key").is_file() {
        return Err(format!("{} lacks the database or the installation key", file.display()));
    }
    let restored = DataDir::named(&data);
    let key = restored.installation_key()?;
    let store = SqliteStore::open(&restored.database()).await.map_err(|failure| failure.to_string())?;
    let begun = anew::of(&*store, &key, clock()).await?;
    store.close().await;
    drop(store);
    let told = |failure: io::Error| format!("{} cannot be put in its place: {failure}", place.display());
    // The lock file names this process.
    fs::remove_file(data.join(format!("{DATABASE}.lock"))).map_err(told)?;
    rustix::fs::syncfs(fs::File::open(&data).map_err(told)?).map_err(|failure| told(failure.into()))?;
    if is_taken {
        let aside = aside(place)?;
        fs::rename(place, &aside).map_err(told)?;
        println!("What was in {} is in {}.", place.display(), aside.display());
    }
    draft.put(&data, place).map_err(told)?;
    println!(
        "{} is restored as it was at {}, with {artifacts} artifacts. {begun}\nStart it with `stepcast serve --data-dir {}`; its artifacts are there, too, so without --artifacts.",
        place.display(),
        backup::written(head.taken_at),
        place.display()
    );
    Ok(())
}

/// Whether something is in the folder.
fn is_taken(place: &Path) -> Result<bool, String> {
    match fs::read_dir(place) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(failure) => Err(format!("{} cannot be used as a data folder: {failure}", place.display())),
    }
}

/// A schema that this program brings up to date, if need be.
fn can_be_read(head: &Head) -> Result<(), String> {
    let known = sqlite::schema();
    if head.schema > known {
        return Err(format!(
            "was written by Stepcast {} with schema {}, this one knows schemas up to {known}: use the newer Stepcast",
            head.stepcast, head.schema
        ));
    }
    Ok(())
}

/// Writes one member where it belongs. Only what a backup holds has a place: a name cannot lead anywhere else.
fn unpack(draft: &Draft, data: &Path, name: &str, content: &mut dyn io::Read) -> Result<(), String> {
    let path = match (name.strip_prefix(KEYS), name.strip_prefix(ARTIFACTS)) {
        (Some(key), _) if DataDir::KEPT.contains(&key) => data.join(key),
        (_, Some(path)) => {
            let ids = path.split_once('/').map(|(job, id)| (job.parse::<JobId>(), id.parse::<ArtifactId>()));
            let Some((Ok(job), Ok(id))) = ids else {
                return Err(format!("holds an artifact with a strange name, {name:?}"));
            };
            let of_job = data.join("artifacts").join(job.to_string());
            folder(&of_job)?;
            of_job.join(id.to_string())
        }
        _ if name.starts_with(PAYLOADS) => {
            let Some(Ok(id)) = name.strip_prefix(PAYLOADS).map(str::parse::<PayloadId>) else {
                return Err(format!("holds a payload with a strange name, {name:?}"));
            };
            let payloads = data.join("artifacts").join(FOLDER);
            folder(&payloads)?;
            payloads.join(id.to_string())
        }
        _ if name == DATABASE => data.join(DATABASE),
        _ => return Err(format!("holds {name:?}, which is no part of a backup")),
    };
    let mut file = draft.file(&path)?;
    io::copy(content, &mut file).map_err(|failure| format!("could not be unpacked: {name}: {failure}"))?;
    Ok(())
}

fn folder(path: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|failure| format!("{} cannot be made: {failure}", path.display()))
}

fn aside(place: &Path) -> Result<PathBuf, String> {
    let place = place.canonicalize().map_err(|failure| format!("{}: {failure}", place.display()))?;
    let mut name = place.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(format!(".replaced-{}", clock().millis() / 1000));
    Ok(place.with_file_name(name))
}

/// The system's clock.
pub(crate) fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
