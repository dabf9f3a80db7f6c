//! SQLite against the suite of every store, and what is SQLite's own: the lock, the schema, the log, a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command, sync::Arc};

use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};
use store::{Accounts, BoxFuture, Journal, Store, StoreError, conformance::Fixture, model, sqlite::SqliteStore};
use tempfile::TempDir;
use wire::authority::{Grants, Role};

/// A folder for a database, and another one for what a kill leaves of it.
struct Sqlite {
    before: TempDir,
    after: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self { before: TempDir::new().unwrap(), after: TempDir::new().unwrap() }
    }

    fn file(folder: &TempDir) -> PathBuf {
        folder.path().join("stepcast.db")
    }
}

impl Fixture for Sqlite {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { SqliteStore::open(&Self::file(&self.before)).await.unwrap() as Arc<dyn Store> })
    }

    /// The database and its write-ahead log as they lie there now, with the first store still open: what a killed
    /// process leaves. The index of the log is left out, as after a loss of power.
    fn after_kill(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async {
            for name in ["stepcast.db", "stepcast.db-wal"] {
                let from = self.before.path().join(name);
                if from.exists() {
                    std::fs::copy(from, self.after.path().join(name)).unwrap();
                }
            }
            SqliteStore::open(&Self::file(&self.after)).await.unwrap() as Arc<dyn Store>
        })
    }
}

store::store_conformance!(Sqlite::new());

fn token(name: &str) -> model::TokenRow {
    model::TokenRow {
        sha256: name.repeat(64),
        name: name.to_owned(),
        grants: Grants::everywhere(Role::Admin),
        account: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_database() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    let store = SqliteStore::open(&file).await.unwrap();
    let Err(StoreError::Unavailable(reason)) = SqliteStore::open(&file).await else { panic!("it opened twice") };
    assert_eq!(reason, format!("{} is in use by process {}", file.display(), std::process::id()));
    store.close().await;
    assert!(matches!(store.put_token(&token("a")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.now().await, Err(StoreError::Unavailable(_))));
    let again = SqliteStore::open(&file).await.unwrap();
    again.check().await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_dropped_lets_go_of_its_lock() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    drop(SqliteStore::open(&file).await.unwrap());
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..2_000 {
        ticks.tick().await;
        if SqliteStore::open(&file).await.is_ok() {
            return;
        }
    }
    panic!("the lock of a dropped store was held for 10 s");
}

#[tokio::test]
async fn a_token_can_be_made_beside_the_owner_of_the_database() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    let alone = SqliteStore::open_beside(&file).await.unwrap();
    alone.put_token(&token("a")).await.unwrap();
    alone.close().await;
    let owner = SqliteStore::open(&file).await.unwrap();
    let beside = SqliteStore::open_beside(&file).await.unwrap();
    beside.put_token(&token("b")).await.unwrap();
    beside.close().await;
    assert_eq!(owner.token(&"a".repeat(64)).await.unwrap(), Some(token("a")));
    assert_eq!(owner.token(&"b".repeat(64)).await.unwrap(), Some(token("b")));
    owner.put_token(&token("c")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    SqliteStore::open(&file).await.unwrap().close().await;
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    let refused = SqliteStore::open(&file).await.err();
    assert_eq!(refused, Some(StoreError::Newer { found: 99, known: store::sqlite::schema() }));
    let row = sqlx::query("PRAGMA user_version").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 99);
}

#[tokio::test]
async fn a_copy_of_a_database_in_use_is_of_one_moment_and_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let (file, copied) = (Sqlite::file(&folder), folder.path().join("copy.db"));
    let owner = SqliteStore::open(&file).await.unwrap();
    owner.put_token(&token("a")).await.unwrap();
    assert_eq!(store::sqlite::copy(&file, &copied).await.unwrap(), store::sqlite::schema());
    owner.put_token(&token("b")).await.unwrap();
    assert_eq!(std::fs::metadata(&copied).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = SqliteStore::open(&copied).await.unwrap();
    assert_eq!(copy.token(&"a".repeat(64)).await.unwrap(), Some(token("a")));
    assert_eq!(copy.token(&"b".repeat(64)).await.unwrap(), None);
    // What is there is never written over.
    assert!(store::sqlite::copy(&file, &copied).await.is_err());
}

#[tokio::test]
async fn the_database_keeps_a_write_ahead_log_and_puts_it_back_when_closed() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    let log = folder.path().join("stepcast.db-wal");
    let store = SqliteStore::open(&file).await.unwrap();
    store.put_token(&token("a")).await.unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    store.close().await;
    assert!(!log.exists(), "the log was written back");
    let again = SqliteStore::open(&file).await.unwrap();
    assert_eq!(again.token(&"a".repeat(64)).await.unwrap(), Some(token("a")));
}

/// It holds tokens' hashes, sessions, and what builds were given; the log and its index hold the same.
#[tokio::test]
async fn nobody_else_may_read_the_database_or_its_log() {
    let folder = TempDir::new().unwrap();
    // As where a wide umask leaves everything open: the folder must not be what protects it.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = Sqlite::file(&folder);
    let store = SqliteStore::open(&file).await.unwrap();
    store.put_token(&token("a")).await.unwrap();
    for name in ["stepcast.db", "stepcast.db-wal", "stepcast.db-shm", "stepcast.db.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = TempDir::new().unwrap();
    let file = Sqlite::file(&folder);
    std::fs::write(&file, "this is a letter, not a database, and long enough to have a header".repeat(20)).unwrap();
    assert!(matches!(SqliteStore::open(&file).await.err(), Some(StoreError::Corrupt(_))));
}

/// A small file system of its own, unmounted at the end. None where mounting is not allowed.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|done| done.status.success());
        mounted.then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_everything_works_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        // The page limit in the writer's own tests stands for this where nothing can be mounted.
        eprintln!("not shown here: mounting a small file system is not allowed");
        return;
    };
    let store = SqliteStore::open(&Sqlite::file(&disk.0)).await.unwrap();
    store.put_token(&token("a")).await.unwrap();
    let ballast = disk.0.path().join("ballast");
    let mut filled = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut filled, &[1; 4096]).is_ok() {}
    let mut told = None;
    for offset in 0..100 {
        let body = Arc::from(vec![7_u8; 20_000]);
        told = store.journal_append(vec![model::JournalChange::Stream { offset, body }]).await.err();
        if told.is_some() {
            break;
        }
    }
    assert_eq!(told, Some(StoreError::Full));
    assert_eq!(store.token(&"a".repeat(64)).await.unwrap(), Some(token("a")), "it can still be read");
    drop(filled);
    std::fs::remove_file(&ballast).unwrap();
    store.put_token(&token("b")).await.unwrap();
    assert_eq!(store.token(&"b".repeat(64)).await.unwrap(), Some(token("b")));
    store.check().await.unwrap();
}
