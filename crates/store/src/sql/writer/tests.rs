//! The writer alone, over SQLite: who goes first, what one failure takes with it, what a full disk does.

use super::{super::connection::query, *};
use crate::{Accounts, Store, model::TokenRow, sqlite::SqliteStore};
use wire::authority::{Grants, Role};

async fn store() -> (tempfile::TempDir, std::sync::Arc<SqliteStore>) {
    let folder = tempfile::TempDir::new().unwrap();
    let store = SqliteStore::open(&folder.path().join("stepcast.db")).await.unwrap();
    (folder, store)
}

/// Holds the writer until it is let go, so that jobs gather behind it.
async fn held(store: &std::sync::Arc<SqliteStore>) -> (oneshot::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let (let_go, wait) = oneshot::channel::<()>();
    let (began, has_begun) = oneshot::channel();
    let store = store.clone();
    let holding = tokio::spawn(async move {
        let job = store.writer.run(Rank::Command, move |_| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                began.send(()).unwrap();
                wait.await.unwrap();
                Ok(())
            })
        });
        job.await
    });
    has_begun.await.unwrap();
    (let_go, holding)
}

#[tokio::test]
async fn commands_go_before_the_journal_and_the_journal_before_projections() {
    let (_folder, store) = store().await;
    let (let_go, holding) = held(&store).await;
    let (order, mut ordered) = mpsc::unbounded_channel();
    let waiting = [Rank::Record, Rank::Journal, Rank::Command, Rank::Record, Rank::Announcing].map(|rank| {
        let order = order.clone();
        store.writer.run(rank, move |_| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                order.send(rank).unwrap();
                Ok(())
            })
        })
    });
    let mut all = Box::pin(futures_util::future::join_all(waiting));
    assert!(futures_util::poll!(all.as_mut()).is_pending(), "all of them are sent and wait");
    let_go.send(()).unwrap();
    assert!(all.await.into_iter().all(|done| done.is_ok()));
    holding.await.unwrap().unwrap();
    let mut ran = Vec::new();
    while let Ok(rank) = ordered.try_recv() {
        ran.push(rank);
    }
    assert_eq!(ran, [Rank::Command, Rank::Announcing, Rank::Journal, Rank::Record, Rank::Record]);
}

#[tokio::test]
async fn a_projection_gets_its_turn_among_commands_without_end() {
    let (_folder, store) = store().await;
    let (let_go, holding) = held(&store).await;
    let (order, mut ordered) = mpsc::unbounded_channel();
    let ranks = std::iter::repeat_n(Rank::Command, COMMANDS_MAX).chain([Rank::Record]);
    let waiting = ranks.map(|rank| {
        let order = order.clone();
        store.writer.run(rank, move |_| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                order.send(rank).unwrap();
                Ok(())
            })
        })
    });
    let mut all = Box::pin(futures_util::future::join_all(waiting));
    assert!(futures_util::poll!(all.as_mut()).is_pending());
    let_go.send(()).unwrap();
    assert!(all.await.into_iter().all(|done| done.is_ok()));
    holding.await.unwrap().unwrap();
    let mut before = 0;
    while ordered.try_recv().unwrap() != Rank::Record {
        before += 1;
    }
    assert!((1..=COMMANDS_IN_ROW_MAX).contains(&before), "{before} commands went first");
}

#[tokio::test]
async fn a_job_that_fails_takes_back_only_what_it_did() {
    let (_folder, store) = store().await;
    let (let_go, holding) = held(&store).await;
    let insert = |name: &'static str, fails: bool| {
        store.writer.run(Rank::Command, move |connection| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                query("INSERT INTO facts (name, at) VALUES (?, 0)").bind(name).execute(connection).await?;
                if fails { Err(StoreError::Corrupt("on purpose".to_owned())) } else { Ok(()) }
            })
        })
    };
    let mut all = Box::pin(futures_util::future::join_all([insert("a", false), insert("b", true), insert("c", false)]));
    assert!(futures_util::poll!(all.as_mut()).is_pending());
    let_go.send(()).unwrap();
    let done = all.await;
    holding.await.unwrap().unwrap();
    assert_eq!(done, [Ok(()), Err(StoreError::Corrupt("on purpose".to_owned())), Ok(())]);
    let mut reader = store.reader().await.unwrap();
    let rows = query("SELECT name FROM facts ORDER BY name").fetch_all(&mut reader).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
    assert_eq!(names, ["a", "c"]);
}

#[tokio::test]
async fn full_disk_fails_all_of_its_transaction_and_nothing_after_it() {
    let (_folder, store) = store().await;
    let pages = |limit: &'static str| {
        store.writer.run(Rank::Command, move |connection| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                query(limit).execute(connection).await?;
                Ok(())
            })
        })
    };
    let token = |name: String| TokenRow {
        sha256: name.repeat(30_000),
        name,
        grants: Grants::everywhere(Role::Admin),
        account: None,
        expires_at: None,
    };
    pages("PRAGMA max_page_count = 1").await.unwrap(); // Means: no more than there are.
    let tokens: Vec<_> = ["a", "b", "c"].iter().map(|name| token((*name).to_owned())).collect();
    let (let_go, holding) = held(&store).await;
    let mut all = Box::pin(futures_util::future::join_all(tokens.iter().map(|one| store.put_token(one))));
    assert!(futures_util::poll!(all.as_mut()).is_pending());
    let_go.send(()).unwrap();
    assert!(all.await.iter().all(|done| *done == Err(StoreError::Full)));
    assert_eq!(holding.await.unwrap(), Err(StoreError::Full), "it shared the transaction that was lost");
    assert!(!crate::people::People::has_anybody(&*store).await.unwrap());
    pages("PRAGMA max_page_count = 1000000").await.unwrap();
    store.put_token(&tokens[0]).await.unwrap();
    assert_eq!(store.token(&tokens[0].sha256).await.unwrap().as_ref(), Some(&tokens[0]));
    store.check().await.unwrap();
}
