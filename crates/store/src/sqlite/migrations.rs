//! The steps of the schema. `PRAGMA user_version` counts those that a database has; each is applied whole or not at all.

use sqlx::{Connection, Executor, Row, SqliteConnection};

use crate::StoreError;

/// In order; the first makes version 1. A step that was released is never changed.
const STEPS: [&str; 26] = [
    include_str!("../migrations/0001_start.sql"),
    include_str!("../migrations/0002_outbox_unreadable.sql"),
    include_str!("../migrations/0003_stderr_lines.sql"),
    include_str!("../migrations/0004_failed_builds.sql"),
    include_str!("../migrations/0005_many_processes.sql"),
    include_str!("../migrations/0006_dead_letters.sql"),
    include_str!("../migrations/0007_lost_attempts.sql"),
    include_str!("../migrations/0008_former_starts.sql"),
    include_str!("../migrations/0009_lost_places.sql"),
    include_str!("../migrations/0010_retention.sql"),
    include_str!("../migrations/0011_deleted_builds.sql"),
    include_str!("../migrations/0012_queues.sql"),
    include_str!("migrations/0001_own.sql"),
    include_str!("../migrations/0013_search.sql"),
    include_str!("migrations/0002_search_words.sql"),
    include_str!("../migrations/0014_groups.sql"),
    include_str!("../migrations/0015_payloads.sql"),
    include_str!("../migrations/0016_replies.sql"),
    include_str!("../migrations/0017_audit.sql"),
    include_str!("../migrations/0018_accounts.sql"),
    include_str!("../migrations/0019_secrets.sql"),
    include_str!("../migrations/0020_hooks.sql"),
    include_str!("../migrations/0021_executor_secrets.sql"),
    include_str!("../migrations/0022_isolation.sql"),
    include_str!("../migrations/0023_openid.sql"),
    include_str!("../migrations/0024_triggered_by.sql"),
];

/// The schema that this program knows.
pub(super) fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// The schema that the database has; newer than this program's is refused.
async fn found(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(connection).await?.try_get(0)?;
    if found > known() { Err(StoreError::Newer { found, known: known() }) } else { Ok(found) }
}

/// Applies what is missing.
pub(super) async fn run(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = found(connection).await?;
    let done = usize::try_from(found).map_err(|_| StoreError::Corrupt(format!("user_version is {found}")))?;
    for (index, step) in STEPS.iter().enumerate().skip(done) {
        let mut transaction = connection.begin().await?;
        transaction.execute(*step).await?;
        transaction.execute(format!("PRAGMA user_version = {}", index + 1).as_str()).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// For who opens the database beside its owner: nothing may be changed under the owner's feet.
pub(super) async fn must_be_current(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (found, known) = (found(connection).await?, known());
    if found == known {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "another process uses it with schema {found}, this Stepcast knows schema {known}: use the same version, or stop the other first"
    )))
}
