//! What is kept apart from its message, and for how long.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use wire::{Callback, ClaimCheck, ClientId, PayloadId, Timestamp, payload::InputFile};

use super::{
    Fixture,
    samples::{build, create, job},
};
use crate::{
    Store,
    model::{BuildState, Created, JobPlan, JobState, KeptCallback, NewBuild, retention::Deletion},
};

const LATER: Timestamp = Timestamp(i64::MAX);

async fn brought(store: &dyn Store) -> ClaimCheck {
    let (reference, content_type) = (PayloadId(Uuid::new_v4()), "text/plain".to_owned());
    let check = ClaimCheck { reference, size: 3, sha256: "ab".to_owned(), content_type };
    store.put_payload(&check).await.unwrap();
    check
}

fn with_file(check: &ClaimCheck) -> NewBuild {
    let mut job = job("a");
    let files = vec![InputFile { name: "data".to_owned(), check: check.clone() }];
    job.plan = Arc::new(JobPlan { files, ..(*job.plan).clone() });
    build("p", vec![job])
}

/// By nobody referring to it, and by its age alone.
pub async fn claim_check_a_payload_that_nobody_refers_to_goes_with_its_time(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let [used, unused, claimed] = [brought(&*store).await, brought(&*store).await, brought(&*store).await];
    assert_eq!(store.payload(used.reference).await.unwrap(), Some(used.clone()));
    let new = create(&*store, with_file(&used)).await;
    assert!(store.has_payload(new.jobs[0].id, used.reference).await.unwrap());
    assert!(!store.has_payload(new.jobs[0].id, unused.reference).await.unwrap());
    assert_eq!(store.pipelines_with(used.reference).await.unwrap(), std::slice::from_ref(&new.pipeline));
    assert_eq!(store.pipelines_with(unused.reference).await.unwrap(), []);
    let client = ClientId(Uuid::new_v4());
    let payload = serde_json::value::RawValue::from_string(claimed.to_text()).unwrap();
    let body = Callback { client_id: client, payload, claim_check: true }.encode();
    let kept = KeptCallback { message_id: Uuid::new_v4(), client, reply_to: None, body, times: 1 };
    store.keep_callback(&kept, Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.forget_unused_payloads(Timestamp(1), 10).await.unwrap(), []);
    assert_eq!(store.forget_unused_payloads(LATER, 10).await.unwrap(), [unused.reference]);
    let store = fixture.after_kill().await;
    let all = [used.reference, unused.reference, claimed.reference];
    let mut expected = [used.reference, claimed.reference];
    expected.sort();
    let mut known = store.known_payloads(&all).await.unwrap();
    known.sort();
    assert_eq!(known, expected);
    assert_eq!(store.payloads_behind(None, 10).await.unwrap(), expected);
    assert_eq!(store.payloads_behind(Some(expected[0]), 10).await.unwrap(), [expected[1]]);
    store.forget_callback(&kept).await.unwrap();
    assert_eq!(store.forget_unused_payloads(LATER, 10).await.unwrap(), [claimed.reference]);
    store.forget_payloads(&[used.reference]).await.unwrap();
    assert_eq!(store.payload(used.reference).await.unwrap(), None);
}

/// Nothing of the build is written, and no number is used up.
pub async fn file_input_a_build_whose_file_is_not_kept_is_not_made(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let check = brought(&*store).await;
    let missing = ClaimCheck { reference: PayloadId(Uuid::new_v4()), ..check.clone() };
    assert_eq!(store.create_build(with_file(&missing)).await.unwrap(), Created::NoPayload(missing.reference));
    assert!(
        store
            .builds(&Default::default(), &wire::authority::Grants::everywhere(wire::authority::Role::Viewer))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(create(&*store, with_file(&check)).await.number, 1);
}

/// At once, whatever its age, unless another build has it too.
pub async fn file_input_the_payload_of_a_deleted_build_goes_with_the_last_one(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let check = brought(&*store).await;
    let mut over = with_file(&check);
    let until = Timestamp(1);
    let outcome = wire::Outcome::Failed;
    over.build.jobs[0].state =
        JobState::Finished { outcome, executor: None, since: None, until, reason: None, last_offset: None };
    over.build.state = BuildState::Finished { outcome, since: None, until };
    let mut other = with_file(&check);
    (other.build.state, other.build.jobs[0].state) = (over.build.state, over.build.jobs[0].state.clone());
    let (over, other) = (create(&*store, over).await, create(&*store, other).await);
    assert_eq!(store.delete_build(over.id, None).await.unwrap(), Deletion::Done);
    assert_eq!(store.forget_unused_payloads(Timestamp(1), 10).await.unwrap(), []);
    assert_eq!(store.delete_build(other.id, None).await.unwrap(), Deletion::Done);
    assert_eq!(store.forget_unused_payloads(Timestamp(1), 10).await.unwrap(), [check.reference]);
}
