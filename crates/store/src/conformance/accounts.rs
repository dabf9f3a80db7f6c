//! Sessions, tokens, links, callbacks, executors and pipelines.

use std::time::Duration;

use uuid::Uuid;
use wire::{
    AccountId, ClientId, ExecutorId,
    authority::{Grants, Role},
    view::WorkerView,
};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, grant, job, labels, pipeline, until},
};
use crate::{
    FORMER_STARTS_MAX, MayPut,
    model::{ExecutorRow, KeptCallback, Put, Registration, TokenRow},
};

/// A session is there until it expires or is deleted, can be written again, and is made only once.
pub async fn sessions_end_at_their_time(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let now = store.now().await.unwrap();
    let late = now.plus_micros(600_000_000);
    assert!(store.create_session("a", b"one", late).await.unwrap());
    assert!(!store.create_session("a", b"another's", late).await.unwrap(), "an id that is in use is not written over");
    assert_eq!(store.session("a").await.unwrap(), Some((b"one".to_vec(), late)));
    assert!(store.put_session("a", b"two", late).await.unwrap());
    assert_eq!(store.session("a").await.unwrap(), Some((b"two".to_vec(), late)));
    assert!(store.create_session("old", b"x", now.plus_micros(-1)).await.unwrap());
    assert_eq!(store.session("old").await.unwrap(), None);
    assert!(!store.put_session("old", b"y", late).await.unwrap(), "what has expired is gone");
    assert!(store.create_session("old", b"z", late).await.unwrap());
    store.delete_session("a").await.unwrap();
    assert_eq!(store.session("a").await.unwrap(), None);
    assert!(!store.has_anybody().await.unwrap(), "a session alone is nobody's sign-in");
}

/// A request that was under way when its session was deleted writes it afterwards: it stays deleted.
pub async fn p8_a_session_that_was_signed_out_does_not_come_back(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let late = store.now().await.unwrap().plus_micros(600_000_000);
    store.create_session("a", b"one", late).await.unwrap();
    store.delete_session("a").await.unwrap();
    assert!(!store.put_session("a", b"late", late).await.unwrap());
    assert_eq!(store.session("a").await.unwrap(), None);
    assert_eq!(fixture.after_kill().await.session("a").await.unwrap(), None);
}

/// A token is found by its hash alone, until it expires.
pub async fn tokens_are_found_by_their_hash(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert!(!store.has_anybody().await.unwrap());
    let now = store.now().await.unwrap();
    let token = TokenRow {
        sha256: "ab".repeat(32),
        name: "ci".to_owned(),
        grants: Grants::in_pipelines(Role::Builder, ["site".parse().unwrap()]),
        account: Some(AccountId(Uuid::new_v4())),
        expires_at: Some(now.plus_micros(600_000_000)),
    };
    store.put_token(&token).await.unwrap();
    assert_eq!(store.token(&token.sha256).await.unwrap().as_ref(), Some(&token));
    let past = TokenRow { sha256: "ef".repeat(32), expires_at: Some(now.plus_micros(-1)), ..token };
    store.put_token(&past).await.unwrap();
    assert_eq!(store.token(&past.sha256).await.unwrap(), None, "it has expired");
    assert_eq!(store.token(&"cd".repeat(32)).await.unwrap(), None);
    assert!(store.has_anybody().await.unwrap());
}

/// A link is good until it expires, and nobody knows another one. Who uses it up stands with the accounts.
pub async fn a_sign_in_link_ends_at_its_time(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let now = store.now().await.unwrap();
    store.put_sign_in_link("expired", now.plus_micros(-1)).await.unwrap();
    store.put_sign_in_link("good", now.plus_micros(600_000_000)).await.unwrap();
    for (link, is_good) in [("expired", false), ("unknown", false), ("good", true)] {
        assert_eq!(store.sign_in_link(link).await.unwrap(), is_good, "{link}");
    }
    assert!(fixture.after_kill().await.sign_in_link("good").await.unwrap());
}

/// Kept for their client in the order in which they came, each once, until forgotten or too old.
pub async fn callbacks_are_kept_in_order_until_forgotten(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (client, other) = (ClientId(Uuid::new_v4()), ClientId(Uuid::new_v4()));
    let callback = |client, body: &[u8]| KeptCallback {
        message_id: Uuid::new_v4(),
        client,
        reply_to: Some("answers".to_owned()),
        body: body.to_vec(),
        times: 1,
    };
    let (one, two, third) = (callback(client, b"1"), callback(client, b"2"), callback(other, b"3"));
    for kept in [&one, &two, &third, &one] {
        store.keep_callback(kept, LONG).await.unwrap();
    }
    let again = KeptCallback { times: 2, ..one.clone() };
    assert_eq!(store.kept_callbacks(client).await.unwrap(), [again.clone(), two.clone()]);
    let strangers: Vec<ClientId> = (0..3000).map(|_| ClientId(Uuid::new_v4())).collect();
    assert_eq!(store.clients_with_callbacks(&[&strangers[..], &[client]].concat()).await.unwrap(), [client]);
    assert!(store.clients_with_callbacks(&[]).await.unwrap().is_empty());
    store.forget_callback(&one).await.unwrap();
    assert_eq!(store.kept_callbacks(client).await.unwrap().len(), 2, "it came back after it was read");
    store.forget_callback(&again).await.unwrap();
    assert_eq!(store.kept_callbacks(client).await.unwrap(), [two]);
    let last = callback(other, b"4");
    until("a kept callback is too old", || async {
        store.keep_callback(&last, Duration::from_millis(1)).await.unwrap();
        !store.kept_callbacks(other).await.unwrap().contains(&third)
    })
    .await;
    assert!(store.kept_callbacks(client).await.unwrap().is_empty());
}

/// The first key that is offered is everybody's.
pub async fn the_installation_key_is_offered_once(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.installation_key(&[1; 32]).await.unwrap(), [1; 32]);
    assert_eq!(store.installation_key(&[2; 32]).await.unwrap(), [1; 32]);
    assert_eq!(fixture.after_kill().await.installation_key(&[3; 32]).await.unwrap(), [1; 32]);
}

/// Shown with their workers while they are heard, and not any more once they have left.
pub async fn gateways_are_shown_until_they_leave(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let worker = |n: usize, sockets| WorkerView {
        server_id: wire::ServerId::new("north", n).unwrap(),
        sockets,
        topics: 1,
        queue_length: 2,
        restarts: 0,
    };
    store.put_gateway("south", &[]).await.unwrap();
    store.put_gateway("north", &[worker(0, 1)]).await.unwrap();
    store.put_gateway("north", &[worker(0, 5), worker(1, 6)]).await.unwrap();
    let shown = store.gateways(LONG).await.unwrap();
    assert_eq!(shown.iter().map(|gateway| gateway.instance.as_str()).collect::<Vec<_>>(), ["north", "south"]);
    assert_eq!(shown[0].workers, [worker(0, 5), worker(1, 6)]);
    assert!(shown[0].alive);
    until("a gateway is not heard", || async { !store.gateways(Duration::from_millis(1)).await.unwrap()[0].alive })
        .await;
    store.gateway_left("north").await.unwrap();
    assert!(!store.gateways(LONG).await.unwrap()[0].alive);
    store.forget_gateway("north").await.unwrap();
    assert_eq!(store.gateways(LONG).await.unwrap().len(), 1);
}

/// Alive while heard within the lease and not gone; shown with what they run.
pub async fn executors_are_alive_while_they_are_heard(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let claim = claim("linux", LONG);
    let (id, incarnation) = (claim.executor, claim.incarnation);
    let row = ExecutorRow {
        id,
        incarnation,
        name: "north".to_owned(),
        labels: labels("linux+x86"),
        slots: 4,
        isolation: wire::Isolation::Sandbox,
        secret_sha256: None,
    };
    assert_eq!(store.put_executor(&row).await.unwrap(), Registration::Heard);
    let made = create(&*store, build("p", vec![job("a")])).await;
    store.claim_job(claim, grant()).await.unwrap().expect("a job waits");
    let views = store.executors(LONG).await.unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].id, views[0].name.as_str(), &views[0].labels, views[0].slots), (id, "north", &row.labels, 4));
    assert!(views[0].alive);
    assert_eq!(views[0].running, [made.jobs[0].id]);
    let job = &views[0].jobs[0];
    assert_eq!((job.id, job.name.as_str(), job.attempt), (made.jobs[0].id, "a", 1));
    assert_eq!((job.build, job.pipeline.as_str(), job.number), (made.id, "p", made.number));
    let shown = store.build_view(made.id).await.unwrap().unwrap();
    assert_eq!(shown.jobs[0].executor.as_deref(), Some("north"));
    until("an executor is not heard", || async { !store.executors(Duration::from_millis(1)).await.unwrap()[0].alive })
        .await;
    store.executor_left(id, Uuid::new_v4()).await.unwrap();
    assert!(store.executors(LONG).await.unwrap()[0].alive, "another incarnation's leaving is not this one's");
    store.executor_left(id, incarnation).await.unwrap();
    assert!(!store.executors(LONG).await.unwrap()[0].alive);
    assert_eq!(store.put_executor(&row).await.unwrap(), Registration::Heard);
    assert!(store.executors(LONG).await.unwrap()[0].alive);
}

/// A start whose place another one has taken is not heard any more, of whichever process, and nobody else's starts are meant.
pub async fn p2_a_former_start_of_an_executor_is_not_heard(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let start = |id: u128, incarnation: u128, name: &str| ExecutorRow {
        id: ExecutorId(Uuid::from_u128(id)),
        incarnation: Uuid::from_u128(incarnation),
        name: name.to_owned(),
        labels: labels("linux"),
        slots: 1,
        isolation: wire::Isolation::Plain,
        secret_sha256: None,
    };
    for n in 1..=3 {
        let row = start(1, n, &format!("start {n}"));
        assert_eq!(store.put_executor(&row).await.unwrap(), Registration::Heard, "{row:?}");
        assert_eq!(store.put_executor(&row).await.unwrap(), Registration::Heard, "it registers again and again");
    }
    for n in 1..=2 {
        assert_eq!(store.put_executor(&start(1, n, "too late")).await.unwrap(), Registration::Replaced);
        assert_eq!(store.put_executor(&start(2, n, "another")).await.unwrap(), Registration::Heard);
    }
    let named =
        |executors: Vec<wire::view::ExecutorView>| executors.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(named(store.executors(LONG).await.unwrap()), ["another", "start 3"]);
    let last = u128::from(FORMER_STARTS_MAX) + 5;
    for n in 4..=last {
        assert_eq!(store.put_executor(&start(1, n, "many")).await.unwrap(), Registration::Heard);
    }
    assert_eq!(
        store.put_executor(&start(1, last - u128::from(FORMER_STARTS_MAX), "late")).await.unwrap(),
        Registration::Replaced
    );
    assert_eq!(
        store.put_executor(&start(1, 1, "forgotten")).await.unwrap(),
        Registration::Heard,
        "only so many are remembered"
    );
}

/// Who has shown a secret once is known by it from then on: another one, or none, is somebody else, and changes nothing.
pub async fn an_executor_is_known_by_the_first_secret_that_it_shows(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let id = ExecutorId(Uuid::new_v4());
    let start = |name: &str, secret: Option<&str>| ExecutorRow {
        id,
        incarnation: Uuid::new_v4(),
        name: name.to_owned(),
        labels: labels("linux"),
        slots: 1,
        isolation: wire::Isolation::Plain,
        secret_sha256: secret.map(|secret| secret.repeat(32)),
    };
    assert_eq!(store.put_executor(&start("of a former version", None)).await.unwrap(), Registration::Heard);
    assert!(!store.has_secret(id).await.unwrap());
    let own = start("own", Some("ab"));
    assert_eq!(store.put_executor(&own).await.unwrap(), Registration::Heard);
    assert!(store.has_secret(id).await.unwrap());
    for stranger in [start("stranger", Some("cd")), start("stranger", None)] {
        assert_eq!(store.put_executor(&stranger).await.unwrap(), Registration::Foreign);
    }
    let bare = ExecutorRow { secret_sha256: None, ..own.clone() };
    assert_eq!(store.put_executor(&bare).await.unwrap(), Registration::Foreign, "of the same start, too");
    assert_eq!(store.executors(LONG).await.unwrap()[0].name, "own");
    assert_eq!(store.put_executor(&start("restarted", Some("ab"))).await.unwrap(), Registration::Heard);
    assert_eq!(store.executors(LONG).await.unwrap()[0].name, "restarted");
}

fn always() -> MayPut {
    Box::new(|_| true)
}

/// The rule sees what is there; where it says no, nothing changes. Of many that look at once, one finds what it saw.
pub async fn a_pipeline_is_written_only_if_the_rule_says_so(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let spec = pipeline("p");
    let absent = || -> MayPut { Box::new(|present| present.is_none()) };
    let is = |text: &'static str| -> MayPut { Box::new(move |present| present == Some(text)) };
    assert_eq!(store.put_pipeline(&spec, "x", is("first"), None).await.unwrap(), Put::Refused { exists: false });
    assert_eq!(store.pipeline(&spec.name).await.unwrap(), None);
    let both = tokio::join!(
        store.put_pipeline(&spec, "first", absent(), None),
        store.put_pipeline(&spec, "first", absent(), None),
    );
    let both = [both.0.unwrap(), both.1.unwrap()];
    assert!(both.contains(&Put::Created) && both.contains(&Put::Refused { exists: true }), "{both:?}");
    let texts: Vec<String> = (0..20).map(|n| format!("text {n}")).collect();
    let asked = texts.iter().map(|text| store.put_pipeline(&spec, text, is("first"), None));
    let done: Vec<Put> = futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(done.iter().filter(|put| **put == Put::Replaced).count(), 1, "{done:?}");
    let winner = done.iter().position(|put| *put == Put::Replaced).unwrap();
    let (view, _) = store.pipeline(&spec.name).await.unwrap().unwrap();
    assert_eq!((view.revision, &view.yaml), (2, &texts[winner]));
}

/// The same text changes nothing; another one is the next revision.
pub async fn a_pipeline_counts_its_texts(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let spec = pipeline("p");
    assert_eq!(store.put_pipeline(&spec, "text 1", always(), None).await.unwrap(), Put::Created);
    let (first, _) = store.pipeline(&spec.name).await.unwrap().unwrap();
    assert_eq!(store.put_pipeline(&spec, "text 1", always(), None).await.unwrap(), Put::Replaced);
    let (same, kept) = store.pipeline(&spec.name).await.unwrap().unwrap();
    assert_eq!((same.revision, &kept), (1, &spec));
    assert_eq!(same, first);
    assert_eq!(store.put_pipeline(&spec, "text 2", always(), None).await.unwrap(), Put::Replaced);
    let (second, _) = store.pipeline(&spec.name).await.unwrap().unwrap();
    assert_eq!((second.revision, second.yaml.as_str(), second.description.as_str()), (2, "text 2", "what it is for"));
    assert_eq!(store.pipeline(&"q".parse().unwrap()).await.unwrap(), None);
    assert_eq!(store.label_sets().await.unwrap(), [labels("linux+x86")]);
}

/// By name, each with its own last ten builds, the newest first.
pub async fn pipelines_are_listed_with_their_last_builds(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for name in ["b", "a", "none"] {
        store.put_pipeline(&pipeline(name), "text", always(), None).await.unwrap();
    }
    for _ in 0..12 {
        create(&*store, build("a", vec![job("x")])).await;
    }
    create(&*store, build("b", vec![job("x")])).await;
    let listed = store.pipelines().await.unwrap();
    let numbers: Vec<(&str, Vec<u64>)> =
        listed.iter().map(|one| (one.name.as_str(), one.builds.iter().map(|build| build.number).collect())).collect();
    assert_eq!(numbers, [("a", (3..=12).rev().collect()), ("b", vec![1]), ("none", vec![])]);
    assert!(listed.iter().all(|one| !one.needs_inputs));
}

/// A healthy store says so, and its clock does not go back.
pub async fn the_store_checks_itself(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    store.check().await.unwrap();
    let before = store.now().await.unwrap();
    store.check().await.unwrap();
    assert!(store.now().await.unwrap() >= before);
}
