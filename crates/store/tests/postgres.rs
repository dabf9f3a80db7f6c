//! PostgreSQL against the suite of every store, and what is PostgreSQL's own: several processes, a server that goes away,
//! a server that says no.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod instance;

use std::sync::Arc;

use instance::proxy::{Fault, Proxy};
use sqlx::{Connection, PgConnection, Row};
use store::{
    Accounts, BoxFuture, Outbox, Store, StoreError, conformance::Fixture, model::TokenRow, postgres::PostgresStore,
};
use tokio::sync::OnceCell;
use wire::authority::{Grants, Role};

/// A database of the tests' server.
struct Postgres {
    name: OnceCell<String>,
}

impl Postgres {
    fn new() -> Self {
        Self { name: OnceCell::new() }
    }

    async fn url(&self) -> String {
        instance::shared().url(self.name.get_or_init(|| instance::shared().make_database()).await)
    }

    /// One process's store.
    async fn process(&self) -> Arc<PostgresStore> {
        PostgresStore::open(&self.url().await).await.unwrap()
    }
}

impl Fixture for Postgres {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { self.process().await as Arc<dyn Store> })
    }

    /// As another process finds it: the server outlives the one that was killed.
    fn after_kill(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        self.open()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let forget = async move { instance::shared().forget_database(&name).await };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || runtime.block_on(forget)).join().unwrap();
        }
    }
}

store::store_conformance!(Postgres::new());

/// Makes a test of each function of `conformance::processes`.
macro_rules! two_processes {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let database = Postgres::new();
                let (one, other) = (database.process().await, database.process().await);
                store::conformance::processes::$name(&*one, &*other).await;
            }
        )*
    };
}

two_processes! {
    p2_a_job_is_given_to_one_process
    p2_a_place_in_a_group_is_given_by_one_process
    p2_a_claim_is_repeated_to_another_process
    p2_a_named_lease_has_one_holder_in_all_processes
    an_idempotency_key_makes_one_build_in_all_processes
    p1_changes_of_two_processes_follow_one_another
    a_dead_letter_has_one_row_in_all_processes
    p1_a_relay_that_goes_by_ids_misses_no_row_of_any_process
    p1_a_row_of_another_process_is_told
    p5_two_recorders_at_once_apply_each_event_once
    what_a_program_may_write_is_recorded
}

fn token(name: &str) -> TokenRow {
    TokenRow {
        sha256: name.repeat(64),
        name: name.to_owned(),
        grants: Grants::everywhere(Role::Admin),
        account: None,
        expires_at: None,
    }
}

/// Why it could not be opened.
async fn refusal(url: &str) -> String {
    match PostgresStore::open(url).await.err() {
        Some(StoreError::Unavailable(reason)) => reason,
        other => panic!("it should not open: {other:?}"),
    }
}

#[tokio::test]
async fn many_processes_that_start_at_once_make_one_schema() {
    let database = Postgres::new();
    let url = database.url().await;
    let opened = futures_util::future::join_all((0..4).map(|_| PostgresStore::open(&url))).await;
    for store in opened {
        store.unwrap().check().await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let database = Postgres::new();
    let store = database.process().await;
    let mut connection = PgConnection::connect(&database.url().await).await.unwrap();
    let known: i64 = sqlx::query("UPDATE stepcast_schema SET version = version + 95 RETURNING version - 95")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0);
    let refused = PostgresStore::open(&database.url().await).await.err();
    assert_eq!(refused, Some(StoreError::Newer { found: known + 95, known }));
    let row = sqlx::query("SELECT version FROM stepcast_schema").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), known + 95);
    store.put_token(&token("a")).await.expect("who had it open before goes on");
}

#[tokio::test]
async fn a_wrong_address_is_told_in_one_sentence() {
    let url = Postgres::new().url().await;
    assert!(
        refusal("mysql://localhost/x")
            .await
            .starts_with("the address of a PostgreSQL database begins with postgres://")
    );
    let nobody = url.replace("://", "://nobody-");
    let reason = refusal(&nobody).await;
    assert!(reason.contains("refuses the user \"nobody-stepcast\": password authentication failed"), "{reason}");
    let wrong = url.replace(instance::PASSWORD, "wrong");
    let reason = refusal(&wrong).await;
    assert!(reason.contains("refuses the user \"stepcast\": password authentication failed"), "{reason}");
    let elsewhere = instance::shared().url("elsewhere");
    let reason = refusal(&elsewhere).await;
    assert!(reason.ends_with("has no database \"elsewhere\": create it first, empty"), "{reason}");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reason = refusal(&format!("postgres://stepcast:secret@127.0.0.1:{port}/x")).await;
    assert!(reason.starts_with(&format!("no PostgreSQL answers at 127.0.0.1:{port}: Connection refused")), "{reason}");
}

/// A database that cannot hold every letter is refused before anything is written to it.
#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let name = instance::shared().make_database_as("ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let reason = refusal(&instance::shared().url(&name)).await;
    instance::shared().forget_database(&name).await;
    assert_eq!(reason, "its encoding is SQL_ASCII: create it anew, with the encoding UTF8");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let database = Postgres::new();
    let store = database.process().await;
    store.put_token(&token("a")).await.unwrap();
    store.close().await;
    assert_eq!(store.put_token(&token("b")).await, Err(StoreError::Unavailable("it is closed".to_owned())));
    assert_eq!(store.now().await, Err(StoreError::Unavailable("it is closed".to_owned())));
}

/// The server dies under the feet of a store and comes back: what was answered is there, what is asked meanwhile is
/// refused with the reason, and the store goes on without being opened again.
#[tokio::test]
async fn p7_a_server_that_dies_loses_nothing_and_is_found_again() {
    let server = instance::Instance::start();
    let name = server.make_database().await;
    let (store, other) = (open(&server, &name).await, open(&server, &name).await);
    store.put_token(&token("a")).await.unwrap();
    assert_eq!(other.token(&"a".repeat(64)).await.unwrap(), Some(token("a")));
    for _ in 0..2 {
        server.crash();
        for asked in [store.check().await, store.put_token(&token("b")).await, other.now().await.map(drop)] {
            let Err(StoreError::Unavailable(reason)) = asked else { panic!("the server is away: {asked:?}") };
            assert!(reason.starts_with("no PostgreSQL answers at 127.0.0.1:"), "{reason}");
        }
        let mut told = other.outbox_changed();
        told.mark_unchanged();
        server.start_again();
        store.check().await.unwrap();
        assert_eq!(other.token(&"a".repeat(64)).await.unwrap(), Some(token("a")));
        assert_eq!(other.token(&"b".repeat(64)).await.unwrap(), None, "what was refused is not there");
        // Signals may have been missed: the relay looks.
        tokio::time::timeout(std::time::Duration::from_secs(60), told.changed()).await.unwrap().unwrap();
    }
    store.put_token(&token("b")).await.unwrap();
    assert_eq!(other.token(&"b".repeat(64)).await.unwrap(), Some(token("b")));
}

/// A database on a server that dies with the process that uses it, as a machine does.
struct Mortal<'a> {
    server: &'a instance::Instance,
    name: String,
}

impl Fixture for Mortal<'_> {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { open(self.server, &self.name).await as Arc<dyn Store> })
    }

    fn after_kill(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        self.server.crash();
        self.server.start_again();
        self.open()
    }
}

/// The parts of the suite that are about a kill, with the server killed as well: what was answered is on the disk.
#[tokio::test]
async fn p7_what_was_answered_survives_the_death_of_the_server() {
    use store::conformance::{accounts, builds, journal, record};
    type Proof = for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, ()>;
    let server = instance::Instance::start();
    let proofs: [Proof; 5] = [
        |fixture| Box::pin(builds::p1_what_was_answered_survives_a_kill(fixture)),
        |fixture| Box::pin(record::p7_the_record_survives_a_kill(fixture)),
        |fixture| Box::pin(record::p5_a_group_keeps_its_place_with_its_effect(fixture)),
        |fixture| Box::pin(journal::p7_the_journal_comes_back_as_it_was_written(fixture)),
        |fixture| Box::pin(accounts::a_sign_in_link_ends_at_its_time(fixture)),
    ];
    for proof in proofs {
        proof(&Mortal { server: &server, name: server.make_database().await }).await;
    }
}

/// A store whose words go through a network that can fail, and another process's on the same database.
async fn through_a_network(database: &Postgres) -> (Proxy, Arc<PostgresStore>, Arc<PostgresStore>) {
    let direct = database.process().await;
    let proxy = Proxy::to(instance::shared().server()).await;
    let name = database.name.get().unwrap();
    let url = instance::shared().url_at(&format!("127.0.0.1:{}", proxy.port), name);
    (proxy, PostgresStore::open(&url).await.unwrap(), direct)
}

/// The connection is lost when the commit is on its way: the store asks the server what became of it before it answers.
#[tokio::test]
async fn p1_a_commit_whose_answer_was_lost_is_looked_up() {
    let database = Postgres::new();
    let (network, store, direct) = through_a_network(&database).await;
    for (name, fault, kept) in [("a", Fault::AfterCommit, true), ("b", Fault::BeforeCommit, false)] {
        store.check().await.unwrap();
        network.fail(fault);
        let answer = store.put_token(&token(name)).await;
        assert!(network.has_failed());
        assert_eq!(answer.is_ok(), kept, "{answer:?}");
        assert_eq!(direct.token(&name.repeat(64)).await.unwrap().is_some(), kept);
    }
    store.put_token(&token("b")).await.unwrap();
}

/// A process hangs in a transaction and holds the lock of all commands: the server puts it out, and the others go on.
#[tokio::test]
async fn a_process_that_hangs_in_a_transaction_is_put_out() {
    let database = Postgres::new();
    let (network, store, direct) = through_a_network(&database).await;
    store.check().await.unwrap();
    network.fail(Fault::InTransaction);
    let name = token("a");
    let mut hanging = Box::pin(store.put_token(&name));
    while !network.has_failed() {
        tokio::select! {
            answer = &mut hanging => panic!("it should hang: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    direct.put_token(&token("b")).await.unwrap();
    assert_eq!(direct.token(&"a".repeat(64)).await.unwrap(), None);
}

async fn open(server: &instance::Instance, database: &str) -> Arc<PostgresStore> {
    PostgresStore::open(&server.url(database)).await.unwrap()
}
